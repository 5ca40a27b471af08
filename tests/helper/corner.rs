//! Addresses that no other test uses.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback address and a port of the test's own, at which nobody listens and which nobody is
/// given. Where the system has but one loopback address, the port alone is its own.
pub fn corner() -> (String, u16) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = process::id().to_be_bytes();
    let ip = if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, high.max(1), low, next)
    } else {
        Ipv4Addr::LOCALHOST
    };
    (ip.to_string(), 2300 + u16::from(next))
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let (ip, port) = corner();
    format!("{ip}:{port}")
}
