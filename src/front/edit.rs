//! A text that is being edited: its characters, whether each was pasted, and the cursor.

use std::mem;
use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// A text with a cursor. Each byte knows whether it was pasted: a line whose first character was
/// pasted is a message, whatever it begins with.
#[derive(Clone, Default)]
pub(super) struct EditLine {
    text: String,
    pasted: Vec<bool>,
    cursor: usize,
}

impl EditLine {
    /// This text as if it had been typed, with the cursor at its end.
    pub(super) fn typed(text: &str) -> Self {
        Self {
            text: text.into(),
            pasted: vec![false; text.len()],
            cursor: text.len(),
        }
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The position of the cursor, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Whether the first character was pasted.
    pub(super) fn begins_pasted(&self) -> bool {
        self.pasted.first().is_some_and(|pasted| *pasted)
    }

    /// Takes everything and leaves an empty text.
    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Inserts at the cursor, which moves behind the insertion.
    pub(super) fn insert(&mut self, text: &str, pasted: bool) {
        self.splice(self.cursor..self.cursor, text, &vec![pasted; text.len()]);
    }

    /// Inserts what was cut before.
    pub(super) fn insert_cut(&mut self, cut: &Self) {
        self.splice(self.cursor..self.cursor, &cut.text, &cut.pasted);
    }

    /// Cuts out a range; the cursor stays at its place in the text.
    pub(super) fn cut(&mut self, range: Range<usize>) -> Self {
        let cut = Self {
            text: self.text[range.clone()].into(),
            pasted: self.pasted[range.clone()].to_vec(),
            cursor: 0,
        };
        self.splice(range, "", &[]);
        cut
    }

    /// Appends a cut text to this one, or puts it in front.
    pub(super) fn join(&mut self, cut: &Self, before: bool) {
        let at = if before { 0 } else { self.text.len() };
        self.splice(at..at, &cut.text, &cut.pasted);
    }

    /// Replaces a range by another text, which counts as pasted if the range began with pasted
    /// text.
    pub(super) fn replace(&mut self, range: Range<usize>, text: &str) {
        let pasted = self.pasted[range.clone()].first() == Some(&true);
        self.splice(range, text, &vec![pasted; text.len()]);
    }

    fn splice(&mut self, range: Range<usize>, text: &str, pasted: &[bool]) {
        self.cursor = range.start + text.len();
        self.text.replace_range(range.clone(), text);
        self.pasted.splice(range, pasted.iter().copied());
    }

    /// Moves the cursor to this character boundary, in bytes.
    pub(super) fn move_to(&mut self, at: usize) {
        self.cursor = at.min(self.text.len());
    }

    /// The boundary before the cursor, between characters as a reader sees them.
    pub(super) fn before(&self) -> usize {
        let mut boundary = GraphemeCursor::new(self.cursor, self.text.len(), true);
        // The whole text is in memory, so there is no error.
        let found = boundary.prev_boundary(&self.text, 0);
        found.ok().flatten().unwrap_or(0)
    }

    /// The boundary after the cursor.
    pub(super) fn after(&self) -> usize {
        let mut boundary = GraphemeCursor::new(self.cursor, self.text.len(), true);
        let found = boundary.next_boundary(&self.text, 0);
        found.ok().flatten().unwrap_or(self.text.len())
    }

    /// Where the word before the cursor begins.
    pub(super) fn word_before(&self) -> usize {
        let mut words = self.text[..self.cursor].unicode_word_indices();
        words.next_back().map_or(0, |(at, _)| at)
    }

    /// Where the word after the cursor ends.
    pub(super) fn word_after(&self) -> usize {
        let mut words = self.text[self.cursor..].unicode_word_indices();
        words
            .next()
            .map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
    }

    /// Where the stretch without white space before the cursor begins, for Ctrl-W.
    pub(super) fn stretch_before(&self) -> usize {
        let front = self.text[..self.cursor].trim_end();
        let space = front.char_indices().rev().find(|(_, c)| c.is_whitespace());
        space.map_or(0, |(at, c)| at + c.len_utf8())
    }

    /// Where the row of text with the cursor begins.
    pub(super) fn row_start(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    /// Where that row ends.
    pub(super) fn row_end(&self) -> usize {
        let end = self.text[self.cursor..].find('\n');
        end.map_or(self.text.len(), |at| self.cursor + at)
    }

    /// The place in the row above at the same distance from its start, if there is such a row.
    pub(super) fn row_above(&self) -> Option<usize> {
        let start = self.row_start();
        let above = start.checked_sub(1)?;
        let above_start = self.text[..above].rfind('\n').map_or(0, |at| at + 1);
        Some(self.place_in(above_start..above, self.column(start)))
    }

    /// The place in the row below at the same distance from its start, if there is such a row.
    pub(super) fn row_below(&self) -> Option<usize> {
        let start = self.row_end() + 1;
        let rest = self.text.get(start..)?;
        let end = rest.find('\n').map_or(self.text.len(), |at| start + at);
        Some(self.place_in(start..end, self.column(self.row_start())))
    }

    fn column(&self, start: usize) -> usize {
        self.text[start..self.cursor].graphemes(true).count()
    }

    fn place_in(&self, row: Range<usize>, column: usize) -> usize {
        let mut places = self.text[row.clone()].grapheme_indices(true);
        places.nth(column).map_or(row.end, |(at, _)| row.start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_decides_whether_it_is_pasted() {
        let mut line = EditLine::default();
        line.insert("/x", true);
        assert!(line.begins_pasted());
        line.move_to(0);
        line.insert("a", false);
        assert!(!line.begins_pasted());
        // Taken away again, whatever looks alike.
        drop(line.cut(0..1));
        assert!(line.begins_pasted());

        let mut line = EditLine::typed("/");
        line.insert("/x", true);
        assert!(!line.begins_pasted());
        drop(line.cut(0..1));
        assert!(line.begins_pasted());
    }

    #[test]
    fn cut_text_remembers_what_was_pasted() {
        let mut line = EditLine::default();
        line.insert("/quit", true);
        let cut = line.cut(0..5);
        assert!(!line.begins_pasted() && line.text().is_empty());
        line.insert_cut(&cut);
        assert!(line.begins_pasted());
    }

    #[test]
    fn a_character_is_what_a_reader_takes_for_one() {
        let mut line = EditLine::typed("a👩\u{200d}🚀e\u{301}");
        assert_eq!(line.before(), line.text().len() - 3);
        line.move_to(1);
        assert_eq!(line.after(), 1 + "👩\u{200d}🚀".len());
    }

    #[test]
    fn words_and_rows_are_found() {
        let mut line = EditLine::typed("one two-three\nvier 日本\nx");
        assert_eq!(line.row_above(), Some(15));
        line.move_to(8);
        assert_eq!((line.word_before(), line.word_after()), (4, 13));
        assert_eq!(line.stretch_before(), 4);
        assert_eq!((line.row_start(), line.row_end()), (0, 13));
        assert_eq!(line.row_below(), Some(line.text().len() - 2));
        assert_eq!(line.row_above(), None);
    }
}
