//! One link between two peers, from the handshake to the frames.
//!
//! This layer does no I/O, reads no clock and draws no randomness of its own. [`handshake`] turns a
//! TLS channel and the phrase into keys. [`link`] composes the Double Ratchet, cells and frames on
//! them. [`outbox`] and [`inbox`] keep messages until they have arrived, across connections. [`socks`]
//! and [`tor`] speak to programs that make connections.
#![doc = include_str!("PROTOCOL.md")]

mod address;
pub mod beacon;
mod burst;
pub mod cell;
pub mod circuits;
pub mod conversation;
pub mod cpace;
pub mod epochs;
mod fault;
pub mod frame;
pub mod handshake;
mod identity;
pub mod inbox;
pub mod kdf;
pub mod kem;
mod limits;
pub mod link;
mod name;
pub mod outbox;
pub mod phrase;
mod proxy;
pub mod ratchet;
pub mod schedule;
pub mod socks;
pub mod text_line;
pub mod tor;
mod unseen;
pub mod wire;
pub mod words;

pub use address::{Address, AddressError, DEFAULT_PORT, Host, ONION_NEEDS_PROXY, Zone};
pub use burst::give_back;
pub use fault::Fault;
pub use identity::{Identity, MessageId, PeerId};
pub use limits::{CELL, MAX_NAME_BYTES, MAX_TEXT, VERSION, WINDOW_BYTES, WINDOW_MESSAGES};
pub use name::{DisplayName, NameError};
pub use proxy::{Credentials, Proxy, ProxyUrlError};
pub use unseen::{drawn, is_unseen};
