//! Turns options, environment and files into checked values. The rest of the program sees only
//! [`Config`] and never the options as typed.

mod ask;
mod carry;
mod config_file;
mod early;
mod environment;
mod saved_name;
mod source;

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::{CommandLine, OnPanic, Options, Typed};
use crate::exit::Failure;
use crate::front::{Cut, FrontendOptions, Mode, Verbosity};
use crate::mesh::{Settings, Stay};
use crate::passphrase;
use crate::proto::tor::TorControl;
use crate::proto::{Address, DEFAULT_PORT, Host, ONION_NEEDS_PROXY, Proxy, epochs};
use crate::sys::stream::Input;
use early::Early;

pub use environment::Environment;
pub use saved_name::SavedName;
pub use source::PhraseSource;

/// The default of `--timeout`, in seconds.
const TIMEOUT: u32 = 30;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// One address, or all, IPv6 and IPv4. Never a name.
    pub addr: Option<Host>,
    /// Whether *all* means those that only this computer reaches, because there is a proxy.
    pub loopback_only: bool,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// Whether any free port will do if this one is in use: the user did not ask for it, and the
    /// run can dial.
    pub or_any_port: bool,
}

/// The checked configuration of a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The front end's part.
    pub frontend: FrontendOptions,
    /// The mesh's part. Its `listen_port` is the requested port until the listeners are open.
    pub settings: Settings,
    /// Where to listen; `None`: nowhere.
    pub listen: Option<Listen>,
    /// What makes all dials, if not this computer. With `onion`, `None` until tor has been asked.
    pub proxy: Option<Arc<Proxy>>,
    /// The tor that has the onion service of this run, and makes all dials.
    pub onion: Option<Arc<TorControl>>,
    /// Whether the router is asked to forward the port.
    pub map: bool,
    /// Whether to fail if keys cannot be locked in memory.
    pub require_mlock: bool,
    /// What a panic does if its own command does not say.
    pub on_panic: OnPanic,
    /// Where the display name is saved.
    pub saved_name: SavedName,
    /// `--min-peers` as given. If it follows from the peers, a panic forgets it with them.
    min_peers: Option<usize>,
    /// `--timeout` as given, because how long a message waits for a peer depends on whether it was.
    timeout: Option<u32>,
}

impl Config {
    /// Removes what a panic forgets, in a run that has not begun: the panic itself is still to
    /// come, and until then no peer may be dialled.
    fn forget(&mut self) {
        self.settings.peers = Vec::new();
        self.settings.advertise = None;
        self.settings.name = None;
        if self.frontend.mode != Mode::Chat {
            self.settings.min_peers = self.min_peers.unwrap_or(1);
        }
    }
}

/// Options that have been checked, before any file is read or the user is asked.
pub struct Plan {
    /// The configuration; its name is the one of the options, not the saved one.
    pub config: Config,
    /// Where the passphrase comes from.
    pub source: PhraseSource,
    /// Warnings for the user, one line each.
    pub warnings: Vec<String>,
    /// Whether the terminal cannot move its cursor.
    dumb: bool,
}

/// Adds the options of the configuration file to those of the command line, and checks them against each
/// other. `phrase` was scrubbed from the argument list.
///
/// # Errors
/// The first mistake, as wrong usage.
pub fn plan(
    line: CommandLine,
    phrase: Option<Zeroizing<Vec<u8>>>,
    environment: &Environment,
) -> Result<Plan, Failure> {
    let (options, typed) = config_file::complete(line, environment)?;
    let plan = settle(options, &typed, phrase, environment)?;
    let Config {
        frontend,
        settings,
        listen,
        ..
    } = &plan.config;
    if listen.is_none() && settings.peers.is_empty() && frontend.literal {
        let option = match frontend.cut {
            Cut::Nowhere => "--whole",
            Cut::Newline | Cut::Null => "--literal",
        };
        return Err(Failure::usage(
            format!("--no-listen with {option} can reach nobody without a peer"),
            format!("add -p HOST, or omit --no-listen; without {option}, /connect names a peer"),
        ));
    }
    Ok(plan)
}

/// Checks options, for a run that goes on after a panic as well: it may be left without a peer.
fn settle(
    options: Options,
    typed: &Typed,
    phrase: Option<Zeroizing<Vec<u8>>>,
    environment: &Environment,
) -> Result<Plan, Failure> {
    let mut warnings = Vec::new();
    let mode = environment.mode(options.json);
    if options.ack && !options.json {
        return Err(Failure::usage(
            "--ack needs --json",
            "add --json, or omit --ack",
        ));
    }
    if mode == Mode::Chat {
        warnings.extend(without_effect(typed));
    }
    let level = environment.log_level().unwrap_or_else(|warning| {
        warnings.push(warning);
        0
    });
    let source = PhraseSource::of(
        &options,
        phrase,
        // A run that dials needs the passphrase of those who are there.
        mode == Mode::Chat && options.peers.is_empty(),
    );
    if matches!(source, PhraseSource::Given(_)) {
        let exposed =
            "--phrase stays in the shell's history, and other users can see it for a moment";
        warnings.push(format!("{exposed}; use --phrase-fd or --phrase-file"));
    }
    check_onion(&options)?;
    let through = match (&options.proxy, &options.onion) {
        (_, Some(_)) => Some("--onion"),
        (Some(_), None) => Some("--proxy"),
        (None, None) => None,
    };
    check_near(&options, through)?;
    if options.map {
        check_map(&options)?;
    }
    let peers = each_once(options.peers);
    let (proxy, onion) = (options.proxy, options.onion);
    check_reach(&peers, options.listen.as_ref(), through)?;
    let proxied = through.is_some();
    let listen = (!options.no_listen).then_some(Listen {
        addr: options.listen,
        loopback_only: proxied,
        port: options.port.unwrap_or(DEFAULT_PORT),
        or_any_port: options.port.is_none() && !peers.is_empty(),
    });
    let min_peers = match (mode, options.min_peers) {
        (Mode::Chat, _) => 1,
        (_, Some(n)) => n,
        (_, None) => peers.len().max(1),
    };
    let stay = options.stay.unwrap_or(Stay::No);
    let config = Config {
        frontend: FrontendOptions {
            mode,
            editor: mode == Mode::Chat && !environment.is_dumb(),
            notifier: environment.notifier(),
            title: mode == Mode::Chat && environment.has_title() && !options.no_title,
            colour: environment.colour(),
            literal: mode == Mode::Plain && (options.literal || options.whole),
            cut: match (mode, options.null, options.whole) {
                (Mode::Plain, true, _) => Cut::Null,
                (Mode::Plain, false, true) => Cut::Nowhere,
                _ => Cut::Newline,
            },
            timestamps: options.timestamps,
            verbosity: Verbosity {
                quiet: options.quiet,
                level: options.verbose.max(level),
            },
            decoy: options.decoy,
            explicit_ack: options.ack,
        },
        settings: Settings {
            name: options.display_name,
            decoy: options.decoy,
            listen_port: listen.as_ref().map(|listen| listen.port),
            peers,
            advertise: options.advertise,
            forwarded: options.forwarded || proxied,
            proxied,
            onion: onion.is_some(),
            lan: options.lan,
            carry: !options.no_carry,
            cover: options.cover,
            epoch_period: epochs::PERIOD,
            inactivity: Duration::from_secs(options.inactivity_timeout.into()),
            give_up: Duration::from_secs(options.give_up.into()),
            timeout: Duration::from_secs(options.timeout.unwrap_or(TIMEOUT).into()),
            wait_for_peer: match (options.timeout, stay.outlasts_peers()) {
                (None, true) => None,
                (given, _) => Some(Duration::from_secs(given.unwrap_or(TIMEOUT).into())),
            },
            min_peers,
            require: options.require,
            stay,
            away: Duration::from_secs(options.away.into()),
            report_each: mode == Mode::Json,
            interactive: mode == Mode::Chat,
            explicit_ack: options.ack,
        },
        listen,
        proxy,
        onion,
        map: options.map,
        require_mlock: options.require_mlock,
        on_panic: options.on_panic,
        saved_name: SavedName::locate(environment.folder().as_deref(), options.decoy),
        min_peers: options.min_peers,
        timeout: options.timeout,
    };
    Ok(Plan {
        config,
        source,
        warnings,
        dumb: environment.is_dumb(),
    })
}

impl Plan {
    /// Whether the user is going to be asked for the passphrase, on a terminal that is there.
    pub fn asks_on_terminal(&self) -> bool {
        matches!(self.source, PhraseSource::Ask { .. }) && Input::terminal().is_ok()
    }

    /// Reads the saved name, which an option replaces and, in chat, saves; and the passphrase, in
    /// Unicode's normal form C. Warnings go to stderr.
    ///
    /// # Errors
    /// Wrong usage if there is no usable passphrase; the signal, if one ended the wait for it.
    pub fn fulfil(mut self) -> Result<(Config, Zeroizing<String>), Failure> {
        let saved = match self.config.settings.name {
            Some(_) => None,
            None => self.config.saved_name.load().unwrap_or_else(|warning| {
                self.warnings.push(warning);
                None
            }),
        };
        self.warnings.extend(self.source.warning());
        self.warn();
        let quits = self.config.on_panic == OnPanic::Quit;
        let early = Early::new(self.config.saved_name.clone(), quits, self.dumb);
        let read = self.source.read(self.config.settings.decoy, &early);
        // Checked in any case, because the run may end here.
        let asked = early.is_asked();
        let phrase = read?;
        if matches!(self.source, PhraseSource::Ask { .. }) {
            self.warnings.extend(passphrase::remark(&phrase));
        }
        match &self.config.settings.name {
            _ if asked => self.config.forget(),
            // Only now, because a run that ends as wrong usage must not have changed anything.
            Some(name) if self.config.frontend.mode == Mode::Chat => self
                .warnings
                .extend(self.config.saved_name.save(name).err()),
            // A script that gives itself a name does not rename its user.
            Some(_) => {}
            None => self.config.settings.name = saved,
        }
        self.warn();
        Ok((self.config, phrase))
    }

    fn warn(&mut self) {
        for warning in self
            .warnings
            .drain(..)
            .filter(|_| self.config.frontend.verbosity.shows(0))
        {
            // A run does not depend on whether its warnings can be written.
            let _ = writeln!(io::stderr(), "sesame: warning: {warning}");
        }
    }
}

/// Checks what cannot be used with an onion service. The command line's own rules do not know of it:
/// with them, one of these options on the command line would replace `onion` in the configuration file,
/// and the run would dial directly.
fn check_onion(options: &Options) -> Result<(), Failure> {
    let excluded = [
        (options.no_listen, "--no-listen"),
        (options.advertise.is_some(), "--advertise"),
    ];
    match excluded.iter().find(|(given, _)| *given) {
        Some((_, option)) if options.onion.is_some() => Err(Failure::usage(
            format!("with --onion sesame cannot use {option}: others dial its onion service"),
            format!("omit {option}, or use --proxy in place of --onion"),
        )),
        _ => Ok(()),
    }
}

/// Checks what can be reached, without a proxy and with the one that this option brings.
fn check_reach(
    peers: &[Address],
    listen: Option<&Host>,
    through: Option<&str>,
) -> Result<(), Failure> {
    if let (Some(host), Some(option)) = (listen, through)
        && !matches!(host, Host::Ip(ip) if ip.is_loopback())
    {
        return Err(Failure::usage(
            format!(
                "with {option} sesame does not listen on {host}, since others could find it there"
            ),
            "omit --listen, or give it 127.0.0.1 or ::1",
        ));
    }
    for address in peers {
        if address.is_onion() && through.is_none() {
            return Err(Failure::usage(
                format!("invalid address '{address}': {ONION_NEEDS_PROXY}"),
                "add --onion, or the proxy of your Tor: --proxy socks5://127.0.0.1:9050",
            ));
        }
        if let Some(option) = through.filter(|_| address.is_link_local()) {
            return Err(Failure::usage(
                format!("invalid address '{address}': no proxy can dial a link-local address"),
                format!("give another address, or omit {option}"),
            ));
        }
    }
    Ok(())
}

/// Checks what would show neighbours that sesame runs here.
fn check_near(options: &Options, through: Option<&str>) -> Result<(), Failure> {
    let near = [(options.map, "--map"), (options.lan, "--lan")];
    let near = near.iter().find(|(given, _)| *given);
    match (near, through) {
        (Some((_, near)), Some(through)) => Err(Failure::usage(
            format!(
                "with {through} sesame cannot use {near}: it would show where this computer is"
            ),
            format!("omit {near}, or omit {through}"),
        )),
        _ => Ok(()),
    }
}

/// Checks that there is a port to forward.
fn check_map(options: &Options) -> Result<(), Failure> {
    match &options.listen {
        _ if options.no_listen => Err(Failure::usage(
            "with --no-listen there is no port for --map to forward",
            "omit one of the two",
        )),
        Some(host) if !matches!(host, Host::Ip(IpAddr::V4(ip)) if !ip.is_loopback()) => {
            Err(Failure::usage(
                format!("--map cannot forward a port to {host}"),
                "omit --listen, or give it the IPv4 address of this computer in its network",
            ))
        }
        _ => Ok(()),
    }
}

/// The typed options for pipes, which have no effect at a terminal. Those of a file are for other runs.
fn without_effect(typed: &Typed) -> Vec<String> {
    let for_pipes = ["min-peers", "literal", "null", "whole", "timestamps"];
    let given = for_pipes
        .iter()
        .filter(|option| typed.has(&option.replace('-', "_")));
    given
        .map(|option| format!("--{option} has no effect in chat mode"))
        .collect()
}

/// Without repetitions, in order.
fn each_once<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli;
    use crate::front::Notifier;
    use crate::mesh::{Cover, Require};

    fn planned_at(environment: &Environment, args: &[&str]) -> Result<Plan, String> {
        let args = ["sesame"].iter().chain(args).map(OsString::from);
        match cli::parse(args) {
            Ok(cli) => plan(cli, None, environment).map_err(|failure| failure.to_string()),
            Err(cli::Stop::Failure(failure)) => Err(failure.to_string()),
            Err(cli::Stop::Print(text)) => Err(text),
        }
    }

    fn planned(args: &[&str]) -> Config {
        planned_at(&Environment::default(), args)
            .ok()
            .unwrap()
            .config
    }

    fn refused(args: &[&str]) -> String {
        planned_at(&Environment::default(), args).err().unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_interface() {
        let config = planned(&[]);
        let settings = &config.settings;
        assert_eq!(config.frontend.mode, Mode::Plain);
        assert_eq!(
            config.listen,
            Some(Listen {
                addr: None,
                loopback_only: false,
                port: 9000,
                or_any_port: false
            })
        );
        assert_eq!(config.frontend, FrontendOptions::default());
        assert_eq!(settings.cover, Cover::Every(Duration::from_millis(100)));
        assert_eq!(settings.timeout, Duration::from_secs(30));
        assert_eq!(settings.inactivity, Duration::from_secs(30));
        assert_eq!(settings.give_up, Duration::from_secs(60));
        assert_eq!(settings.require, Require::All);
        assert_eq!(settings.min_peers, 1);
        assert!(!settings.forwarded);
        assert_eq!(settings.wait_for_peer, Some(settings.timeout));
        assert_eq!(settings.away, Duration::from_secs(1800));
        assert_eq!(settings.stay, Stay::No);
        assert!(!settings.decoy && !settings.explicit_ack && !settings.report_each);
    }

    #[test]
    fn terminal_without_cursor_has_neither_editor_nor_colour() {
        let chosen = |term: &str| {
            let place = Environment {
                stdin_terminal: true,
                stdout_terminal: true,
                term: Some(term.into()),
                ..Environment::default()
            };
            let frontend = planned_at(&place, &[]).ok().unwrap().config.frontend;
            assert_eq!(frontend.mode, Mode::Chat);
            (frontend.editor, frontend.colour)
        };
        assert_eq!(chosen("xterm"), (true, true));
        for term in ["dumb", "emacs", "Emacs", "cons25"] {
            assert_eq!(chosen(term), (false, false), "{term}");
        }
    }

    #[test]
    fn notifications_are_those_of_the_terminal() {
        let of = |term: &str| {
            let place = Environment {
                term: Some(term.into()),
                ..Environment::default()
            };
            let frontend = planned_at(&place, &[]).ok().unwrap().config.frontend;
            frontend.notifier
        };
        for term in ["xterm-kitty", "xterm-256color"] {
            assert_eq!(of(term), Some(Notifier::Osc9), "{term}");
        }
        for term in ["rxvt-unicode-256color", "foot"] {
            assert_eq!(of(term), Some(Notifier::Osc777), "{term}");
        }
        for term in ["linux", "dumb", "screen-256color", "tmux", "vt100", ""] {
            assert_eq!(of(term), None, "{term}");
        }
    }

    #[test]
    fn title_needs_a_terminal_that_has_one() {
        let has_title = |term: &str, options: &[&str]| {
            let place = Environment {
                stdin_terminal: true,
                stdout_terminal: true,
                term: Some(term.into()),
                ..Environment::default()
            };
            planned_at(&place, options)
                .ok()
                .unwrap()
                .config
                .frontend
                .title
        };
        for term in [
            "xterm",
            "xterm-256color",
            "screen.xterm-256color",
            "tmux",
            "st-256color",
        ] {
            assert!(has_title(term, &[]), "{term}");
            assert!(!has_title(term, &["--no-title"]), "{term}");
        }
        for term in ["dumb", "linux", "vt100", "standard", ""] {
            assert!(!has_title(term, &[]), "{term}");
        }
    }

    #[test]
    fn free_port_replaces_only_the_default_port() {
        assert!(planned(&["-p", "a"]).listen.unwrap().or_any_port);
        assert!(
            !planned(&["-p", "a", "--port", "9000"])
                .listen
                .unwrap()
                .or_any_port
        );
        assert!(!planned(&[]).listen.unwrap().or_any_port);
        assert_eq!(planned(&["--no-listen"]).listen, None);
        assert_eq!(
            planned(&["--listen", "[::1]"]).listen.unwrap().addr,
            Some(Host::Ip("::1".parse().unwrap()))
        );
    }

    #[test]
    fn messages_wait_for_each_peer_named_once() {
        assert_eq!(
            planned(&["-p", "a", "-p", "b", "-p", "A:9000"])
                .settings
                .min_peers,
            2
        );
        assert_eq!(
            planned(&["-p", "a", "-p", "b", "--min-peers", "1"])
                .settings
                .min_peers,
            1
        );
        let terminal = Environment {
            stdin_terminal: true,
            stdout_terminal: true,
            ..Environment::default()
        };
        assert_eq!(
            planned_at(&terminal, &["-p", "a", "-p", "b"])
                .ok()
                .unwrap()
                .config
                .settings
                .min_peers,
            1
        );
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        for pair in [
            &["--json", "--literal"][..],
            &["--json", "--null"],
            &["--json", "--whole"],
            &["--json", "--timestamps"],
            &["--null", "--whole"],
            &["--phrase-fd", "0", "--phrase-file", "x"],
            &["--phrase", "x", "--phrase-file", "x"],
            &["--listen", "::1", "--no-listen"],
            &["--port", "1", "--no-listen"],
            &["-q", "-v"],
        ] {
            assert!(
                refused(pair).contains("cannot be used with"),
                "{pair:?}: {}",
                refused(pair)
            );
        }
        assert!(refused(&["--ack"]).contains("--json"));
    }

    #[test]
    fn mistake_is_a_line_and_a_line_of_advice() {
        for bad in [
            &["--nonsense"][..],
            &["--prot", "1"],
            &["--port"],
            &["--port", "x"],
            &["--cover", "5"],
            &["--require", "some"],
            &["--timeout", "0"],
            &["--timeout=-1"],
            &["-p", "a:b:c"],
            &["--phrase-fd", "1"],
            &["nonsense"],
            &["completions"],
            &["completions", "tcsh"],
            &["phrase", "0"],
            &["--json", "schema"],
        ] {
            let line = refused(bad);
            let of = match bad[0] {
                command @ ("completions" | "phrase") => format!("{command} "),
                _ => String::new(),
            };
            assert!(
                line.lines().count() == 2 && line.ends_with(&format!("see sesame {of}--help")),
                "{bad:?}: {line}"
            );
        }
    }

    #[test]
    fn a_passphrase_without_quotes_is_not_repeated() {
        let line = refused(&["--phrase", "hidden", "battery", "staple"]);
        assert!(
            line.contains("in quotes") && !line.contains("battery"),
            "{line}"
        );
        assert!(refused(&["home.example"]).contains("-p"));
    }

    #[test]
    fn with_a_proxy_only_this_computer_is_listened_on() {
        let proxy = "--proxy=socks5://127.0.0.1:9050";
        let config = planned(&[proxy, "-p", "abc.onion"]);
        assert!(config.listen.as_ref().unwrap().loopback_only);
        assert!(config.settings.proxied && config.settings.forwarded);
        assert!(planned(&[proxy, "--no-listen", "-p", "a"]).listen.is_none());
        for inside in ["127.0.0.1", "::1"] {
            planned(&[proxy, "--listen", inside]);
        }
        for outside in ["0.0.0.0", "::", "192.0.2.1"] {
            let line = refused(&[proxy, "--listen", outside]);
            assert!(
                line.starts_with("with --proxy sesame does not listen on"),
                "{line}"
            );
        }
        assert!(refused(&["-p", "abc.onion"]).contains("an onion service needs --proxy"));
        assert!(refused(&[proxy, "-p", "169.254.1.1"]).contains("link-local"));
    }

    #[test]
    fn mapped_port_is_one_that_the_router_can_reach() {
        assert!(!planned(&[]).map);
        assert!(planned(&["--map"]).map);
        assert!(planned(&["--map", "--listen", "192.168.1.2"]).map);
        assert!(planned(&["--map", "--advertise", "home.example:9000"]).map);
        let unreachable = "--map cannot forward a port to";
        for (args, begin) in [
            (&["--no-listen"][..], "with --no-listen there is no port"),
            (&["--listen", "127.0.0.1"], unreachable),
            (&["--listen", "2001:db8::1"], unreachable),
            (
                &["--proxy", "socks5://127.0.0.1:9050"],
                "with --proxy sesame cannot use --map",
            ),
            (&["--onion"], "with --onion sesame cannot use --map"),
        ] {
            let line = refused(&[&["--map"], args].concat());
            assert!(line.starts_with(begin), "{line}");
        }
        let line = refused(&["--lan", "--onion"]);
        assert!(line.starts_with("with --onion sesame cannot use --lan"));
    }

    #[test]
    fn onion_service_implies_a_proxy_and_excludes_others() {
        for args in [
            &["--onion"][..],
            &["--onion", "9051"],
            &["--onion=localhost:9051"],
        ] {
            let config = planned(&[args, &["-p", "abc.onion"]].concat());
            let settings = &config.settings;
            assert!(settings.onion && settings.proxied && settings.forwarded);
            assert!(config.onion.is_some() && config.proxy.is_none());
            assert!(config.listen.unwrap().loopback_only);
        }
        planned(&["--onion", "--listen", "::1", "--forwarded"]);
        let line = refused(&["--onion", "--proxy=socks5://127.0.0.1:1"]);
        assert!(line.contains("cannot be used with"), "{line}");
        for other in [&["--advertise", "a:1"][..], &["--no-listen"]] {
            let line = refused(&[&["--onion"][..], other].concat());
            let begin = format!("with --onion sesame cannot use {}", other[0]);
            assert!(line.starts_with(&begin), "{line}");
        }
        let line = refused(&["--onion", "--listen", "0.0.0.0"]);
        assert!(line.starts_with("with --onion sesame does not listen on"));
        let line = refused(&["--onion", "tor.example:9051"]);
        assert!(line.contains("must be on this computer"), "{line}");
    }

    #[test]
    fn the_log_level_is_a_number_or_letters() {
        let level = |text: &str| {
            Environment {
                log: Some(text.into()),
                ..Environment::default()
            }
            .log_level()
        };
        assert_eq!(level(""), Ok(0));
        assert_eq!(level("2"), Ok(2));
        assert_eq!(level("vv"), Ok(2));
        assert_eq!(level("-vvv"), Ok(3));
        assert!(level("debug").is_err());
        let place = Environment {
            log: Some("1".into()),
            ..Environment::default()
        };
        assert_eq!(
            planned_at(&place, &["-vv"])
                .ok()
                .unwrap()
                .config
                .frontend
                .verbosity
                .level,
            2
        );
        assert!(
            !planned_at(&place, &["-q"])
                .ok()
                .unwrap()
                .config
                .frontend
                .verbosity
                .shows(0)
        );
    }

    #[test]
    fn help_fits_the_width_of_a_terminal() {
        let help = refused(&["--help"]);
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let brief = refused(&["-h"]);
        assert!(brief.lines().count() <= 24 && brief.len() < help.len());
    }
}
