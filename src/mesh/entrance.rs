//! Where a connection comes in.

/// Where a connection comes from, as far as this end can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// From another computer.
    Elsewhere,
    /// From this computer itself.
    OwnComputer,
    /// Through this run's onion service, from anywhere.
    OnionService,
}
