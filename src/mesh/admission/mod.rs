//! Limits on strangers at the listener: how many connections they may have, which share of a
//! processor they get, and how often they may guess the phrase (PROTOCOL.md, section 13;
//! SECURITY.md says what this does not stop).
//!
//! [`Admission`] is what the engine uses. It combines [`places`], which connections hold until they
//! have proven that they know the phrase; [`turns`] at the processor; [`guesses`] of the phrase;
//! [`rounds`], in which networks take turns; and [`members`], the addresses from which members have
//! come. [`origin`] defines what counts as one address and as one network.

mod control;
mod guesses;
mod members;
mod origin;
mod places;
mod rounds;
mod turns;

pub(super) use control::{Admission, Evicted};
pub(super) use guesses::Verdict;
pub use origin::Class;
pub(super) use origin::{Network, Source, network, source};
pub(super) use places::{WaysIn, drawn};
