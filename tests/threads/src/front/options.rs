//! The options that matter here.

/// Which front end runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Chat.
    Chat,
    /// Plain mode.
    Plain,
    /// JSON mode.
    Json,
}

/// Where the input is divided into messages: at each line feed.
#[derive(Clone, Copy)]
pub struct Cut;

/// The options.
pub struct FrontendOptions {
    /// Which front end runs.
    pub mode: Mode,
    /// No line is a command.
    pub literal: bool,
    /// Where the input is divided.
    pub cut: Cut,
}
