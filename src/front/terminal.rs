//! How chat leaves the terminal: at the end of a run, and for the image that follows a panic.

use super::screen::CLEAR;
use crate::sys::console;

/// Ends bracketed paste, turns wrapping on again, and removes the prompt.
const END: &[u8] = b"\x1b[?2004l\x1b[?7h\r\x1b[K";

/// Puts the terminal back into the state that it had before the line editor began, without waiting,
/// and throws away what was typed and not read, which was not meant for the shell. Does nothing in
/// a run without an editor. May be called from any thread.
pub fn restore_terminal() {
    if console::give_back(END) {
        console::discard_typed();
    }
}

/// Like [`restore_terminal`], for this program's next image: keeps what was typed and not read.
/// Clears screen and scrollback, as far as the terminal takes that without waiting.
pub(super) fn hand_over_terminal() {
    console::give_back(&[END, CLEAR].concat());
}

/// Clears the terminal and its scrollback, if it takes that without waiting.
pub fn clear_terminal() {
    console::write(CLEAR);
}
