//! What ends a wait for input, the terminal or a request, on every system.

/// Why a wait for input has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A read would not wait.
    Input,
    /// The process has to stop (SIGTSTP). Unix only.
    Stop,
    /// The process was stopped, and continues (SIGCONT). Unix only.
    GoOn,
    /// A panic was requested (on Unix, SIGUSR1). It is left to the thread that takes requests, which
    /// starts later.
    Panic,
    /// This request ends the run. Its number is that of a Unix signal.
    End(i32),
}

/// What has happened to the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// It has another size.
    pub resized: bool,
    /// The process was stopped, and continues. Unix only.
    pub goes_on: bool,
    /// The process is to stop: see [`Events::stop`](super::console::Events::stop). Unix only.
    pub is_to_stop: bool,
}

/// What [`wait`](super::signals::wait) has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A request from outside: the number of its Unix signal.
    Request(i32),
    /// This process asked the wait to end, by [`wake`](super::signals::wake).
    Wake,
}
