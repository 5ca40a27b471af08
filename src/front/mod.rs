//! The front ends: chat at a terminal, plain lines in pipes, JSON for programs.
//!
//! A front end turns bytes into [`Request`](crate::mesh::Request)s in one thread and
//! [`Event`](crate::mesh::Event)s into bytes in another. [`start`] starts both on a
//! [`FrontendChannels`](crate::channels::FrontendChannels) and returns a [`Handle`]. This layer
//! knows only the commands and events of the mesh.
//!
//! The way of a line: `lines` cuts the input, `unread` keeps it, `grammar` has `command` or `json_in`
//! parse the line, and `input_sender` hands it to the engine. In chat, `keys` turns bytes into keys and the `editor`
//! keys into a line, and `keyboard` reads the keys and sends the line.
//!
//! The way of an event: `output` takes it, a view (`text`, `json`) turns it into bytes with
//! `render` and `sanitize`, and `writer` or `screen` writes them. In chat, `status` has what the user
//! waits for, and `screen` shows it above the line.

mod alert;
mod audience;
mod clock;
mod command;
mod completion_names;
mod departures;
mod edit;
mod editor;
mod grammar;
mod handle;
mod input;
mod input_sender;
mod invitation;
mod json;
mod json_event;
mod json_in;
mod json_ref;
mod json_text;
mod keyboard;
mod keys;
mod layout;
mod lines;
mod options;
mod output;
mod panic_hook;
mod ready;
mod render;
mod sanitize;
mod schema;
mod screen;
mod status;
mod table;
mod terminal;
mod text;
mod title;
mod undelivered;
mod unread;
mod wait;
mod writer;

pub use alert::{Alert, AlertFor};
pub use command::{Mistake, ParsedLine, parse as parse_line};
pub use handle::{Frozen, Handle, start};
pub use json_in::parse as parse_json;
pub use lines::{BadLine, Leftover, Line, Lines};
pub use options::{Cut, FrontendOptions, Mode, Notifier, Verbosity};
pub use panic_hook::{RUNTIME_THREAD, install_panic_hook};
pub use ready::Ready;
pub use schema::schema;
pub use terminal::{DerivationNotice, clear_terminal, restore_terminal};
pub use unread::UnreadInput;
