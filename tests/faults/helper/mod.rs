//! Hosts and the network between them; the program runs on them in JSON mode by default.

mod home;
mod net;

pub use home::{Home, OUTSIDE};
pub use net::{Net, enter};

pub use crate::scenario::{
    Manner, Peer, Run, Running, Screen, Socks, Tor, TorManner, seen, skip, standstill, up,
};

use std::thread;
use std::time::Duration;

/// Sleeps for as long as a fault lasts. No other wait is timed.
pub fn lasting(time: Duration) {
    thread::sleep(time);
}

/// Alice on the first host and bob on the second, who dialled her; both with these arguments.
pub fn pair(net: &Net, args: &[&str]) -> (Peer, Peer) {
    let alice = net.run(0, "alice").with(args).peer();
    let bob = net.run(1, "bob").with(args).dials(&net.addr(0)).peer();
    up(&alice, &bob);
    (alice, bob)
}

/// `count` texts that differ in their beginning, each of `length` bytes.
pub fn texts(name: &str, count: usize, length: usize) -> Vec<String> {
    (1..=count)
        .map(|number| {
            let beginning = format!("{name}-{number} ");
            let rest = length.saturating_sub(beginning.len());
            beginning + &"x".repeat(rest)
        })
        .collect()
}
