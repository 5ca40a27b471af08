//! A model of a terminal, complete enough to show what a resize makes of painted text.

use unicode_width::UnicodeWidthChar;

/// One row. A row that was wrapped forms one line with the next.
#[derive(Clone, Default)]
struct Row {
    cells: Vec<char>,
    wrapped: bool,
}

/// Follows a character that is two columns wide.
const SECOND_HALF: char = '\0';

/// All rows, scrollback first.
pub(super) struct Terminal {
    columns: usize,
    rows: usize,
    /// Whether a change of width wraps all lines again, as in VTE, tmux and kitty. Otherwise rows
    /// are cut off, as in xterm.
    reflows: bool,
    all: Vec<Row>,
    top: usize,
    row: usize,
    column: usize,
    wraps: bool,
}

impl Terminal {
    pub(super) fn new(columns: usize, rows: usize, reflows: bool) -> Self {
        Self {
            columns,
            rows,
            reflows,
            all: vec![Row::default()],
            top: 0,
            row: 0,
            column: 0,
            wraps: true,
        }
    }

    /// All lines; rows that belong together are joined.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        for row in &self.all {
            if let Some(line) = lines.last_mut() {
                line.extend(row.cells.iter().filter(|c| **c != SECOND_HALF));
            }
            if !row.wrapped {
                lines.push(String::new());
            }
        }
        lines.iter().map(|line| line.trim_end().into()).collect()
    }

    /// All rows.
    pub(super) fn rows(&self) -> Vec<String> {
        let text = |row: &Row| row.cells.iter().filter(|c| **c != SECOND_HALF).collect();
        let rows = self.all.iter().map(text);
        rows.map(|row: String| row.trim_end().into()).collect()
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    pub(super) fn resize(&mut self, columns: usize, rows: usize) {
        if self.reflows {
            self.reflow(columns);
        } else {
            for row in &mut self.all[self.top..] {
                row.cells.truncate(columns);
            }
        }
        (self.columns, self.rows) = (columns, rows);
        self.column = self.column.min(columns - 1);
        // Rows below the cursor are dropped before the cursor leaves the screen.
        while self.all.len() > self.row + 1
            && (self.row + rows < self.all.len()
                || self.all.last().is_some_and(|row| row.cells.is_empty()))
        {
            self.all.pop();
        }
        if let Some(last) = self.all.last_mut() {
            last.wrapped = false;
        }
        self.top = self.all.len().saturating_sub(rows);
    }

    fn reflow(&mut self, columns: usize) {
        let mut all = Vec::new();
        let mut cursor = (0, 0);
        let mut line: Vec<char> = Vec::new();
        let mut at = None;
        for (number, row) in self.all.iter().enumerate() {
            if number == self.row {
                at = Some(line.len() + self.column);
            }
            line.extend(&row.cells);
            if row.wrapped {
                continue;
            }
            let mut placed = false;
            let mut cells = Vec::new();
            for (number, c) in line.drain(..).enumerate() {
                let two = c.width() == Some(2);
                if c != SECOND_HALF && cells.len() + 1 + usize::from(two) > columns {
                    all.push(Row {
                        cells: std::mem::take(&mut cells),
                        wrapped: true,
                    });
                }
                if at == Some(number) {
                    cursor = (all.len(), cells.len());
                    placed = true;
                }
                cells.push(c);
            }
            all.push(Row {
                cells,
                wrapped: false,
            });
            if at.take().is_some() && !placed {
                // After everything that the line holds.
                let last = all.len() - 1;
                cursor = (last, all[last].cells.len());
            }
        }
        self.all = all;
        (self.row, self.column) = cursor;
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut parameters = String::new();
                    let last = loop {
                        match chars.next().unwrap() {
                            c @ ' '..='?' => parameters.push(c),
                            c => break c,
                        }
                    };
                    self.control(&parameters, last);
                }
                '\r' => self.column = 0,
                '\n' => self.line_feed(),
                '\t' => self.column = ((self.column / 8 + 1) * 8).min(self.columns - 1),
                c => self.put(c),
            }
        }
    }

    fn control(&mut self, parameters: &str, last: char) {
        match (parameters, last) {
            (rows, 'A') => {
                let up = self.row.saturating_sub(rows.parse::<usize>().unwrap());
                self.row = up.max(self.top);
            }
            ("", 'K') => self.clear_row(),
            ("", 'J') => {
                self.clear_row();
                self.all.truncate(self.row + 1);
            }
            ("?7", 'l') => self.wraps = false,
            ("?7", 'h') => self.wraps = true,
            ("?2004", _) | (_, 'm') => {}
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn clear_row(&mut self) {
        let row = &mut self.all[self.row];
        row.cells.truncate(self.column);
        row.wrapped = false;
    }

    fn line_feed(&mut self) {
        self.row += 1;
        if self.row == self.all.len() {
            self.all.push(Row::default());
        }
        self.top = self.top.max((self.row + 1).saturating_sub(self.rows));
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if width == 0 {
            return;
        }
        if self.column + width > self.columns {
            if self.wraps {
                self.all[self.row].wrapped = true;
                self.line_feed();
                self.column = 0;
            } else {
                self.column = self.columns.saturating_sub(width);
            }
        }
        let cells = &mut self.all[self.row].cells;
        for (at, c) in [c, SECOND_HALF].into_iter().take(width).enumerate() {
            if cells.len() <= self.column + at {
                cells.resize(self.column + at + 1, ' ');
            }
            cells[self.column + at] = c;
        }
        self.column += width;
    }

    /// The text before the cursor in its row.
    pub(super) fn before_cursor(&self) -> String {
        let cells = &self.all[self.row].cells;
        cells[..self.column.min(cells.len())]
            .iter()
            .filter(|c| **c != SECOND_HALF)
            .collect()
    }
}
