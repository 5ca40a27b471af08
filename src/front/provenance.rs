//! Which bytes of the line being typed were pasted. A line whose first character was pasted is a
//! message, whatever it begins with; the editor does not keep track of that.

/// What a key did to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was typed, or completed, or is nothing of interest.
    Typed,
    /// A paste.
    Pasted,
    /// Text came back from where removed text goes: a yank or an undo.
    Restored,
    /// The history was walked.
    Recalled,
}

/// The line as it was, with where its bytes came from.
#[derive(Default)]
pub(super) struct Provenance {
    line: String,
    cursor: usize,
    pasted: Vec<bool>,
    /// The typed line while the history is walked.
    stash: Option<(String, Vec<bool>)>,
    /// Whether anything was pasted in this run: what is restored may be that.
    ever: bool,
}

impl Provenance {
    /// A new line begins, with this text in it.
    pub fn begin(&mut self, line: &str) {
        *self = Self {
            line: line.to_owned(),
            cursor: line.len(),
            pasted: vec![false; line.len()],
            stash: None,
            ever: self.ever,
        };
    }

    /// Whether the first character was pasted.
    pub fn begins_pasted(&self) -> bool {
        self.pasted.first().is_some_and(|pasted| *pasted)
    }

    /// The line after a key, and the cursor in it, with what the key was.
    pub fn follow(&mut self, line: &str, cursor: usize, cause: Cause) {
        self.ever |= cause == Cause::Pasted;
        if cause == Cause::Recalled {
            self.recall(line);
        } else if line != self.line {
            let pasted = match cause {
                Cause::Pasted => true,
                Cause::Restored => self.ever,
                Cause::Typed | Cause::Recalled => false,
            };
            self.replace(line, cursor, pasted);
        }
        self.cursor = cursor;
    }

    fn recall(&mut self, line: &str) {
        if line == self.line {
            return;
        }
        let left = (
            std::mem::replace(&mut self.line, line.to_owned()),
            std::mem::take(&mut self.pasted),
        );
        let stash = self.stash.get_or_insert(left);
        if stash.0 == line {
            self.pasted.clone_from(&stash.1);
            self.stash = None;
        } else {
            // The history holds lines in such a form that they may be taken as typed.
            self.pasted = vec![false; line.len()];
        }
    }

    fn replace(&mut self, line: &str, cursor: usize, pasted: bool) {
        let (old, new) = (self.line.as_bytes(), line.as_bytes());
        // Where text was inserted the cursor stood before, where it was removed it stands now;
        // a comparison alone could not tell which of two like characters went.
        let from = if new.len() > old.len() {
            self.cursor
        } else {
            cursor
        };
        let common = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let front = if fits(old, new, from.min(common)) {
            from.min(common)
        } else {
            common
        };
        let most = old.len().min(new.len()) - front;
        let back = old
            .iter()
            .rev()
            .zip(new.iter().rev())
            .take(most)
            .take_while(|(a, b)| a == b);
        let back = back.count();
        let gone = front..old.len() - back;
        // Where something was both removed and inserted, the new inherits from the old.
        let pasted = pasted || self.pasted[gone.clone()].contains(&true);
        let come = new.len() - back - front;
        self.pasted.splice(gone, vec![pasted; come]);
        line.clone_into(&mut self.line);
    }
}

/// Whether the two differ by one stretch, inserted or removed, at `from`.
fn fits(old: &[u8], new: &[u8], from: usize) -> bool {
    let most = old.len().min(new.len()).saturating_sub(from);
    old[old.len() - most..] == new[new.len() - most..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(keys: &[(&str, usize, Cause)]) -> bool {
        let mut provenance = Provenance::default();
        provenance.begin("");
        for (line, cursor, cause) in keys {
            provenance.follow(line, *cursor, *cause);
            assert_eq!(provenance.pasted.len(), line.len());
        }
        provenance.begins_pasted()
    }

    use Cause::{Pasted, Recalled, Restored, Typed};

    #[test]
    fn the_first_character_decides() {
        assert!(!after(&[("/", 1, Typed), ("/q", 2, Typed)]));
        assert!(after(&[("/quit", 5, Pasted)]));
        assert!(after(&[("/qui", 4, Pasted), ("/quit", 5, Typed)]));
        assert!(!after(&[("/", 1, Typed), ("/quit", 5, Pasted)]));
    }

    #[test]
    fn what_is_typed_before_a_paste_is_typed() {
        assert!(!after(&[
            ("bob", 3, Pasted),
            ("bob", 0, Typed),
            ("/bob", 1, Typed)
        ]));
        // And taken away again.
        assert!(after(&[
            ("/b", 2, Pasted),
            ("/b", 0, Typed),
            ("a/b", 1, Typed),
            ("/b", 0, Typed)
        ]));
    }

    #[test]
    fn like_characters_are_not_confused() {
        // `/` typed, `/x` pasted behind it, then the typed one deleted.
        assert!(after(&[
            ("/", 1, Typed),
            ("//x", 3, Pasted),
            ("//x", 0, Typed),
            ("/x", 0, Typed)
        ]));
        // `/x` typed, `/` pasted before it.
        assert!(after(&[
            ("/x", 2, Typed),
            ("/x", 0, Typed),
            ("//x", 1, Pasted)
        ]));
    }

    #[test]
    fn a_line_that_was_emptied_is_a_new_one() {
        assert!(!after(&[
            ("/x", 2, Pasted),
            ("", 0, Typed),
            ("/", 1, Typed)
        ]));
    }

    #[test]
    fn what_is_restored_counts_as_pasted_if_anything_was() {
        assert!(after(&[
            ("/x", 2, Pasted),
            ("", 0, Typed),
            ("/x", 2, Restored)
        ]));
        assert!(!after(&[
            ("/x", 2, Typed),
            ("", 0, Typed),
            ("/x", 2, Restored)
        ]));
    }

    #[test]
    fn walking_the_history_and_back_changes_nothing() {
        assert!(after(&[
            ("/x", 2, Pasted),
            ("/peers", 6, Recalled),
            ("/x", 2, Recalled)
        ]));
        assert!(!after(&[("/x", 2, Pasted), ("/peers", 6, Recalled)]));
    }
}
