//! The helpers of the black-box tests: a place, a run of the program in it, and the peers and
//! strangers that it meets.
// Not each suite needs all of it.
#![allow(dead_code, unused_imports)]

mod corner;
mod flood;
mod log;
mod peer;
mod place;
mod process;
mod relay;
mod run;
mod running;
pub mod schema;
mod screen;
mod seen;
mod skip;
mod socks;
mod stranger;
mod tor;

pub use corner::{corner, nobody};
pub use flood::{Flood, connect_from, far};
pub use peer::{Peer, mesh, pair, up};
pub use place::Place;
pub use process::{Ended, Process};
pub use relay::Relay;
pub use run::{NOBODY, PHRASE, Run};
pub use running::Running;
pub use screen::Screen;
pub use seen::{readable, seen, standstill};
pub use skip::{has, skip};
pub use socks::{Asked, Door, Manner, Socks};
pub use stranger::{Shown, Stranger, interceptor, older_hello};
pub use tor::{Tor, TorManner};

use std::time::Duration;

/// How long anything may take before a test gives up. Far beyond what it takes.
pub const PATIENCE: Duration = Duration::from_secs(100);
