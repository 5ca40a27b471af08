//! The replies of tor: they are the same in whatever portions they come, and an exchange ends after a
//! few of them, sends whole lines only, and creates no service before tor has proven itself or has got
//! the password.

use hmac::{Hmac, KeyInit, Mac};
use sesame::proto::Address;
use sesame::proto::tor::{Exchange, Outcome, Replies, Reply, Step, TorError, withdrawal};
use sesame::secret::Secret;
use sha2::Sha256;

use super::choices::Choices;

const COOKIE: [u8; 32] = [1; 32];
const NONCE: [u8; 32] = [2; 32];
const PASSWORD: &[u8] = b"pass word";
/// The most bytes of a reply.
const LONGEST: usize = 16 * 1024;
/// The replies of a whole exchange.
const MOST_REPLIES: usize = 5;

/// Takes options, the size of the portions, and what tor sends.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let options = choices.byte();
    let portion = usize::from(choices.byte()).max(1);
    let sent = choices.rest();
    let (replies, error) = cut(sent, portion);
    let whole = cut(sent, sent.len().max(1));
    assert_eq!((&replies, &error), (&whole.0, &whole.1));
    for reply in &replies {
        is_right(reply);
    }
    talk(&replies, options);
}

/// The replies up to the first mistake.
fn cut(sent: &[u8], portion: usize) -> (Vec<Reply>, Option<TorError>) {
    let (mut replies, mut found) = (Replies::default(), Vec::new());
    for mut part in sent.chunks(portion) {
        loop {
            match replies.take(&mut part) {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(part.is_empty());
    }
    (found, None)
}

fn is_right(reply: &Reply) {
    assert!(reply.code <= 999 && !reply.lines.is_empty());
    let is_printable = |line: &String| line.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(reply.lines.iter().all(is_printable));
    let mut text = String::new();
    for (line, left) in reply.lines.iter().zip((0..reply.lines.len()).rev()) {
        let kind = if left == 0 { ' ' } else { '-' };
        text += &format!("{:03}{kind}{line}\r\n", reply.code);
    }
    assert!(text.len() <= LONGEST);
    assert_eq!(cut(text.as_bytes(), LONGEST), (vec![reply.clone()], None));
}

/// Tor's proof, or this end's.
fn proof(of_tor: bool, tor_nonce: &[u8; 32]) -> [u8; 32] {
    let key: &[u8] = match of_tor {
        true => b"Tor safe cookie authentication server-to-controller hash",
        false => b"Tor safe cookie authentication controller-to-server hash",
    };
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(&COOKIE);
    mac.update(&NONCE);
    mac.update(tor_nonce);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn talk(replies: &[Reply], options: u8) {
    let password = (options & 1 != 0).then_some(PASSWORD);
    let target = (options & 2 != 0).then_some(9000);
    // With this option tor knows its cookie.
    let is_tor = options & 4 != 0;
    let (mut exchange, begin) = Exchange::start(password, NONCE, target);
    assert_eq!(begin, b"PROTOCOLINFO 1\r\n");
    let mut sent: Vec<String> = Vec::new();
    for (reply, number) in replies.iter().zip(1..) {
        let mut reply = reply.clone();
        let asks_for_proof = sent
            .last()
            .is_some_and(|it| it.starts_with("AUTHCHALLENGE "));
        if asks_for_proof && is_tor {
            let nonce = [9; 32];
            reply.lines[0] = format!(
                "AUTHCHALLENGE SERVERHASH={} SERVERNONCE={}",
                hex(&proof(true, &nonce)),
                hex(&nonce)
            );
        }
        let mut step = match exchange.take(&reply) {
            Ok(step) => step,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                // It stays over.
                assert!(exchange.take(&reply).is_err());
                return;
            }
        };
        if let Step::ReadCookie(path) = &step {
            assert!(password.is_none());
            assert!(!path.contains(char::is_control), "{path:?}");
            let cookie = Secret::fill_with(|bytes| *bytes = COOKIE);
            step = exchange.cookie(cookie);
        }
        match step {
            Step::Send(bytes) => {
                let line = String::from_utf8(bytes.to_vec()).unwrap();
                let line = line.strip_suffix("\r\n").unwrap().to_owned();
                assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                may_send(&line, &sent, password.is_some(), is_tor);
                sent.push(line);
            }
            Step::ReadCookie(_) => panic!("it has read the cookie"),
            Step::Over(outcome) => {
                assert_eq!(number, sent.len() + 1);
                return ends(&outcome, target);
            }
        }
        assert!(number < MOST_REPLIES, "{sent:?}");
    }
}

/// Checks that a line is the one that follows those before.
fn may_send(line: &str, before: &[String], by_password: bool, is_tor: bool) {
    let is_authenticated = before.iter().any(|line| line.starts_with("AUTHENTICATE "));
    if line.starts_with("GETINFO ") || line.starts_with("ADD_ONION ") {
        return assert!(is_authenticated);
    }
    if by_password {
        return assert_eq!(line, format!("AUTHENTICATE {}", hex(PASSWORD)));
    }
    if before.is_empty() {
        return assert_eq!(line, format!("AUTHCHALLENGE SAFECOOKIE {}", hex(&NONCE)));
    }
    // A program that does not know the cookie gets no proof.
    assert!(is_tor);
    assert_eq!(
        line,
        format!("AUTHENTICATE {}", hex(&proof(false, &[9; 32])))
    );
}

fn ends(outcome: &Outcome, target: Option<u16>) {
    assert!(outcome.socks.ip().is_loopback() && outcome.socks.port() > 0);
    assert_eq!(outcome.service.is_some(), target.is_some());
    if let Some(service) = &outcome.service {
        let address = service.address();
        assert!(address.is_onion());
        assert_eq!(Address::parse(&address.to_string()), Ok(address));
        assert_eq!(
            withdrawal(service),
            format!("DEL_ONION {service}\r\n").as_bytes()
        );
    }
}

/// Whole exchanges of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let begin = |methods: &str| {
        format!(
            "250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods} COOKIEFILE=\"/run/tor/co\\\"o\\303\\244kie\"\r\n\
             250-VERSION Tor=\"0.4.8.10\"\r\n250 OK\r\n"
        )
    };
    let id = "a".repeat(55) + "d";
    let end = format!(
        "250 OK\r\n250-net/listeners/socks=\"unix:/x\" \"127.0.0.1:9050\"\r\n250 OK\r\n\
         250-ServiceID={id}\r\n250 OK\r\n"
    );
    let challenge = format!(
        "250 AUTHCHALLENGE SERVERHASH={} SERVERNONCE={}\r\n",
        "0".repeat(64),
        "F".repeat(64)
    );
    let by_cookie = begin("COOKIE,SAFECOOKIE") + &challenge + &end;
    let by_password = begin("HASHEDPASSWORD") + &end;
    vec![
        [&[6, 30][..], by_cookie.as_bytes()].concat(),
        [&[4, 255][..], by_cookie.as_bytes()].concat(),
        [&[2, 1][..], by_cookie.as_bytes()].concat(),
        [&[3, 100][..], by_password.as_bytes()].concat(),
        [&[0, 10][..], begin("NULL").as_bytes()].concat(),
        b"\x00\x03515 Bad\r\n250-x\n".to_vec(),
    ]
}
