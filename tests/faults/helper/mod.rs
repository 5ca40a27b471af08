//! Hosts, the network between them, and the program on them.

mod net;
mod peer;

pub use net::Net;
pub use peer::{Member, Peer, pair, texts, up};

pub use crate::scenario::{Running, skip, standstill};

use std::thread;
use std::time::Duration;

/// Lets a fault last. Nothing else waits in this way.
pub fn lasting(time: Duration) {
    thread::sleep(time);
}
