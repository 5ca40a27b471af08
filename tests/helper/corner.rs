//! Addresses that no other test uses.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback address and a port that belong to this test, with no listener. If the system has only
/// one loopback address, only the port does.
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

/// An address without a listener.
pub fn nobody() -> String {
    let (ip, port) = corner();
    format!("{ip}:{port}")
}
