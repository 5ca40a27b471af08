//! How many descriptors this process may have.

/// Raises the limit as far as it goes without a privilege. The soft limit is low for the sake of
/// programs that use select(2), which nothing here does with the descriptor of a connection.
pub fn raise() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Where it stays as it is, there are fewer places for strangers.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The limit, if there is one.
pub fn limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}
