//! Lines above the line being typed, broken between words.
//!
//! A terminal breaks a long line anywhere, and remembers that both rows are one line: text that is
//! copied has no line end there, and a new width breaks the line anew. Both are worth keeping, so
//! no line ends are added. If a word would be broken, the rest of its row is filled up, and the
//! terminal itself goes on in the next one. All that this adds to a copied line is spaces between
//! two words; a word, for instance an address, is never changed.

use std::iter;

use unicode_segmentation::UnicodeSegmentation;

use crate::front::layout::{TAB, columns_of};

/// The most columns that stay empty at the end of a row, and at most half of them. A word that
/// would leave more is broken.
const MOST_EMPTY: usize = 24;

/// Appends a line, without its end, for a terminal with this many columns. The terminal may have
/// another width by now, and may show characters wider or narrower than assumed: then some word is
/// broken after all, or some row is shorter.
pub(super) fn push_wrapped(out: &mut Vec<u8>, line: &str, columns: usize) {
    // A bell and a notification, which only this program can put there, and before the text.
    let (alerts, line) = line.split_at(line.rfind('\x07').map_or(0, |at| at + 1));
    out.extend_from_slice(alerts.as_bytes());
    let mut row = Row { columns, column: 0 };
    let mut behind_blank = false;
    for piece in line.split_inclusive([' ', '\t']) {
        let word = piece.trim_end_matches([' ', '\t']);
        let blank = &piece[word.len()..];
        if behind_blank && row.is_better_below(word, blank) {
            row.fill(out);
        }
        for part in Parts(word) {
            row.advance(part.width());
        }
        match blank {
            "\t" => row.tab(),
            _ => row.advance(blank.len()),
        }
        out.extend_from_slice(piece.as_bytes());
        behind_blank = !blank.is_empty();
    }
}

/// Where the cursor is in its row.
struct Row {
    columns: usize,
    /// The columns before the cursor. If that is all of them, the next character begins a row.
    column: usize,
}

impl Row {
    /// Whether to begin the next row with this word, rather than break it.
    fn is_better_below(&self, word: &str, blank: &str) -> bool {
        let width: usize = Parts(word).map(|part| part.width()).sum();
        // A row that begins with the blank behind the word would look indented.
        let all = self.column + width + blank.len();
        let empty = self.columns.saturating_sub(self.column);
        all > self.columns
            && width <= self.columns
            && self.column > 0
            && empty <= MOST_EMPTY.min(self.columns / 2)
    }

    /// Fills the row, so that the terminal begins another one with the next character. A movement
    /// of the cursor would do the same in fewer bytes, but on a terminal that has another width by
    /// now it could lead back over the text.
    fn fill(&mut self, out: &mut Vec<u8>) {
        let empty = self.columns.saturating_sub(self.column);
        out.extend(iter::repeat_n(b' ', empty));
        self.column = 0;
    }

    fn advance(&mut self, width: usize) {
        if self.column + width > self.columns {
            self.column = 0;
        }
        self.column += width;
    }

    fn tab(&mut self) {
        let stop = self.column - self.column % TAB + TAB;
        // A terminal never begins a row at a tab.
        self.column = stop.min(self.columns.saturating_sub(1));
    }
}

/// A piece of a word.
enum Part<'a> {
    /// What the user takes for one character.
    Grapheme(&'a str),
    /// A change of colour, or the like.
    Sequence,
}

impl Part<'_> {
    fn width(&self) -> usize {
        match self {
            Self::Grapheme(grapheme) => columns_of(grapheme),
            Self::Sequence => 0,
        }
    }
}

/// The parts of a word.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if let Some(sequence) = self.0.strip_prefix("\x1b[") {
            let end = sequence.find(|c| matches!(c, '@'..='~'));
            self.0 = end.map_or("", |end| &sequence[end + 1..]);
            return Some(Part::Sequence);
        }
        let grapheme = self.0.graphemes(true).next()?;
        self.0 = &self.0[grapheme.len()..];
        Some(Part::Grapheme(grapheme))
    }
}
