//! The real program on a bad network: hosts are network namespaces on a bridge of their own, and
//! what goes wrong goes wrong in the kernel. Packets are lost by nftables, the link is made narrow
//! by a token bucket, a cable is pulled by taking its port down, connections are reset by a
//! firewall's answer; processes are stopped, continued and killed by signals, and their wall clock
//! is moved by libfaketime.
//!
//! Needs Linux, root, and `ip`, `tc` and `nft`; where one of them is missing, the tests say that they
//! were skipped. What is waited for is something that the program says. The only times slept are
//! those that a fault itself lasts.
#![cfg(target_os = "linux")]
// A failed expectation is a failed test, in the helpers too, and faults need a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod addresses;
mod cables;
mod clock;
mod helper;
mod links;
mod memory;
mod processes;
mod recovery;
#[path = "../helper/mod.rs"]
mod scenario;
