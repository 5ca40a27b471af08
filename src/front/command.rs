//! The grammar of lines: which are messages, which commands, and which mistakes.

use super::alert::{Alert, AlertFor};
use crate::mesh::{Command, ErrorCode, PeerQuery, Text};
use crate::proto::{Address, DisplayName};
use crate::sys::interface;

/// What one line asks for, whether a slash command or JSON.
#[derive(Debug)]
pub enum ParsedLine {
    /// A command for the engine.
    Command(Command),
    /// Forget everything.
    Panic {
        /// Whether the run ends with it; `None`: as `--on-panic` says.
        quit: Option<bool>,
    },
    /// List the commands, or explain this one.
    Help(Option<&'static str>),
    /// Show how others reach this end.
    Invite,
    /// Show the rest of the long message that was cut last.
    More,
    /// Choose the messages for an alert.
    Alert(Alert, AlertFor),
    /// Clear the terminal and the typed lines.
    Clear,
}

/// Why a line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The stable code.
    pub code: ErrorCode,
    /// One line: what is wrong and what to do.
    pub message: String,
}

impl Mistake {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn command(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadCommand, message)
    }
}

/// Every command with its arguments and what it does, in the order of `/help`.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/help", "[COMMAND]", "list the commands, or explain one"),
    ("/invite", "", "show what others type to reach you"),
    ("/peers", "", "list the known peers and their states"),
    ("/msg", "PEER TEXT", "send a message to one peer only"),
    ("/connect", "HOST[:PORT]", "stay connected to an address"),
    (
        "/disconnect",
        "PEER",
        "say goodbye to a peer; neither end dials the other until /connect",
    ),
    ("/name", "NAME", "set your name and save it"),
    ("/whoami", "", "show your id and name"),
    (
        "/verify",
        "PEER",
        "show six words that are the same at both ends",
    ),
    (
        "/ignore",
        "PEER",
        "drop what a peer says; repeat it to stop",
    ),
    (
        "/bell",
        "off|direct|all",
        "choose which messages ring the bell",
    ),
    (
        "/notify",
        "off|direct|all",
        "choose which messages notify you on the desktop",
    ),
    ("/stats", "", "show cells, ratchet and queue of each link"),
    (
        "/pending",
        "",
        "list the messages that peers have not acknowledged",
    ),
    (
        "/more",
        "",
        "show the rest of a message of more than 20 lines",
    ),
    ("/clear", "", "clear the screen and forget the lines typed"),
    (
        "/panic",
        "[quit]",
        "forget everything at once; with quit, also exit",
    ),
    (
        "/quit",
        "",
        "send what is outstanding, say goodbye and exit",
    ),
];

/// Parses one line.
///
/// # Errors
/// What is wrong with a line that begins with `/`.
pub fn parse(line: &str) -> Result<ParsedLine, Mistake> {
    let Some(rest) = line.strip_prefix('/') else {
        return message(line);
    };
    if rest.starts_with('/') {
        return message(rest);
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let arguments = CommandWords {
        word,
        rest: rest.trim_start(),
    };
    match word {
        "/help" => arguments.help(),
        "/invite" => arguments.none(ParsedLine::Invite),
        "/peers" => arguments.none(ParsedLine::Command(Command::Peers)),
        "/msg" => arguments.msg(),
        "/connect" => arguments.connect(),
        "/disconnect" => Ok(ParsedLine::Command(Command::Disconnect(arguments.peer()?))),
        "/name" => arguments.name(),
        "/whoami" => arguments.none(ParsedLine::Command(Command::Whoami)),
        "/verify" => Ok(ParsedLine::Command(Command::Verify(arguments.peer()?))),
        "/ignore" => Ok(ParsedLine::Command(Command::Ignore {
            peer: arguments.peer()?,
            on: None,
        })),
        "/bell" => arguments.alert(Alert::Bell),
        "/notify" => arguments.alert(Alert::Notification),
        "/pending" => arguments.none(ParsedLine::Command(Command::Pending)),
        "/stats" => arguments.none(ParsedLine::Command(Command::Stats)),
        "/more" => arguments.none(ParsedLine::More),
        "/clear" => arguments.none(ParsedLine::Clear),
        "/panic" => arguments.panic(),
        "/quit" => arguments.none(ParsedLine::Command(Command::Quit)),
        _ => Err(Mistake::command(format!(
            "unknown command '{word}'; {}, or write /{word} to send it as a message",
            match meant_by(word) {
                Some(command) => format!("did you mean {command}?"),
                None => "see /help".to_owned(),
            }
        ))),
    }
}

/// The command that differs from this word by one or two letters only.
fn meant_by(word: &str) -> Option<&'static str> {
    let words = COMMANDS.iter().map(|(command, ..)| *command);
    let far = |command: &&str| strsim::osa_distance(word, command);
    words
        .min_by_key(far)
        .filter(|command| far(command) <= 2 && word.len() > 3)
}

/// Parses the address in a command.
///
/// # Errors
/// `bad_address`, with what is wrong.
pub(super) fn address(text: &str) -> Result<Address, Mistake> {
    Address::parse_with(text, interface::index)
        .map_err(|why| Mistake::new(ErrorCode::BadAddress, why.line(text)))
}

/// Parses the display name in a command.
///
/// # Errors
/// `bad_name`, with the rule that it breaks.
pub(super) fn display_name(text: &str) -> Result<DisplayName, Mistake> {
    DisplayName::from_user(text)
        .map_err(|why| Mistake::new(ErrorCode::BadName, format!("invalid name: {why}")))
}

/// The mistake that a text is longer than a message may be.
pub(super) fn too_long() -> Mistake {
    Mistake::new(ErrorCode::TooLong, "not sent: longer than 65,536 bytes")
}

/// A message to all peers.
///
/// # Errors
/// `too_long`.
pub(super) fn message(text: &str) -> Result<ParsedLine, Mistake> {
    if text.len() > Text::MAX {
        return Err(too_long());
    }
    Ok(ParsedLine::Command(Command::Send {
        text: text.into(),
        to: None,
    }))
}

struct CommandWords<'a> {
    word: &'a str,
    rest: &'a str,
}

impl<'a> CommandWords<'a> {
    fn none(&self, said: ParsedLine) -> Result<ParsedLine, Mistake> {
        if self.rest.is_empty() {
            Ok(said)
        } else {
            Err(Mistake::command(format!(
                "{}: expected no argument",
                self.word
            )))
        }
    }

    fn help(&self) -> Result<ParsedLine, Mistake> {
        let topic = self.rest.trim_end();
        if topic.is_empty() {
            return Ok(ParsedLine::Help(None));
        }
        let word = topic.trim_start_matches('/');
        let found = COMMANDS.iter().find(|(it, ..)| it[1..] == *word);
        let (word, ..) =
            found.ok_or_else(|| Mistake::command(format!("no command '{topic}'; see /help")))?;
        Ok(ParsedLine::Help(Some(word)))
    }

    fn panic(&self) -> Result<ParsedLine, Mistake> {
        match self.rest.trim_end() {
            "" => Ok(ParsedLine::Panic { quit: None }),
            "quit" => Ok(ParsedLine::Panic { quit: Some(true) }),
            _ => Err(self.usage("expected quit or nothing")),
        }
    }

    /// The mistake that an argument is missing or superfluous, with the usage of the command.
    fn usage(&self, what: &str) -> Mistake {
        let usage = COMMANDS
            .iter()
            .find(|c| c.0 == self.word)
            .map_or("", |c| c.1);
        Mistake::command(format!(
            "{}: {what}; usage: {} {usage}",
            self.word, self.word
        ))
    }

    /// A PEER at the beginning, and what follows it.
    fn peer_and_rest(&self) -> Result<(PeerQuery, &'a str), Mistake> {
        let (peer, rest) = match self.rest.strip_prefix('"') {
            Some(quoted) => {
                let (peer, rest) = quoted
                    .split_once('"')
                    .ok_or_else(|| self.usage("missing closing quote"))?;
                // The digits that distinguish two peers of one name may also follow the quotes.
                let (digits, rest) = split_word(rest);
                if !digits.is_empty() && !digits.starts_with('#') {
                    return Err(self.usage("expected a space after the closing quote"));
                }
                (format!("{peer}{digits}"), rest)
            }
            None => {
                let (peer, rest) = split_word(self.rest);
                (peer.to_owned(), rest)
            }
        };
        if peer.is_empty() {
            return Err(self.usage("missing peer"));
        }
        Ok((PeerQuery(peer), rest.trim_start()))
    }

    fn peer(&self) -> Result<PeerQuery, Mistake> {
        match self.peer_and_rest()? {
            (peer, "") => Ok(peer),
            _ => Err(self.usage("expected one peer, in double quotes if its name has spaces")),
        }
    }

    fn msg(&self) -> Result<ParsedLine, Mistake> {
        let (peer, text) = self.peer_and_rest()?;
        if text.is_empty() {
            return Err(self.usage("missing text"));
        }
        if text.len() > Text::MAX {
            return Err(too_long());
        }
        Ok(ParsedLine::Command(Command::Send {
            text: text.into(),
            to: Some(vec![peer]),
        }))
    }

    fn connect(&self) -> Result<ParsedLine, Mistake> {
        match self.rest.trim_end() {
            "" => Err(self.usage("missing address")),
            text => Ok(ParsedLine::Command(Command::Connect(address(text)?))),
        }
    }

    fn name(&self) -> Result<ParsedLine, Mistake> {
        let text = self.rest.trim_end();
        // A name has no quotes of its own.
        let text = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        match text {
            "" => Err(self.usage("missing name")),
            text => Ok(ParsedLine::Command(Command::Name(display_name(text)?))),
        }
    }

    fn alert(&self, alert: Alert) -> Result<ParsedLine, Mistake> {
        AlertFor::named(self.rest.trim_end())
            .map(|messages| ParsedLine::Alert(alert, messages))
            .ok_or_else(|| self.usage("expected off, direct or all"))
    }
}

/// The text before the first space, and the rest from there on.
fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match parse(line) {
            Ok(ParsedLine::Command(Command::Send { text, to: None })) => {
                format!("say {}", text.as_str())
            }
            Ok(ParsedLine::Command(Command::Send { text, to: Some(to) })) => {
                format!("send {:?} {}", to[0].0, text.as_str())
            }
            Ok(said) => format!("{said:?}"),
            Err(mistake) => format!("{}: {}", mistake.code.as_str(), mistake.message),
        }
    }

    #[test]
    fn lines_are_messages_and_commands_begin_with_a_slash() {
        assert_eq!(shown("hello /quit"), "say hello /quit");
        assert_eq!(shown(""), "say ");
        assert_eq!(shown(" /quit"), "say  /quit");
        assert_eq!(shown("//quit"), "say /quit");
        assert_eq!(shown("///"), "say //");
        assert_eq!(shown("/quit "), "Command(Quit)");
        assert_eq!(shown("/panic"), "Panic { quit: None }");
        assert_eq!(shown("/panic  quit "), "Panic { quit: Some(true) }");
        assert_eq!(shown("/bell direct"), "Alert(Bell, Direct)");
        assert_eq!(shown("/notify all "), "Alert(Notification, All)");
        assert_eq!(
            shown("/ignore bob"),
            r#"Command(Ignore { peer: PeerQuery("bob"), on: None })"#
        );
        assert_eq!(
            shown("/name Bob Smith"),
            r#"Command(Name(DisplayName("Bob Smith")))"#
        );
        assert_eq!(
            shown("/name \"Bob Smith\""),
            r#"Command(Name(DisplayName("Bob Smith")))"#
        );
    }

    #[test]
    fn a_peer_with_spaces_is_quoted() {
        assert_eq!(shown("/msg bob hi  there "), "send \"bob\" hi  there ");
        assert_eq!(shown("/msg \"bob smith\" hi"), "send \"bob smith\" hi");
        assert_eq!(
            shown("/msg bob#3f9c01aa /quit"),
            "send \"bob#3f9c01aa\" /quit"
        );
        for digits in ["\"bob smith#3f9c01aa\"", "\"bob smith\"#3f9c01aa"] {
            assert_eq!(
                shown(&format!("/msg {digits} hi")),
                "send \"bob smith#3f9c01aa\" hi"
            );
        }
        assert_eq!(
            shown("/verify \"bob smith\""),
            r#"Command(Verify(PeerQuery("bob smith")))"#
        );
        assert_eq!(
            shown("/verify bob smith"),
            "bad_command: /verify: expected one peer, in double quotes if its name has spaces; usage: /verify PEER"
        );
    }

    #[test]
    fn a_mistake_is_an_error_and_never_a_message() {
        assert_eq!(
            shown("/qiut now"),
            "bad_command: unknown command '/qiut'; did you mean /quit?, or write //qiut to send it as a message"
        );
        assert_eq!(
            shown("/"),
            "bad_command: unknown command '/'; see /help, or write // to send it as a message"
        );
        assert_eq!(
            shown("/msg"),
            "bad_command: /msg: missing peer; usage: /msg PEER TEXT"
        );
        assert_eq!(
            shown("/msg bob"),
            "bad_command: /msg: missing text; usage: /msg PEER TEXT"
        );
        assert_eq!(
            shown("/msg \"bob hi"),
            "bad_command: /msg: missing closing quote; usage: /msg PEER TEXT"
        );
        assert_eq!(
            shown("/peers all"),
            "bad_command: /peers: expected no argument"
        );
        assert_eq!(
            shown("/bell"),
            "bad_command: /bell: expected off, direct or all; usage: /bell off|direct|all"
        );
        assert_eq!(
            shown("/panic now"),
            "bad_command: /panic: expected quit or nothing; usage: /panic [quit]"
        );
        assert_eq!(
            shown("/connect a:0"),
            "bad_address: invalid address 'a:0': expected a port from 1 to 65535"
        );
        assert_eq!(
            shown("/name a:b"),
            "bad_name: invalid name: a name cannot contain : # \" / ( ) [ ] or characters that look like them"
        );
    }

    #[test]
    fn every_command_of_the_list_is_known() {
        for &(word, usage, _) in COMMANDS {
            let line = match usage {
                "off|direct|all" => format!("{word} off"),
                "HOST[:PORT]" => format!("{word} host"),
                "PEER TEXT" => format!("{word} bob hi"),
                "" | "[quit]" | "[COMMAND]" => word.to_owned(),
                _ => format!("{word} bob"),
            };
            assert!(parse(&line).is_ok(), "{line}");
        }
    }
}
