//! What must hold of each parser and each state machine whatever bytes it gets: one function per
//! file, which panics if it does not hold. `tests/parsers` calls them with bytes from proptest, and
//! `tests/fuzz` with bytes from libFuzzer, which includes this folder by its path.
//!
//! Each file also has seeds: inputs that reach far into the code.

pub mod addresses;
pub mod cells;
pub mod certificates;
mod choices;
pub mod config_file;
pub mod frames;
pub mod handover;
pub mod handshake;
pub mod hello;
pub mod inbox;
pub mod json_lines;
pub mod names;
pub mod outbox;
pub mod ratchet;
pub mod saved_name;
mod shown;
pub mod slash_commands;
pub mod socks;
pub mod tor_control;

/// A property with its name, which is also that of its fuzz target.
pub struct Property {
    /// The name.
    pub name: &'static str,
    /// Panics if the property does not hold for these bytes.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! properties {
    ($($name:ident),*) => {
        [$(Property { name: stringify!($name), check: $name::check, seeds: $name::seeds }),*]
    };
}

/// All properties.
pub const PROPERTIES: [Property; 17] = properties![
    frames,
    hello,
    cells,
    handshake,
    addresses,
    names,
    certificates,
    json_lines,
    slash_commands,
    config_file,
    saved_name,
    handover,
    socks,
    tor_control,
    inbox,
    outbox,
    ratchet
];
