//! The user's options, as far as a front end needs them. `config` makes them, once.

/// Which front end runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Chat: stdin and stdout are both terminals.
    Chat,
    /// Plain mode: lines in, lines out.
    #[default]
    Plain,
    /// One JSON object per line in both directions.
    Json,
}

/// Where the input is divided into messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// At each line feed; a carriage return before it is dropped.
    #[default]
    Newline,
    /// At each NUL.
    Null,
    /// Nowhere: the whole input is one message.
    Nowhere,
}

/// The escape sequence with which a terminal shows a notification on the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notifier {
    /// `OSC 9`, of iTerm2.
    Osc9,
    /// `OSC 777`, of rxvt-unicode.
    Osc777,
}

/// How many notices and diagnostics are shown, on stderr or above the line being typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbosity {
    /// `--quiet`: no notices. Errors, and answers to commands, are shown nevertheless.
    pub quiet: bool,
    /// The number of `-v`; diagnostics up to this level are shown.
    pub level: u8,
}

impl Verbosity {
    /// Whether notices of this level are shown; 0 is for everyone.
    pub fn shows(self, level: u8) -> bool {
        !self.quiet && level <= self.level
    }
}

/// All that a front end needs to know of the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendOptions {
    /// Which front end runs.
    pub mode: Mode,
    /// Whether chat has a line editor, which needs a terminal that can move its cursor.
    pub editor: bool,
    /// Whether chat shows the number of unread messages in the window's title.
    pub title: bool,
    /// How the terminal shows notifications, if it does.
    pub notifier: Option<Notifier>,
    /// Whether output to the terminal may have colours.
    pub colour: bool,
    /// `--literal`, in plain mode: no line is a command. Set for [`Cut::Nowhere`] too.
    pub literal: bool,
    /// Where the input is divided into messages.
    pub cut: Cut,
    /// `--timestamps`: plain mode begins each line of output with the time.
    pub timestamps: bool,
    /// How many notices and diagnostics are shown.
    pub verbosity: Verbosity,
    /// `--decoy`.
    pub decoy: bool,
    /// `--ack`.
    pub explicit_ack: bool,
}

impl FrontendOptions {
    /// What marks each notice of a decoy session; nothing in others.
    pub(super) fn decoy_mark(&self) -> &'static str {
        if self.decoy { "[decoy] " } else { "" }
    }
}
