//! The command line as clap sees it: the options and subcommands, and the texts that explain them.
//!
//! `-h`, `--help`, the manual page and the completions all come from these types ([`text`]). `-h` shows
//! the first paragraph of the comment of each option that many runs need; `--help` and the manual page
//! have the whole comments.

mod completions;
mod pager;
pub mod side;
pub mod text;
mod value;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::exit::Failure;
use crate::mesh::{Cover, Require, Stay};
use crate::proto::{Address, DisplayName, Host};

/// Encrypted group chat between computers, with no server in between
///
/// Start sesame on each computer with the same passphrase. The first run waits for connections; each
/// further run needs the address of one that is running, and learns the other addresses from it.
/// Every peer then connects to every other, and sends them the lines that you type or pipe into it.
/// At a terminal, sesame is a chat. If its input or output is a pipe or a file, each line of input is
/// one message. With --json, input and output are JSON, one object per line. A stranger without the
/// passphrase learns only that something is listening.
#[derive(Parser)]
#[command(name = "sesame", version, max_term_width = 80)]
#[command(
    disable_help_flag = true,
    disable_help_subcommand = true,
    disable_version_flag = true
)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND"
)]
#[command(override_usage = "sesame [OPTIONS]\n       sesame COMMAND")]
#[command(after_help = text::AFTER_BRIEF, after_long_help = text::AFTER_HELP)]
pub struct Cli {
    /// A command that prints something and ends, in place of a run.
    #[command(subcommand)]
    pub command: Option<Side>,
    /// The options of a run.
    #[command(flatten)]
    pub options: Options,
}

/// The commands that print something and end.
#[derive(Subcommand)]
pub enum Side {
    /// Print a random passphrase of easy words
    Phrase {
        /// Number of words, 1 to 100; each adds 12.9 bits
        #[arg(value_name = "WORDS", default_value_t = 6, value_parser = value::words)]
        #[arg(value_hint = ValueHint::Other)]
        words: usize,
    },
    /// Print a shell's completion script
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Show the manual page
    Man,
    /// Print the JSON Schema of --json
    Schema,
    /// Explain all options, or a command
    Help {
        /// The command to explain
        #[arg(value_name = "COMMAND", value_parser = text::COMMANDS)]
        #[arg(hide_possible_values = true)]
        command: Option<String>,
    },
    /// Print the version
    Version,
}

/// The options of a run.
#[derive(Args)]
pub struct Options {
    /// Peer to stay connected to; repeatable
    ///
    /// HOST is an IPv4 address, a name, or an IPv6 address, which needs brackets if a port follows.
    /// The default port is 9000. A link-local IPv6 address needs its interface (fe80::1%eth0). sesame
    /// redials the address until the peer there says goodbye; with --stay it also redials after
    /// that. One peer of a mesh is enough: sesame learns the addresses of the others from it.
    #[arg(short, long = "peer", value_name = "HOST[:PORT]", value_parser = value::peer)]
    #[arg(value_hint = ValueHint::Hostname, help_heading = "Connecting")]
    pub peers: Vec<Address>,

    /// Port to listen on [default: 9000]
    ///
    /// With 0 sesame picks a free port. If you give no port and 9000 is in use, a run with --peer
    /// says so and listens on a free port; a run without --peer exits with status 1.
    #[arg(long, value_name = "N", value_parser = value::port)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Connecting")]
    pub port: Option<u16>,

    /// Address to listen on [default: all]
    ///
    /// ADDR is an IPv4 or IPv6 address of this computer, without a port. A link-local IPv6 address
    /// needs its interface (fe80::1%eth0). Without this option sesame listens on all addresses.
    #[arg(long, value_name = "ADDR", value_parser = value::listen)]
    #[arg(value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Connecting")]
    pub listen: Option<Host>,

    /// Do not listen, only dial
    ///
    /// With --literal or --whole, which leave no /connect, a run needs a --peer.
    #[arg(long, conflicts_with_all = ["listen", "port"], hide_short_help = true, help_heading = "Connecting")]
    pub no_listen: bool,

    /// Address at which others can dial you
    ///
    /// Use this option if a router forwards a port to this computer. Peers pass the address on to each
    /// other. Without the option, they pass on the address that they see your connections come from,
    /// with your port.
    #[arg(long, value_name = "HOST:PORT", value_parser = value::advertised)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Connecting")]
    pub advertise: Option<Address>,

    /// Treat local connections as forwarded ones
    ///
    /// Use this option if ssh -R, a container engine or an onion service forwards a port to sesame.
    /// Over a link from this computer itself, sesame then uses only public addresses of those that
    /// the peer names.
    #[arg(long, hide_short_help = true, help_heading = "Connecting")]
    pub forwarded: bool,

    /// Read the passphrase from a file descriptor
    ///
    /// sesame reads up to the first line end. With 0, the first line of standard input is the
    /// passphrase, and the rest is input.
    #[arg(long, value_name = "FD", value_parser = value::descriptor)]
    #[arg(
        value_hint = ValueHint::Other,
        help_heading = "Passphrase (default: ask on the terminal)",
        group = "source"
    )]
    pub phrase_fd: Option<i32>,

    /// Read the passphrase from a file's first line
    ///
    /// sesame warns you if other users may read the file.
    #[arg(long, value_name = "PATH", group = "source", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Passphrase (default: ask on the terminal)")]
    pub phrase_file: Option<PathBuf>,

    /// The passphrase itself; shell history keeps it
    ///
    /// Prefer one of the other ways. Other users of this computer can see the passphrase until sesame
    /// scrubs it from the argument list, which is the first thing that sesame does.
    #[arg(long, value_name = "PHRASE", group = "source", value_hint = ValueHint::Other)]
    #[arg(
        hide_short_help = true,
        help_heading = "Passphrase (default: ask on the terminal)"
    )]
    pub phrase: Option<OsString>,

    /// Use a decoy passphrase, for a separate mesh
    ///
    /// Choose a decoy passphrase that is unlike the real one. A decoy session meets only peers that
    /// run --decoy with the same passphrase, and never a real mesh, not even one with exactly that
    /// passphrase. It shows [decoy], and neither reads nor writes the saved name.
    #[arg(
        long,
        hide_short_help = true,
        help_heading = "Passphrase (default: ask on the terminal)"
    )]
    // Users read this text, and the brackets in it are those of the prompt.
    #[allow(rustdoc::broken_intra_doc_links)]
    pub decoy: bool,

    /// Your visible name; a chat saves it for later runs
    ///
    /// A name has 1 to 32 characters, no control characters, and none of : # " / ( ) [ ]. USAGE.md
    /// has the complete rules.
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Messages")]
    pub display_name: Option<DisplayName>,

    /// Hold messages until N peers are up
    ///
    /// This option has no effect in a chat. The default is the number of --peer options, at least 1.
    /// sesame holds messages back for at most --timeout (30 seconds by default, also with --stay),
    /// and then sends them to the peers that are up. Commands such as
    /// /peers and /verify do not wait.
    #[arg(long, value_name = "N", value_parser = value::peers)]
    #[arg(value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Messages")]
    pub min_peers: Option<usize>,

    /// Peers that must acknowledge [default: all]
    ///
    /// The exit status counts a message as delivered if this many of the peers that the message was
    /// for acknowledge it. If there were fewer than N, all of them must.
    #[arg(long, value_name = "all|any|N", value_parser = value::REQUIRE, default_value = "all")]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Messages"
    )]
    pub require: Require,

    /// Keep running after input ends and peers leave
    ///
    /// Without this option, a run ends when its input ends or when its last peer says goodbye; a chat
    /// ends when you end it. With this option, sesame also redials the --peer addresses after a
    /// goodbye, and messages wait for the next peer. With --stay=input, the run ends when its input
    /// has ended and every message is acknowledged or given up.
    #[arg(long, value_name = "input", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", value_parser = value::STAY, hide_possible_values = true)]
    #[arg(help_heading = "Messages")]
    pub stay: Option<Stay>,

    /// Milliseconds between cells [default: 100]
    ///
    /// MS is 10 to 10,000. sesame sends one cell of 1,024 bytes per interval on every link, whether
    /// or not anybody talks, so that an observer cannot tell. With off, sesame sends data at once, and
    /// an observer sees when you talk and how much. off takes effect only on links where both ends
    /// chose it.
    #[arg(long, value_name = "MS|off", value_parser = value::COVER, default_value = "100")]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Timing"
    )]
    pub cover: Cover,

    /// Seconds that messages may wait [default: 30]
    ///
    /// This option sets two limits. The first is how long each message may wait while there is no
    /// peer to send it to; with --stay, and without this option, it may wait as long as the run lasts.
    /// The second holds after the end of input or /quit: how long the run may go on without a single
    /// further acknowledgement. A run that only listens waits forever.
    #[arg(long, value_name = "SECS", value_parser = value::seconds)]
    #[arg(value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Timing")]
    pub timeout: Option<u32>,

    /// Seconds until a silent link is dead [default: 30]
    ///
    /// sesame drops a link on which no whole valid cell arrives for this long, or for three times
    /// the interval that the peer announced if that is longer.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "30")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Timing")]
    pub inactivity_timeout: u32,

    /// Seconds that one peer may delay others [default: 60]
    ///
    /// If one peer takes nothing, messages to other peers that could take them wait for at most this
    /// long. Then sesame gives up the messages that the slow peer has not acknowledged. A sole peer
    /// may take as long as it likes.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "60")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Timing")]
    pub give_up: u32,

    /// Seconds to wait for a vanished peer [default: 1800]
    ///
    /// After this time sesame gives up a peer that vanished without a goodbye. The messages that the
    /// peer has not acknowledged are then undelivered.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "1800")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Timing")]
    pub away: u32,

    /// Input and output as JSON, one object per line
    ///
    /// "sesame schema" prints the JSON Schema of both directions.
    #[arg(long, help_heading = "Input and output")]
    pub json: bool,

    /// With --json: let the reader acknowledge messages
    ///
    /// A message then counts as delivered only when the program that reads the events acknowledges
    /// it with {"type":"ack"}.
    #[arg(long, hide_short_help = true, help_heading = "Input and output")]
    pub ack: bool,

    /// Piped input: no line is a command
    #[arg(long, conflicts_with = "json", help_heading = "Input and output")]
    pub literal: bool,

    /// Piped input: split at NUL instead of newline
    #[arg(long, conflicts_with_all = ["json", "whole"], hide_short_help = true, help_heading = "Input and output")]
    pub null: bool,

    /// Piped input: all of it is one message
    #[arg(
        long,
        conflicts_with = "json",
        hide_short_help = true,
        help_heading = "Input and output"
    )]
    pub whole: bool,

    /// Piped output: begin each line with the time
    ///
    /// The time is in UTC, in the form of RFC 3339.
    #[arg(
        long,
        conflicts_with = "json",
        hide_short_help = true,
        help_heading = "Input and output"
    )]
    pub timestamps: bool,

    /// Diagnostics on stderr; repeat for more
    ///
    /// Diagnostics contain no secret and no text of a message.
    #[arg(short, long, action = ArgAction::Count, help_heading = "Running")]
    pub verbose: u8,

    /// No notices and no warnings on stderr
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Running")]
    pub quiet: bool,

    /// Restart or quit after a panic [default: restart]
    ///
    /// This option applies to F12, Ctrl-X Ctrl-P, SIGUSR1, and /panic without an argument. With
    /// restart, sesame continues under a new identity. With quit, it exits with status 0, or 3 if
    /// the panic erased messages that were not delivered.
    #[arg(
        long,
        value_enum,
        value_name = "restart|quit",
        default_value = "restart"
    )]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Running"
    )]
    pub on_panic: OnPanic,

    /// Exit if keys cannot be locked in memory
    ///
    /// sesame exits with status 1 if the system does not let it lock the memory for keys, which could
    /// then be swapped out.
    #[arg(long, hide_short_help = true, help_heading = "Running")]
    pub require_mlock: bool,

    /// Print this help
    ///
    /// -h prints a summary, --help explains all options.
    #[arg(short, long, action = ArgAction::Help, global = true, help_heading = "Running")]
    pub help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Running")]
    pub version: Option<bool>,
}

/// The end of a panic, after the wipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnPanic {
    /// The run continues under a new identity.
    Restart,
    /// The run ends.
    Quit,
}

/// The reasons not to start a run.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `--version`: print this on stdout and exit with status 0.
    Print(String),
    /// Wrong usage.
    Failure(Failure),
}

/// Reads an argument list, the program's name first.
///
/// # Errors
/// [`Stop::Print`] if the user asked for a text only, otherwise the mistake in one line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args: Vec<_> = args.into_iter().collect();
    let phrase_given = args
        .iter()
        .any(|arg| arg.as_encoded_bytes().starts_with(b"--phrase"));
    let command = args.get(1).and_then(|word| text::command_named(word));
    Cli::try_parse_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => Stop::Print(text::help_of(&error)),
        ErrorKind::DisplayVersion => Stop::Print(error.to_string()),
        ErrorKind::UnknownArgument if names(&error, "--proxy") => Stop::Failure(Failure::usage(
            "--proxy is not supported: sesame would dial every peer directly",
            "omit it only if peers and observers may see this computer's address",
        )),
        // The word may be part of the passphrase, which must not end up in a log.
        _ if phrase_given && word(&error).is_some() => Stop::Failure(Failure::usage(
            "unexpected argument beside --phrase",
            "put a passphrase of several words in quotes; see sesame --help",
        )),
        ErrorKind::ValueValidation if whole_line(&error).is_some() => Stop::Failure(
            Failure::usage(whole_line(&error).unwrap_or_default(), "see sesame --help"),
        ),
        _ => Stop::Failure(match (command, word(&error)) {
            (Some(command), _) => {
                Failure::usage(one_line(&error), format!("see sesame {command} --help"))
            }
            (None, Some(word)) => Failure::usage(
                format!("unexpected argument '{word}'"),
                format!("{} see sesame --help", meant_by(word, &error)),
            ),
            (None, None) => Failure::usage(one_line(&error), "see sesame --help"),
        }),
    })
}

/// The message about a wrong value, if it makes a whole line.
fn whole_line(error: &clap::Error) -> Option<String> {
    let line = std::error::Error::source(error)?.to_string();
    line.starts_with("invalid ").then_some(line)
}

/// Whether the error is about this option, with or without a value.
fn names(error: &clap::Error, option: &str) -> bool {
    context(error, ContextKind::InvalidArg)
        .is_some_and(|name| name.split('=').next() == Some(option))
}

/// The word that belongs to no option, if the error is about one.
fn word(error: &clap::Error) -> Option<&str> {
    let name = match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            context(error, ContextKind::InvalidSubcommand)
        }
        ErrorKind::UnknownArgument => context(error, ContextKind::InvalidArg),
        _ => None,
    };
    name.filter(|word| !word.starts_with('-'))
}

/// What the user may have meant by such a word.
fn meant_by(word: &str, error: &clap::Error) -> String {
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names.first().map(String::as_str),
        _ => None,
    };
    let command = text::command_named(OsStr::new(word)).or(similar);
    match (command, value::peer(word).is_ok()) {
        (Some(name), true) if name != word => {
            format!("did you mean 'sesame {name}' or '-p {word}'?")
        }
        (Some(name), _) => format!("did you mean 'sesame {name}'?"),
        (None, true) => format!("did you mean '-p {word}'?"),
        (None, false) => {
            "messages come from standard input, as in: echo TEXT | sesame -p HOST;".into()
        }
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(name) => Some(name),
        _ => None,
    }
}

/// clap's message, without `error:` before it and without the usage and help hints after it.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    let lines = text[..end.unwrap_or(text.len())]
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ")
}
