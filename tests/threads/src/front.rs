//! `src/front`.

mod grammar;
mod input_sender;
mod lines;
pub mod models;
#[path = "../../../src/front/options.rs"]
mod options;
#[path = "../../../src/front/unread.rs"]
mod unread;
#[path = "../../../src/front/writer.rs"]
mod writer;

use crate::clock;
