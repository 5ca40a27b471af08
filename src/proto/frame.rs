//! Frames: the content of a cell's 960 bytes of payload (PROTOCOL.md, section 8). Each frame's
//! encoding and decoding stand side by side.

use std::net::IpAddr;

use super::cell::PAYLOAD;
use super::kem;
use super::wire::{Reader, put_address, put_ip};
use super::{Address, DisplayName, Fault, MAX_NAME_BYTES, MessageId, PeerId, VERSION};

const PAD: u8 = 0;
const HELLO: u8 = 1;
const MESSAGE: u8 = 2;
const ACK: u8 = 3;
const WITHDRAW: u8 = 4;
const PEERS: u8 = 5;
const NAME: u8 = 6;
const GOODBYE: u8 = 7;
const OPEN: u8 = 8;
const OPENED: u8 = 9;
const REFUSED: u8 = 10;
const DATA: u8 = 11;
const CREDIT: u8 = 12;
const CLOSE: u8 = 13;
const OBSERVED: u8 = 14;
const LOCAL: u8 = 15;
const KEM: u8 = 16;

/// The bit of `features` of an end that knows circuits.
const CIRCUITS: u32 = 1;
/// The bit of `features` of an end that exchanges addresses in its local networks.
const LOCAL_ADDRESSES: u32 = 2;
/// The bit of `features` of an end that knows post-quantum epochs.
const EPOCHS: u32 = 4;

/// The most addresses in a LOCAL frame.
pub const MAX_LOCAL: usize = 2;

/// The bits of the field of HELLO about circuits.
const CARRIES: u8 = 1;
const RELAYED: u8 = 2;

/// The bytes of a DATA frame before its content.
pub const DATA_HEAD: usize = HEAD + 4;

/// The bytes of a KEM frame before its content.
const KEM_HEAD: usize = HEAD + 4;

/// The least of a long stream, or of a part of a KEM exchange, that is worth a frame.
const SLIVER: usize = 32;

/// Type and length.
const HEAD: usize = 3;

const FIRST: u8 = 1;
const LAST: u8 = 2;
const DIRECT: u8 = 4;

/// The bytes of a MESSAGE frame before its text, in a first fragment.
const MESSAGE_HEAD: usize = HEAD + 8 + 1 + 16;

/// Where the sender of a HELLO can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It does not listen.
    No,
    /// At this port of the address that the receiver observes.
    Port(u16),
    /// At this address.
    At(Address),
}

/// What an end that knows circuits says about them in its HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitField {
    /// Whether it carries circuits between two peers.
    pub carries: bool,
    /// Whether a circuit carries this very connection, as far as the sender knows.
    pub is_relayed: bool,
}

/// The first frame of each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// About circuits, if the sender knows them.
    pub circuits: Option<CircuitField>,
    /// Whether the sender exchanges addresses in its local networks.
    pub local: bool,
    /// Whether the sender knows post-quantum epochs.
    pub epochs: bool,
    /// Milliseconds between the sender's cells, 10 to 10,000; 0 for `off`.
    pub interval_ms: u32,
    /// The number of HELLOs that the sender has sent in its run, to any peer, counting from 1.
    pub link_seq: u32,
    /// The smallest link_seq of the sender's open connections with this peer.
    pub oldest_live: u32,
    /// The sender's session_id for this peer.
    pub session_id: u64,
    /// The receiver's session_id as the sender knows it; 0 if it knows none.
    pub heard_session_id: u64,
    /// The last message of that session_id that the sender has received completely.
    pub heard: u64,
    /// Where the sender can be dialled.
    pub listening: Listening,
    /// What the sender calls itself.
    pub name: Option<DisplayName>,
}

/// One fragment of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The message's number.
    pub number: u64,
    /// The message's id; only the first fragment has it.
    pub mid: Option<MessageId>,
    /// Whether it is the last one.
    pub last: bool,
    /// Whether the message is to named peers only.
    pub direct: bool,
    /// The text, possibly cut inside a character.
    pub text: &'a [u8],
}

/// How the sender of gossip is linked to the peer that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linked {
    /// Not any more.
    No,
    /// Over a connection between the two.
    Directly,
    /// Over a circuit.
    ByCircuit,
}

/// One line of gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// The peer that it is about.
    pub id: PeerId,
    /// How the sender is linked to that peer.
    pub linked: Linked,
    /// Where that peer can be dialled.
    pub address: Option<Address>,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first frame of each end.
    Hello(Hello),
    /// A piece of a message.
    Message(Fragment<'a>),
    /// All messages up to this number were handed over or withdrawn.
    Ack(u64),
    /// All messages up to this number are given up.
    Withdraw(u64),
    /// The peers that the sender is linked to.
    Peers(Vec<Gossip>),
    /// The sender's new name.
    Name(Option<DisplayName>),
    /// The sender's last frame.
    Goodbye {
        /// Whether the sender leaves the mesh, or (false) ends only this link.
        leaving: bool,
    },
    /// A frame about a circuit.
    Circuit(CircuitFrame<'a>),
    /// The IP address from which the receiver's link comes, as the sender sees it.
    Observed(IpAddr),
    /// One or two addresses at which the sender listens in its local networks.
    Local(Vec<Address>),
    /// A piece of a KEM exchange.
    Kem(KemFragment<'a>),
}

/// The two parts of a KEM exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KemPart {
    /// The encapsulation key.
    Key,
    /// The ciphertext.
    Ciphertext,
}

impl KemPart {
    /// How many bytes the whole part has.
    pub fn size(self) -> usize {
        match self {
            KemPart::Key => kem::KEY,
            KemPart::Ciphertext => kem::CIPHERTEXT,
        }
    }
}

/// Consecutive bytes of a part of a KEM exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KemFragment<'a> {
    /// The epoch to which the exchange leads, modulo 256.
    pub epoch: u8,
    /// The part that these bytes belong to.
    pub part: KemPart,
    /// How many bytes of the part come before these.
    pub offset: u16,
    /// The bytes; at least one, and none beyond the part's end.
    pub bytes: &'a [u8],
}

/// A frame about one circuit of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitFrame<'a> {
    /// The circuit's number on this link.
    pub id: u32,
    /// What it says.
    pub what: Circuit<'a>,
}

/// What OPEN asks of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To carry a circuit to the named peer.
    To,
    /// To be the far end of a circuit from the named peer, which the sender carries.
    From,
}

/// What a frame says about its circuit. Intervals are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit<'a> {
    /// A circuit is asked for.
    Open {
        /// The shortest time between cells that the sender grants.
        interval_ms: u32,
        /// Whether the receiver is to carry it, or is its far end.
        way: Way,
        /// The peer at the other end of it.
        peer: PeerId,
    },
    /// The circuit stands.
    Opened {
        /// The time between the cells that it carries.
        interval_ms: u32,
    },
    /// There is no such circuit.
    Refused,
    /// The next bytes of its stream.
    Data(&'a [u8]),
    /// The other end may send this many bytes more.
    Credit(u32),
    /// It has ended.
    Close,
}

/// The name in these bytes. `None` if it breaks the rules: a peer that sends such a name is shown
/// by its id.
fn decode_name(bytes: &[u8]) -> Result<Option<DisplayName>, Fault> {
    if bytes.len() > MAX_NAME_BYTES {
        return Err(Fault::TooLongName);
    }
    Ok(std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| DisplayName::from_wire(text).ok()))
}

fn decode_hello(mut reader: Reader<'_>) -> Result<Hello, Fault> {
    if reader.u16()? != VERSION {
        return Err(Fault::OtherVersion);
    }
    let features = reader.u32()?;
    let interval_ms = reader.u32()?;
    if interval_ms != 0 && !(10..=10_000).contains(&interval_ms) {
        return Err(Fault::IntervalOutOfBounds);
    }
    let (link_seq, oldest_live) = (reader.u32()?, reader.u32()?);
    if oldest_live == 0 || oldest_live > link_seq {
        return Err(Fault::ImpossibleLinkSeq);
    }
    let session_id = reader.u64()?;
    if session_id == 0 {
        return Err(Fault::SessionIdZero);
    }
    let (heard_session_id, heard) = (reader.u64()?, reader.u64()?);
    let listening = match reader.u8()? {
        0 => Listening::No,
        1 => match reader.u16()? {
            0 => return Err(Fault::PortZero),
            port => Listening::Port(port),
        },
        2 => Listening::At(reader.address()?.ok_or(Fault::InvalidAdvertised)?),
        _ => return Err(Fault::UnknownListening),
    };
    let length = reader.u8()?.into();
    let name = decode_name(reader.bytes(length)?)?;
    let circuits = match features & CIRCUITS {
        0 => None,
        _ => Some(decode_circuit_field(reader.u8()?)?),
    };
    Ok(Hello {
        circuits,
        local: features & LOCAL_ADDRESSES != 0,
        epochs: features & EPOCHS != 0,
        interval_ms,
        link_seq,
        oldest_live,
        session_id,
        heard_session_id,
        heard,
        listening,
        name,
    })
}

fn decode_circuit_field(bits: u8) -> Result<CircuitField, Fault> {
    if bits & !(CARRIES | RELAYED) != 0 {
        return Err(Fault::InvalidCircuit);
    }
    Ok(CircuitField {
        carries: bits & CARRIES != 0,
        is_relayed: bits & RELAYED != 0,
    })
}

/// The content of an interval of circuits: as in HELLO, but never `off`.
fn decode_interval(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    match reader.u32()? {
        interval_ms @ 10..=10_000 => Ok(interval_ms),
        _ => Err(Fault::IntervalOutOfBounds),
    }
}

fn decode_circuit(kind: u8, mut reader: Reader<'_>) -> Result<CircuitFrame<'_>, Fault> {
    let id = reader.u32()?;
    let what = match kind {
        OPEN => Circuit::Open {
            interval_ms: decode_interval(&mut reader)?,
            way: match reader.u8()? {
                0 => Way::To,
                1 => Way::From,
                _ => return Err(Fault::InvalidCircuit),
            },
            peer: reader.peer_id()?,
        },
        OPENED => Circuit::Opened {
            interval_ms: decode_interval(&mut reader)?,
        },
        REFUSED => Circuit::Refused,
        DATA => {
            return match reader.rest() {
                [] => Err(Fault::InvalidCircuit),
                bytes => Ok(CircuitFrame {
                    id,
                    what: Circuit::Data(bytes),
                }),
            };
        }
        CREDIT => match reader.u32()? {
            0 => return Err(Fault::InvalidCircuit),
            bytes => Circuit::Credit(bytes),
        },
        _ => Circuit::Close,
    };
    match reader.is_empty() {
        true => Ok(CircuitFrame { id, what }),
        false => Err(Fault::TooLongFrame),
    }
}

fn decode_fragment(mut reader: Reader<'_>) -> Result<Fragment<'_>, Fault> {
    let number = reader.u64()?;
    let flags = reader.u8()?;
    if number == 0 || flags & !(FIRST | LAST | DIRECT) != 0 {
        return Err(Fault::InvalidMessageHeader);
    }
    let mid = if flags & FIRST != 0 {
        Some(MessageId(reader.array()?))
    } else {
        None
    };
    let text = reader.rest();
    if text.is_empty() && flags & LAST == 0 {
        return Err(Fault::EmptyFragment);
    }
    Ok(Fragment {
        number,
        mid,
        last: flags & LAST != 0,
        direct: flags & DIRECT != 0,
        text,
    })
}

fn decode_peers(mut reader: Reader<'_>) -> Result<Vec<Gossip>, Fault> {
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let id = reader.peer_id()?;
        let linked = match reader.u8()? {
            0 => Linked::No,
            1 => Linked::Directly,
            2 => Linked::ByCircuit,
            _ => return Err(Fault::UnknownGossip),
        };
        entries.push(Gossip {
            id,
            linked,
            address: reader.address()?,
        });
    }
    Ok(entries)
}

fn decode_local(mut reader: Reader<'_>) -> Result<Vec<Address>, Fault> {
    let mut addresses = Vec::new();
    while !reader.is_empty() {
        let address = reader.address()?.filter(|address| address.ip().is_some());
        addresses.push(address.ok_or(Fault::InvalidLocal)?);
    }
    match addresses.len() {
        1..=MAX_LOCAL => Ok(addresses),
        _ => Err(Fault::InvalidLocal),
    }
}

fn decode_kem(mut reader: Reader<'_>) -> Result<KemFragment<'_>, Fault> {
    let epoch = reader.u8()?;
    let part = match reader.u8()? {
        0 => KemPart::Key,
        1 => KemPart::Ciphertext,
        _ => return Err(Fault::InvalidKem),
    };
    let offset = reader.u16()?;
    let bytes = reader.rest();
    if bytes.is_empty() || usize::from(offset) + bytes.len() > part.size() {
        return Err(Fault::InvalidKem);
    }
    Ok(KemFragment {
        epoch,
        part,
        offset,
        bytes,
    })
}

/// The next frame of a payload; `None` at its end.
///
/// # Errors
/// The bytes are not as section 8 has them.
pub fn decode<'a>(payload: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Fault> {
    loop {
        let Some((&kind, rest)) = payload.split_first() else {
            return Ok(None);
        };
        if kind == PAD {
            let zero = rest.iter().all(|byte| *byte == 0);
            *payload = &[];
            return if zero {
                Ok(None)
            } else {
                Err(Fault::PaddingNotZero)
            };
        }
        let mut reader = Reader::new(rest);
        let length = reader.u16()?.into();
        let body = reader.bytes(length)?;
        *payload = reader.rest();
        let mut body = Reader::new(body);
        let exactly = |frame, body: Reader<'_>| {
            if body.is_empty() {
                Ok(Some(frame))
            } else {
                Err(Fault::TooLongFrame)
            }
        };
        return match kind {
            HELLO => decode_hello(body).map(|hello| Some(Frame::Hello(hello))),
            MESSAGE => decode_fragment(body).map(|fragment| Some(Frame::Message(fragment))),
            ACK => exactly(Frame::Ack(body.u64()?), body),
            WITHDRAW => exactly(Frame::Withdraw(body.u64()?), body),
            PEERS => decode_peers(body).map(|peers| Some(Frame::Peers(peers))),
            NAME => decode_name(body.rest()).map(|name| Some(Frame::Name(name))),
            GOODBYE => match body.u8()? {
                kind @ (0 | 1) => exactly(Frame::Goodbye { leaving: kind == 0 }, body),
                _ => Err(Fault::UnknownGoodbye),
            },
            OPEN..=CLOSE => decode_circuit(kind, body).map(|frame| Some(Frame::Circuit(frame))),
            OBSERVED => exactly(Frame::Observed(body.ip()?), body),
            LOCAL => decode_local(body).map(|addresses| Some(Frame::Local(addresses))),
            KEM => decode_kem(body).map(|fragment| Some(Frame::Kem(fragment))),
            _ => continue,
        };
    }
}

/// The payload of a cell while it is being filled.
pub struct Payload {
    bytes: Vec<u8>,
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            bytes: Vec::with_capacity(PAYLOAD),
        }
    }
}

impl Payload {
    /// How many bytes are free.
    pub fn room(&self) -> usize {
        PAYLOAD - self.bytes.len()
    }

    /// Whether it contains only padding.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The frames; what follows them in the cell is padding.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> bool {
        if self.room() < HEAD + body.len() {
            return false;
        }
        self.bytes.push(kind);
        // No body is longer than a payload.
        self.bytes
            .extend_from_slice(&(body.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(body);
        true
    }

    /// Appends a HELLO, which always fits into an empty payload. Like all these methods, returns
    /// false and changes nothing if there is not enough room.
    pub fn hello(&mut self, hello: &Hello) -> bool {
        let mut body = Vec::with_capacity(PAYLOAD);
        body.extend_from_slice(&VERSION.to_be_bytes());
        let bit = |bit: u32, known: bool| if known { bit } else { 0 };
        let features = bit(CIRCUITS, hello.circuits.is_some())
            | bit(LOCAL_ADDRESSES, hello.local)
            | bit(EPOCHS, hello.epochs);
        body.extend_from_slice(&features.to_be_bytes());
        body.extend_from_slice(&hello.interval_ms.to_be_bytes());
        body.extend_from_slice(&hello.link_seq.to_be_bytes());
        body.extend_from_slice(&hello.oldest_live.to_be_bytes());
        body.extend_from_slice(&hello.session_id.to_be_bytes());
        body.extend_from_slice(&hello.heard_session_id.to_be_bytes());
        body.extend_from_slice(&hello.heard.to_be_bytes());
        match &hello.listening {
            Listening::No => body.push(0),
            Listening::Port(port) => {
                body.push(1);
                body.extend_from_slice(&port.to_be_bytes());
            }
            Listening::At(address) => {
                body.push(2);
                put_address(&mut body, Some(address));
            }
        }
        let name = hello.name.as_ref().map_or("", DisplayName::as_str);
        body.push(name.len() as u8); // at most 128 bytes, as its rules say
        body.extend_from_slice(name.as_bytes());
        body.extend(hello.circuits.map(|field| {
            (if field.carries { CARRIES } else { 0 }) | if field.is_relayed { RELAYED } else { 0 }
        }));
        self.frame(HELLO, &body)
    }

    /// Appends an ACK.
    pub fn ack(&mut self, number: u64) -> bool {
        self.frame(ACK, &number.to_be_bytes())
    }

    /// Appends a WITHDRAW.
    pub fn withdraw(&mut self, number: u64) -> bool {
        self.frame(WITHDRAW, &number.to_be_bytes())
    }

    /// Appends a NAME.
    pub fn name(&mut self, name: Option<&DisplayName>) -> bool {
        self.frame(NAME, name.map_or("", DisplayName::as_str).as_bytes())
    }

    /// Appends a GOODBYE.
    pub fn goodbye(&mut self, leaving: bool) -> bool {
        self.frame(GOODBYE, &[u8::from(!leaving)])
    }

    /// Appends an OBSERVED.
    pub fn observed(&mut self, ip: IpAddr) -> bool {
        let mut body = Vec::with_capacity(17);
        put_ip(&mut body, ip);
        self.frame(OBSERVED, &body)
    }

    /// Appends a LOCAL with these addresses, which are one or two with an IP address each.
    pub fn local(&mut self, addresses: &[Address]) -> bool {
        let mut body = Vec::with_capacity(MAX_LOCAL * 19);
        for address in addresses {
            put_address(&mut body, Some(address));
        }
        self.frame(LOCAL, &body)
    }

    /// Appends a KEM frame of at most `most` bytes with as much as fits of `rest`, the bytes of a part
    /// that were not sent yet. Returns how many of them are in it.
    pub fn kem(&mut self, epoch: u8, part: KemPart, rest: &[u8], most: usize) -> usize {
        let room = self.room().min(most).saturating_sub(KEM_HEAD);
        let take = room.min(rest.len());
        if take == 0 || (take < rest.len() && take < SLIVER) {
            return 0;
        }
        let offset = (part.size() - rest.len()) as u16; // a part is shorter than two cells
        let mut body = Vec::with_capacity(KEM_HEAD + take);
        body.push(epoch);
        body.push(match part {
            KemPart::Key => 0,
            KemPart::Ciphertext => 1,
        });
        body.extend_from_slice(&offset.to_be_bytes());
        body.extend_from_slice(&rest[..take]);
        self.frame(KEM, &body);
        take
    }

    /// Appends a frame about a circuit.
    pub fn circuit(&mut self, frame: &CircuitFrame<'_>) -> bool {
        let mut body = Vec::with_capacity(40);
        body.extend_from_slice(&frame.id.to_be_bytes());
        let kind = match frame.what {
            Circuit::Open {
                interval_ms,
                way,
                peer,
            } => {
                body.extend_from_slice(&interval_ms.to_be_bytes());
                body.push(match way {
                    Way::To => 0,
                    Way::From => 1,
                });
                body.extend_from_slice(&peer.0);
                OPEN
            }
            Circuit::Opened { interval_ms } => {
                body.extend_from_slice(&interval_ms.to_be_bytes());
                OPENED
            }
            Circuit::Refused => REFUSED,
            Circuit::Data(bytes) => {
                body.extend_from_slice(bytes);
                DATA
            }
            Circuit::Credit(bytes) => {
                body.extend_from_slice(&bytes.to_be_bytes());
                CREDIT
            }
            Circuit::Close => CLOSE,
        };
        self.frame(kind, &body)
    }

    /// How many of `waiting` bytes of a stream a DATA frame would take now; 0 if it is not worth
    /// one.
    pub fn data_room(&self, waiting: usize) -> usize {
        let take = self.room().saturating_sub(DATA_HEAD).min(waiting);
        match take < waiting && take < SLIVER {
            true => 0,
            false => take,
        }
    }

    /// Appends one PEERS frame with as many entries as fit into `most` bytes, and at least one if
    /// there is room at all. Returns the ids in it.
    pub fn peers<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Gossip>,
        most: usize,
    ) -> Vec<PeerId> {
        let mut body = Vec::new();
        let mut taken = Vec::new();
        for entry in entries {
            let before = body.len();
            body.extend_from_slice(&entry.id.0);
            body.push(match entry.linked {
                Linked::No => 0,
                Linked::Directly => 1,
                Linked::ByCircuit => 2,
            });
            put_address(&mut body, entry.address.as_ref());
            let size = HEAD + body.len();
            if self.room() < size || (size > most && !taken.is_empty()) {
                body.truncate(before);
                break;
            }
            taken.push(entry.id);
        }
        if !taken.is_empty() {
            self.frame(PEERS, &body);
        }
        taken
    }

    /// Appends as much of a message from `offset` as fits; returns how many bytes of text went in
    /// and whether the message is complete. `None`: nothing fits.
    pub fn message(
        &mut self,
        number: u64,
        mid: &MessageId,
        direct: bool,
        text: &[u8],
        offset: usize,
    ) -> Option<(usize, bool)> {
        let first = offset == 0;
        let head = if first {
            MESSAGE_HEAD
        } else {
            MESSAGE_HEAD - 16
        };
        let room = self.room().checked_sub(head)?;
        let left = &text[offset.min(text.len())..];
        let take = room.min(left.len());
        // A sliver of a long message would cost more than it carries.
        if take < left.len() && take < 32 {
            return None;
        }
        let last = take == left.len();
        let flags = if first { FIRST } else { 0 }
            | if last { LAST } else { 0 }
            | if direct { DIRECT } else { 0 };
        self.bytes.push(MESSAGE);
        self.bytes
            .extend_from_slice(&((head - HEAD + take) as u16).to_be_bytes());
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self.bytes.push(flags);
        if first {
            self.bytes.extend_from_slice(&mid.0);
        }
        self.bytes.extend_from_slice(&left[..take]);
        Some((take, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(payload: &Payload) -> Result<usize, Fault> {
        let mut padded = payload.as_slice().to_vec();
        padded.resize(PAYLOAD, 0);
        let mut rest = &padded[..];
        let mut frames = 0;
        while decode(&mut rest)?.is_some() {
            frames += 1;
        }
        Ok(frames)
    }

    fn hello() -> Hello {
        Hello {
            circuits: Some(CircuitField {
                carries: true,
                is_relayed: false,
            }),
            local: true,
            epochs: true,
            interval_ms: 100,
            link_seq: 3,
            oldest_live: 2,
            session_id: 9,
            heard_session_id: 0,
            heard: 0,
            listening: Listening::At(Address::parse("abc.example:1").unwrap()),
            name: DisplayName::from_wire("Zoë").ok(),
        }
    }

    #[test]
    fn every_frame_comes_back() {
        let mut payload = Payload::default();
        let gossip = vec![
            Gossip {
                id: PeerId([1; 32]),
                linked: Linked::Directly,
                address: Address::parse("[::1]:9000").ok(),
            },
            Gossip {
                id: PeerId([2; 32]),
                linked: Linked::No,
                address: None,
            },
            Gossip {
                id: PeerId([3; 32]),
                linked: Linked::ByCircuit,
                address: None,
            },
        ];
        assert!(payload.hello(&hello()));
        assert_eq!(
            payload.message(7, &MessageId([3; 16]), true, b"hi", 0),
            Some((2, true))
        );
        assert!(
            payload.ack(1) && payload.withdraw(2) && payload.name(None) && payload.goodbye(false)
        );
        assert_eq!(payload.peers(gossip.iter(), PAYLOAD).len(), 3);
        let mut rest = payload.as_slice();
        let mut next = || decode(&mut rest).unwrap().unwrap();
        assert_eq!(next(), Frame::Hello(hello()));
        let fragment = Fragment {
            number: 7,
            mid: Some(MessageId([3; 16])),
            last: true,
            direct: true,
            text: b"hi",
        };
        assert_eq!(next(), Frame::Message(fragment));
        assert_eq!(next(), Frame::Ack(1));
        assert_eq!(next(), Frame::Withdraw(2));
        assert_eq!(next(), Frame::Name(None));
        assert_eq!(next(), Frame::Goodbye { leaving: false });
        assert_eq!(next(), Frame::Peers(gossip));
        assert_eq!(decode(&mut rest), Ok(None));
    }

    #[test]
    fn every_frame_about_a_circuit_comes_back() {
        let frames = [
            Circuit::Open {
                interval_ms: 1000,
                way: Way::To,
                peer: PeerId([7; 32]),
            },
            Circuit::Open {
                interval_ms: 10,
                way: Way::From,
                peer: PeerId([8; 32]),
            },
            Circuit::Opened {
                interval_ms: 10_000,
            },
            Circuit::Refused,
            Circuit::Data(b"record"),
            Circuit::Credit(3812),
            Circuit::Close,
        ];
        let frames = frames.map(|what| CircuitFrame { id: 9, what });
        let mut payload = Payload::default();
        assert!(frames.iter().all(|frame| payload.circuit(frame)));
        let mut rest = payload.as_slice();
        for frame in frames {
            assert_eq!(decode(&mut rest), Ok(Some(Frame::Circuit(frame))));
        }
        assert_eq!(decode(&mut rest), Ok(None));
    }

    #[test]
    fn every_frame_about_local_networks_comes_back() {
        let ips: [IpAddr; 2] = ["8.8.4.4".parse().unwrap(), "2a00::1".parse().unwrap()];
        let addresses = ["192.168.1.5:9000", "[fd00::5]:9000"];
        let addresses = addresses.map(|address| Address::parse(address).unwrap());
        let mut payload = Payload::default();
        assert!(ips.iter().all(|ip| payload.observed(*ip)));
        assert!(payload.local(&addresses[..1]) && payload.local(&addresses));
        let mut rest = payload.as_slice();
        for ip in ips {
            assert_eq!(decode(&mut rest), Ok(Some(Frame::Observed(ip))));
        }
        for told in [&addresses[..1], &addresses] {
            assert_eq!(decode(&mut rest), Ok(Some(Frame::Local(told.to_vec()))));
        }
        let three = [&addresses[..], &addresses[..1]].concat();
        let mut payload = Payload::default();
        assert!(payload.local(&three));
        assert_eq!(decode(&mut payload.as_slice()), Err(Fault::InvalidLocal));
    }

    #[test]
    fn data_fill_the_rest_of_a_cell_unless_they_would_be_a_sliver() {
        let mut payload = Payload::default();
        assert_eq!(payload.data_room(5000), PAYLOAD - DATA_HEAD);
        assert_eq!(payload.data_room(5), 5);
        let bytes = vec![1; PAYLOAD - 2 * DATA_HEAD - SLIVER];
        let what = Circuit::Data(&bytes);
        assert!(payload.circuit(&CircuitFrame { id: 1, what }));
        assert_eq!((payload.data_room(5000), payload.data_room(5)), (SLIVER, 5));
        payload.circuit(&CircuitFrame {
            id: 2,
            what: Circuit::Data(&[1]),
        });
        assert_eq!((payload.data_room(5000), payload.data_room(5)), (0, 5));
    }

    #[test]
    fn a_long_message_is_cut_and_fits_together() {
        let text: Vec<u8> = (0..5000u32).map(|i| (i % 256) as u8).collect();
        let (mut offset, mut cells, mut got) = (0, 0, Vec::new());
        loop {
            let mut payload = Payload::default();
            let (taken, last) = payload
                .message(1, &MessageId([0; 16]), false, &text, offset)
                .unwrap();
            offset += taken;
            cells += 1;
            let mut rest = payload.as_slice();
            let Some(Frame::Message(fragment)) = decode(&mut rest).unwrap() else {
                panic!()
            };
            got.extend_from_slice(fragment.text);
            assert_eq!(fragment.mid.is_some(), cells == 1);
            if last {
                break;
            }
        }
        assert_eq!(got, text);
    }

    #[test]
    fn an_empty_message_is_one_fragment() {
        let mut payload = Payload::default();
        assert_eq!(
            payload.message(1, &MessageId([0; 16]), false, b"", 0),
            Some((0, true))
        );
        assert_eq!(all(&payload), Ok(1));
    }

    #[test]
    fn frame_that_is_not_as_specified_is_a_fault() {
        let faults: [&[u8]; 25] = [
            &[14, 0, 1, 4],                        // OBSERVED without an address
            &[14, 0, 3, 1, 1, b'a'],               // OBSERVED with a name
            &[14, 0, 6, 4, 1, 2, 3, 4, 5],         // OBSERVED too long
            &[15, 0, 0],                           // no LOCAL
            &[15, 0, 1, 0],                        // an address that is none
            &[15, 0, 5, 1, 1, b'a', 0, 9],         // LOCAL with a name
            &[15, 0, 7, 4, 1, 2, 3, 4, 0, 0],      // LOCAL with port 0
            &[8, 0, 4, 0, 0, 0, 1],                // OPEN to nobody
            &[9, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0],    // OPENED with `off`
            &[10, 0, 5, 0, 0, 0, 1, 0],            // REFUSED too long
            &[11, 0, 4, 0, 0, 0, 1],               // DATA without data
            &[12, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0],   // no CREDIT
            &[13, 0, 3, 0, 0, 1],                  // half an id
            &[0, 1],                               // padding that is not zero
            &[3],                                  // no length
            &[3, 0, 8, 1],                         // past the end
            &[3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0], // an ACK too long
            &[2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 2], // number 0
            &[2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 8], // unknown flag
            &[2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0], // an empty fragment that is not the last
            &[5, 0, 1, 1],                         // half a PeerId
            &[7, 0, 1, 2],                         // unknown goodbye
            &[1, 0, 2, 0, 2],                      // another version
            &[6, 0, 129],                          // a name past the end
            &[200, 255, 255],                      // an unknown frame past the end
        ];
        for bytes in faults {
            assert!(decode(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }

    /// A HELLO's bytes, as one frame.
    fn hello_bytes() -> Vec<u8> {
        let mut payload = Payload::default();
        payload.hello(&hello());
        payload.as_slice().to_vec()
    }

    #[test]
    fn invalid_hello_is_a_fault() {
        // The offset in the frame, and the bytes to put there.
        let bent: [(usize, &[u8]); 12] = [
            (66, &[4]),               // unknown bit about circuits
            (3, &[0, 0]),             // version
            (9, &[0, 0, 0, 9]),       // interval
            (9, &[0, 0, 0x27, 0x11]), // interval
            (13, &[0, 0, 0, 1]),      // order less than oldest_live
            (17, &[0, 0, 0, 0]),      // oldest_live
            (17, &[0, 0, 0, 4]),      // oldest_live more than order
            (21, &[0; 8]),            // session_id
            (45, &[3]),               // unknown way of listening
            (45, &[1, 0, 0]),         // port 0
            (45, &[2, 0]),            // advertised: none
            (61, &[129]),             // name too long
        ];
        assert!(decode(&mut &hello_bytes()[..]).is_ok());
        for (at, bytes) in bent {
            let mut frame = hello_bytes();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame.resize(PAYLOAD, 0);
            assert!(decode(&mut &frame[..]).is_err(), "{bytes:?} at {at}");
        }
    }

    #[test]
    fn additions_to_hello_are_skipped() {
        let mut frame = hello_bytes();
        let length = frame.len() - HEAD + 5;
        frame[1..HEAD].copy_from_slice(&(length as u16).to_be_bytes());
        frame.extend([1, 2, 3, 4, 5]);
        frame.extend([ACK, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        let mut rest = &frame[..];
        assert_eq!(decode(&mut rest), Ok(Some(Frame::Hello(hello()))));
        assert_eq!(decode(&mut rest), Ok(Some(Frame::Ack(7))));
    }

    #[test]
    fn the_longest_hello_fits_and_comes_back() {
        let longest = Hello {
            circuits: Some(CircuitField {
                carries: true,
                is_relayed: true,
            }),
            local: true,
            epochs: true,
            interval_ms: 10_000,
            link_seq: u32::MAX,
            oldest_live: u32::MAX,
            session_id: u64::MAX,
            heard_session_id: u64::MAX,
            heard: u64::MAX,
            listening: Listening::At(
                Address::parse(&format!("{}a:65535", "abc.".repeat(63))).unwrap(),
            ),
            name: DisplayName::from_wire(&"🦀".repeat(32)).ok(),
        };
        assert_eq!(
            longest.name.as_ref().map(|name| name.as_str().len()),
            Some(MAX_NAME_BYTES)
        );
        let mut payload = Payload::default();
        assert!(payload.hello(&longest));
        let mut rest = payload.as_slice();
        assert_eq!(decode(&mut rest), Ok(Some(Frame::Hello(longest))));
    }

    #[test]
    fn a_cell_may_end_without_padding() {
        let mut payload = Payload::default();
        let text = vec![b'x'; PAYLOAD - MESSAGE_HEAD];
        assert_eq!(
            payload.message(1, &MessageId([0; 16]), false, &text, 0),
            Some((text.len(), true))
        );
        assert_eq!(payload.room(), 0);
        assert!(!payload.ack(1));
        assert_eq!(all(&payload), Ok(1));
    }

    #[test]
    fn as_much_gossip_goes_into_a_cell_as_fits() {
        let entry = |n| Gossip {
            id: PeerId([n; 32]),
            linked: Linked::Directly,
            address: Address::parse("192.0.2.1").ok(),
        };
        let entries: Vec<_> = (0..100).map(entry).collect();
        let mut payload = Payload::default();
        let taken = payload.peers(entries.iter(), PAYLOAD).len();
        assert_eq!(taken, (PAYLOAD - HEAD) / 40);
        let mut rest = payload.as_slice();
        assert_eq!(
            decode(&mut rest),
            Ok(Some(Frame::Peers(entries[..taken].to_vec())))
        );
        let before = payload.as_slice().len();
        assert!(payload.peers(entries.iter(), PAYLOAD).is_empty());
        assert_eq!(payload.as_slice().len(), before);
    }

    #[test]
    fn no_bytes_make_it_panic_or_stand_still() {
        use rand_core::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut frames = 0;
        for _ in 0..50_000 {
            let mut bytes = vec![0; (rng.next_u32() % 961) as usize];
            rng.fill_bytes(&mut bytes);
            // Mostly known types and short lengths, so that more than the first check is reached.
            let mut at = 0;
            while at + HEAD < bytes.len() && rng.next_u32() % 16 != 0 {
                bytes[at] %= LOCAL + 2;
                bytes[at + 1] = 0;
                at += HEAD + usize::from(bytes[at + 2]);
            }
            let mut rest = &bytes[..];
            loop {
                let before = rest.len();
                match decode(&mut rest) {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) | Err(_) => break,
                }
                assert!(rest.len() < before);
            }
        }
        assert!(frames > 1000, "{frames}");
    }

    #[test]
    fn an_unknown_frame_is_skipped() {
        let bytes = [200, 0, 1, 9, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5];
        assert_eq!(decode(&mut &bytes[..]), Ok(Some(Frame::Ack(5))));
    }

    #[test]
    fn a_name_against_the_rules_counts_as_none() {
        assert_eq!(
            decode(&mut &[6, 0, 3, b'a', 0x1b, b'b'][..]),
            Ok(Some(Frame::Name(None)))
        );
        assert_eq!(
            decode(&mut &[6, 0, 1, 0xff][..]),
            Ok(Some(Frame::Name(None)))
        );
    }
}
