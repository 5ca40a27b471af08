//! The lines on a control connection, from the authentication to the onion service.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::error::TorError;
use super::quoted::unquote;
use super::reply::Reply;
use super::safe_cookie::SafeCookie;
use crate::proto::{Address, DEFAULT_PORT, Host};
use crate::secret::Secret;

/// The length of a service's id, version 3 (`rend-spec-v3`, section 6): base32 of a public key, a
/// checksum and the version.
const ID: usize = 56;

/// The name of an onion service before `.onion`: 56 characters of base32, version 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnionId(String);

impl OnionId {
    fn parse(text: &str) -> Option<Self> {
        let is_base32 = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        // The last five bits are those of the version, 3.
        let is_id = text.len() == ID && text.bytes().all(is_base32) && text.ends_with('d');
        is_id.then(|| Self(text.to_owned()))
    }

    /// The address at which others dial the service.
    pub fn address(&self) -> Address {
        Address {
            host: Host::Name(format!("{self}.onion")),
            port: DEFAULT_PORT,
        }
    }
}

impl fmt::Display for OnionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an exchange has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Tor's SOCKS port.
    pub socks: SocketAddr,
    /// The service, if one was to be created.
    pub service: Option<OnionId>,
}

/// What to do next.
pub enum Step {
    /// Send these bytes, and give the reply to [`Exchange::take`].
    Send(Zeroizing<Vec<u8>>),
    /// Read this file of 32 bytes, and give its content to [`Exchange::cookie`].
    ReadCookie(String),
    /// The exchange is over. A service lasts as long as its connection.
    Over(Outcome),
}

/// What tor's next reply is about.
enum Stage {
    /// The methods of authentication.
    Methods,
    /// No reply: the content of the cookie file.
    Cookie,
    /// Tor's proof.
    Challenge(Secret<32>),
    /// This end's password or proof.
    Authentication { by_password: bool },
    /// Its SOCKS ports.
    Socks,
    /// The service.
    Service(SocketAddr),
    /// Nothing.
    Over,
}

/// An exchange on a new control connection: authentication by SAFECOOKIE or by a password, tor's
/// SOCKS port, and an onion service whose key only tor has.
pub struct Exchange<'a> {
    stage: Stage,
    password: Option<&'a [u8]>,
    nonce: [u8; 32],
    /// The port on this computer to which the service leads.
    target: Option<u16>,
}

impl<'a> Exchange<'a> {
    /// Begins, and returns the first bytes to send. With a `password` there is no other way to
    /// authenticate. `nonce` is random. `target` is the local port of the service; without one there
    /// will be no service.
    pub fn start(
        password: Option<&'a [u8]>,
        nonce: [u8; 32],
        target: Option<u16>,
    ) -> (Self, Vec<u8>) {
        let this = Self {
            stage: Stage::Methods,
            password,
            nonce,
            target,
        };
        (this, b"PROTOCOLINFO 1\r\n".to_vec())
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// See [`TorError`].
    pub fn take(&mut self, reply: &Reply) -> Result<Step, TorError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Methods => self.choose(reply),
            Stage::Challenge(cookie) => self.prove(&cookie, reply),
            Stage::Authentication { .. } if reply.code == Reply::OK => {
                Ok(self.send(Stage::Socks, "GETINFO net/listeners/socks"))
            }
            Stage::Authentication { by_password: true } => Err(TorError::PasswordRefused),
            Stage::Authentication { by_password: false } => Err(TorError::CookieRefused),
            Stage::Socks => self.create(reply),
            Stage::Service(socks) => service(socks, reply),
            // Nothing was asked.
            Stage::Cookie | Stage::Over => Err(TorError::NotTor),
        }
    }

    /// Takes the content of the cookie file.
    pub fn cookie(&mut self, cookie: Secret<32>) -> Step {
        let line = format!("AUTHCHALLENGE SAFECOOKIE {}", *hex(&self.nonce));
        self.send(Stage::Challenge(cookie), &line)
    }

    /// A line whose reply belongs to this stage.
    fn send(&mut self, stage: Stage, line: &str) -> Step {
        self.stage = stage;
        // Exactly the size that is needed, because growing would leave copies in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(line.len() + 2));
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Step::Send(bytes)
    }

    fn choose(&mut self, reply: &Reply) -> Result<Step, TorError> {
        if reply.code != Reply::OK || reply.after("PROTOCOLINFO 1").is_none() {
            return Err(TorError::NotTor);
        }
        let auth = reply.after("AUTH METHODS=").ok_or(TorError::NotTor)?;
        let (methods, rest) = auth.split_once(' ').unwrap_or((auth, ""));
        let has = |method: &str| methods.split(',').any(|it| it == method);
        match self.password {
            Some(password) if has("HASHEDPASSWORD") => {
                let line = Zeroizing::new(format!("AUTHENTICATE {}", *hex(password)));
                Ok(self.send(Stage::Authentication { by_password: true }, &line))
            }
            Some(_) => Err(TorError::HasNoPassword),
            None if has("SAFECOOKIE") => {
                let quoted = rest.split_once("COOKIEFILE=").map(|(_, quoted)| quoted);
                let path = quoted.and_then(unquote).map(|(path, _)| path);
                let path = String::from_utf8(path.ok_or(TorError::NotTor)?).ok();
                // An error line may show it, and nothing has proven yet that this is tor.
                let path = path.filter(|path| path.chars().all(is_printable));
                self.stage = Stage::Cookie;
                Ok(Step::ReadCookie(path.ok_or(TorError::CookiePath)?))
            }
            None if has("HASHEDPASSWORD") => Err(TorError::WantsPassword),
            None if has("COOKIE") => Err(TorError::NoSafeCookie),
            None if has("NULL") => Err(TorError::Open),
            None => Err(TorError::NotTor),
        }
    }

    fn prove(&mut self, cookie: &Secret<32>, reply: &Reply) -> Result<Step, TorError> {
        let part = |name: &str| {
            let parts = reply.after("AUTHCHALLENGE ")?.split(' ');
            let mut values = parts.filter_map(|part| part.strip_prefix(name));
            bytes(values.next()?)
        };
        let proof = part("SERVERHASH=").filter(|_| reply.code == Reply::OK);
        let (proof, nonce) = proof.zip(part("SERVERNONCE=")).ok_or(TorError::NotTor)?;
        let challenge = SafeCookie {
            cookie,
            own_nonce: &self.nonce,
            tor_nonce: &nonce,
        };
        if !challenge.proves_tor(&proof) {
            return Err(TorError::NotProven);
        }
        let line = format!("AUTHENTICATE {}", *hex(&challenge.own_proof()));
        Ok(self.send(Stage::Authentication { by_password: false }, &line))
    }

    fn create(&mut self, reply: &Reply) -> Result<Step, TorError> {
        let listeners = reply.after("net/listeners/socks=");
        let listeners = listeners.filter(|_| reply.code == Reply::OK);
        let socks = on_loopback(listeners.ok_or(TorError::NotTor)?).ok_or(TorError::NoSocks)?;
        let Some(target) = self.target else {
            return Ok(Step::Over(Outcome {
                socks,
                service: None,
            }));
        };
        let line = format!(
            "ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port={DEFAULT_PORT},127.0.0.1:{target}"
        );
        Ok(self.send(Stage::Service(socks), &line))
    }
}

fn service(socks: SocketAddr, reply: &Reply) -> Result<Step, TorError> {
    if reply.code != Reply::OK {
        return Err(TorError::NoService(reply.code));
    }
    let id = reply.after("ServiceID=").and_then(OnionId::parse);
    Ok(Step::Over(Outcome {
        socks,
        service: Some(id.ok_or(TorError::InvalidService)?),
    }))
}

/// Whether a terminal shows this character and does nothing else.
fn is_printable(c: char) -> bool {
    matches!(c, '\\' | '\'' | '"') || c.escape_debug().len() == 1
}

/// The line that ends a service.
pub fn withdrawal(id: &OnionId) -> Vec<u8> {
    format!("DEL_ONION {id}\r\n").into_bytes()
}

/// The first of these listeners that only this computer reaches, and that is no socket in the file
/// system.
fn on_loopback(listeners: &str) -> Option<SocketAddr> {
    let mut rest = listeners.trim_start();
    while !rest.is_empty() {
        let (listener, after) = unquote(rest)?;
        let listener = std::str::from_utf8(&listener).ok();
        let addr = listener.and_then(|it| it.parse::<SocketAddr>().ok());
        if let Some(addr) = addr.filter(|addr| addr.ip().is_loopback() && addr.port() != 0) {
            return Some(addr);
        }
        rest = after.trim_start();
    }
    None
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        // A string takes everything.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// 32 bytes in hexadecimal digits.
fn bytes(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::reply::Replies;
    use super::*;

    const NONCE: [u8; 32] = [2; 32];
    const SERVICE: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwd";
    const SAFE: &str = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE,HASHEDPASSWORD \
                        COOKIEFILE=\"/run/tor/control.authcookie\"\r\n250-VERSION \
                        Tor=\"0.4.9.1\"\r\n250 OK\r\n";
    const SOCKS: &str = "250-net/listeners/socks=\"unix:/run/tor/socks\" \"127.0.0.1:9050\"\r\n\
                         250 OK\r\n";
    const OK: &str = "250 OK\r\n";

    fn methods(methods: &str) -> String {
        format!("250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods}\r\n250 OK\r\n")
    }

    fn cookie() -> Secret<32> {
        Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1))
    }

    /// Tor's answer to the challenge, with this first digit of the proof in place of its own.
    fn challenged(first: &str) -> String {
        // As in the test of the proofs, of another implementation.
        let proof = "1830d2de6e061e60adfa2c0c2a9257b7126e51b074f39bd4519d89229df08827";
        let first = if first.is_empty() { &proof[..1] } else { first };
        let nonce = "03".repeat(32);
        let rest = &proof[1..];
        format!("250 AUTHCHALLENGE SERVERHASH={first}{rest} SERVERNONCE={nonce}\r\n")
    }

    /// Plays tor's answers. Returns the lines that were sent, and how it ended.
    fn talk(
        password: Option<&[u8]>,
        target: Option<u16>,
        answers: &[&str],
    ) -> (Vec<String>, Result<Option<Outcome>, TorError>) {
        let (mut exchange, hello) = Exchange::start(password, NONCE, target);
        let mut sent = vec![String::from_utf8(hello).unwrap()];
        for answer in answers {
            let reply = Replies::default().take(&mut answer.as_bytes());
            let step = reply.and_then(|reply| exchange.take(&reply.unwrap()));
            let step = match step {
                Ok(Step::ReadCookie(path)) => {
                    sent.push(path);
                    exchange.cookie(cookie())
                }
                Ok(step) => step,
                Err(error) => return (sent, Err(error)),
            };
            match step {
                Step::Send(bytes) => sent.push(String::from_utf8(bytes.to_vec()).unwrap()),
                Step::ReadCookie(_) => panic!("a second time"),
                Step::Over(outcome) => return (sent, Ok(Some(outcome))),
            }
        }
        (sent, Ok(None))
    }

    #[test]
    fn exchange_by_cookie_has_these_bytes() {
        let created = format!("250-ServiceID={SERVICE}\r\n250 OK\r\n");
        let challenge = challenged("");
        let answers = [SAFE, &challenge, OK, SOCKS, &created];
        let (sent, outcome) = talk(None, Some(4321), &answers);
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.socks.to_string(), "127.0.0.1:9050");
        let service = outcome.service.unwrap();
        assert_eq!(
            service.address().to_string(),
            format!("{SERVICE}.onion:9000")
        );
        let expected = [
            "PROTOCOLINFO 1\r\n",
            "/run/tor/control.authcookie",
            &format!("AUTHCHALLENGE SAFECOOKIE {}\r\n", "02".repeat(32)),
            "AUTHENTICATE 8d81b806c8314911da68057896783b1f28f640a588c9a2cfe902d371806bbf1a\r\n",
            "GETINFO net/listeners/socks\r\n",
            "ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=9000,127.0.0.1:4321\r\n",
        ];
        assert_eq!(sent, expected);
        let end = withdrawal(&service);
        assert_eq!(end, format!("DEL_ONION {SERVICE}\r\n").into_bytes());
    }

    #[test]
    fn path_of_a_cookie_file_may_have_any_letters() {
        let offered = r#"SAFECOOKIE COOKIEFILE="C:\\Users\\Zo\303\253 \"x\" y\\cookie""#;
        let (sent, _) = talk(None, None, &[&methods(offered)]);
        assert_eq!(sent[1], "C:\\Users\\Zoë \"x\" y\\cookie");
    }

    #[test]
    fn exchange_by_password_reads_no_cookie() {
        let (sent, outcome) = talk(Some(b"a \"\n"), None, &[SAFE, OK, SOCKS]);
        assert_eq!(sent[1], "AUTHENTICATE 6120220a\r\n");
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.service, None, "none was wanted");
        let (_, refused) = talk(Some(b"a"), None, &[SAFE, "515 Bad\r\n"]);
        assert_eq!(refused, Err(TorError::PasswordRefused));
    }

    #[test]
    fn only_safe_ways_to_authenticate_are_taken() {
        for (offered, password, error) in [
            ("NULL", None, TorError::Open),
            ("COOKIE COOKIEFILE=\"/c\"", None, TorError::NoSafeCookie),
            ("HASHEDPASSWORD", None, TorError::WantsPassword),
            ("COOKIE,HASHEDPASSWORD", None, TorError::WantsPassword),
            ("NULL", Some(&b"a"[..]), TorError::HasNoPassword),
            (
                "SAFECOOKIE COOKIEFILE=\"/c\"",
                Some(&b"a"[..]),
                TorError::HasNoPassword,
            ),
            ("SAFECOOKIE", None, TorError::NotTor),
            ("SAFECOOKIE COOKIEFILE=/c", None, TorError::NotTor),
            ("SAFECOOKIE COOKIEFILE=\"/c", None, TorError::NotTor),
            (
                r#"SAFECOOKIE COOKIEFILE="/\377""#,
                None,
                TorError::CookiePath,
            ),
            (
                r#"SAFECOOKIE COOKIEFILE="/\033[2J""#,
                None,
                TorError::CookiePath,
            ),
            (
                r#"SAFECOOKIE COOKIEFILE="/a\nb""#,
                None,
                TorError::CookiePath,
            ),
            ("SAFECOOKIES", None, TorError::NotTor),
            ("", None, TorError::NotTor),
        ] {
            let (sent, refused) = talk(password, None, &[&methods(offered)]);
            assert_eq!(refused, Err(error), "{offered}");
            assert_eq!(sent.len(), 1, "{offered}: nothing is shown");
        }
    }

    #[test]
    fn tor_proves_itself_before_this_end_does() {
        for answer in [
            challenged("x"),
            challenged("0"),
            "250 AUTHCHALLENGE SERVERHASH= SERVERNONCE=\r\n".into(),
            "250 AUTHCHALLENGE\r\n".into(),
            "250 OK\r\n".into(),
            "513 no\r\n".into(),
        ] {
            let (sent, refused) = talk(None, None, &[SAFE, &answer]);
            let refused = refused.unwrap_err();
            let is_expected = matches!(refused, TorError::NotProven | TorError::NotTor);
            assert!(is_expected, "{answer}: {refused}");
            assert!(!sent.iter().any(|line| line.starts_with("AUTHENTICATE")));
        }
        let (_, refused) = talk(None, None, &[SAFE, &challenged(""), "515 Bad\r\n"]);
        assert_eq!(refused, Err(TorError::CookieRefused));
    }

    #[test]
    fn socks_port_must_be_on_loopback() {
        for (listeners, found) in [
            ("\"127.0.0.1:9050\"", Some("127.0.0.1:9050")),
            ("\"[::1]:9\" \"127.0.0.1:1\"", Some("[::1]:9")),
            (
                "\"unix:/s\" \"0.0.0.0:9050\" \"127.0.0.1:2\"",
                Some("127.0.0.1:2"),
            ),
            ("\"192.0.2.1:9050\"", None),
            ("\"0.0.0.0:9050\" \"[::]:9050\"", None),
            ("\"127.0.0.1:0\"", None),
            ("\"unix:\\\"/run/tor/socks\\\"\"", None),
            ("", None),
            ("127.0.0.1:9050", None),
        ] {
            let found = found.map(|addr| addr.parse().unwrap());
            assert_eq!(on_loopback(listeners), found, "{listeners}");
        }
        let none = "250-net/listeners/socks=\r\n250 OK\r\n";
        let (_, refused) = talk(Some(b"a"), None, &[SAFE, OK, none]);
        assert_eq!(refused, Err(TorError::NoSocks));
        let (_, refused) = talk(Some(b"a"), None, &[SAFE, OK, "552 no\r\n"]);
        assert_eq!(refused, Err(TorError::NotTor));
    }

    #[test]
    fn service_must_have_an_id_of_version_3() {
        let answers = |last: &str| {
            let (_, outcome) = talk(Some(b"a"), Some(1), &[SAFE, OK, SOCKS, last]);
            outcome
        };
        assert_eq!(answers("551 Failed\r\n"), Err(TorError::NoService(551)));
        let upper = SERVICE.to_uppercase();
        let of_v2 = "abcdefghijklmnop";
        let other = format!("{}e", &SERVICE[..55]);
        let name = format!("{}.onion", &SERVICE[..50]);
        for id in [&upper, of_v2, &other, &name, "", &SERVICE.replace('a', "1")] {
            let answer = format!("250-ServiceID={id}\r\n250 OK\r\n");
            assert_eq!(answers(&answer), Err(TorError::InvalidService), "{id}");
        }
        assert_eq!(answers(OK), Err(TorError::InvalidService));
    }

    #[test]
    fn reply_that_nobody_asked_for_is_garbage() {
        let (mut exchange, _) = Exchange::start(None, NONCE, None);
        let reply = |text: &str| Replies::default().take(&mut text.as_bytes());
        let step = exchange.take(&reply(SAFE).unwrap().unwrap());
        assert!(matches!(step, Ok(Step::ReadCookie(_))));
        let step = exchange.take(&reply(OK).unwrap().unwrap());
        assert_eq!(step.err(), Some(TorError::NotTor));
        let (_, refused) = talk(None, None, &["510 what\r\n"]);
        assert_eq!(refused, Err(TorError::NotTor));
    }
}
