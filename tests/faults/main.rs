//! The real program on a bad network. Hosts are network namespaces on a bridge of their own, and
//! the kernel makes the faults: nftables drops packets, a token bucket narrows the link, a port
//! that is taken down stands for a pulled cable, a firewall's answer resets connections. Signals
//! stop, continue and kill processes, and libfaketime moves their wall clock.
//!
//! Needs Linux, root, and `ip`, `tc` and `nft`; if one of them is missing, the tests report that
//! they were skipped. Tests wait for the program's output. They sleep only for as long as a fault
//! itself lasts.
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
mod circuits;
mod clock;
mod helper;
mod lan;
mod links;
mod mapping;
mod memory;
mod processes;
mod proxy;
mod recovery;
#[path = "../helper/mod.rs"]
mod scenario;
