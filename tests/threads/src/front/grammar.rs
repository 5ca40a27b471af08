//! A grammar in which a line with a `!` asks for a panic.

use std::time::Instant;

use super::input_sender::ParsedInput;
use super::lines::Line;

/// The grammar.
pub struct Grammar;

impl Grammar {
    pub fn read(&self, line: &Line, _: Instant, parsed: &mut ParsedInput) {
        parsed.lines.extend(&line.text);
        if line.text.contains(&b'!') {
            parsed.panic = Some(());
        }
    }
}
