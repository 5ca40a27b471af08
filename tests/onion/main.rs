//! Onion services on a real tor, in a private Tor network (`scripts/tor-lab`): three peers, of which
//! two can be reached only through their onion services.
//!
//! Needs Linux, root, tor and `nsenter`; if one of them is missing, the test reports that it was
//! skipped. It waits for outputs and never sleeps.
#![cfg(target_os = "linux")]
// A failed expectation is a failed test, in the helpers too, and an end of patience needs a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod delay;
#[path = "../helper/mod.rs"]
mod helper;
mod lab;
mod peers;
