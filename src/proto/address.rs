//! Where a peer can be dialled: `HOST[:PORT]`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

/// The port if none is given.
pub const DEFAULT_PORT: u16 = 9000;

/// The longest host name, as in RFC 1035 section 2.3.4.
pub(super) const MAX_NAME: usize = 253;

/// The most characters of a wrong address that an error line repeats.
const MAX_SHOWN: usize = 80;

/// The longest address that an error line proposes: a name and a port. A zone could be longer.
const MAX_HINT: usize = MAX_NAME + ":65535".len();

/// A host to dial: an IP address or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A link-local IPv6 address, and the interface on whose network it is.
    LinkLocal(Ipv6Addr, Zone),
    /// A name in lower case, to be resolved when it is dialled.
    Name(String),
}

impl Host {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::LinkLocal(ip, _) => Some((*ip).into()),
            Self::Name(_) => None,
        }
    }
}

/// The interface of a link-local address (RFC 4007). It has a meaning on this computer only, so it
/// is never sent to a peer. Two zones are equal if their indices are.
#[derive(Clone, Debug)]
pub struct Zone {
    index: NonZeroU32,
    text: Arc<str>,
}

impl Zone {
    /// The interface's index, as of when the address was read.
    pub fn index(&self) -> NonZeroU32 {
        self.index
    }

    /// The interface's name or index, as the user gave it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

/// Why an address that [`Address::is_onion`] is not dialled without a proxy.
pub const ONION_NEEDS_PROXY: &str = "an onion service needs --proxy or --onion";

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The host is missing.
    #[error("expected HOST[:PORT], but the host is missing")]
    NoHost,
    /// A URL. Its host and port, if they are an address.
    #[error("expected HOST[:PORT], not a URL{}", hint(.0))]
    Url(Option<String>),
    /// Something follows a slash.
    #[error("expected HOST[:PORT], without a path")]
    Path,
    /// Something stands before an at sign.
    #[error("expected HOST[:PORT], without a user name")]
    User,
    /// More than one colon, and not an IPv6 address.
    #[error("expected HOST[:PORT], with one colon")]
    Colons,
    /// Digits and dots that are not an IPv4 address.
    #[error("expected an IPv4 address of four numbers from 0 to 255")]
    BadIpv4,
    /// Colons or brackets around something that is not an IPv6 address.
    #[error("expected an IPv6 address")]
    BadIpv6,
    /// Not a possible host name.
    #[error("expected a host name of letters, digits, '-', '_' and '.'")]
    BadName,
    /// Letters that a host name can hold only in its encoded form.
    #[error("expected a host name in ASCII: write other letters in the xn-- form")]
    NotAscii,
    /// The port is not a number from 1 to 65535.
    #[error("expected a port from 1 to 65535")]
    BadPort,
    /// An IPv6 address with a port, but without brackets.
    #[error("expected [ADDRESS]:PORT for an IPv6 address with a port")]
    Unbracketed,
    /// An IPv6 address whose last part may be meant as a port.
    #[error("write [{0}]:{1} if {1} is the port, or [{0}:{1}] if it is part of the address")]
    Ambiguous(Ipv6Addr, u16),
    /// A bracket without its partner.
    #[error("expected an IPv6 address in a pair of brackets, as in [ADDRESS]:PORT")]
    OneBracket,
    /// Something other than an IPv6 address in brackets.
    #[error("expected an IPv6 address in the brackets")]
    Brackets,
    /// Something other than a port behind the brackets.
    #[error("expected :PORT after the closing bracket")]
    AfterBracket,
    /// A link-local address without its interface.
    #[error("a link-local address needs its interface, as in {0}%eth0")]
    NoZone(Ipv6Addr),
    /// A percent sign without an interface after it.
    #[error("expected an interface after '%'")]
    EmptyZone,
    /// This computer has no interface of this name.
    #[error("unknown interface '{}'", shortened(.0))]
    UnknownZone(String),
    /// An interface after an address that needs none.
    #[error("only a link-local IPv6 address takes an interface")]
    NeedlessZone,
}

fn hint(address: &Option<String>) -> String {
    let address = address.as_ref().filter(|it| it.len() <= MAX_HINT);
    let hint = address.map(|address| format!(": try {address}"));
    hint.unwrap_or_default()
}

/// The beginning of a text that may have any length.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

impl AddressError {
    /// The whole error line for this text.
    pub fn line(&self, text: &str) -> String {
        format!("invalid address '{}': {self}", shortened(text))
    }
}

impl Address {
    /// Reads `HOST[:PORT]`: IPv4, `[IPv6]:PORT`, a bare IPv6 address, or a name. A link-local IPv6
    /// address needs its zone, as in `fe80::1%eth0`; `interface` gives the index for one.
    ///
    /// # Errors
    /// What is wrong with the text, see [`AddressError`].
    pub fn parse_with(
        text: &str,
        interface: impl Fn(&str) -> Option<NonZeroU32>,
    ) -> Result<Self, AddressError> {
        Self::read(text, Some(&interface))
    }

    fn read(text: &str, zones: Zones<'_>) -> Result<Self, AddressError> {
        if let Some((_, rest)) = text.split_once("://") {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let inside = Self::read(&rest[..end], zones);
            return Err(AddressError::Url(
                inside.ok().map(|address| address.to_string()),
            ));
        }
        if text.contains('/') {
            return Err(AddressError::Path);
        }
        if text.contains('@') {
            return Err(AddressError::User);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or(AddressError::OneBracket)?;
            let host = in_brackets(inside, zones)?;
            let port = match after {
                "" => DEFAULT_PORT,
                _ => parse_port(after.strip_prefix(':').ok_or(AddressError::AfterBracket)?)?,
            };
            return Ok(Self { host, port });
        }
        if text.contains(['[', ']']) {
            return Err(AddressError::OneBracket);
        }
        if let Some((before, zone)) = text.split_once('%') {
            if zone.contains(':') {
                return Err(AddressError::Unbracketed);
            }
            let host = zoned(before, zone, zones)?;
            return Ok(Self {
                host,
                port: DEFAULT_PORT,
            });
        }
        if text.matches(':').count() > 1 {
            let ip = bare_ipv6(text, zones)?;
            return Ok(Self::from_ip(ip.into(), DEFAULT_PORT));
        }
        let (host, port) = match text.split_once(':') {
            None => (text, DEFAULT_PORT),
            Some(("", _)) => return Err(AddressError::NoHost),
            Some((host, port)) => (host, parse_port(port)?),
        };
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::from_ip(ip.into(), port));
        }
        let name = valid_name(host).ok_or_else(|| why_no_name(host))?;
        Ok(Self {
            host: Host::Name(name),
            port,
        })
    }

    /// Reads an address as a peer sends it, which is without zones: a link-local address is read
    /// without one.
    ///
    /// # Errors
    /// As for [`Self::parse_with`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        Self::read(text, None)
    }

    /// Whether only an onion router can reach it, so that no resolver may ever be asked for it.
    pub fn is_onion(&self) -> bool {
        let name = match &self.host {
            Host::Ip(_) | Host::LinkLocal(..) => return false,
            Host::Name(name) => name.trim_end_matches('.'),
        };
        name == "onion" || name.ends_with(".onion")
    }

    /// Whether it has a meaning on one network only.
    pub fn is_link_local(&self) -> bool {
        match self.host {
            Host::Ip(IpAddr::V6(ip)) => ip.is_unicast_link_local(),
            Host::Ip(IpAddr::V4(ip)) => ip.is_link_local(),
            Host::LinkLocal(..) => true,
            Host::Name(_) => false,
        }
    }

    /// An address from an IP address; IPv4-mapped IPv6 becomes IPv4.
    pub fn from_ip(ip: IpAddr, port: u16) -> Self {
        Self {
            host: Host::Ip(ip.to_canonical()),
            port,
        }
    }

    /// The IP address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.ip()
    }

    /// The form of this address for the peer at the other end of a link, if it may be sent. A
    /// link-local address leads nowhere, or to another computer, from any other network than its
    /// own; and on its own network each end has its own zone for it.
    pub fn told_over(&self, link: SocketAddr) -> Option<Self> {
        match &self.host {
            Host::LinkLocal(ip, zone) => (zone_of(link).as_ref() == Some(zone))
                .then(|| Self::from_ip((*ip).into(), self.port)),
            Host::Ip(_) | Host::Name(_) => Some(self.clone()),
        }
    }

    /// The meaning of an address that a peer has sent: a link-local one is on the network of the
    /// link.
    pub fn heard_over(self, link: SocketAddr) -> Option<Self> {
        match self.host {
            Host::Ip(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Some(Self {
                host: Host::LinkLocal(ip, zone_of(link)?),
                port: self.port,
            }),
            _ => Some(self),
        }
    }
}

/// The zone of a link-local socket address.
fn zone_of(addr: SocketAddr) -> Option<Zone> {
    match addr {
        SocketAddr::V6(addr) if addr.ip().is_unicast_link_local() => {
            let index = NonZeroU32::new(addr.scope_id())?;
            let text = index.to_string().into();
            Some(Zone { index, text })
        }
        _ => None,
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        match (addr.ip(), zone_of(addr)) {
            (IpAddr::V6(ip), Some(zone)) => Self {
                host: Host::LinkLocal(ip, zone),
                port: addr.port(),
            },
            (ip, _) => Self::from_ip(ip, addr.port()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::LinkLocal(ip, zone) => write!(f, "{ip}%{}", zone.as_str()),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            host @ (Host::Ip(IpAddr::V6(_)) | Host::LinkLocal(..)) => {
                write!(f, "[{host}]:{}", self.port)
            }
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Returns the index of an interface. Without it, addresses may have no zone.
type Zones<'a> = Option<&'a dyn Fn(&str) -> Option<NonZeroU32>>;

fn in_brackets(inside: &str, zones: Zones<'_>) -> Result<Host, AddressError> {
    if let Some((before, zone)) = inside.split_once('%') {
        return zoned(before, zone, zones);
    }
    let ip: Ipv6Addr = inside.parse().map_err(|_| match inside.contains(':') {
        true => AddressError::BadIpv6,
        false => AddressError::Brackets,
    })?;
    match ip.is_unicast_link_local() && zones.is_some() {
        true => Err(AddressError::NoZone(ip)),
        false => Ok(Host::Ip(IpAddr::from(ip).to_canonical())),
    }
}

fn zoned(ip: &str, zone: &str, zones: Zones<'_>) -> Result<Host, AddressError> {
    let ip: Ipv6Addr = ip.parse().map_err(|_| match ip.contains(':') {
        true => AddressError::BadIpv6,
        false => AddressError::NeedlessZone,
    })?;
    if !ip.is_unicast_link_local() {
        return Err(AddressError::NeedlessZone);
    }
    if zone.is_empty() {
        return Err(AddressError::EmptyZone);
    }
    match zones.and_then(|index| index(zone)) {
        Some(index) => Ok(Host::LinkLocal(
            ip,
            Zone {
                index,
                text: zone.into(),
            },
        )),
        None => Err(AddressError::UnknownZone(zone.to_owned())),
    }
}

/// An IPv6 address without brackets and port. A text that may be meant with a port is refused,
/// because the address in the other reading may belong to a stranger.
fn bare_ipv6(text: &str, zones: Zones<'_>) -> Result<Ipv6Addr, AddressError> {
    let split = text.rsplit_once(':');
    let with_port = split.and_then(|(ip, port)| Some((ip.parse::<Ipv6Addr>().ok()?, port)));
    match (text.parse::<Ipv6Addr>(), with_port) {
        (Ok(_), Some((ip, port))) if parse_port(port).is_ok() => {
            Err(AddressError::Ambiguous(ip, parse_port(port)?))
        }
        (Ok(ip), _) if ip.is_unicast_link_local() && zones.is_some() => {
            Err(AddressError::NoZone(ip))
        }
        (Ok(ip), _) => Ok(ip),
        (Err(_), Some(_)) => Err(AddressError::Unbracketed),
        (Err(_), None) => {
            let may_be_in_one = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
            let has_many_colons = text.contains("::") || text.matches(':').count() > 2;
            match has_many_colons && text.chars().all(may_be_in_one) {
                true => Err(AddressError::BadIpv6),
                false => Err(AddressError::Colons),
            }
        }
    }
}

fn why_no_name(host: &str) -> AddressError {
    if host.is_empty() {
        AddressError::NoHost
    } else if !host.is_ascii() {
        AddressError::NotAscii
    } else if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        AddressError::BadIpv4
    } else {
        AddressError::BadName
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::BadPort);
    }
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(AddressError::BadPort)
}

/// The name in lower case, if a resolver could accept it: letters, digits, `-`, `_` and dots, and
/// no empty label. A last label of only digits would be a mistyped IPv4 address.
pub(super) fn valid_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels_fit = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    let last_is_word = name
        .rsplit('.')
        .next()
        .is_some_and(|l| !l.bytes().all(|b| b.is_ascii_digit()));
    (labels_fit && last_is_word && name.len() <= MAX_NAME).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, AddressError> {
        let interface = |zone: &str| match zone {
            "eth0" | "2" => NonZeroU32::new(2),
            "wlan0" => NonZeroU32::new(3),
            _ => None,
        };
        Address::parse_with(text, interface)
    }

    fn shown(text: &str) -> Result<String, AddressError> {
        read(text).map(|a| a.to_string())
    }

    #[test]
    fn every_specified_form_is_read() {
        for (text, address) in [
            ("192.0.2.7", "192.0.2.7:9000"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("::1", "[::1]:9000"),
            ("2001:db8::1", "[2001:db8::1]:9000"),
            ("2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]:9000"),
            ("2001:db8::beef:face", "[2001:db8::beef:face]:9000"),
            ("[2001:db8::1]", "[2001:db8::1]:9000"),
            ("[2001:db8::1]:77", "[2001:db8::1]:77"),
            ("[2001:db8::1:77]", "[2001:db8::1:77]:9000"),
            ("[::ffff:192.0.2.1]:77", "192.0.2.1:77"),
            ("Home.Example:80", "home.example:80"),
            ("abc.onion", "abc.onion:9000"),
            ("fe80::1%eth0", "[fe80::1%eth0]:9000"),
            ("[fe80::1%eth0]:77", "[fe80::1%eth0]:77"),
            ("[fe80::1%2]", "[fe80::1%2]:9000"),
            ("FEBF::1%wlan0", "[febf::1%wlan0]:9000"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(address), "{text}");
            assert_eq!(shown(address).as_deref(), Ok(address), "{address}");
        }
    }

    #[test]
    fn mistake_of_each_kind_is_named() {
        use AddressError::*;
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let url = |address: &str| Url(Some(address.to_owned()));
        for (text, error) in [
            ("", NoHost),
            (":9000", NoHost),
            ("http://x:9000", url("x:9000")),
            ("https://home.example/chat?x#y", url("home.example:9000")),
            ("tcp://[fe80::1%eth0]:1", url("[fe80::1%eth0]:1")),
            ("http://", Url(None)),
            ("x:9000/", Path),
            ("10.0.0.0/8", Path),
            ("me@x:9000", User),
            ("a:0", BadPort),
            ("a:70000", BadPort),
            ("a:65536", BadPort),
            ("a:+1", BadPort),
            ("a:-1", BadPort),
            ("a: 1", BadPort),
            ("a:", BadPort),
            ("[::1]:", BadPort),
            ("[::1]:0", BadPort),
            ("a:b:c", Colons),
            ("a:1:", Colons),
            ("1.2.3.4:5:6", Colons),
            ("1.2.3.4.5", BadIpv4),
            ("1.2.3.400", BadIpv4),
            ("1.2.3", BadIpv4),
            ("01.2.3.4", BadIpv4),
            ("9000", BadIpv4),
            ("1.2.3.4.5:9000", BadIpv4),
            ("2001::db8::1", BadIpv6),
            ("1:2:3:4:5:6:7", BadIpv6),
            ("[2001::db8::1]:1", BadIpv6),
            ("2001:db8:::1", Unbracketed),
            ("[1:2]:3", BadIpv6),
            ("2001:db8::1:zz", Unbracketed),
            ("2001:db8::1:70000", Unbracketed),
            ("2001:db8:1:2:3:4:5:6:9000", Unbracketed),
            ("fe80::1%eth0:9000", Unbracketed),
            ("2001:db8::1:9000", Ambiguous(ip("2001:db8::1"), 9000)),
            ("::1:9000", Ambiguous(ip("::1"), 9000)),
            ("fe80::1:9000", Ambiguous(ip("fe80::1"), 9000)),
            ("[::1", OneBracket),
            ("[::1:9000", OneBracket),
            ("::1]:9000", OneBracket),
            ("x[::1]", OneBracket),
            ("[home.example]:1", Brackets),
            ("[192.0.2.1]:1", Brackets),
            ("[]:1", Brackets),
            ("[::1]9000", AfterBracket),
            ("[::1]]", AfterBracket),
            ("fe80::1", NoZone(ip("fe80::1"))),
            ("[fe80::1]:9000", NoZone(ip("fe80::1"))),
            ("fe80::1%", EmptyZone),
            ("[fe80::1%]:9000", EmptyZone),
            ("fe80::1%nope", UnknownZone("nope".into())),
            ("[fe80::1%nope]:9000", UnknownZone("nope".into())),
            ("fe80::1%7", UnknownZone("7".into())),
            ("2001:db8::1%eth0", NeedlessZone),
            ("::1%eth0", NeedlessZone),
            ("192.0.2.1%eth0", NeedlessZone),
            ("home.example%eth0", NeedlessZone),
            ("fe80::x%eth0", BadIpv6),
            ("a b", BadName),
            ("a..b", BadName),
            ("-a", BadName),
            ("home.1", BadName),
            ("b\u{fc}cher.example", NotAscii),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
    }

    #[test]
    fn error_line_repeats_no_more_than_it_needs() {
        let line = AddressError::BadPort.line("a:0");
        assert_eq!(
            line,
            "invalid address 'a:0': expected a port from 1 to 65535"
        );
        let line = AddressError::BadName.line(&"é".repeat(100_000));
        assert!(line.chars().count() < 200, "{line}");
        let zone = "0".repeat(100_000) + "2";
        for text in [
            format!("fe80::1%{zone}"),
            format!("http://[fe80::1%{zone}]"),
        ] {
            for known in [None, NonZeroU32::new(2)] {
                if let Err(error) = Address::parse_with(&text, |_| known) {
                    assert!(error.line(&text).chars().count() < 300, "{error}");
                }
            }
        }
        let line = AddressError::Url(Some("x:9000".into())).line("http://x:9000");
        assert!(
            line.ends_with("expected HOST[:PORT], not a URL: try x:9000"),
            "{line}"
        );
    }

    #[test]
    fn zone_stays_on_this_computer() {
        let (by_name, by_index) = (read("fe80::1%eth0").unwrap(), read("fe80::1%2").unwrap());
        assert_eq!(by_name, by_index);
        assert_ne!(by_name, read("fe80::1%wlan0").unwrap());
        let link = |scope| {
            let ip = "fe80::7".parse().unwrap();
            SocketAddr::V6(std::net::SocketAddrV6::new(ip, 9000, 0, scope))
        };
        assert_eq!(Address::from(link(2)), read("fe80::7%eth0").unwrap());
        let bare = Address::from_ip("fe80::1".parse().unwrap(), 9000);
        assert_eq!(by_name.told_over(link(2)), Some(bare.clone()));
        assert_eq!(bare.clone().heard_over(link(2)), Some(by_name.clone()));
        for elsewhere in [
            link(3),
            "192.0.2.1:1".parse().unwrap(),
            "[::1]:1".parse().unwrap(),
        ] {
            assert_eq!(by_name.told_over(elsewhere), None);
        }
        assert_eq!(Address::parse("fe80::1"), Ok(bare.clone()));
        assert_eq!(Address::parse("[fe80::1]:9000"), Ok(bare.clone()));
        assert!(Address::parse("fe80::1%2").is_err());
        assert_eq!(bare.heard_over("192.0.2.1:1".parse().unwrap()), None);
        let other = read("192.0.2.1").unwrap();
        assert_eq!(other.told_over(link(2)), Some(other.clone()));
        assert_eq!(other.clone().heard_over(link(2)), Some(other));
    }
}
