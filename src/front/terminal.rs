//! The terminal in chat, as it is left: at the end, and to what follows a panic.

use super::screen::CLEAR;
use crate::sys::console;

/// Ends bracketed paste, has long lines wrapped, and takes the prompt away.
const END: &[u8] = b"\x1b[?2004l\x1b[?7h\r\x1b[K";

/// Puts the terminal back into the state that it had before the line editor began, without
/// waiting, and throws away what was typed and not read: it was not meant for the shell. Does
/// nothing in a run without an editor. May be called from any thread.
pub fn restore_terminal() {
    if console::give_back(END) {
        console::discard_typed();
    }
}

/// As [`restore_terminal`], for the image of this program that comes next: what was typed is for
/// that. Clears screen and scrollback, as far as the terminal takes that without waiting.
pub(super) fn hand_over_terminal() {
    console::give_back(&[END, CLEAR].concat());
}

/// Clears the terminal and its scrollback, if it takes that without waiting.
pub fn clear_terminal() {
    console::write(CLEAR);
}
