//! Where tor can be controlled, as `--onion` names it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::proto::proxy::{decoded, escaped};

/// Why a text names no control port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TorControlError {
    /// None of the forms.
    #[error("expected HOST:PORT, a port, or the path of a socket that begins with /")]
    Place,
    /// Anybody on the way to another computer could read the password.
    #[error("the control port must be on this computer: HOST is 127.0.0.1, ::1 or localhost")]
    Elsewhere,
    /// There is no usable port.
    #[error("PORT is not a number from 1 to 65535")]
    Port,
    /// Something is wrong before the at sign.
    #[error(
        "expected :PASSWORD@HOST:PORT, with 1 to 255 bytes before the @; write other characters than \
         letters, digits and -._~ as %XX"
    )]
    Password,
}

/// One place at which a tor may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlace {
    /// A port of a loopback address.
    Port(SocketAddr),
    /// A port of `localhost`.
    Localhost(u16),
    /// A socket in the file system.
    Socket(PathBuf),
}

/// A program that can be controlled, with the password for it. Shown without the password.
pub struct TorControl {
    place: Option<ControlPlace>,
    password: Option<Zeroizing<Vec<u8>>>,
}

impl ControlPlace {
    /// Where tor usually listens: the socket of Debian's tor, the port in tor's manual, and the port
    /// of Tor Browser's tor.
    pub fn usual() -> Vec<Self> {
        let port = |port| Self::Port(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        vec![
            Self::Socket("/run/tor/control".into()),
            port(9051),
            port(9151),
        ]
    }

    fn parse(text: &str) -> Result<Self, TorControlError> {
        if text.starts_with('/') {
            return Ok(Self::Socket(text.into()));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let at = (Ipv4Addr::LOCALHOST, port(text)?);
            return Ok(Self::Port(at.into()));
        }
        // The end of an IPv6 address is no port.
        let (host, digits) = match text.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => (host, digits),
            _ => return Err(TorControlError::Place),
        };
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip: Option<IpAddr> = match bracketed {
            Some(host) => host.parse::<Ipv6Addr>().ok().map(Into::into),
            None => host.parse::<Ipv4Addr>().ok().map(Into::into),
        };
        match ip {
            Some(ip) if ip.is_loopback() => Ok(Self::Port((ip, port(digits)?).into())),
            None if host.eq_ignore_ascii_case("localhost") => Ok(Self::Localhost(port(digits)?)),
            None if host.is_empty() || host.contains([':', '/', '@']) => {
                Err(TorControlError::Place)
            }
            _ => Err(TorControlError::Elsewhere),
        }
    }
}

fn port(digits: &str) -> Result<u16, TorControlError> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port != 0);
    port.ok_or(TorControlError::Port)
}

impl fmt::Display for ControlPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(at) => write!(f, "{at}"),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl TorControl {
    /// Reads `[:PASSWORD@]PLACE`, where PLACE is `HOST:PORT`, a port, or a path. An empty text stands
    /// for the places of [`ControlPlace::usual`].
    ///
    /// # Errors
    /// See [`TorControlError`].
    pub fn parse(text: &str) -> Result<Self, TorControlError> {
        if text.is_empty() {
            return Ok(Self {
                place: None,
                password: None,
            });
        }
        let before = text.strip_prefix(':');
        let (password, place) = match before.and_then(|rest| rest.split_once('@')) {
            Some((password, place)) => {
                let password = decoded(password).ok_or(TorControlError::Password)?;
                (Some(password), place)
            }
            None => (None, text),
        };
        Ok(Self {
            place: Some(ControlPlace::parse(place)?),
            password,
        })
    }

    /// The places to try in turn.
    pub fn places(&self) -> Vec<ControlPlace> {
        match &self.place {
            Some(place) => vec![place.clone()],
            None => ControlPlace::usual(),
        }
    }

    /// Whether the user named the place.
    pub fn is_given(&self) -> bool {
        self.place.is_some()
    }

    /// The same program at this place only, where it was found.
    #[must_use]
    pub fn found_at(&self, place: ControlPlace) -> Self {
        Self {
            place: Some(place),
            password: self.password.clone(),
        }
    }

    /// The password that the user has for it.
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_ref().map(|password| password.as_slice())
    }

    /// The text from which [`Self::parse`] makes the same, with the password.
    pub fn text(&self) -> Zeroizing<String> {
        let place = self.place.as_ref().map(ControlPlace::to_string);
        let password = self.password.as_ref().map(|password| escaped(password));
        let password = password
            .as_ref()
            .map(|it| Zeroizing::new(format!(":{}@", **it)));
        let before = password.as_ref().map_or("", |text| text.as_str());
        Zeroizing::new(format!("{before}{}", place.unwrap_or_default()))
    }
}

/// Its place, without the password, as everywhere.
impl fmt::Debug for TorControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TorControl({:?})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str) -> TorControl {
        TorControl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn shown(text: &str) -> Vec<String> {
        let places = read(text).places();
        places.iter().map(ControlPlace::to_string).collect()
    }

    #[test]
    fn each_form_names_its_place() {
        for (text, place) in [
            ("9051", "127.0.0.1:9051"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("127.9.9.9:65535", "127.9.9.9:65535"),
            ("[::1]:9051", "[::1]:9051"),
            ("localhost:9051", "localhost:9051"),
            ("LOCALHOST:9051", "localhost:9051"),
            ("/run/tor/control", "/run/tor/control"),
            ("/run/a@b:1", "/run/a@b:1"),
            (":secret@9051", "127.0.0.1:9051"),
            (":secret@/run/a@b", "/run/a@b"),
        ] {
            assert_eq!(shown(text), [place], "{text}");
        }
        let usual = ["/run/tor/control", "127.0.0.1:9051", "127.0.0.1:9151"];
        assert_eq!(shown(""), usual);
        assert!(!read("").is_given() && read("1").is_given());
    }

    #[test]
    fn other_texts_are_refused() {
        use TorControlError::{Elsewhere, Password, Place, Port};
        for (text, why) in [
            ("x", Place),
            ("control.sock", Place),
            ("::1", Place),
            ("::1:9051", Place),
            ("[::1]", Place),
            (":9051", Place),
            ("192.0.2.1:9051", Elsewhere),
            ("[2001:db8::1]:9051", Elsewhere),
            ("tor.example:9051", Elsewhere),
            ("0.0.0.0:9051", Elsewhere),
            ("0", Port),
            ("65536", Port),
            ("127.0.0.1:", Port),
            ("127.0.0.1:+1", Port),
            ("localhost:0", Port),
            (":@9051", Password),
            (":a%2@9051", Password),
            (":%zz@9051", Password),
            ("a:b@9051", Elsewhere),
        ] {
            assert_eq!(TorControl::parse(text).err(), Some(why), "{text}");
        }
    }

    #[test]
    fn text_is_read_back_with_its_password() {
        for text in ["", "127.0.0.1:1", ":a%40%3A%00%FF@/x", ":b@localhost:9"] {
            let control = read(text);
            let again = read(&control.text());
            assert_eq!(again.text(), control.text());
            assert_eq!(again.password(), control.password());
            assert_eq!(again.places(), control.places());
        }
        assert_eq!(read(":a%40%00@1").password(), Some(&b"a@\0"[..]));
        let found = read(":a@1").found_at(ControlPlace::Localhost(2));
        assert_eq!(found.text().as_str(), ":a@localhost:2");
        assert_eq!(
            format!("{found:?}"),
            "TorControl(Some(Localhost(2)))",
            "the password is not shown"
        );
    }
}
