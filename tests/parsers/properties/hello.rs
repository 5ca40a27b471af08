//! HELLO: the decoder takes what a straightforward reading of PROTOCOL.md, section 8, takes, and
//! finds the same in it.

use sesame::proto::cell::PAYLOAD;
use sesame::proto::frame::{Frame, Hello, Listening, Payload, decode};
use sesame::proto::{Address, DisplayName, Host};

/// Takes the content of a HELLO.
pub fn check(bytes: &[u8]) {
    let body = &bytes[..bytes.len().min(PAYLOAD - 3)];
    let mut frame = vec![1];
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend(body);
    let decoded = decode(&mut &frame[..]);
    let read = Fields(body).read();
    let Ok(Some(Frame::Hello(hello))) = decoded else {
        assert!(decoded.is_err() && read.is_none(), "{decoded:?} {read:?}");
        return;
    };
    let read = read.unwrap();
    assert_eq!(
        (hello.interval_ms, hello.link_seq, hello.oldest_live),
        (read.interval_ms, read.link_seq, read.oldest_live)
    );
    assert_eq!(
        (hello.session_id, hello.heard_session_id, hello.heard),
        (read.session_id, read.heard_session_id, read.heard)
    );
    assert_eq!(hello.listening, read.listening);
    assert_eq!(hello.name, read.name);
    let circuits = hello
        .circuits
        .map(|field| (field.carries, field.is_relayed));
    assert_eq!(circuits, read.circuits);
    assert_eq!(hello.local, read.local);
    assert_eq!(hello.epochs, read.epochs);
    comes_back(&hello);
}

fn comes_back(hello: &Hello) {
    let mut payload = Payload::default();
    assert!(payload.hello(hello), "it fits into an empty payload");
    let decoded = decode(&mut payload.as_slice());
    assert_eq!(decoded, Ok(Some(Frame::Hello(hello.clone()))));
}

/// What a HELLO says.
#[derive(Debug)]
struct Read {
    interval_ms: u32,
    link_seq: u32,
    oldest_live: u32,
    session_id: u64,
    heard_session_id: u64,
    heard: u64,
    listening: Listening,
    name: Option<DisplayName>,
    circuits: Option<(bool, bool)>,
    local: bool,
    epochs: bool,
}

/// The fields that were not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn read(mut self) -> Option<Read> {
        let version = self.number(2)?;
        let features = self.number(4)?;
        let interval_ms = self.number(4)? as u32;
        let (link_seq, oldest_live) = (self.number(4)? as u32, self.number(4)? as u32);
        let (session_id, heard_session_id) = (self.number(8)?, self.number(8)?);
        let heard = self.number(8)?;
        let listening = match self.number(1)? {
            0 => Listening::No,
            1 => Listening::Port(self.port()?),
            2 => Listening::At(self.address()?),
            _ => return None,
        };
        let length = self.number(1)? as usize;
        let name = self.take(length)?;
        let name = std::str::from_utf8(name).ok().map(DisplayName::from_wire);
        let circuits = match features & 1 {
            0 => None,
            _ => match self.number(1)? {
                bits @ 0..=3 => Some((bits & 1 != 0, bits & 2 != 0)),
                _ => return None,
            },
        };
        let is_right = version == 1
            && (interval_ms == 0 || (10..=10_000).contains(&interval_ms))
            && oldest_live >= 1
            && oldest_live <= link_seq
            && session_id != 0
            && length <= 128;
        is_right.then_some(Read {
            interval_ms,
            link_seq,
            oldest_live,
            session_id,
            heard_session_id,
            heard,
            listening,
            name: name.and_then(Result::ok),
            circuits,
            local: features & 2 != 0,
            epochs: features & 4 != 0,
        })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.0.get(..length)?;
        self.0 = &self.0[length..];
        Some(taken)
    }

    fn number(&mut self, length: usize) -> Option<u64> {
        let bytes = self.take(length)?;
        Some(
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    }

    fn port(&mut self) -> Option<u16> {
        let port = self.number(2)? as u16;
        (port != 0).then_some(port)
    }

    fn address(&mut self) -> Option<Address> {
        let host = match self.number(1)? {
            4 => Host::Ip((self.number(4)? as u32).to_be_bytes().into()),
            6 => {
                let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
                match octets {
                    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                        Host::Ip([a, b, c, d].into())
                    }
                    octets => Host::Ip(octets.into()),
                }
            }
            1 => {
                let length = self.number(1)? as usize;
                let name = std::str::from_utf8(self.take(length)?).ok()?;
                Host::Name(is_host_name(name).then(|| name.to_owned())?)
            }
            _ => return None,
        };
        let port = self.port()?;
        Some(Address { host, port })
    }
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<_> = name.split('.').collect();
    let is_number = |label: &&str| label.chars().all(|c| c.is_ascii_digit());
    name.len() <= 253
        && labels.iter().all(|label| is_label(label))
        && !labels.last().is_some_and(is_number)
}

/// One with each way of listening, and one that has more at its end.
pub fn seeds() -> Vec<Vec<u8>> {
    let begin = |features: u32| {
        let mut body = vec![0, 1];
        body.extend(features.to_be_bytes());
        body.extend(100u32.to_be_bytes());
        body.extend(3u32.to_be_bytes());
        body.extend(2u32.to_be_bytes());
        body.extend(0x0102_0304_0506_0708u64.to_be_bytes());
        body.extend([0; 16]);
        body
    };
    let with = |features, end: &[u8]| [&begin(features), end].concat();
    vec![
        with(0, b"\0\x05Alice"),
        with(1, b"\x01\x23\x28\x04Zo\xc3\xab\x01"),
        with(3, b"\x02\x01\x0chome.example\x23\x29\0\x03"),
        with(3, b"\x02\x04\xc0\0\x02\x01\x23\x29\0\x01"),
        with(
            0xffff_ffff,
            b"\x02\x06\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0\x01\0\0more",
        ),
    ]
}
