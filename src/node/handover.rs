//! What a panic hands over: the phrase's key, options that name no peer, input that was not parsed
//! yet, and the `ref` of the command, which is answered and forgotten. None of it comes from peers.

use std::num::NonZeroU16;

use zeroize::Zeroizing;

use crate::mesh::Reference;
use crate::net::port_mapping::Kept;
use crate::net::router::{Held, Protocol};
use crate::proto::wire::Reader;
use crate::secret::Secret;

/// The version of the format. Both images are the same program, unless it was upgraded in between.
const VERSION: u8 = 5;

/// The bits of the flags.
const LINE_OPEN: u8 = 1;
const UNDELIVERED: u8 = 2;
const LINE_BEGUN: u8 = 4;
const AT_START: u8 = 8;

/// The kinds of `ref` that a command can have.
const NO_REFERENCE: u8 = 0;
const TEXT: u8 = 1;
const INTEGER: u8 = 2;

/// What of a forwarded port is handed over: nothing, or the nonce of a run whose router has granted
/// nothing, or also a mapping, by how the router was asked.
const NO_MAPPING: u8 = 0;
const NONCE: u8 = 1;
const PCP: u8 = 2;
const NAT_PMP: u8 = 3;
const UPNP: u8 = 4;

/// The parts of the state to hand over.
pub struct Parts<'a> {
    /// The phrase's key.
    pub key: &'a Secret<32>,
    /// The result of [`Config::carried`](crate::config::Config::carried).
    pub options: &'a [String],
    /// Complete lines of input that were read and not parsed.
    pub unread: &'a [u8],
    /// Whether the beginning of another line was read, whose rest has to be dropped.
    pub line_begun: bool,
    /// Whether no input was read yet.
    pub at_start: bool,
    /// Whether stdout is in the middle of a line.
    pub line_open: bool,
    /// Whether any message stayed undelivered.
    pub undelivered: bool,
    /// What of the saved name could not be deleted, in lines for the user.
    pub name_left: &'a [String],
    /// The `ref` of the command, for its answer.
    pub reference: Option<&'a Reference>,
    /// The port that the router forwards, with `--map`.
    pub mapping: Option<Kept>,
}

/// The state that was handed over.
pub struct Handover {
    /// The phrase's key.
    pub key: Secret<32>,
    /// The options, for [`Config::after_panic`](crate::config::Config::after_panic).
    pub options: Vec<String>,
    /// Complete lines of input that were read and not parsed.
    pub unread: Zeroizing<Vec<u8>>,
    /// Whether the beginning of another line was read, whose rest has to be dropped.
    pub line_begun: bool,
    /// Whether no input was read yet.
    pub at_start: bool,
    /// Whether stdout is in the middle of a line.
    pub line_open: bool,
    /// Whether any message stayed undelivered.
    pub undelivered: bool,
    /// What of the saved name could not be deleted, in lines for the user.
    pub name_left: Vec<String>,
    /// The `ref` of the command, for its answer.
    pub reference: Option<Reference>,
    /// The port that the router forwards, with `--map`.
    pub mapping: Option<Kept>,
}

impl Handover {
    /// The state as bytes: version, flags, key; then the options and the lines, each as a count
    /// followed by that many texts with their lengths; then the kind of the `ref` and the `ref`, as
    /// a text with its length or in sixteen bytes; then the kind of the mapping, its nonce, and the
    /// router's address and port; then the unread input to the end. Other numbers have four bytes;
    /// all are big-endian.
    pub fn write(parts: &Parts<'_>) -> Zeroizing<Vec<u8>> {
        let texts: usize = parts.options.iter().map(|option| 4 + option.len()).sum();
        // Exactly the size that is needed, because growing would leave copies in memory.
        let reference = 1 + match parts.reference {
            None => 0,
            Some(Reference::Text(text)) => 4 + text.len(),
            Some(Reference::Integer(_)) => 16,
        };
        let lines: usize = parts.name_left.iter().map(|line| 4 + line.len()).sum();
        let mapping = mapping(parts.mapping);
        let fixed = 2 + 32 + 4 + 4;
        let size = fixed + texts + lines + reference + mapping.len() + parts.unread.len();
        let mut state = Zeroizing::new(Vec::with_capacity(size));
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        state.push(VERSION);
        state.push(
            flag(parts.line_open, LINE_OPEN)
                | flag(parts.undelivered, UNDELIVERED)
                | flag(parts.line_begun, LINE_BEGUN)
                | flag(parts.at_start, AT_START),
        );
        state.extend_from_slice(parts.key.expose());
        put_count(&mut state, parts.options.len());
        for option in parts.options {
            put_count(&mut state, option.len());
            state.extend_from_slice(option.as_bytes());
        }
        put_count(&mut state, parts.name_left.len());
        for line in parts.name_left {
            put_count(&mut state, line.len());
            state.extend_from_slice(line.as_bytes());
        }
        match parts.reference {
            None => state.push(NO_REFERENCE),
            Some(Reference::Text(text)) => {
                state.push(TEXT);
                put_count(&mut state, text.len());
                state.extend_from_slice(text.as_bytes());
            }
            Some(Reference::Integer(number)) => {
                state.push(INTEGER);
                state.extend_from_slice(&number.to_be_bytes());
            }
        }
        state.extend_from_slice(&mapping);
        state.extend_from_slice(parts.unread);
        state
    }

    /// Reads the state in the new process image. `None` if [`write`](Self::write) cannot have made
    /// it.
    pub fn read(state: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(state);
        if reader.u8().ok()? != VERSION {
            return None;
        }
        let flags = reader.u8().ok()?;
        let key = reader.bytes(32).ok()?;
        let key = Secret::fill_with(|bytes| bytes.copy_from_slice(key));
        let mut options = Vec::new();
        for _ in 0..reader.u32().ok()? {
            options.push(text(&mut reader)?.to_owned());
        }
        let mut name_left = Vec::new();
        for _ in 0..reader.u32().ok()? {
            name_left.push(text(&mut reader)?.to_owned());
        }
        let reference = match reader.u8().ok()? {
            NO_REFERENCE => None,
            TEXT => Some(Reference::Text(text(&mut reader)?.into())),
            INTEGER => Some(Reference::Integer(i128::from_be_bytes(
                reader.array().ok()?,
            ))),
            _ => return None,
        };
        let mapping = read_mapping(&mut reader)?;
        Some(Self {
            key,
            options,
            unread: Zeroizing::new(reader.rest().to_vec()),
            line_open: flags & LINE_OPEN != 0,
            undelivered: flags & UNDELIVERED != 0,
            name_left,
            line_begun: flags & LINE_BEGUN != 0,
            at_start: flags & AT_START != 0,
            reference,
            mapping,
        })
    }
}

fn mapping(kept: Option<Kept>) -> Vec<u8> {
    let Some(Kept { nonce, held }) = kept else {
        return vec![NO_MAPPING];
    };
    let kind = match held.map(|held| held.protocol) {
        None => NONCE,
        Some(Protocol::Pcp) => PCP,
        Some(Protocol::NatPmp) => NAT_PMP,
        Some(Protocol::Upnp) => UPNP,
    };
    let mut bytes = vec![kind];
    for word in nonce {
        bytes.extend(word.to_be_bytes());
    }
    if let Some(held) = held {
        bytes.extend(held.gateway.octets());
        bytes.extend(held.outside_port.get().to_be_bytes());
    }
    bytes
}

fn read_mapping(reader: &mut Reader<'_>) -> Option<Option<Kept>> {
    let kind = reader.u8().ok()?;
    if kind == NO_MAPPING {
        return Some(None);
    }
    let mut nonce = [0; 3];
    for word in &mut nonce {
        *word = reader.u32().ok()?;
    }
    let protocol = match kind {
        NONCE => return Some(Some(Kept { nonce, held: None })),
        PCP => Protocol::Pcp,
        NAT_PMP => Protocol::NatPmp,
        UPNP => Protocol::Upnp,
        _ => return None,
    };
    let held = Held {
        protocol,
        gateway: reader.array::<4>().ok()?.into(),
        outside_port: NonZeroU16::new(u16::from_be_bytes(reader.array().ok()?))?,
    };
    Some(Some(Kept {
        nonce,
        held: Some(held),
    }))
}

/// A text, after its length.
fn text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = usize::try_from(reader.u32().ok()?).ok()?;
    std::str::from_utf8(reader.bytes(length).ok()?).ok()
}

/// All counts here are far below the limit.
fn put_count(state: &mut Vec<u8>, count: usize) {
    state.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const KEPT: Kept = Kept {
        nonce: [1, 2, 0x8000_0003],
        held: Some(Held {
            protocol: Protocol::NatPmp,
            gateway: Ipv4Addr::new(192, 168, 1, 1),
            outside_port: NonZeroU16::new(40_000).unwrap(),
        }),
    };

    fn state() -> Zeroizing<Vec<u8>> {
        Handover::write(&Parts {
            key: &Secret::fill_with(|bytes| bytes.fill(7)),
            options: &["--json".to_string(), "--cover=100".to_string()],
            unread: b"{\"type\":\"quit\"}\n",
            line_open: true,
            undelivered: false,
            name_left: &["the saved name".to_string()],
            line_begun: true,
            at_start: true,
            reference: Some(&Reference::Text("r1".into())),
            mapping: Some(KEPT),
        })
    }

    #[test]
    fn written_state_is_read_back() {
        let state = state();
        assert_eq!(
            state.capacity(),
            state.len(),
            "nothing was copied while it grew"
        );
        let read = Handover::read(&state).unwrap();
        assert_eq!(read.key.expose(), &[7; 32]);
        assert_eq!(read.options, ["--json", "--cover=100"]);
        assert_eq!(read.unread[..], b"{\"type\":\"quit\"}\n"[..]);
        assert!(read.line_open && !read.undelivered && read.line_begun && read.at_start);
        assert_eq!(read.name_left, ["the saved name"]);
        assert_eq!(read.reference, Some(Reference::Text("r1".into())));
        assert_eq!(read.mapping, Some(KEPT));
    }

    #[test]
    fn every_kind_of_mapping_is_read_back() {
        let held = KEPT.held.unwrap();
        let by = |protocol| Some(Held { protocol, ..held });
        let kinds = [
            None,
            by(Protocol::Pcp),
            by(Protocol::NatPmp),
            by(Protocol::Upnp),
        ];
        let kept = kinds.map(|held| Some(Kept { held, ..KEPT }));
        for kept in kept.into_iter().chain([None]) {
            let bytes = mapping(kept);
            assert_eq!(read_mapping(&mut Reader::new(&bytes)), Some(kept));
        }
        assert_eq!(read_mapping(&mut Reader::new(&[9; 20])), None);
    }

    #[test]
    fn a_state_that_is_cut_or_of_another_version_is_refused() {
        let mut state = state();
        let fixed = state.len() - b"{\"type\":\"quit\"}\n".len();
        for end in 0..fixed {
            assert!(Handover::read(&state[..end]).is_none(), "{end}");
        }
        state[0] = VERSION + 1;
        assert!(Handover::read(&state).is_none());
    }
}
