//! What was parsed.

/// Lines, and whether one asked for a panic.
#[derive(Default)]
pub struct ParsedInput {
    pub lines: Vec<u8>,
    pub cost: usize,
    pub panic: Option<()>,
}
