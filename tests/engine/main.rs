//! One real engine among peers that are played by hand, frame by frame: what cannot be waited for
//! in a simulation, since it takes a member that lies, a router in between or a lucky moment.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audience;
mod dialing;
mod gossip;
mod links;
mod messages;
mod names;
mod rig;
mod states;
mod strangers;
