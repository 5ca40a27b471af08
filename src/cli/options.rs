//! The options and subcommands, as types that clap reads, and the texts that explain them.
//!
//! `-h`, `--help`, the manual page and the completions all come from these types (`text`). `-h` shows
//! the first paragraph of the comment of each option that many runs need; `--help` and the manual page
//! have the whole comments.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::value;
use crate::mesh::{Cover, Require, Stay};
use crate::proto::tor::TorControl;
use crate::proto::{Address, DisplayName, Host, Proxy};

/// The commands that `sesame help` explains.
pub(super) const COMMANDS: [&str; 6] =
    ["phrase", "completions", "man", "schema", "help", "version"];

/// The end of `-h`.
pub(super) const AFTER_BRIEF: &str =
    "All options, with examples: sesame --help. The manual page: sesame man";

/// The end of `--help`: what its options leave open.
pub(super) const AFTER_HELP: &str = r#"Standard input:
  At a terminal, you type messages, and commands such as /help. If standard
  input or output is a pipe or a file, each line of standard input is one
  message; a line that begins with / is a command, unless --literal is given.
  When the input ends, sesame waits for acknowledgements, says goodbye and
  exits. With --stay it goes on receiving: give a service --stay and </dev/null.

Examples:
  Make a passphrase, in a file that only you can read:
      (umask 077; sesame phrase >phrase)
  Chat, here and on another computer:
      sesame --display-name alice
      sesame --display-name bob -p home.example
  The same, with options that ~/.config/sesame/config has under [work]:
      sesame @work
  Send one line. The exit status is 0 only if it was delivered:
      echo "backup finished" | sesame -p home.example --phrase-file phrase
  Forward a log. No line of it is a command, and the reader may come and go:
      tail -F app.log |
          sesame --stay=input --literal -p home.example --phrase-file phrase
  Print the text of each message, from JSON:
      sesame --json --stay --phrase-file phrase </dev/null |
          jq -a 'select(.type=="message").text'

See also:
  sesame -h     a summary of the options
  sesame man    the manual page, with slash commands, keys and exit statuses"#;

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
#[command(override_usage = "sesame [@SECTION] [OPTIONS]\n       sesame COMMAND")]
#[command(after_help = AFTER_BRIEF, after_long_help = AFTER_HELP)]
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
        #[arg(value_name = "COMMAND", value_parser = COMMANDS)]
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

    /// Dial only through this SOCKS5 proxy
    ///
    /// The URL is socks5://HOST:PORT, or socks5://USER:PASS@HOST:PORT; HOST is an IP address or
    /// localhost. The proxy also resolves names, and reaches .onion addresses if it is Tor
    /// (socks5://127.0.0.1:9050). sesame then sends nothing past the proxy and listens on this
    /// computer only. Others can dial you only at what --advertise says. Other users of this computer can see
    /// a password on the command line; in the configuration file they cannot.
    #[arg(long, value_name = "URL", value_parser = value::proxy)]
    #[arg(value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Connecting")]
    pub proxy: Option<Arc<Proxy>>,

    /// Be reachable at an onion service of Tor
    ///
    /// sesame has the tor on this computer create an onion service with a new key, and peers pass its
    /// address on. CONTROL is tor's control port (HOST:PORT or PORT) or the path of its control
    /// socket. Without it, sesame looks at /run/tor/control, 127.0.0.1:9051 and 127.0.0.1:9151, in
    /// this order. If tor wants a password, write :PASSWORD@ before CONTROL, best in the configuration
    /// file. All dials then go through this tor, as with --proxy, and sesame listens on this computer
    /// only.
    #[arg(long, value_name = "CONTROL", num_args = 0..=1, default_missing_value = "")]
    #[arg(value_parser = value::onion, conflicts_with = "proxy")]
    #[arg(value_hint = ValueHint::Other, hide_short_help = true, help_heading = "Connecting")]
    pub onion: Option<Arc<TorControl>>,

    /// Treat local connections as forwarded ones
    ///
    /// Use this option if ssh -R, a container engine or an onion service forwards a port to sesame.
    /// Over a link from this computer itself, sesame then uses only public addresses of those that
    /// the peer names.
    #[arg(long, hide_short_help = true, help_heading = "Connecting")]
    pub forwarded: bool,

    /// Ask the router to forward the port
    ///
    /// sesame asks the router of this computer by PCP, NAT-PMP and UPnP, and peers pass on the address
    /// that the router names. It renews the forwarding, and removes it at exit. If the router has no
    /// public address itself, sesame says so.
    #[arg(long, hide_short_help = true, help_heading = "Connecting")]
    pub map: bool,

    /// Find peers in the local network
    ///
    /// sesame sends a short datagram to everybody in the networks of this computer about every 30
    /// seconds. It shows that a sesame listens at a port, and nothing else. Those with --lan and the same
    /// passphrase then dial each other. Members behind one router also tell each other their
    /// addresses there.
    #[arg(long, hide_short_help = true, help_heading = "Connecting")]
    pub lan: bool,

    /// Carry nothing between peers that cannot reach each other
    ///
    /// Without this option, two peers to whom sesame is linked can have a link of their own over
    /// it, if neither can dial the other. sesame cannot read what they say, and gives them at most
    /// half of its cells.
    #[arg(long, hide_short_help = true, help_heading = "Connecting")]
    pub no_carry: bool,

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

    /// Chat: do not change the window's title
    ///
    /// Without this option, the title is sesame, with the number of messages that came since you
    /// last pressed a key. It never holds a text or a name, and the terminal gets its own title back.
    #[arg(long, hide_short_help = true, help_heading = "Running")]
    pub no_title: bool,

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

    /// Configuration file, which has @SECTION's options
    ///
    /// Each line of the file is one option, as on the command line. Options before the first [section]
    /// apply to every run, and those of [work] to "sesame @work". What you give on the command line
    /// replaces what the section says, and that replaces the rest of the file. Without this option,
    /// sesame reads ~/.config/sesame/config, if there is one.
    #[arg(long, value_name = "PATH", conflicts_with = "no_config", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Running")]
    // Users read this text, and the brackets in it are those of the file.
    #[allow(rustdoc::broken_intra_doc_links)]
    pub config: Option<PathBuf>,

    /// Take no options from a file
    #[arg(long, hide_short_help = true, help_heading = "Running")]
    pub no_config: bool,

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

/// The subcommand of this name.
pub(super) fn command_named(word: &OsStr) -> Option<&'static str> {
    COMMANDS.into_iter().find(|name| word == *name)
}
