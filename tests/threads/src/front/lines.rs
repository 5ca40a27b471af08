//! Lines of any length, without limits.

use super::options::Cut;

/// A line.
pub struct Line {
    pub text: Vec<u8>,
    pub bytes: usize,
}

/// The rest of an input.
#[derive(Default)]
pub struct Leftover {
    pub lines: Vec<u8>,
    pub begun: bool,
    pub begun_with: Option<u8>,
    pub at_start: bool,
}

/// What was read and not taken.
#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    pub fn new(_: Cut, _: usize) -> Self {
        Self::default()
    }

    pub fn of_json(self) -> Self {
        self
    }

    pub fn go_on(&mut self, lines: &[u8], _: bool, _: bool) {
        self.0.extend(lines);
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub fn end(&mut self) {}

    pub fn is_utf16(&self) -> bool {
        false
    }

    pub fn next_line(&mut self) -> Option<Line> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let text: Vec<u8> = self.0.drain(..=end).collect();
        let bytes = text.len();
        Some(Line { text, bytes })
    }

    pub fn take_unread(&mut self) -> Leftover {
        Leftover {
            lines: std::mem::take(&mut self.0),
            ..Leftover::default()
        }
    }
}
