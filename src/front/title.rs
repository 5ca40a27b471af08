//! The title of the terminal's window: how many messages came since the last key, and the name of
//! the program. Never a text, and never the name of a peer.

use std::sync::atomic::{AtomicBool, Ordering};

/// Makes the terminal remember its title.
const SAVE: &[u8] = b"\x1b[22;2t";
/// Gives the terminal the title back that it remembers. One that remembers none has no title then.
const RESTORE: &[u8] = b"\x1b]2;\x07\x1b[23;2t";
/// Of more unread messages, the title shows only this number.
const MOST: usize = 999;

/// Whether the terminal has a title of this program.
static OURS: AtomicBool = AtomicBool::new(false);

/// What gives the terminal its own title back, if it has one of this program. For the last output
/// of a run.
pub(super) fn last() -> &'static [u8] {
    if OURS.load(Ordering::SeqCst) {
        RESTORE
    } else {
        b""
    }
}

/// The title as the terminal shows it.
#[derive(Default)]
pub(super) struct Title {
    /// Whether the terminal remembers its own one.
    saved: bool,
    /// How many unread messages it shows.
    shown: Option<usize>,
}

impl Title {
    /// Shows this number of unread messages.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, unread: usize) {
        if !std::mem::replace(&mut self.saved, true) {
            out.extend_from_slice(SAVE);
        }
        if self.shown.replace(unread) == Some(unread) {
            return;
        }
        let title = match unread {
            0 => "sesame".to_owned(),
            1..=MOST => format!("({unread}) sesame"),
            _ => format!("({MOST}+) sesame"),
        };
        out.extend_from_slice(format!("\x1b]2;{title}\x07").as_bytes());
    }

    /// Gives the terminal its own title back.
    pub(super) fn restore(&mut self, out: &mut Vec<u8>) {
        if self.saved {
            out.extend_from_slice(RESTORE);
            *self = Self::default();
        }
    }

    /// Another program may have changed it.
    pub(super) fn doubt(&mut self) {
        self.shown = None;
    }

    /// Tells [`last`] what the terminal has, or may have by now.
    pub(super) fn note(&self) {
        OURS.store(self.saved, Ordering::SeqCst);
    }

    /// Whether the terminal has a title of this program.
    pub(super) fn is_ours(&self) -> bool {
        self.saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_has_a_number_and_the_program_only() {
        let mut title = Title::default();
        let mut shown = |unread| {
            let mut out = Vec::new();
            title.push(&mut out, unread);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0), "\x1b[22;2t\x1b]2;sesame\x07");
        assert_eq!(shown(0), "");
        assert_eq!(shown(2), "\x1b]2;(2) sesame\x07");
        assert_eq!(shown(5000), "\x1b]2;(999+) sesame\x07");
    }

    #[test]
    fn title_is_saved_once_and_restored_once() {
        let mut title = Title::default();
        let mut out = Vec::new();
        title.restore(&mut out);
        assert!(out.is_empty() && !title.is_ours());
        title.push(&mut out, 0);
        title.doubt();
        title.push(&mut out, 0);
        title.restore(&mut out);
        title.restore(&mut out);
        let own = "\x1b]2;sesame\x07";
        let all = ["\x1b[22;2t", own, own, "\x1b]2;\x07\x1b[23;2t"].concat();
        assert_eq!(String::from_utf8(out).unwrap(), all);
    }
}
