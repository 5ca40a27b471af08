//! Where a peer can be dialled: `HOST[:PORT]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

/// The port that is meant where none is given.
pub const DEFAULT_PORT: u16 = 9000;

/// The longest host name, as in RFC 1035 section 2.3.4.
pub const MAX_NAME: usize = 253;

/// A host to dial, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A name to be resolved where it is dialled, in lower case.
    Name(String),
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing stands where the host should.
    #[error("the host is missing")]
    NoHost,
    /// The host is neither an IP address nor a possible name.
    #[error("the host is neither an IP address nor a name")]
    BadHost,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address with a port is written [ADDRESS]:PORT")]
    Brackets,
}

impl Address {
    /// Reads `HOST[:PORT]`: IPv4, `[IPv6]:PORT`, a bare IPv6 address, or a name.
    ///
    /// # Errors
    /// What is wrong with the text, see [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or(AddressError::Brackets)?;
            let ip: IpAddr = inside
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| AddressError::BadHost)?
                .into();
            let port = match after {
                "" => DEFAULT_PORT,
                _ => parse_port(after.strip_prefix(':').ok_or(AddressError::Brackets)?)?,
            };
            return Ok(Self::from_ip(ip, port));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::from_ip(ip, DEFAULT_PORT));
        }
        let (host, port) = match text.split_once(':') {
            None => (text, DEFAULT_PORT),
            Some((_, port)) if port.contains(':') => return Err(AddressError::Brackets),
            Some((host, port)) => (host, parse_port(port)?),
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Self::from_ip(ip, port));
        }
        Ok(Self {
            host: Host::Name(valid_name(host).ok_or(AddressError::BadHost)?),
            port,
        })
    }

    /// Whether only an onion router knows the way: no resolver may ever be asked for it.
    pub fn is_onion(&self) -> bool {
        let name = match &self.host {
            Host::Ip(_) => return false,
            Host::Name(name) => name.trim_end_matches('.'),
        };
        name == "onion" || name.ends_with(".onion")
    }

    /// An address by number; IPv4 in IPv6 clothing is undressed.
    pub fn from_ip(ip: IpAddr, port: u16) -> Self {
        Self {
            host: Host::Ip(ip.to_canonical()),
            port,
        }
    }

    /// The IP address, where the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::from_ip(addr.ip(), addr.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
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

/// The name in lower case, if a resolver could take it: letters, digits, `-`, `_` and dots,
/// no empty label; a last label of digits alone would be a mistyped IPv4 address.
pub fn valid_name(text: &str) -> Option<String> {
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

    fn shown(text: &str) -> Result<String, AddressError> {
        Address::parse(text).map(|a| a.to_string())
    }

    #[test]
    fn every_form_of_the_contract_is_read() {
        assert_eq!(shown("192.0.2.7"), Ok("192.0.2.7:9000".into()));
        assert_eq!(shown("192.0.2.7:1"), Ok("192.0.2.7:1".into()));
        assert_eq!(shown("::1"), Ok("[::1]:9000".into()));
        assert_eq!(shown("[2001:db8::1]"), Ok("[2001:db8::1]:9000".into()));
        assert_eq!(shown("[2001:db8::1]:77"), Ok("[2001:db8::1]:77".into()));
        assert_eq!(shown("[::ffff:192.0.2.1]:77"), Ok("192.0.2.1:77".into()));
        assert_eq!(shown("Home.Example:80"), Ok("home.example:80".into()));
        assert_eq!(shown("abc.onion"), Ok("abc.onion:9000".into()));
    }

    #[test]
    fn a_mistake_is_named() {
        assert_eq!(shown(""), Err(AddressError::NoHost));
        assert_eq!(shown(":9000"), Err(AddressError::NoHost));
        assert_eq!(shown("a:0"), Err(AddressError::BadPort));
        assert_eq!(shown("a:+1"), Err(AddressError::BadPort));
        assert_eq!(shown("a:65536"), Err(AddressError::BadPort));
        assert_eq!(shown("a:"), Err(AddressError::BadPort));
        assert_eq!(shown("2001:db8::1:zz"), Err(AddressError::Brackets));
        assert_eq!(shown("[::1"), Err(AddressError::Brackets));
        assert_eq!(shown("a b"), Err(AddressError::BadHost));
        assert_eq!(shown("1.2.3.400"), Err(AddressError::BadHost));
        assert_eq!(shown("a..b"), Err(AddressError::BadHost));
    }
}
