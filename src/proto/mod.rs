//! One link between two peers, from the handshake to the frames.
//!
//! Nothing here does I/O, reads a clock or draws randomness of its own. [`handshake`] turns a TLS
//! channel and the phrase into keys, [`link`] composes the Double Ratchet, cells and frames on
//! them, and [`outbox`] and [`inbox`] keep what must arrive, across connections.
#![doc = include_str!("PROTOCOL.md")]

mod address;
pub mod cell;
pub mod conversation;
pub mod cpace;
pub mod frame;
pub mod handshake;
mod identity;
pub mod inbox;
pub mod kdf;
pub mod link;
mod name;
pub mod outbox;
pub mod phrase;
pub mod ratchet;
pub mod schedule;
pub mod text_line;
mod unseen;
pub mod wire;
pub mod words;

pub use address::{Address, AddressError, DEFAULT_PORT, Host, Zone};
pub use identity::{Identity, MessageId, PeerId};
pub use name::{DisplayName, NameError};
pub use unseen::{drawn, is_unseen};

/// The version of the protocol (PROTOCOL.md).
pub const VERSION: u16 = 1;
/// The size of every cell, in bytes (section 7).
pub const CELL: usize = 1024;
/// The most bytes of text in one message (section 9).
pub const MAX_TEXT: usize = 65_536;
/// The most messages sent and not acknowledged (section 9).
pub const WINDOW_MESSAGES: usize = 8_192;
/// The most bytes of text sent and not acknowledged (section 9).
pub const WINDOW_BYTES: usize = 1 << 20;
/// The most bytes of a display name (section 8).
pub const MAX_NAME_BYTES: usize = 128;
/// What makes a cell a fault (section 12): the connection is closed, and no more is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol fault: {0}")]
pub struct Fault(pub &'static str);
