//! Parsers for the values of options. An error is the second half of a line that begins with the
//! option and the value.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};

use crate::mesh::{Cover, Require, Stay};
use crate::proto::tor::{ControlPlace, TorControl};
use crate::proto::words::MAX_PHRASE_WORDS;
use crate::proto::{Address, AddressError, DisplayName, Host, Proxy};
use crate::sys::{interface, local_socket, stream};

/// The most peers that a mesh holds (SECURITY.md, "A member who lies").
const MOST_PEERS: usize = 256;

/// An option whose value may be one of a few words, which completions offer, or something else.
#[derive(Clone, Copy)]
pub(super) struct Known<T> {
    words: &'static [&'static str],
    read: fn(&str) -> Result<T, String>,
}

/// `--require`.
pub(super) const REQUIRE: Known<Require> = Known {
    words: &["all", "any"],
    read: require,
};
/// `--cover`.
pub(super) const COVER: Known<Cover> = Known {
    words: &["off"],
    read: cover,
};
/// `--stay`.
pub(super) const STAY: Known<Stay> = Known {
    words: &["input"],
    read: stay,
};

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Known<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

/// `--peer`. The error is a whole line.
pub(super) fn peer(text: &str) -> Result<Address, String> {
    Address::parse_with(text, interface::index).map_err(|why| why.line(text))
}

/// `--proxy`. The error is a whole line, without the value, which may have a password.
pub(super) fn proxy(text: &str) -> Result<Arc<Proxy>, String> {
    let read = Proxy::parse(text).map(Arc::new);
    read.map_err(|why| format!("invalid --proxy: {why}"))
}

/// `--onion`. The error is a whole line, without the value, which may have a password.
pub(super) fn onion(text: &str) -> Result<Arc<TorControl>, String> {
    let control = TorControl::parse(text).map_err(|why| format!("invalid --onion: {why}"))?;
    let is_socket = |place: &ControlPlace| matches!(place, ControlPlace::Socket(_));
    if control.is_given() && control.places().iter().any(is_socket) && !local_socket::EXIST {
        return Err("invalid --onion: this system has no such sockets; give HOST:PORT".into());
    }
    Ok(Arc::new(control))
}

/// `--advertise`: an address that others can dial. The error is a whole line.
pub(super) fn advertised(text: &str) -> Result<Address, String> {
    let link_local =
        || format!("invalid address '{text}': other networks cannot dial a link-local address");
    if let Err(AddressError::NoZone(_)) = Address::parse_with(text, |_| None) {
        return Err(link_local());
    }
    let address = peer(text)?;
    match &address.host {
        Host::LinkLocal(..) => Err(link_local()),
        Host::Ip(ip) if ip.is_unspecified() || ip.is_multicast() => Err(format!(
            "invalid address '{text}': no peer can dial this address"
        )),
        Host::Ip(_) | Host::Name(_) => Ok(address),
    }
}

/// `--listen`: an address of this computer, an IPv6 one in brackets or not. The error is a whole
/// line.
pub(super) fn listen(text: &str) -> Result<Host, String> {
    let wrong = |expected: &str| format!("invalid address '{text}': expected {expected}");
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    // In brackets nothing of it can be meant as a port.
    let bracketed = match bare.contains(':') {
        true => format!("[{bare}]"),
        false => bare.to_owned(),
    };
    let host = Address::parse_with(&bracketed, interface::index).map(|address| address.host);
    match host {
        Ok(Host::Name(_)) => Err(wrong("an IP address of this computer")),
        Ok(host) => Ok(host),
        Err(
            why @ (AddressError::NoZone(_)
            | AddressError::EmptyZone
            | AddressError::UnknownZone(_)
            | AddressError::NeedlessZone),
        ) => Err(why.line(text)),
        Err(_) if Address::parse_with(text, interface::index).is_ok() => Err(wrong(
            "an IP address without a port (set the port with --port)",
        )),
        Err(_) => Err(wrong("an IP address of this computer")),
    }
}

/// `--port`.
pub(super) fn port(text: &str) -> Result<u16, String> {
    number(text, 0, u64::from(u16::MAX))
}

/// `--phrase-fd`. Nothing is read from where the program writes.
pub(super) fn descriptor(text: &str) -> Result<i32, String> {
    match number(text, 0, i32::MAX as u64)? {
        1.. if !stream::HAS_DESCRIPTORS => {
            Err("expected 0, which is stdin; this system has no others: use --phrase-file".into())
        }
        1 | 2 => Err(
            "expected 0 or a descriptor opened for reading, as in 3<FILE; 1 and 2 are for output"
                .into(),
        ),
        fd => Ok(fd),
    }
}

/// `--display-name`.
pub(super) fn name(text: &str) -> Result<DisplayName, String> {
    DisplayName::from_user(text).map_err(|error| error.to_string())
}

/// `--min-peers`.
pub(super) fn peers(text: &str) -> Result<usize, String> {
    number(text, 1, MOST_PEERS as u64)
}

fn require(text: &str) -> Result<Require, String> {
    match text {
        "all" => Ok(Require::All),
        "any" => Ok(Require::Any),
        _ => match peers(text) {
            Ok(n) => Ok(Require::AtLeast(n)),
            Err(_) => Err(format!(
                "expected all, any or a number from 1 to {MOST_PEERS}"
            )),
        },
    }
}

fn cover(text: &str) -> Result<Cover, String> {
    match text {
        "off" => Ok(Cover::Off),
        _ => match number(text, 10, 10_000) {
            Ok(ms) => Ok(Cover::Every(Duration::from_millis(ms))),
            Err(_) => Err("expected off or a number of milliseconds from 10 to 10000".into()),
        },
    }
}

/// Without a value, or with `input`.
fn stay(text: &str) -> Result<Stay, String> {
    match text {
        "" => Ok(Stay::Always),
        "input" => Ok(Stay::Input),
        _ => Err("expected input or no value".into()),
    }
}

/// The options in whole seconds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    number(text, 1, u64::from(u32::MAX))
        .map_err(|_| "expected a whole number of seconds, 1 or more".into())
}

/// `sesame phrase`.
pub(super) fn words(text: &str) -> Result<usize, String> {
    number(text, 1, MAX_PHRASE_WORDS as u64)
}

/// A number in digits only: `parse` would accept a sign.
fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = text
        .parse::<u64>()
        .ok()
        .filter(|n| digits && (least..=most).contains(n));
    value
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("expected a number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_ends_of_ranges_are_accepted() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        assert!(port("65536").is_err());
        assert!(port("+1").is_err());
        assert!(port("").is_err());
        assert_eq!(cover("off"), Ok(Cover::Off));
        assert_eq!(cover("10"), Ok(Cover::Every(Duration::from_millis(10))));
        assert!(cover("9").is_err());
        assert!(cover("10001").is_err());
        assert!(cover("OFF").is_err());
        assert_eq!(seconds("1"), Ok(1));
        assert!(seconds("0").is_err());
        assert!(seconds("1.5").is_err());
        assert!(seconds("99999999999999999999").is_err());
        assert_eq!(require("all"), Ok(Require::All));
        assert_eq!(require("any"), Ok(Require::Any));
        assert_eq!(require("2"), Ok(Require::AtLeast(2)));
        assert!(require("0").is_err());
        assert_eq!(stay("input"), Ok(Stay::Input));
        assert!(stay("always").is_err());
        assert!(peers("0").is_err());
        assert!(words("0").is_err());
        assert!(words("101").is_err());
    }

    #[test]
    fn descriptors_for_output_are_refused() {
        assert_eq!(descriptor("0"), Ok(0));
        assert_eq!(descriptor("3").is_ok(), stream::HAS_DESCRIPTORS);
        for bad in ["1", "2", "-1", "x", "2147483648"] {
            assert!(descriptor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        assert!(peer("home.example").is_ok());
        assert!(peer("[::1]:7").is_ok());
        assert!(advertised("x.onion").is_ok(), "others may have a proxy");
        assert!(proxy("socks5://a:b@h:1").is_err_and(|e| e.starts_with("invalid --proxy: ")));
        assert!(onion(":secret@x:1").is_err_and(|e| e.starts_with("invalid --onion: ")));
        assert!(onion(":secret@x:1").is_err_and(|e| !e.contains("secret")));
        assert_eq!(onion("/run/x").is_ok(), local_socket::EXIST);
        assert!(peer("a:0").is_err());
        assert!(advertised("0.0.0.0:9000").is_err());
        assert!(advertised("[ff02::1]:9000").is_err());
        assert!(advertised("home.example:9001").is_ok());
        assert!(listen("[::1]").is_ok());
        assert!(listen("127.0.0.1").is_ok());
        assert!(listen("127.0.0.1:9000").is_err_and(|e| e.contains("--port")));
        assert!(listen("[::1]:9000").is_err_and(|e| e.contains("--port")));
        assert!(listen("::1:9000").is_ok(), "an address like others");
        for bad in ["localhost", "1.2.3.4.5", "http://x", "", "[]", "::x"] {
            let line = listen(bad).err().unwrap();
            assert!(
                line.ends_with("expected an IP address of this computer"),
                "{line}"
            );
        }
        assert!(listen("fe80::1").is_err_and(|e| e.contains("needs its interface")));
        assert!(listen("[fe80::1%nope]").is_err_and(|e| e.contains("unknown interface")));
        for unreachable in ["fe80::1", "[fe80::1]:9000", "fe80::1%lo"] {
            let line = advertised(unreachable).err().unwrap();
            assert!(line.contains("cannot dial a link-local"), "{line}");
        }
    }
}
