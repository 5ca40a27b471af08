//! The answers of a proxy: they are read to the byte where its client's own bytes begin, and mean
//! what RFC 1928 and RFC 1929 say.

use sesame::proto::socks::{Negotiation, SocksError};
use sesame::proto::{Address, Proxy};

use super::choices::Choices;

/// The longest part that is read at once: a name and a port.
const LONGEST: usize = 255 + 2;

/// How a conversation ends.
#[derive(Debug, PartialEq)]
enum End {
    /// The connection stands, after this many bytes of the proxy.
    Connected(usize),
    Failed(SocksError),
    /// More bytes are to come.
    Open,
}

/// Takes an address, whether there are credentials, and what the proxy sends.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    let address = match kind & 3 {
        0 => "192.0.2.7:9000".to_owned(),
        1 => "[2001:db8::9]:80".to_owned(),
        2 => "ab.onion:1".to_owned(),
        _ => format!("{}:65535", "x.".repeat(126) + "y"),
    };
    let address = Address::parse(&address).unwrap();
    let proxy = Proxy::parse("socks5://me:word@127.0.0.1:1").unwrap();
    let login = proxy.credentials().filter(|_| kind & 4 != 0);
    let answers = choices.rest();

    let (mut socks, hello) = Negotiation::start(&address, login).unwrap();
    let (mut sent, mut taken) = (hello, 0);
    let end = loop {
        let wants = socks.wants();
        assert!(wants <= LONGEST);
        if wants == 0 {
            break End::Connected(taken);
        }
        let Some(part) = answers.get(taken..taken + wants) else {
            break End::Open;
        };
        taken += wants;
        match socks.take(part) {
            Ok(next) => sent.extend_from_slice(&next),
            Err(error) => break End::Failed(error),
        }
    };
    let mut model = Model {
        answers,
        taken: 0,
        sent: Vec::new(),
    };
    let expected = model.talk(&address, login.is_some());
    assert_eq!(end, expected.unwrap_or_else(|end| end));
    assert_eq!(sent, model.sent);
}

/// A client that reads the answers in order.
struct Model<'a> {
    answers: &'a [u8],
    taken: usize,
    sent: Vec<u8>,
}

impl<'a> Model<'a> {
    fn read(&mut self, length: usize) -> Result<&'a [u8], End> {
        let part = self.answers.get(self.taken..self.taken + length);
        self.taken += length;
        part.ok_or(End::Open)
    }

    fn talk(&mut self, address: &Address, has_login: bool) -> Result<End, End> {
        let methods: &[u8] = if has_login { &[0, 2] } else { &[0] };
        self.sent.extend([5, methods.len() as u8]);
        self.sent.extend(methods);
        let not_socks = || Err(End::Failed(SocksError::NotSocks));
        match self.read(2)? {
            [5, 0] => {}
            [5, 2] if has_login => {
                self.sent.extend(b"\x01\x02me\x04word");
                if self.read(2)?[1] != 0 {
                    return Err(End::Failed(SocksError::LoginRefused));
                }
            }
            [5, 255] if has_login => return Err(End::Failed(SocksError::WantsOther)),
            [5, 255] => return Err(End::Failed(SocksError::WantsLogin)),
            _ => return not_socks(),
        }
        self.sent.extend([5, 1, 0]);
        match address.ip() {
            Some(std::net::IpAddr::V4(ip)) => {
                self.sent.push(1);
                self.sent.extend(ip.octets());
            }
            Some(std::net::IpAddr::V6(ip)) => {
                self.sent.push(4);
                self.sent.extend(ip.octets());
            }
            None => {
                let name = address.host.to_string();
                self.sent.extend([3, name.len() as u8]);
                self.sent.extend(name.bytes());
            }
        }
        self.sent.extend(address.port.to_be_bytes());
        match *self.read(2)? {
            [5, 0] => {}
            [5, code] => return Err(End::Failed(failure(code))),
            _ => return not_socks(),
        }
        // A byte without meaning, and an address, whose first byte may be a length.
        let length = match *self.read(3)? {
            [_, 1, _] => 3,
            [_, 4, _] => 15,
            [_, 3, length] => usize::from(length),
            _ => return not_socks(),
        };
        self.read(length + 2)?;
        Ok(End::Connected(self.taken))
    }
}

fn failure(code: u8) -> SocksError {
    match code {
        1 => SocksError::General,
        2 => SocksError::NotAllowed,
        3 => SocksError::NetworkUnreachable,
        4 => SocksError::HostUnreachable,
        5 => SocksError::Refused,
        6 => SocksError::TimedOut,
        7 => SocksError::NoConnect,
        8 => SocksError::NoSuchKind,
        code => SocksError::Unknown(code),
    }
}

/// Each kind of answer.
pub fn seeds() -> Vec<Vec<u8>> {
    let name = [&[0, 5, 0, 5, 0, 0, 3, 4][..], b"name\0\x09then"].concat();
    vec![
        vec![0, 5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        [&[1, 5, 0, 5, 0, 0, 4][..], &[9; 18]].concat(),
        name,
        vec![6, 5, 2, 1, 0, 5, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7],
        vec![6, 5, 2, 1, 1],
        vec![3, 5, 255],
        vec![7, 5, 255],
        vec![0, 5, 0, 5, 9],
        b"\x00HTTP/1.1 400".to_vec(),
    ]
}
