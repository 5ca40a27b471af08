//! Strangers at the listener: how many of their connections there may be, what share of a processor
//! they get, and how often they may guess the phrase (PROTOCOL.md, section 12; SECURITY.md says what
//! this does not stop).
//!
//! [`Admission`] is what the engine asks. It is made of [`places`], which connections hold until they
//! have proven that they know the phrase; [`turns`] at the processor; [`guesses`] of the phrase; [`rounds`], in which
//! networks come one after another; and
//! [`members`], the addresses from which members have come. [`origin`] says what counts as one
//! address, and as one network.

mod control;
mod guesses;
mod members;
mod origin;
mod places;
mod rounds;
mod turns;

pub use control::{Admission, Evicted};
pub use guesses::Verdict;
pub use origin::{Class, network, source};
