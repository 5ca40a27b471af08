//! One real engine among peers that are played by hand, frame by frame. These situations cannot be
//! awaited in a simulation, since they take a lying member, a router in between or a rare moment.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audience;
mod circuits;
mod dialing;
mod gossip;
mod lan;
mod links;
mod messages;
mod names;
mod rig;
mod states;
mod strangers;
mod waiting;
