//! What the user chose that a front end needs to know. `config` makes it, once.

/// Which front end runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Chat at a terminal: stdin and stdout are one.
    Chat,
    /// Lines in, lines out.
    #[default]
    Plain,
    /// One JSON object per line in both directions.
    Json,
}

/// Where the input is cut into messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// At each line feed; a carriage return before it is dropped.
    #[default]
    Newline,
    /// At each NUL.
    Null,
    /// Nowhere: all of the input is one message.
    Nowhere,
}

/// How much is said on stderr, or above the line being typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbosity {
    /// `--quiet`: no notices. Errors, and answers to commands, are shown nevertheless.
    pub quiet: bool,
    /// How many `-v`; diagnostics of this level and below are shown.
    pub level: u8,
}

impl Verbosity {
    /// Whether something of this level (0: everybody may want to know it) is shown.
    pub fn shows(self, level: u8) -> bool {
        !self.quiet && level <= self.level
    }
}

/// All that a front end needs to know of the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendOptions {
    /// Which front end runs.
    pub mode: Mode,
    /// Whether chat has a line editor: the terminal can move its cursor.
    pub editor: bool,
    /// Whether the terminal may be given colours.
    pub colour: bool,
    /// Plain mode: no line is a command. Holds for [`Cut::Nowhere`] too.
    pub literal: bool,
    /// Where the input is cut.
    pub cut: Cut,
    /// `--timestamps`: plain mode begins each line of output with the time.
    pub timestamps: bool,
    /// How much is said.
    pub verbosity: Verbosity,
    /// `--decoy`.
    pub decoy: bool,
    /// `--ack`.
    pub explicit_ack: bool,
}
