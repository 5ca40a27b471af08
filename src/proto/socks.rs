//! The client's side of SOCKS5: the choice of a method and CONNECT (RFC 1928), and a user name with
//! a password (RFC 1929). Bytes come in and go out; the caller has the connection.

use std::net::IpAddr;

use thiserror::Error;
use zeroize::Zeroizing;

use super::proxy::Credentials;
use super::{Address, Host};

const VERSION: u8 = 5;
/// The version of RFC 1929.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Methods.
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NONE_ACCEPTED: u8 = 0xff;
/// Kinds of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why there is no connection through the proxy. Each is a line for the user, who knows the address
/// that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SocksError {
    /// Another protocol.
    #[error("the program at the proxy's address does not speak SOCKS5")]
    NotSocks,
    /// It takes none of the methods that were offered.
    #[error("the proxy wants a user name and a password: --proxy socks5://USER:PASS@HOST:PORT")]
    WantsLogin,
    /// The same, though credentials were offered.
    #[error("the proxy accepts neither a user name with a password nor a login without them")]
    WantsOther,
    /// The credentials are wrong.
    #[error("the proxy refused the user name or the password")]
    LoginRefused,
    /// Code 1.
    #[error("the proxy could not connect, and does not say why")]
    General,
    /// Code 2.
    #[error("the proxy's rules do not allow this address")]
    NotAllowed,
    /// Code 3.
    #[error("the proxy has no route to that network")]
    NetworkUnreachable,
    /// Code 4.
    #[error("the proxy cannot reach this host, or knows no host of this name")]
    HostUnreachable,
    /// Code 5.
    #[error("connection refused: nothing listens there (so the proxy says)")]
    Refused,
    /// Code 6.
    #[error("the proxy got no answer from this host in time")]
    TimedOut,
    /// Code 7.
    #[error("the proxy does not make connections for anybody")]
    NoConnect,
    /// Code 8.
    #[error("the proxy cannot dial this kind of address")]
    NoSuchKind,
    /// Any other code.
    #[error("the proxy failed with the code {0:#04x}, which RFC 1928 does not have")]
    Unknown(u8),
    /// The address cannot be written in a request.
    #[error("no proxy can dial a link-local address")]
    LinkLocal,
}

impl SocksError {
    fn of(code: u8) -> Self {
        match code {
            1 => Self::General,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::Refused,
            6 => Self::TimedOut,
            7 => Self::NoConnect,
            8 => Self::NoSuchKind,
            code => Self::Unknown(code),
        }
    }
}

/// What the proxy says next.
#[derive(Clone, Copy)]
enum Stage {
    /// Its version, and the method that it has chosen.
    Method,
    /// The version, and whether the credentials are right.
    Login,
    /// Its version, and whether there is a connection.
    Reply,
    /// A byte without meaning, and the kind and first byte of an address.
    Bound,
    /// This much of the address, and a port.
    Rest(usize),
    Over,
}

/// A connection through a proxy that is being made.
pub struct Negotiation<'a> {
    request: Vec<u8>,
    credentials: Option<&'a Credentials>,
    stage: Stage,
}

impl<'a> Negotiation<'a> {
    /// Begins to have this address dialled. Returns the first bytes to send. With credentials the
    /// proxy may choose whether it wants them.
    ///
    /// # Errors
    /// [`SocksError::LinkLocal`].
    pub fn start(
        address: &Address,
        credentials: Option<&'a Credentials>,
    ) -> Result<(Self, Vec<u8>), SocksError> {
        let request = request(address)?;
        let hello = match credentials {
            None => vec![VERSION, 1, NO_LOGIN],
            Some(_) => vec![VERSION, 2, NO_LOGIN, LOGIN],
        };
        let stage = Stage::Method;
        let this = Self {
            request,
            credentials,
            stage,
        };
        Ok((this, hello))
    }

    /// How many bytes the proxy sends next; 0 once there is a connection. What follows these bytes
    /// may already be from the other end of it, so no more must be read.
    pub fn wants(&self) -> usize {
        match self.stage {
            Stage::Method | Stage::Login | Stage::Reply => 2,
            Stage::Bound => 3,
            Stage::Rest(length) => length,
            Stage::Over => 0,
        }
    }

    /// Takes exactly the bytes that [`Self::wants`] named, and returns what to send next, which may
    /// be nothing.
    ///
    /// # Errors
    /// See [`SocksError`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, SocksError> {
        let next = match (self.stage, bytes) {
            (Stage::Method, [VERSION, NO_LOGIN]) => self.ask(),
            (Stage::Method, [VERSION, LOGIN]) => {
                let credentials = self.credentials.ok_or(SocksError::NotSocks)?;
                self.stage = Stage::Login;
                login(credentials)
            }
            (Stage::Method, [VERSION, NONE_ACCEPTED]) => {
                return Err(match self.credentials {
                    None => SocksError::WantsLogin,
                    Some(_) => SocksError::WantsOther,
                });
            }
            (Stage::Login, [_, 0]) => self.ask(),
            (Stage::Login, [_, _]) => return Err(SocksError::LoginRefused),
            (Stage::Reply, [VERSION, 0]) => self.go_on(Stage::Bound),
            (Stage::Reply, [VERSION, code]) => return Err(SocksError::of(*code)),
            (Stage::Bound, [_, IPV4, _]) => self.go_on(Stage::Rest(3 + 2)),
            (Stage::Bound, [_, IPV6, _]) => self.go_on(Stage::Rest(15 + 2)),
            (Stage::Bound, [_, NAME, length]) => self.go_on(Stage::Rest(usize::from(*length) + 2)),
            (Stage::Rest(_), _) => self.go_on(Stage::Over),
            _ => return Err(SocksError::NotSocks),
        };
        Ok(next)
    }

    fn ask(&mut self) -> Zeroizing<Vec<u8>> {
        self.stage = Stage::Reply;
        Zeroizing::new(std::mem::take(&mut self.request))
    }

    fn go_on(&mut self, stage: Stage) -> Zeroizing<Vec<u8>> {
        self.stage = stage;
        Zeroizing::default()
    }
}

fn request(address: &Address) -> Result<Vec<u8>, SocksError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match &address.host {
        Host::Ip(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend(ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend(ip.octets());
        }
        Host::Name(name) => {
            let length = u8::try_from(name.len()).map_err(|_| SocksError::NoSuchKind)?;
            request.extend([NAME, length]);
            request.extend(name.as_bytes());
        }
        Host::LinkLocal(..) => return Err(SocksError::LinkLocal),
    }
    request.extend(address.port.to_be_bytes());
    Ok(request)
}

fn login(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let (user, password) = (credentials.user(), credentials.password());
    let mut login = Zeroizing::new(Vec::with_capacity(3 + user.len() + password.len()));
    login.push(LOGIN_VERSION);
    for part in [user, password] {
        // Credentials have 255 bytes at most.
        login.push(part.len() as u8);
        login.extend(part);
    }
    login
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Proxy;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    /// Plays the proxy's answers, each of the length that is wanted. Returns everything that was
    /// sent.
    fn talk(
        address: &str,
        credentials: Option<&Credentials>,
        answers: &[&[u8]],
    ) -> Result<Vec<Vec<u8>>, SocksError> {
        let (mut socks, hello) = Negotiation::start(&parsed(address), credentials)?;
        let mut sent = vec![hello];
        for answer in answers {
            assert_eq!(answer.len(), socks.wants(), "{answer:?}");
            let next = socks.take(answer)?;
            sent.extend((!next.is_empty()).then(|| next.to_vec()));
        }
        assert_eq!(socks.wants(), 0, "it is over");
        Ok(sent)
    }

    const BOUND: [&[u8]; 3] = [&[5, 0], &[0, 1, 0], &[0, 0, 0, 0, 0]];

    #[test]
    fn each_kind_of_address_has_its_bytes() {
        let v4 = &[5, 1, 0, 1, 192, 0, 2, 7, 0x23, 0x28][..];
        let v6 = &[
            5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 80,
        ][..];
        let name = b"\x05\x01\x00\x03\x0bexample.org\x00\x50";
        let onion = b"\x05\x01\x00\x03\x08ab.onion\x00\x01";
        for (address, request) in [
            ("192.0.2.7:9000", v4),
            ("[::ffff:192.0.2.7]:9000", v4),
            ("[2001:db8::9]:80", v6),
            ("example.org:80", name),
            ("ab.onion:1", onion),
        ] {
            let answers = [&[&[5, 0][..]][..], &BOUND].concat();
            let sent = talk(address, None, &answers).unwrap();
            assert_eq!(sent, [&[5, 1, 0][..], request], "{address}");
        }
    }

    #[test]
    fn credentials_are_sent_if_the_proxy_wants_them() {
        let proxy = Proxy::parse("socks5://me:word@127.0.0.1:1").unwrap();
        let answers = [&[&[5, 2][..], &[1, 0]][..], &BOUND].concat();
        let sent = talk("1.2.3.4:5", proxy.credentials(), &answers).unwrap();
        assert_eq!(sent[0], [5, 2, 0, 2]);
        assert_eq!(sent[1], b"\x01\x02me\x04word");
        assert_eq!(sent[2][..4], [5, 1, 0, 1]);
        let answers = [&[&[5, 0][..]][..], &BOUND].concat();
        let sent = talk("1.2.3.4:5", proxy.credentials(), &answers).unwrap();
        assert_eq!(sent.len(), 2, "it wants none");
        let refused = talk("1.2.3.4:5", proxy.credentials(), &[&[5, 2], &[1, 1]]);
        assert_eq!(refused, Err(SocksError::LoginRefused));
        let others = talk("1.2.3.4:5", proxy.credentials(), &[&[5, 0xff]]);
        assert_eq!(others, Err(SocksError::WantsOther));
        let wanted = talk("1.2.3.4:5", None, &[&[5, 0xff]]);
        assert_eq!(wanted, Err(SocksError::WantsLogin));
    }

    #[test]
    fn random_credentials_differ() {
        use rand_chacha::ChaCha20Rng;
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let [one, other] = [(); 2].map(|()| Credentials::random(&mut rng));
        assert_eq!((one.user().len(), one.password().len()), (32, 32));
        assert!(one.user() != other.user() && one.user() != one.password());
    }

    #[test]
    fn an_answer_of_any_kind_is_read_to_its_end() {
        let name = [&[7; 200][..], &[0, 1]].concat();
        let kinds: [[&[u8]; 3]; 3] = [
            [&[5, 0], &[0, 1, 9], &[9, 9, 9, 0, 1]],
            [&[5, 0], &[0, 4, 9], &[9; 17]],
            [&[5, 0], &[0, 3, 200], &name],
        ];
        for kind in kinds {
            talk("1.2.3.4:5", None, &[&[&[5, 0][..]][..], &kind].concat()).unwrap();
        }
    }

    #[test]
    fn each_code_has_its_line() {
        let mut lines = std::collections::BTreeSet::new();
        for code in 1..=9 {
            let error = talk("1.2.3.4:5", None, &[&[5, 0], &[5, code]]).unwrap_err();
            assert!(lines.insert(error.to_string()), "{error}");
        }
        assert!(lines.iter().any(|line| line.contains("0x09")), "{lines:?}");
    }

    #[test]
    fn garbage_is_no_socks() {
        for answers in [
            &[&b"HT"[..]][..],
            &[&[4, 0]],
            &[&[5, 1]],
            // A method that was not offered.
            &[&[5, 2]],
            &[&[5, 0], &[4, 0]],
            &[&[5, 0], &[5, 0], &[0, 2, 0]],
        ] {
            let answered = talk("1.2.3.4:5", None, answers);
            assert_eq!(answered, Err(SocksError::NotSocks), "{answers:?}");
        }
    }

    #[test]
    fn link_local_addresses_stay_here() {
        let zone = |_: &str| std::num::NonZeroU32::new(1);
        let address = Address::parse_with("[fe80::1%eth0]:1", zone).unwrap();
        let error = Negotiation::start(&address, None).err();
        assert_eq!(error, Some(SocksError::LinkLocal));
    }
}
