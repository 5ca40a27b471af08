//! The command line as clap sees it: what may be given, and the words that explain it.
//!
//! `--help`, the manual page and the completions all come from these types ([`text`]). The first
//! paragraph of each option's comment is what `--help` shows, all of it stands in the manual.

mod completions;
pub mod side;
pub mod text;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::exit::Failure;
use crate::mesh::{Cover, Require, Stay};
use crate::proto::{Address, DisplayName, Host};

/// Encrypted group chat between computers, with no server in between
///
/// Programs that are started with the same passphrase find each other from one address, link up all
/// with all, and send each other what is typed or piped into them. A stranger without the passphrase
/// learns only that something listens. At a terminal sesame is a chat. With its input or output
/// piped, each line is a message. With --json, both directions are JSON, one object per line.
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
#[command(after_help = "Slash commands, exit codes, files and examples: sesame man | man -l -")]
pub struct Cli {
    /// What to do instead of talking.
    #[command(subcommand)]
    pub command: Option<Side>,
    /// How to talk.
    #[command(flatten)]
    pub options: Options,
}

/// The commands that print something and end.
#[derive(Subcommand)]
pub enum Side {
    /// Print a random passphrase of easy words
    Phrase {
        /// How many words; each adds 12.9 bits
        #[arg(value_name = "WORDS", default_value_t = 6, value_parser = value::words)]
        #[arg(value_hint = ValueHint::Other)]
        words: usize,
    },
    /// Print the completion script for a shell
    Completions {
        /// For which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Print the JSON Schema of --json
    Schema,
}

/// The options of a run.
#[derive(Args)]
pub struct Options {
    /// A peer to keep connected to; repeatable
    ///
    /// An IPv4 address, an [IPv6 address]:port or a name; port 9000 if none is given. A link-local
    /// IPv6 address needs its interface, as in fe80::1%eth0. sesame redials the address until its
    /// peer says goodbye, and with --stay after that too. One peer of a mesh is enough: it tells of
    /// the others.
    #[arg(short, long = "peer", value_name = "HOST[:PORT]", value_parser = value::peer)]
    #[arg(value_hint = ValueHint::Hostname, help_heading = "Connecting")]
    pub peers: Vec<Address>,

    /// Port to listen on [default: 9000]
    ///
    /// 0 picks a free one. If 9000 was not asked for and is in use, a run with --peer says so and
    /// listens on a free port.
    #[arg(long, value_name = "N", value_parser = value::port)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Connecting")]
    pub port: Option<u16>,

    /// Address to listen on [default: all]
    ///
    /// An IPv4 or IPv6 address of this computer, a link-local one with its interface, as in
    /// fe80::1%eth0. Without it sesame listens on all of them.
    #[arg(long, value_name = "ADDR", value_parser = value::listen)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Connecting")]
    pub listen: Option<Host>,

    /// Do not listen: only dial
    #[arg(long, conflicts_with_all = ["listen", "port"], help_heading = "Connecting")]
    pub no_listen: bool,

    /// The address that others are told for this peer
    ///
    /// For port forwarding. Without it they are told what the peers observe.
    #[arg(long, value_name = "HOST:PORT", value_parser = value::advertised)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Connecting")]
    pub advertise: Option<Address>,

    /// Links from this computer may come from afar
    ///
    /// For a port that ssh -R, a container engine or an onion service forwards here. Over a link from
    /// this computer itself, sesame then ignores every address that the peer names, unless it is a
    /// public one.
    #[arg(long, help_heading = "Connecting")]
    pub forwarded: bool,

    /// Read the passphrase from a file descriptor
    ///
    /// Up to the first line end. 0 takes the first line of standard input and leaves the rest as
    /// input.
    #[arg(long, value_name = "FD", value_parser = value::descriptor)]
    #[arg(
        value_hint = ValueHint::Other,
        help_heading = "Passphrase (asked for if none is given)",
        group = "source"
    )]
    pub phrase_fd: Option<i32>,

    /// Read it from the first line of a file
    ///
    /// A warning says so if others may read the file.
    #[arg(long, value_name = "PATH", group = "source", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Passphrase (asked for if none is given)")]
    pub phrase_file: Option<PathBuf>,

    /// The passphrase itself; shell history keeps it
    ///
    /// Other users of the computer can see it until it is scrubbed from the argument list, which
    /// happens first, and it stays in the shell's history. Better use one of the others.
    #[arg(long, value_name = "PHRASE", group = "source", value_hint = ValueHint::Other)]
    #[arg(help_heading = "Passphrase (asked for if none is given)")]
    pub phrase: Option<OsString>,

    /// The passphrase is a decoy: a mesh of its own
    ///
    /// A decoy session meets only peers that run with --decoy and the same passphrase, never a real
    /// mesh, not even one with that very passphrase. It shows [decoy] and neither reads nor writes
    /// the saved name. Choose the decoy passphrase unlike the real one.
    #[arg(long, help_heading = "Passphrase (asked for if none is given)")]
    pub decoy: bool,

    /// Your visible name; saved for the next run
    ///
    /// 1 to 32 characters, without control characters and without : # " / ( ) [ ]; USAGE.md has all
    /// rules.
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Messages")]
    pub display_name: Option<DisplayName>,

    /// Hold messages until N peers are up
    ///
    /// With piped input or --json. The default is the number of --peer, at least 1. sesame holds the
    /// messages for --timeout at most (30 seconds by default, with --stay too); then they go to the
    /// peers that are up. Commands that need no order are executed at once.
    #[arg(long, value_name = "N", value_parser = value::peers)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Messages")]
    pub min_peers: Option<usize>,

    /// Acknowledged by all, any or N peers [default: all]
    ///
    /// How many of the peers that a message was queued for must acknowledge it, for the exit status to
    /// count it as delivered.
    #[arg(long, value_name = "all|any|N", value_parser = value::REQUIRE, default_value = "all")]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Messages"
    )]
    pub require: Require,

    /// Keep running after the last goodbye and end of input
    ///
    /// Without it a run ends when its input has ended or when the last peer has said goodbye; only a
    /// chat goes on until you end it. With it sesame redials the --peer addresses after a goodbye
    /// too, and messages wait for the next peer. --stay=input keeps the run going only until its
    /// input has ended and everything is acknowledged.
    #[arg(long, value_name = "input", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", value_parser = value::STAY, hide_possible_values = true)]
    #[arg(help_heading = "Messages")]
    pub stay: Option<Stay>,

    /// Milliseconds between cells [default: 100]
    ///
    /// 10 to 10,000. A cell of 1,024 bytes leaves on every link at this interval, whether or not
    /// anybody talks, so that an observer cannot tell. off sends at once, and shows when and how much
    /// is said; it takes effect only on links where both ends chose it.
    #[arg(long, value_name = "MS|off", value_parser = value::COVER, default_value = "100")]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Timing"
    )]
    pub cover: Cover,

    /// How long messages may wait [default: 30]
    ///
    /// Seconds that each message may wait while there is no peer to send it to; and, after the end of
    /// input or /quit, how long the run may go on without a single further acknowledgement. With
    /// --stay a message waits for a peer as long as the run lasts, unless --timeout is given. A run
    /// that only listens waits forever.
    #[arg(long, value_name = "SECS", value_parser = value::seconds)]
    #[arg(value_hint = ValueHint::Other, help_heading = "Timing")]
    pub timeout: Option<u32>,

    /// A silent link is dead after [default: 30]
    ///
    /// Seconds in which no whole valid cell arrived; at least three times the interval that the
    /// peer announced.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "30")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, help_heading = "Timing")]
    pub inactivity_timeout: u32,

    /// How long one peer delays others [default: 60]
    ///
    /// Seconds for which one peer that takes nothing may delay messages to others that could take
    /// them. Then sesame gives up the messages that this peer has not acknowledged. A sole peer may
    /// take as long as it likes.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "60")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, help_heading = "Timing")]
    pub give_up: u32,

    /// How long a vanished peer is waited for [default: 1800]
    ///
    /// Seconds after which sesame gives up a peer that vanished without a goodbye. The messages that
    /// the peer has not acknowledged are then undelivered.
    #[arg(long, value_name = "SECS", value_parser = value::seconds, default_value = "1800")]
    #[arg(hide_default_value = true, value_hint = ValueHint::Other, help_heading = "Timing")]
    pub away: u32,

    /// One JSON object per line, both ways
    ///
    /// For programs. "sesame schema" prints what the lines look like.
    #[arg(long, help_heading = "Input and output")]
    pub json: bool,

    /// With --json: delivered when the program says so
    ///
    /// A message counts as delivered only when the program that reads the events acknowledges it
    /// with {"type":"ack"}.
    #[arg(long, help_heading = "Input and output")]
    pub ack: bool,

    /// Piped input: no line is a command
    #[arg(long, conflicts_with = "json", help_heading = "Input and output")]
    pub literal: bool,

    /// Piped input: cut at NUL, not at newline
    #[arg(long, conflicts_with_all = ["json", "whole"], help_heading = "Input and output")]
    pub null: bool,

    /// Piped input: all of it is one message
    #[arg(long, conflicts_with = "json", help_heading = "Input and output")]
    pub whole: bool,

    /// Piped output: begin each line with the time
    ///
    /// As RFC 3339 writes it.
    #[arg(long, conflicts_with = "json", help_heading = "Input and output")]
    pub timestamps: bool,

    /// Diagnostics on stderr; repeat for more
    ///
    /// Never a secret, never a message's text.
    #[arg(short, long, action = ArgAction::Count, help_heading = "Running")]
    pub verbose: u8,

    /// No notices on stderr
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Running")]
    pub quiet: bool,

    /// What a panic does after the wipe [default: restart]
    ///
    /// For F12, Ctrl-X Ctrl-P, SIGUSR1, and /panic by itself. restart goes on under a new identity;
    /// quit ends with status 0, or 3 if the panic erased messages that were not delivered.
    #[arg(
        long,
        value_enum,
        value_name = "restart|quit",
        default_value = "restart"
    )]
    #[arg(
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Running"
    )]
    pub on_panic: OnPanic,

    /// Refuse to run with swappable secrets
    ///
    /// Exit 1 rather than run where the memory for keys cannot be locked, so that they could be
    /// swapped out.
    #[arg(long, help_heading = "Running")]
    pub require_mlock: bool,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Running")]
    pub help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Running")]
    pub version: Option<bool>,
}

/// What a panic does after the wipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnPanic {
    /// The run goes on under a new identity.
    Restart,
    /// The run ends.
    Quit,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `--version`: print this on stdout and end well.
    Print(String),
    /// Wrong usage.
    Failure(Failure),
}

/// Reads an argument list, the program's name first.
///
/// # Errors
/// [`Stop::Print`] for what was only asked to be printed, otherwise the mistake in one line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args: Vec<_> = args.into_iter().collect();
    let phrase_given = args
        .iter()
        .any(|arg| arg.as_encoded_bytes().starts_with(b"--phrase"));
    Cli::try_parse_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Print(error.to_string()),
        ErrorKind::UnknownArgument if names(&error, "--proxy") => Stop::Failure(Failure::usage(
            "--proxy is not in this version: every dial would go out directly",
            "leave it out only if peers and onlookers may see this computer's address",
        )),
        // It may be the second word of a passphrase: not one that should stand in a log.
        _ if phrase_given && is_about_a_word(&error) => Stop::Failure(Failure::usage(
            "a word too many beside --phrase",
            "a passphrase of several words needs quotes; see sesame --help",
        )),
        ErrorKind::ValueValidation if whole_line(&error).is_some() => Stop::Failure(
            Failure::usage(whole_line(&error).unwrap_or_default(), "see sesame --help"),
        ),
        ErrorKind::InvalidSubcommand => Stop::Failure(Failure::usage(
            one_line(&error),
            "an address goes after -p; see sesame --help",
        )),
        _ => Stop::Failure(Failure::usage(one_line(&error), "see sesame --help")),
    })
}

/// What is wrong with a value, if it says all that a line needs.
fn whole_line(error: &clap::Error) -> Option<String> {
    let line = std::error::Error::source(error)?.to_string();
    line.starts_with("invalid ").then_some(line)
}

/// Whether the error is about this option, with or without a value.
fn names(error: &clap::Error, option: &str) -> bool {
    context(error, ContextKind::InvalidArg)
        .is_some_and(|name| name.split('=').next() == Some(option))
}

/// Whether the error is about something that belongs to no option.
fn is_about_a_word(error: &clap::Error) -> bool {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    kinds
        .iter()
        .filter_map(|kind| context(error, *kind))
        .any(|name| !name.starts_with('-'))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(name) => Some(name),
        _ => None,
    }
}

/// clap's message without its frame: `error:` before it, usage and pointers to the help after it.
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
