//! Tables that fit the terminal.

use std::iter;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::sanitize::clean;

/// As wide as it gets: output that is not for a terminal has one line for each row.
pub(super) const ANY_WIDTH: usize = usize::MAX;

/// The columns between two cells.
const GAP: &str = "  ";
/// The beginning of a line that continues a row.
const INDENT: &str = "  ";
/// The columns that the last cell of a row needs at least. If it is longer, it is wrapped.
const LEAST_TEXT: usize = 24;

/// Cells in rows, all sanitised.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// The width of the widest cell in each column.
    widths: Vec<usize>,
}

impl Table {
    /// A table of these rows.
    pub(super) fn new(rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let clean_row = |row: Vec<String>| row.iter().map(|it| clean(it).into_owned()).collect();
        let rows: Vec<Vec<String>> = rows.into_iter().map(clean_row).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column| {
            let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            cells.map(|cell: &String| cell.width()).max().unwrap_or(0)
        };
        let widths = (0..columns).map(widest).collect();
        Self { rows, widths }
    }

    /// The lines of a table with this width. The cells of a row that do not fit in one line follow
    /// in further lines, indented. The last cell, which is a text, is wrapped between words. A cell
    /// that is wider than the table stays whole, so that it can be copied.
    pub(super) fn stacked(mut self, width: usize) -> Vec<String> {
        let Some(text) = self.widths.len().checked_sub(1) else {
            return Vec::new();
        };
        let natural = self.widths[text];
        self.widths[text] = natural.min(LEAST_TEXT);
        let below = width.saturating_sub(INDENT.width());
        let groups = side_by_side(&self.widths, 0..text + 1, width, below);
        let mut lines = Vec::new();
        for row in &self.rows {
            for (number, group) in groups.iter().enumerate() {
                let (room, indent) = match number {
                    0 => (width, ""),
                    _ => (below, INDENT),
                };
                let before = group.start..group.end.min(text);
                let mut line = self.line(row, before.clone());
                if group.contains(&text) && row.get(text).is_some() {
                    let taken: usize = self.widths[before].iter().map(|it| it + GAP.len()).sum();
                    let pieces = wrapped(&row[text], room.saturating_sub(taken));
                    let mut pieces = pieces.into_iter();
                    line += &pieces.next().unwrap_or_default();
                    push_line(&mut lines, number, &format!("{indent}{line}"));
                    for piece in pieces {
                        let margin = taken + indent.len();
                        push_line(&mut lines, 1, &format!("{:margin$}{piece}", ""));
                    }
                } else {
                    push_line(&mut lines, number, &format!("{indent}{line}"));
                }
            }
        }
        lines
    }

    /// The lines of a table with this width. The columns that do not fit follow in further tables
    /// below, each with the first column, whose cells may be cut.
    pub(super) fn side_cut(mut self, width: usize) -> Vec<String> {
        if self.widths.is_empty() {
            return Vec::new();
        }
        let all = 0..self.widths.len();
        if side_by_side(&self.widths, all.clone(), width, width).len() > 1 {
            let most = width / 5 * 2;
            for row in &mut self.rows {
                row[0] = cut(&row[0], most);
            }
            let widest = self.rows.iter().map(|row| row[0].width()).max();
            self.widths[0] = widest.unwrap_or(0);
        }
        let room = width.saturating_sub(self.widths[0] + GAP.len());
        let groups = side_by_side(&self.widths, 1..all.end, room, room);
        let mut lines = Vec::new();
        for group in groups {
            for row in &self.rows {
                let line = self.line(row, 0..1) + &self.line(row, group.clone());
                lines.push(line.trim_end().to_owned());
            }
        }
        lines
    }

    /// The cells of these columns, each with the gap behind it.
    fn line(&self, row: &[String], columns: Range<usize>) -> String {
        let cells = row.iter().zip(&self.widths).enumerate();
        let cells = cells.filter(|(column, _)| columns.contains(column));
        cells
            .map(|(_, (cell, width))| {
                let rest = width.saturating_sub(cell.width());
                format!("{cell}{:rest$}{GAP}", "")
            })
            .collect()
    }
}

/// Adds a line without the blanks at its end; and an empty one only if a row begins with it.
fn push_line(lines: &mut Vec<String>, number: usize, line: &str) {
    let line = line.trim_end();
    if number == 0 || !line.is_empty() {
        lines.push(line.to_owned());
    }
}

/// Groups these columns so that each group fits: the first in `first`, the others in `others`. A
/// column that is too wide has a group of its own.
fn side_by_side(
    widths: &[usize],
    columns: Range<usize>,
    first: usize,
    others: usize,
) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut taken, mut room) = (columns.start, 0, first);
    for column in columns.clone() {
        if column > start && taken + widths[column] > room {
            groups.push(start..column);
            (start, taken, room) = (column, 0, others);
        }
        taken += widths[column] + GAP.len();
    }
    groups.push(start..columns.end);
    groups
}

/// Divides a text between words into lines of this width. A word that is longer stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The beginning of a name, as much as fits. The digits of an id at its end stay.
fn cut(name: &str, width: usize) -> String {
    if name.width() <= width {
        return name.to_owned();
    }
    let (name, digits) = match name.rfind('#') {
        Some(at) if name.len() - at < width => name.split_at(at),
        _ => (name, ""),
    };
    let room = width.saturating_sub(digits.width() + 1);
    let mut taken = 0;
    let fitting = name.graphemes(true).take_while(|it| {
        taken += it.width();
        taken <= room
    });
    fitting.chain(iter::once("…")).chain([digits]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let row = |row: &&[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        Table::new(rows.iter().map(row))
    }

    fn peers() -> Table {
        let id = "3f9c01aa24b7d08e";
        table(&[
            &["al", id, "up", "1 min", "192.0.2.7:9000", ""],
            &["日本❤\u{fe0f}", id, "known", "2 h 05 min", "", "ignored"],
            &[
                "-",
                "-",
                "dialing",
                "3 s",
                "[2001:db8::7]:9000",
                "the name could not be resolved, trying again",
            ],
        ])
    }

    #[test]
    fn table_that_fits_has_one_line_per_row() {
        let lines = peers().stacked(ANY_WIDTH);
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0],
            "al      3f9c01aa24b7d08e  up       1 min       192.0.2.7:9000"
        );
        assert_eq!(peers().stacked(150), lines);
        assert_eq!(peers().side_cut(ANY_WIDTH), lines);
    }

    #[test]
    fn cells_that_do_not_fit_follow_indented() {
        assert_eq!(
            peers().stacked(71),
            [
                "al      3f9c01aa24b7d08e  up       1 min       192.0.2.7:9000",
                "日本❤\u{fe0f}  3f9c01aa24b7d08e  known    2 h 05 min",
                "  ignored",
                "-       -                 dialing  3 s         [2001:db8::7]:9000",
                "  the name could not be resolved, trying again",
            ]
        );
        assert_eq!(
            peers().stacked(31),
            [
                "al      3f9c01aa24b7d08e",
                "  up       1 min",
                "  192.0.2.7:9000",
                "日本❤\u{fe0f}  3f9c01aa24b7d08e",
                "  known    2 h 05 min",
                "  ignored",
                "-       -",
                "  dialing  3 s",
                "  [2001:db8::7]:9000",
                "  the name could not be",
                "  resolved, trying again",
            ]
        );
    }

    #[test]
    fn last_cell_is_wrapped_in_its_column() {
        let help = table(&[&["/a", "a word and then another word"], &["/bcd", "short"]]);
        assert_eq!(
            help.stacked(30),
            ["/a    a word and then another", "      word", "/bcd  short"]
        );
    }

    #[test]
    fn columns_that_do_not_fit_follow_with_the_name_again() {
        let links = || {
            table(&[
                &["peer", "up", "cells out", "round trip"],
                &["Alexandria of the long name", "1 min", "600", "3 ms"],
                &["日本語日本語日本語#3f9c01aa", "1 h 02 min", "7", "-"],
            ])
        };
        assert_eq!(
            links().side_cut(31),
            [
                "peer          up",
                "Alexandria …  1 min",
                "日…#3f9c01aa  1 h 02 min",
                "peer          cells out",
                "Alexandria …  600",
                "日…#3f9c01aa  7",
                "peer          round trip",
                "Alexandria …  3 ms",
                "日…#3f9c01aa  -",
            ]
        );
        assert_eq!(
            links().side_cut(50),
            [
                "peer                  up          cells out",
                "Alexandria of the l…  1 min       600",
                "日本語日本…#3f9c01aa  1 h 02 min  7",
                "peer                  round trip",
                "Alexandria of the l…  3 ms",
                "日本語日本…#3f9c01aa  -",
            ]
        );
    }

    #[test]
    fn cell_wider_than_the_table_stays_whole() {
        let onion = format!("{}.onion:9000", "x".repeat(56));
        let row: &[&str] = &["al", &onion, "up"];
        assert_eq!(
            table(&[row]).stacked(31),
            ["al".to_owned(), format!("  {onion}"), "  up".to_owned()]
        );
        assert!(table(&[]).stacked(31).is_empty() && table(&[]).side_cut(31).is_empty());
    }

    #[test]
    fn cells_draw_nothing() {
        assert_eq!(table(&[&["a\u{1b}[2J"]]).stacked(80), ["a\\u{1b}[2J"]);
    }
}
