//! What breaks the protocol.

/// What makes a cell a fault (section 12): the connection is closed, and no more is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol fault: {0}")]
pub struct Fault(pub &'static str);
