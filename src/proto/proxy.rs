//! A SOCKS5 proxy, as its URL names it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

/// What is escaped in a URL's user and password.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Bytes of a random user name, and of a random password.
const RANDOM: usize = 16;

/// Why a text names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProxyUrlError {
    /// Another protocol, or none.
    #[error("expected socks5://HOST:PORT; sesame knows no other kind of proxy")]
    Scheme,
    /// A name would have to be resolved without the proxy.
    #[error("the proxy's HOST must be an IP address or localhost, in brackets if it is IPv6")]
    Host,
    /// There is no usable port.
    #[error("the proxy's PORT is missing, or not from 1 to 65535")]
    Port,
    /// There is a part behind the port.
    #[error("expected nothing after the proxy's port")]
    Rest,
    /// RFC 1929 has one byte for each length, and no empty ones.
    #[error(
        "expected USER:PASS before the @, each 1 to 255 bytes; write other characters than letters, \
         digits and -._~ as %XX"
    )]
    Credentials,
}

/// A proxy that speaks SOCKS5. Shown without its credentials.
pub struct Proxy {
    host: ProxyHost,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProxyHost {
    Ip(IpAddr),
    Localhost,
}

/// A user name and a password for a proxy, 1 to 255 bytes each (RFC 1929).
pub struct Credentials {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// Credentials that nobody has used. A proxy that takes any, as Tor does, then gives this
    /// connection a path of its own.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut text = || {
            let mut bytes = [0; RANDOM];
            rng.fill_bytes(&mut bytes);
            let digits = bytes
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes());
            Zeroizing::new(digits.collect())
        };
        Self {
            user: text(),
            password: text(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Some(Self {
            user: decoded(user)?,
            password: decoded(password)?,
        })
    }

    /// The user name.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

/// The 1 to 255 bytes for which a part of a URL stands.
pub(super) fn decoded(part: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(percent_decode_str(part).collect::<Vec<u8>>());
    // A per cent sign that begins no byte stands for itself in the library, and may be a slip of the
    // hand.
    let plain = part.bytes().filter(|byte| *byte == b'%').count();
    let is_whole = part.len() - bytes.len() == 2 * plain;
    (is_whole && (1..256).contains(&bytes.len())).then_some(bytes)
}

/// The part of a URL from which [`decoded`] makes these bytes.
pub(super) fn escaped(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(match std::str::from_utf8(bytes) {
        Ok(text) => utf8_percent_encode(text, ESCAPED).to_string(),
        Err(_) => bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
    })
}

impl Proxy {
    /// A proxy at this address, without a user.
    pub fn at(server: SocketAddr) -> Self {
        Self {
            host: ProxyHost::Ip(server.ip()),
            port: server.port(),
            credentials: None,
        }
    }

    /// Reads `socks5://[USER:PASS@]HOST:PORT`; `socks5h` means the same, since names are left to
    /// the proxy in any case.
    ///
    /// # Errors
    /// See [`ProxyUrlError`].
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::Scheme)?;
        if !["socks5", "socks5h"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(ProxyUrlError::Scheme);
        }
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((before, place)) => {
                let credentials = Credentials::parse(before).ok_or(ProxyUrlError::Credentials)?;
                (Some(credentials), place)
            }
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return Err(ProxyUrlError::Rest);
        }
        let bare = |host: &str| host.parse::<IpAddr>().is_ok() || host.starts_with('[');
        let (host, port) = match place.rsplit_once(':') {
            // The end of an IPv6 address is no port.
            Some((host, port)) if !place.ends_with(']') && !host.is_empty() => (host, port),
            _ if bare(place) || place.eq_ignore_ascii_case("localhost") => {
                return Err(ProxyUrlError::Port);
            }
            _ => return Err(ProxyUrlError::Host),
        };
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        }
        .map(ProxyHost::Ip)
        .or_else(|| {
            host.eq_ignore_ascii_case("localhost")
                .then_some(ProxyHost::Localhost)
        })
        .ok_or(ProxyUrlError::Host)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        Ok(Self {
            host,
            port: port.ok_or(ProxyUrlError::Port)?,
            credentials,
        })
    }

    /// Where it listens; the addresses are to be tried in turn.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let hosts = match self.host {
            ProxyHost::Ip(ip) => vec![ip],
            ProxyHost::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        let at = |host| SocketAddr::new(host, self.port);
        hosts.into_iter().map(at).collect()
    }

    /// The credentials that the user has for it.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Its URL, with the credentials.
    pub fn url(&self) -> Zeroizing<String> {
        let login = self.credentials.as_ref().map(|it| {
            let [user, password] = [&it.user, &it.password].map(|part| escaped(part));
            Zeroizing::new(format!("{}:{}@", *user, *password))
        });
        let login = login.as_ref().map_or("", |login| login.as_str());
        Zeroizing::new(format!("socks5://{login}{self}"))
    }
}

/// Its host and port.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            ProxyHost::Ip(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
            ProxyHost::Localhost => write!(f, "localhost:{}", self.port),
        }
    }
}

/// Without the credentials, as everywhere.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str) -> Proxy {
        Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[track_caller]
    fn is_refused(text: &str, why: ProxyUrlError) {
        assert_eq!(Proxy::parse(text).err(), Some(why), "{text}");
    }

    #[test]
    fn a_proxy_has_an_ip_address_or_is_local() {
        for (url, servers) in [
            ("socks5://127.0.0.1:9050", &["127.0.0.1:9050"][..]),
            ("SOCKS5h://10.0.0.1:1080/", &["10.0.0.1:1080"]),
            ("socks5://[2001:db8::1]:1", &["[2001:db8::1]:1"]),
            ("socks5://localhost:9050", &["127.0.0.1:9050", "[::1]:9050"]),
        ] {
            let servers: Vec<_> = servers.iter().map(|one| one.parse().unwrap()).collect();
            let proxy = read(url);
            assert_eq!(proxy.servers(), servers, "{url}");
            assert!(proxy.credentials().is_none());
        }
    }

    #[test]
    fn credentials_may_have_any_bytes_and_are_never_shown() {
        let long = "x".repeat(255);
        let many = format!("socks5://{long}:{long}@127.0.0.1:1");
        for (url, user, password) in [
            ("socks5://a:b@127.0.0.1:1", &b"a"[..], &b"b"[..]),
            ("socks5://a%3a:b:c@127.0.0.1:1", b"a:", b"b:c"),
            ("socks5://a@b:%40%FF@127.0.0.1:1", b"a@b", b"@\xff"),
            (&many, long.as_bytes(), long.as_bytes()),
        ] {
            let proxy = read(url);
            let found = proxy.credentials().unwrap();
            assert_eq!((found.user(), found.password()), (user, password));
            assert_eq!(
                format!("{proxy} {proxy:?}"),
                "127.0.0.1:1 Proxy(127.0.0.1:1)"
            );
            let again = read(&proxy.url());
            let again = again.credentials().unwrap();
            assert_eq!((again.user(), again.password()), (user, password));
        }
        let plain = read("socks5://localhost:7");
        assert_eq!(*plain.url(), "socks5://localhost:7");
    }

    #[test]
    fn a_slip_is_named() {
        for text in [
            "127.0.0.1:9050",
            "http://127.0.0.1:1",
            "socks4://a:1",
            "://",
            "",
        ] {
            is_refused(text, ProxyUrlError::Scheme);
        }
        for text in [
            "socks5://tor.example:9050",
            "socks5://:9050",
            "socks5://",
            "socks5://::1:9",
        ] {
            is_refused(text, ProxyUrlError::Host);
        }
        for port in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "127.0.0.1:",
            "127.0.0.1:0",
        ] {
            is_refused(&format!("socks5://{port}"), ProxyUrlError::Port);
        }
        is_refused("socks5://127.0.0.1:65536", ProxyUrlError::Port);
        is_refused("socks5://127.0.0.1:+1", ProxyUrlError::Port);
        is_refused("socks5://127.0.0.1:1/x", ProxyUrlError::Rest);
        let long = "x".repeat(256);
        for login in [
            "a",
            ":",
            "a:",
            ":b",
            "a:%",
            "a%2:b",
            "a:%zz",
            &format!("a:{long}"),
        ] {
            is_refused(
                &format!("socks5://{login}@127.0.0.1:1"),
                ProxyUrlError::Credentials,
            );
        }
    }
}
