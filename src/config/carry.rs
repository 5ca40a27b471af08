//! The options of a run that outlive a panic, as an argument list that restores them.
//!
//! The new process image parses them with the same code as any other, so that one place knows which
//! values an option may have. They include nothing that a panic forgets: no peer, no advertised
//! address, no name, no passphrase. The proxy is among them: without it, everything would be dialled
//! from here. So is the place of tor's control port, with its password.

use std::ffi::OsString;
use std::sync::Arc;

use super::{Config, Environment, settle};
use crate::cli::{self, OnPanic};
use crate::exit::Failure;
use crate::front::{Cut, Mode};
use crate::mesh::{Cover, Require, Stay};
use crate::proto::Proxy;

const PROXY: &str = "--proxy=";
const ONION: &str = "--onion=";

impl Config {
    /// The options that a panic keeps: mode, limits, timing, listening, decoy.
    pub fn carried(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut args = vec![
            format!("--inactivity-timeout={}", settings.inactivity.as_secs()),
            format!("--give-up={}", settings.give_up.as_secs()),
            format!("--away={}", settings.away.as_secs()),
            match settings.cover {
                Cover::Off => "--cover=off".into(),
                Cover::Every(interval) => format!("--cover={}", interval.as_millis()),
            },
            match settings.require {
                Require::All => "--require=all".into(),
                Require::Any => "--require=any".into(),
                Require::AtLeast(n) => format!("--require={n}"),
            },
        ];
        args.extend(self.timeout.map(|secs| format!("--timeout={secs}")));
        if self.on_panic == OnPanic::Quit {
            args.push("--on-panic=quit".into());
        }
        args.extend(
            self.proxy
                .as_ref()
                .map(|proxy| format!("{PROXY}{}", *proxy.url())),
        );
        args.extend(
            self.onion
                .as_ref()
                .map(|control| format!("{ONION}{}", *control.text())),
        );
        args.extend(self.min_peers.map(|n| format!("--min-peers={n}")));
        match &self.listen {
            None => args.push("--no-listen".into()),
            Some(listen) => {
                args.push(format!("--port={}", listen.port));
                args.extend(listen.addr.as_ref().map(|addr| format!("--listen={addr}")));
            }
        }
        let flags = [
            ("--json", self.frontend.mode == Mode::Json),
            ("--ack", settings.explicit_ack),
            ("--decoy", settings.decoy),
            ("--stay", settings.stay == Stay::Always),
            ("--stay=input", settings.stay == Stay::Input),
            ("--forwarded", settings.forwarded),
            ("--no-carry", !settings.carry),
            ("--map", self.map),
            ("--lan", settings.lan),
            ("--whole", self.frontend.cut == Cut::Nowhere),
            ("--null", self.frontend.cut == Cut::Null),
            ("--literal", self.frontend.literal),
            ("--timestamps", self.frontend.timestamps),
            (
                "--no-title",
                self.frontend.mode == Mode::Chat && !self.frontend.title,
            ),
            ("--require-mlock", self.require_mlock),
            ("--quiet", self.frontend.verbosity.quiet),
        ];
        args.extend(
            flags
                .iter()
                .filter(|(_, on)| *on)
                .map(|(flag, _)| (*flag).to_string()),
        );
        if !self.frontend.verbosity.quiet {
            args.extend((0..self.frontend.verbosity.level).map(|_| "-v".to_string()));
        }
        args
    }

    /// The configuration of a run that continues after a panic, from the result of
    /// [`Config::carried`].
    ///
    /// # Errors
    /// The arguments are not from there.
    pub fn after_panic(carried: &[String], environment: &Environment) -> Result<Self, Failure> {
        let broken = || {
            Failure::runtime(
                "cannot continue after /panic: it handed over no options",
                "",
            )
        };
        // No user gives both: what tor itself named is handed over, so that nothing is dialled from
        // here even if tor is gone by now.
        let has_onion = carried.iter().any(|arg| arg.starts_with(ONION));
        let of_tor = |arg: &&String| has_onion && arg.starts_with(PROXY);
        let proxy = carried.iter().find(of_tor);
        let args = std::iter::once("sesame")
            .chain(
                carried
                    .iter()
                    .filter(|arg| !of_tor(arg))
                    .map(String::as_str),
            )
            .map(OsString::from);
        let mut config = match cli::parse(args) {
            Ok(cli) => settle(cli.options, &cli.typed, None, environment)?.config,
            Err(cli::Stop::Failure(failure)) => return Err(failure),
            Err(cli::Stop::Print(_)) => return Err(broken()),
        };
        if has_onion {
            let url = proxy.and_then(|arg| arg.strip_prefix(PROXY));
            let proxy = url.and_then(|url| Proxy::parse(url).ok());
            config.proxy = Some(Arc::new(proxy.ok_or_else(broken)?));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Config {
        let args = ["sesame"].iter().chain(args).map(OsString::from);
        let cli = cli::parse(args).ok().unwrap();
        settle(cli.options, &cli.typed, None, &Environment::default())
            .ok()
            .unwrap()
            .config
    }

    /// Everything except where the name is saved, which does not depend on options.
    fn shown(config: &Config) -> String {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {} {:?}",
            config.frontend,
            config.settings,
            config.listen,
            config.proxy,
            config.onion,
            config.require_mlock,
            config.on_panic
        )
    }

    #[test]
    fn limits_and_timing_outlive_a_panic() {
        for args in [
            &[][..],
            &[
                "--json",
                "--ack",
                "--stay",
                "--min-peers",
                "3",
                "--require",
                "2",
                "-vv",
            ],
            &[
                "--cover",
                "off",
                "--timeout",
                "7",
                "--give-up",
                "8",
                "--inactivity-timeout",
                "9",
                "--no-listen",
            ],
            &[
                "--literal",
                "--null",
                "--timestamps",
                "--decoy",
                "-q",
                "--require-mlock",
                "--require",
                "any",
                "--stay=input",
                "--away",
                "5",
                "--on-panic",
                "quit",
            ],
            &["--whole", "--port", "0", "--listen", "::1", "--cover", "20"],
            &["--forwarded"],
            &["--no-carry"],
            &["--map", "--lan"],
            &[
                "--proxy",
                "socks5://a%3a:b@127.0.0.1:9050",
                "--listen",
                "::1",
            ],
            &["--proxy", "socks5://localhost:1"],
        ] {
            let before = config(args);
            let after = Config::after_panic(&before.carried(), &Environment::default()).unwrap();
            assert_eq!(shown(&after), shown(&before), "{args:?}");
            assert_eq!(after.carried(), before.carried(), "{args:?}");
        }
    }

    #[test]
    fn tor_and_its_socks_port_outlive_a_panic() {
        for control in ["--onion=9051", "--onion=:a%40@[::1]:9051"] {
            let mut before = config(&[control]);
            let without = Config::after_panic(&before.carried(), &Environment::default());
            assert!(without.is_err(), "nothing may be dialled from here");
            let socks = Proxy::parse("socks5://127.0.0.1:9050").unwrap();
            before.proxy = Some(Arc::new(socks));
            let after = Config::after_panic(&before.carried(), &Environment::default()).unwrap();
            assert_eq!(shown(&after), shown(&before));
            assert_eq!(after.carried(), before.carried(), "with the password");
        }
    }

    #[test]
    fn peers_address_and_name_do_not_outlive_a_panic() {
        let before = config(&[
            "-p",
            "a",
            "-p",
            "b",
            "--advertise",
            "c:1",
            "--display-name",
            "alice",
        ]);
        let after = Config::after_panic(&before.carried(), &Environment::default()).unwrap();
        assert!(after.settings.peers.is_empty());
        assert_eq!(
            (after.settings.advertise, after.settings.name),
            (None, None)
        );
        assert_eq!(after.settings.min_peers, 1);
    }
}
