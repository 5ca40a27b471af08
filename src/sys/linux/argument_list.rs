//! The kernel's copy of the argument list, to change it in place.
#![allow(unsafe_code)]

use crate::sys::reason;

/// Lets `change` edit the argument strings, which are in sequence, each followed by a NUL. Call it
/// before any thread starts.
///
/// The kernel says where they are. The C library gives the arguments only to `main`, and musl not
/// even to initialisers. If /proc is missing, other users cannot read the argument list there
/// either.
///
/// # Errors
/// Why they were not found, or the error of `change`.
pub(crate) fn change(
    change: impl FnOnce(&mut [u8]) -> Result<(), &'static str>,
) -> Result<(), String> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("cannot read /proc/self/stat: {}", reason(&error)))?;
    let span =
        argument_span(&stat).ok_or("/proc/self/stat does not say where the arguments are")?;
    // SAFETY: the kernel put the argument strings there, on the main thread's stack, writable and
    // for as long as the process lives. Nothing else reads or writes them meanwhile: no other
    // thread runs, and the standard library copies them only when asked.
    let strings = unsafe {
        std::slice::from_raw_parts_mut(
            std::ptr::with_exposed_provenance_mut::<u8>(span.start),
            span.len(),
        )
    };
    change(strings).map_err(Into::into)
}

/// `arg_start` and `arg_end`, fields 48 and 49 of proc_pid_stat(5). The second field, a name in
/// parentheses, may contain anything, also parentheses; the third follows the last one.
fn argument_span(stat: &str) -> Option<std::ops::Range<usize>> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut span = fields.split_ascii_whitespace().skip(48 - 3);
    let start: usize = span.next()?.parse().ok()?;
    let end: usize = span.next()?.parse().ok()?;
    (start != 0 && start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_the_arguments_are() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let span = argument_span(&stat).unwrap();
        assert_eq!(
            span.len(),
            std::fs::read("/proc/self/cmdline").unwrap().len()
        );
        assert_eq!(argument_span("1 (a) b) S 1"), None);
        assert_eq!(argument_span(""), None);
    }
}
