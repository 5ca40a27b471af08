//! Hosts, the network between them, and the program on them.

// One home for them; the scenarios against the binary read lines, and wait, too.
#[path = "../../scenarios/helper/log.rs"]
mod log;
mod net;
mod peer;
mod process;
#[path = "../../scenarios/helper/seen.rs"]
mod seen;

pub use net::{Net, skip};
pub use peer::{Member, Peer, pair, resident, texts, up};
use seen::seen;
pub use seen::standstill;

use std::thread;
use std::time::Duration;

/// How long anything may take before a test gives up. Far beyond what it takes.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// Lets a fault last. Nothing else waits in this way.
pub fn lasting(time: Duration) {
    thread::sleep(time);
}
