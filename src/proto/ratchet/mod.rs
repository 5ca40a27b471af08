//! Signal's Double Ratchet for an ordered, reliable stream (PROTOCOL.md, section 6): no skipped
//! keys, a first chain in each direction, and strictly alternating Diffie-Hellman steps.
//!
//! A step also mixes in the secret of a post-quantum epoch, where one is due.
//!
//! One noun per file: [`RootKey`], [`ChainKey`], [`MessageKey`], [`EpochSecret`] and the two kinds of
//! ratchet key, composed by [`DoubleRatchet`].

mod chain_key;
mod double_ratchet;
mod epoch_secret;
mod message_key;
mod ratchet_key;
mod root_key;

pub use chain_key::ChainKey;
pub use double_ratchet::{Direction, DoubleRatchet, Own, Seeds};
pub use epoch_secret::EpochSecret;
pub use message_key::MessageKey;
pub use ratchet_key::{RatchetKey, RemoteRatchetKey};
pub use root_key::RootKey;
