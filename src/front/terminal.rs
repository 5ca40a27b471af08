//! The terminal before a chat begins, and how chat leaves it: at the end of a run, and for the image
//! that follows a panic.

use std::time::Duration;

use super::clock::Moment;
use super::layout::one_row;
use super::options::{FrontendOptions, Mode};
use super::screen::{self, CLEAR};
use super::title;
use super::writer::write_within;
use crate::sys::console;
use crate::sys::stream::Output;

/// Ends bracketed paste, turns wrapping on again, and removes the prompt.
const END: &[u8] = b"\x1b[?2004l\x1b[?7h\r\x1b[K";

/// Tells the user of a chat that the key is being derived. Removed when this is dropped, if the
/// terminal can do that.
pub struct DerivationNotice {
    /// The columns to clear.
    columns: usize,
}

impl DerivationNotice {
    /// Shows it, unless that would wait. Other front ends show nothing.
    pub fn show(options: &FrontendOptions) -> Self {
        let is_chat = options.mode == Mode::Chat && options.verbosity.shows(0);
        if !is_chat || !console::is_in_foreground() {
            return Self { columns: 0 };
        }
        let decoy = options.decoy_mark();
        let text = format!("* {decoy}deriving the key from the passphrase");
        if options.editor {
            let row = one_row(&text, screen::columns());
            write_at_once(&row);
            return Self { columns: row.len() };
        }
        let time = Moment::now().time_of_day(Duration::ZERO);
        write_at_once(&format!("{time} {text}\n"));
        Self { columns: 0 }
    }
}

impl Drop for DerivationNotice {
    fn drop(&mut self) {
        // In spaces: the terminal may not take control sequences before the editor begins.
        if self.columns > 0 {
            write_at_once(&format!("\r{:1$}\r", "", self.columns));
        }
    }
}

fn write_at_once(text: &str) {
    write_within(&Output::stdout(), text.as_bytes(), Duration::ZERO);
}

/// Puts the terminal back into the state that it had before the line editor began, without waiting,
/// and throws away what was typed and not read, which was not meant for the shell. Does nothing in
/// a run without an editor. May be called from any thread.
pub fn restore_terminal() {
    if console::give_back(&[END, title::last()].concat()) {
        console::discard_typed();
    }
}

/// Like [`restore_terminal`], for this program's next image: keeps what was typed and not read.
/// Clears screen and scrollback, and restores the title, as far as the terminal takes that without
/// waiting.
pub(super) fn hand_over_terminal() {
    console::give_back(&[END, title::last(), CLEAR].concat());
}

/// Clears the terminal and its scrollback, if it takes that without waiting.
pub fn clear_terminal() {
    console::write(CLEAR);
}
