//! How the text being typed is laid out on the terminal's rows.
//!
//! Every row ends with a line break of its own and is shorter than the terminal is wide. A terminal
//! that is made wider then joins no two of them, and one that is made narrower can only make more
//! of them. So at any size there are at least as many rows as were painted, and going up by that
//! number never leads above the text being typed, wherever it is by now.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between two tab stops.
pub(super) const TAB: usize = 8;

/// The visible form of the text being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Shown before the text.
    pub prompt: String,
    /// The text.
    pub text: String,
    /// The position of the cursor in the text, in bytes.
    pub cursor: usize,
}

/// The rows of a block, as far as they are shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The text of each row.
    pub rows: Vec<String>,
    /// The row with the cursor.
    pub cursor_row: usize,
    /// How many bytes of that row are before the cursor.
    pub cursor_at: usize,
    /// How many bytes of the first row are the prompt.
    pub prompt: usize,
}

impl Layout {
    /// Lays a block out on a terminal with this many columns. Of its rows, those around the cursor
    /// are shown, `most_rows` at most.
    pub(super) fn of(block: &Block, columns: usize, most_rows: usize) -> Self {
        let mut rows = Rows {
            done: Vec::new(),
            row: String::new(),
            column: 0,
            width: columns.saturating_sub(1).max(1),
        };
        for grapheme in block.prompt.graphemes(true) {
            rows.push(grapheme);
        }
        let prompt = if rows.done.is_empty() {
            rows.row.len()
        } else {
            0
        };
        let mut cursor = None;
        for (at, grapheme) in block.text.grapheme_indices(true) {
            if cursor.is_none() && at + grapheme.len() > block.cursor {
                cursor = Some(rows.place(grapheme));
            }
            rows.push(grapheme);
        }
        let (cursor_row, cursor_at) = cursor.unwrap_or((rows.done.len(), rows.row.len()));
        rows.done.push(rows.row);
        let mut rows = rows.done;
        let most_rows = most_rows.max(1);
        let first = (cursor_row + 1).saturating_sub(most_rows);
        rows.truncate((first + most_rows).max(cursor_row + 1));
        rows.drain(..first);
        Self {
            rows,
            cursor_row: cursor_row - first,
            cursor_at,
            prompt: if first == 0 { prompt } else { 0 },
        }
    }
}

/// As much of a text as fits into one row of a terminal with this many columns, with an ellipsis if
/// that is not all of it.
pub(super) fn one_row(text: &str, columns: usize) -> String {
    let room = columns.saturating_sub(1).max(1);
    let mut row = String::new();
    let (mut used, mut kept) = (0, 0);
    for grapheme in text
        .graphemes(true)
        .filter(|it| !it.contains(char::is_control))
    {
        used += columns_of(grapheme);
        if used > room {
            row.truncate(kept);
            row.push('…');
            return row;
        }
        row.push_str(grapheme);
        // With room for the ellipsis.
        if used < room {
            kept = row.len();
        }
    }
    row
}

/// Rows that are being filled.
struct Rows {
    done: Vec<String>,
    row: String,
    column: usize,
    width: usize,
}

impl Rows {
    fn push(&mut self, grapheme: &str) {
        if matches!(grapheme, "\n" | "\r\n") {
            self.end_row();
            return;
        }
        let width = self.width_of(grapheme);
        if self.is_too_wide(width) {
            self.end_row();
        }
        if grapheme == "\t" {
            let width = self.width_of(grapheme).min(self.width);
            self.row.extend(std::iter::repeat_n(' ', width));
            self.column += width;
            return;
        }
        // Pasted control characters take no room, and must not reach the terminal.
        self.row
            .extend(grapheme.chars().filter(|c| !c.is_control()));
        self.column += width;
    }

    /// Where this would be placed: the row, and the bytes before it there.
    fn place(&self, grapheme: &str) -> (usize, usize) {
        let newline = matches!(grapheme, "\n" | "\r\n");
        if !newline && self.is_too_wide(self.width_of(grapheme)) {
            (self.done.len() + 1, 0)
        } else {
            (self.done.len(), self.row.len())
        }
    }

    fn is_too_wide(&self, width: usize) -> bool {
        self.column > 0 && self.column + width > self.width
    }

    fn width_of(&self, grapheme: &str) -> usize {
        if grapheme == "\t" {
            return TAB - self.column % TAB;
        }
        columns_of(grapheme)
    }

    fn end_row(&mut self) {
        self.done.push(std::mem::take(&mut self.row));
        self.column = 0;
    }
}

/// The most columns that any terminal uses for this: they differ in what they join into one
/// picture.
pub(super) fn columns_of(grapheme: &str) -> usize {
    let apart: usize = grapheme.chars().filter_map(|c| c.width()).sum();
    apart.max(grapheme.width())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(text: &str, cursor: usize, columns: usize, most_rows: usize) -> Layout {
        let block = Block {
            prompt: "> ".into(),
            text: text.into(),
            cursor,
        };
        Layout::of(&block, columns, most_rows)
    }

    #[test]
    fn rows_are_shorter_than_the_terminal_is_wide() {
        let layout = lay("abcdefgh", 8, 6, 10);
        assert_eq!(layout.rows, ["> abc", "defgh"]);
        assert_eq!((layout.cursor_row, layout.cursor_at), (1, 5));
        let layout = lay("日本語", 3, 6, 10);
        assert_eq!(layout.rows, ["> 日", "本語"]);
        assert_eq!((layout.cursor_row, layout.cursor_at), (1, 0));
        // A picture of several characters is not split.
        let layout = lay("a👨\u{200d}👩", 0, 6, 10);
        assert_eq!(layout.rows, ["> a", "👨\u{200d}👩"]);
    }

    #[test]
    fn text_for_one_row_is_cut_with_an_ellipsis() {
        for (text, columns, row) in [
            ("", 40, ""),
            ("bob: 1", 7, "bob: 1"),
            ("bob: 12", 7, "bob: …"),
            ("日本語", 7, "日本語"),
            ("日本語", 6, "日本…"),
            ("日本語", 5, "日…"),
            ("日本語", 2, "…"),
            ("日本語", 0, "…"),
            ("👨\u{200d}👩x", 5, "…"),
            ("a\u{1b}[2J\nb", 40, "a[2Jb"),
        ] {
            assert_eq!(one_row(text, columns), row, "{text:?} in {columns}");
        }
    }

    #[test]
    fn line_feeds_and_tabs_are_laid_out() {
        let layout = lay("a\n\nb\tc", 6, 20, 10);
        assert_eq!(layout.rows, ["> a", "", "b       c"]);
        assert_eq!((layout.cursor_row, layout.cursor_at), (2, 9));
        let layout = lay("a\n", 2, 20, 10);
        assert_eq!((layout.cursor_row, layout.cursor_at), (1, 0));
    }

    #[test]
    fn pasted_controls_do_not_reach_the_terminal() {
        let layout = lay("a\u{9b}31m\u{7}b\u{1b}[2J", 0, 40, 10);
        assert_eq!(layout.rows, ["> a31mb[2J"]);
    }

    #[test]
    fn long_text_shows_the_rows_around_the_cursor() {
        let text = "x".repeat(100);
        let layout = lay(&text, 100, 11, 3);
        assert_eq!(layout.rows.len(), 3);
        assert_eq!(layout.cursor_row, 2);
        let layout = lay(&text, 0, 11, 3);
        assert_eq!(layout.rows.len(), 3);
        assert_eq!((layout.cursor_row, layout.cursor_at), (0, 2));
        let layout = lay(&text, 45, 11, 3);
        assert_eq!(layout.rows.len(), 3);
        assert_eq!(lay(&text, 45, 1, 0).rows.len(), 1);
    }
}
