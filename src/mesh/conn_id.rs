//! The ids of connections.

/// One connection, from the dial or the accept to its end. Ids grow with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);
