//! The map of the crate.
//!
//! `sesame` is encrypted group chat between computers with no server in between. Everything is in
//! this library; the binary is a few lines around it. These are the layers from the ground up. Each
//! may use those below it and none above, which `tests/layers.rs` checks:
//!
//! - [`sys`]: what differs by operating system: streams, the terminal, files, sockets, and the
//!   process itself with its hardening, signals and restart.
//! - [`secret`]: locked memory. Besides [`sys`] the only unsafe code.
//! - [`proto`]: one link between two peers, from the handshake to the frames. No I/O.
//! - [`mesh`]: many links: which peers are here, which address to dial, which messages are owed. No
//!   I/O.
//! - [`net`]: sockets, TLS and clocks around one [`mesh::Engine`].
//! - [`front`]: chat, plain and JSON front ends.
//! - [`passphrase`]: new passphrases, and the strength of others.
//! - [`node`]: starts all of it; [`cli`], [`config`] and [`exit`] are its edges.
#![deny(unsafe_code)]
// Of the library only: nothing of a test can be reached from outside.
#![warn(unreachable_pub)]
// A test plays the I/O layer, whose time has to begin at some moment.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod channels;
pub mod cli;
pub mod config;
pub mod exit;
pub mod front;
pub mod mesh;
pub mod net;
pub mod node;
pub mod passphrase;
pub mod proto;
pub mod secret;
pub mod sys;
