//! Lines above the line being typed, broken between words.
//!
//! Each row after the first is indented, so that no text looks like a line of another sender,
//! whatever words its sender lets a row begin with.
//!
//! A terminal breaks a long line anywhere, and remembers that both rows are one line: text that is
//! copied has no line end there, and a new width breaks the line anew. Both are worth keeping, so
//! a row that ends early is filled up, and the terminal itself goes on in the next one. All that
//! this adds to a copied line is spaces between two words; a long address is never changed. Only
//! where terminals differ in the width of a character is there a line end: a row that the terminal
//! shows shorter than assumed would let the sender choose where the next one begins.

use std::iter;

use unicode_segmentation::UnicodeSegmentation;

use crate::front::layout::{TAB, columns_of};

/// The most columns that stay empty at the end of a row, and at most half of them. A word that
/// would leave more is broken.
const MOST_EMPTY: usize = 24;
/// The columns before the text of each row after the first.
const INDENT: usize = 2;
/// With fewer columns, rows are not indented.
const FEWEST_COLUMNS: usize = 10;

/// Appends a line, without its end, for a terminal with this many columns. The terminal may have
/// another width by now, and may show characters wider than assumed: then some row begins where
/// the terminal breaks the line.
pub(super) fn push_wrapped(out: &mut Vec<u8>, line: &str, columns: usize) {
    // A bell and a notification, which only this program can put there, and before the text.
    let (alerts, line) = line.split_at(line.rfind('\x07').map_or(0, |at| at + 1));
    out.extend_from_slice(alerts.as_bytes());
    let mut row = Row {
        out,
        columns,
        indent: if columns < FEWEST_COLUMNS { 0 } else { INDENT },
        column: 0,
        begins_bare: false,
        fills: line.chars().all(has_one_width),
    };
    let mut behind_blank = false;
    for piece in line.split_inclusive([' ', '\t']) {
        let word = piece.trim_end_matches([' ', '\t']);
        let blank = &piece[word.len()..];
        if behind_blank && row.is_better_below(word) {
            row.begin_next();
        }
        let stays_whole = looks_like_an_address(word);
        for part in Parts(word) {
            row.push(&part, stays_whole);
        }
        match blank {
            "\t" => row.push_tab(),
            _ => row.push_blank(blank),
        }
        behind_blank = !blank.is_empty();
    }
}

/// Whether all terminals show this in the same number of columns. They agree about letters of the
/// scripts that have no others joined to them; pictures came with each version of Unicode.
fn has_one_width(c: char) -> bool {
    matches!(c,
        '\0'..='\u{ac}'
        | '\u{ae}'..='\u{2ff}'
        | '\u{370}'..='\u{482}'
        | '\u{48a}'..='\u{52f}'
        | '\u{2010}'..='\u{2027}'
        | '\u{3001}'..='\u{3029}'
        | '\u{3041}'..='\u{3096}'
        | '\u{309b}'..='\u{30ff}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{ff01}'..='\u{ff60}')
}

/// Whether the rest of a word may have rows of its own without an indent, so that it can be copied:
/// no line of this program consists of such characters only.
fn looks_like_an_address(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>*".contains(&byte))
}

/// The row that is being written.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    columns: usize,
    /// How many of them are empty in each row after the first.
    indent: usize,
    /// The columns before the cursor. If that is all of them, the next character begins a row.
    column: usize,
    /// This row begins with the rest of a word, without an indent. Nothing else may follow in it.
    begins_bare: bool,
    /// A row that ends early is filled up with spaces; otherwise it has a line end.
    fills: bool,
}

impl Row<'_> {
    /// Whether to begin the next row with this word, rather than break it.
    fn is_better_below(&self, word: &str) -> bool {
        let width: usize = Parts(word).map(|part| part.width()).sum();
        let empty = self.columns.saturating_sub(self.column);
        width > empty
            && width <= self.columns.saturating_sub(self.indent)
            && self.column > self.indent
            && empty <= MOST_EMPTY.min(self.columns / 2)
    }

    /// Goes to the place in the next row at which text begins. A movement of the cursor would do
    /// the same in fewer bytes, but on a terminal that has another width by now it could lead back
    /// over the text.
    fn begin_next(&mut self) {
        if self.fills {
            let empty = self.columns.saturating_sub(self.column);
            self.push_spaces(empty + self.indent);
        } else {
            self.out.extend_from_slice(b"\r\n");
            self.push_spaces(self.indent);
        }
        self.column = self.indent;
        self.begins_bare = false;
    }

    fn push_spaces(&mut self, count: usize) {
        self.out.extend(iter::repeat_n(b' ', count));
    }

    fn push(&mut self, part: &Part<'_>, stays_whole: bool) {
        if self.is_full_for(part.width()) {
            if stays_whole {
                self.column = 0;
                self.begins_bare = true;
            } else {
                self.begin_next();
            }
        }
        self.out.extend_from_slice(part.text().as_bytes());
        self.column += part.width();
    }

    /// A blank that begins a row is part of the indent.
    fn push_blank(&mut self, blank: &str) {
        if blank.is_empty() {
            return;
        }
        if self.begins_bare || self.is_full_for(blank.len()) {
            self.begin_next();
        } else {
            self.out.extend_from_slice(blank.as_bytes());
            self.column += blank.len();
        }
    }

    fn is_full_for(&self, width: usize) -> bool {
        width > 0 && self.column + width > self.columns
    }

    fn push_tab(&mut self) {
        if self.begins_bare {
            return self.begin_next();
        }
        self.out.push(b'\t');
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
    Sequence(&'a str),
}

impl<'a> Part<'a> {
    fn text(&self) -> &'a str {
        match self {
            Self::Grapheme(text) | Self::Sequence(text) => text,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Grapheme(grapheme) => columns_of(grapheme),
            Self::Sequence(_) => 0,
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
            let end = end.map_or(self.0.len(), |end| "\x1b[".len() + end + 1);
            let (sequence, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Part::Sequence(sequence));
        }
        let grapheme = self.0.graphemes(true).next()?;
        self.0 = &self.0[grapheme.len()..];
        Some(Part::Grapheme(grapheme))
    }
}
