//! The parts of the process's environment that a run depends on.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::front::{Mode, Notifier};
use crate::sys::file;

/// The values of `TERM` for terminals that cannot move their cursor.
const DUMB: [&str; 3] = ["dumb", "cons25", "emacs"];

/// The beginnings of `TERM` for terminals whose window has a title.
const TITLED: [&str; 18] = [
    "alacritty",
    "contour",
    "eterm",
    "foot",
    "ghostty",
    "gnome",
    "iterm",
    "kitty",
    "konsole",
    "mintty",
    "nsterm",
    "putty",
    "rxvt",
    "screen",
    "st",
    "tmux",
    "vte",
    "wezterm",
];

/// The parts of the process's environment that a run depends on.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Whether stdin is a terminal.
    pub stdin_terminal: bool,
    /// Whether stdout is a terminal.
    pub stdout_terminal: bool,
    /// `NO_COLOR`, if set.
    pub no_color: Option<OsString>,
    /// `TERM`, if set.
    pub term: Option<OsString>,
    /// `SESAME_LOG`, if set.
    pub log: Option<OsString>,
    /// [`file::CONFIG_HOME`], if set.
    pub config_home: Option<OsString>,
    /// The user's home.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_this_process() -> Self {
        Self {
            stdin_terminal: io::stdin().is_terminal(),
            stdout_terminal: io::stdout().is_terminal(),
            no_color: std::env::var_os("NO_COLOR"),
            term: std::env::var_os("TERM"),
            log: std::env::var_os("SESAME_LOG"),
            config_home: std::env::var_os(file::CONFIG_HOME),
            home: std::env::home_dir(),
        }
    }

    pub(super) fn mode(&self, json: bool) -> Mode {
        match (json, self.stdin_terminal && self.stdout_terminal) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Chat,
            (false, false) => Mode::Plain,
        }
    }

    pub(super) fn colour(&self) -> bool {
        self.stdout_terminal && self.no_color.is_none() && !self.is_dumb()
    }

    /// Whether the terminal cannot move its cursor: then there is no line editor, no colour, and no
    /// clearing.
    pub(super) fn is_dumb(&self) -> bool {
        let term = self.term.as_ref();
        term.is_some_and(|term| DUMB.iter().any(|dumb| term.eq_ignore_ascii_case(dumb)))
    }

    /// Whether the window of the terminal has a title, as far as known. Others, for instance the
    /// console of Linux, could show a title as text.
    pub(super) fn has_title(&self) -> bool {
        let term = self.term.as_ref().and_then(|term| term.to_str());
        let family = term.and_then(|term| term.split(['-', '.']).next());
        family.is_some_and(|it| {
            it == "xterm" || TITLED.iter().any(|one| it.eq_ignore_ascii_case(one))
        })
    }

    /// How the terminal shows notifications, as far as known. One that calls itself xterm may be any
    /// of many; those that have none ignore the sequence.
    pub(super) fn notifier(&self) -> Option<Notifier> {
        let family = self.term.as_ref().and_then(|term| term.to_str());
        match family?.split(['-', '.']).next()? {
            "xterm" | "ghostty" | "iterm" | "kitty" | "wezterm" => Some(Notifier::Osc9),
            "contour" | "foot" | "gnome" | "rxvt" | "vte" => Some(Notifier::Osc777),
            _ => None,
        }
    }

    /// `SESAME_LOG` as a level: a number, or as many `v` as would follow the `-`.
    pub(super) fn log_level(&self) -> Result<u8, String> {
        let Some(log) = &self.log else { return Ok(0) };
        let text = log.to_str().unwrap_or("?").trim();
        let letters = text.strip_prefix('-').unwrap_or(text);
        if letters.bytes().all(|b| b == b'v') {
            return Ok(letters.len().try_into().unwrap_or(u8::MAX));
        }
        text.parse()
            .map_err(|_| "ignoring SESAME_LOG: expected a number, v, vv or vvv".into())
    }

    /// The folder of sesame in the user's configuration directory.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let is_absolute = |path: &PathBuf| path.is_absolute();
        let given = self.config_home.as_ref().map(PathBuf::from);
        let home = || self.home.clone().filter(is_absolute);
        given
            .filter(is_absolute)
            .or_else(|| home().map(|home| home.join(file::CONFIG_FOLDER)))
            .map(|base| base.join("sesame"))
    }

    /// The folders that have what is private: the user's home, and sesame's configuration.
    pub fn private_folders(&self) -> Vec<PathBuf> {
        self.home.clone().into_iter().chain(self.folder()).collect()
    }

    /// What a path in a configuration file stands for: `~/` is the home of the user, and other paths
    /// begin at the folder of the file.
    pub(super) fn resolve(&self, given: &Path, file: &Path) -> PathBuf {
        match (given.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => file.parent().unwrap_or(Path::new("")).join(given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_end_follows_from_terminals_and_json() {
        let mut place = Environment {
            stdin_terminal: true,
            stdout_terminal: true,
            ..Environment::default()
        };
        assert_eq!(place.mode(false), Mode::Chat);
        assert_eq!(place.mode(true), Mode::Json);
        place.stdin_terminal = false;
        assert_eq!(place.mode(false), Mode::Plain);
    }

    #[test]
    fn colour_needs_a_terminal_that_allows_it() {
        let place = Environment {
            stdout_terminal: true,
            term: Some("xterm".into()),
            ..Environment::default()
        };
        assert!(place.colour());
        assert!(
            !Environment {
                no_color: Some("".into()),
                ..place.clone()
            }
            .colour()
        );
        assert!(
            !Environment {
                stdout_terminal: false,
                ..place
            }
            .colour()
        );
    }

    #[test]
    fn relative_configuration_directory_is_ignored() {
        let environment = Environment {
            config_home: Some("here".into()),
            ..Environment::default()
        };
        assert_eq!(environment.folder(), None);
    }
}
