//! The real program as people and pipes use it: processes of its own, real sockets on the loopback
//! interface, and only checks of what a user can see. Every wait is for an output of the program,
//! and has a generous end; no test asserts times.
#![cfg(unix)]
// A failed expectation is a failed test, in the helpers too, and an end of patience needs a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod addresses;
mod chat;
mod circuits;
mod completions;
mod config_file;
mod ending;
mod first_minute;
#[path = "../helper/mod.rs"]
mod helper;
mod image;
mod json;
mod links;
mod locked;
mod manual;
mod messages;
mod middle;
mod names;
mod onion;
mod panic;
mod phrases;
mod plain;
mod proxy;
mod sandbox;
mod saved_name;
mod schema;
mod signals;
mod status;
mod staying;
mod strangers;
mod terminal;
mod traces;
mod unread;
mod waiting;
