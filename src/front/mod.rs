//! The front ends: chat at a terminal, plain lines in pipes, JSON for programs.
//!
//! A front end turns bytes into [`Request`](crate::mesh::Request)s in one thread and
//! [`Event`](crate::mesh::Event)s into bytes in another; [`start`] starts both on a
//! [`FrontendChannels`](crate::channels::FrontendChannels) and gives back a [`Handle`]. Nothing here knows more of the mesh than
//! its commands and events. The walk of a line: `lines` cuts it, `command` or `json_in` reads it,
//! `input_sender` hands it to the engine. In chat, `keys` makes keys of bytes, the `editor` a line of keys,
//! and `keyboard` reads the one and sends the other. The walk of an event: `output` takes it, a view (`chat`, `plain`,
//! `json`) makes bytes of it with `render` and `sanitize`, and `writer` or `screen` writes them.

mod audience;
mod chat;
mod clock;
mod command;
mod defect;
mod edit;
mod editor;
mod handle;
mod input;
mod input_sender;
mod json;
mod json_in;
mod json_ref;
mod keyboard;
mod keys;
mod layout;
mod lines;
mod output;
mod plain;
mod render;
mod sanitize;
mod schema;
mod screen;
mod terminal;
mod undelivered;
mod wait;
mod writer;

use crate::mesh::Tag;
use crate::proto::{DisplayName, PeerId};

pub use defect::{RUNTIME_THREAD, tell_defects_by_place};
pub use handle::{Frozen, Handle, start};
pub use input::UnreadInput;
pub use schema::schema;
pub use terminal::{clear_terminal, restore_terminal};

/// Which front end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A line editor at a terminal; stdin and stdout are one.
    Chat,
    /// Lines in, lines out.
    #[default]
    Plain,
    /// One JSON object a line in both directions.
    Json,
}

/// What the user chose that a front end needs to know.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which front end.
    pub mode: Mode,
    /// `--literal`: no line is a command.
    pub literal: bool,
    /// `--null`: input is cut at NUL.
    pub null: bool,
    /// `--whole`: all of the input is one message.
    pub whole: bool,
    /// `--timestamps`.
    pub timestamps: bool,
    /// `--quiet`: no notices. Errors, and answers to commands, are shown all the same.
    pub quiet: bool,
    /// How often `--verbose` was given.
    pub verbose: u8,
    /// Whether the terminal may be given colours.
    pub colour: bool,
    /// `--decoy`.
    pub decoy: bool,
    /// `--ack`.
    pub explicit_ack: bool,
}

/// What is said first.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The version of the program.
    pub version: &'static str,
    /// The own identity.
    pub id: PeerId,
    /// The addresses that listen.
    pub listen: Vec<String>,
    /// The own name.
    pub name: Option<DisplayName>,
    /// Whether this is a decoy session.
    pub decoy: bool,
    /// Where this run goes on after a panic, what asked for it; `panicked` is said before.
    pub after_panic: Option<Tag>,
}
