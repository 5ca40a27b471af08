//! The lines of JSON mode, as USAGE.md specifies them: one variant per event, its fields in the
//! order in which they are written. `schema.json` describes the same for programs.

use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::clock::{Moment, push_stamp};
use super::render;
use crate::mesh::{
    ErrorCode, Event, LinkStats, PeerInfo, PendingMessages, Reference, Tag, Undelivered, Who,
};
use crate::proto::{DisplayName, PeerId};

/// One line of stdout.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum JsonEvent<'a> {
    Ready {
        version: &'a str,
        api: u64,
        protocol: u64,
        id: Hex<'a>,
        listen: Vec<String>,
        advertise: Option<String>,
        name: Option<&'a str>,
        decoy: bool,
    },
    Advertised {
        addr: String,
    },
    Panicked {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        id: Hex<'a>,
    },
    PeerUp {
        peer: Hex<'a>,
        name: Option<&'a str>,
        addr: &'a str,
        inbound: bool,
        resumed: bool,
        sas: &'a str,
    },
    PeerName {
        peer: Hex<'a>,
        name: Option<&'a str>,
    },
    PeerDown {
        peer: Hex<'a>,
        name: Option<&'a str>,
        reason: &'static str,
        retrying: bool,
        awaited: bool,
    },
    PeerGone {
        peer: Hex<'a>,
        name: Option<&'a str>,
    },
    Message {
        peer: Hex<'a>,
        name: Option<&'a str>,
        text: &'a str,
        mid: Hex<'a>,
        seq: u64,
        direct: bool,
        time: Stamp,
    },
    Queued {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        mid: Hex<'a>,
        peers: Vec<Hex<'a>>,
    },
    Delivered {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        mid: Hex<'a>,
        peer: Hex<'a>,
    },
    Done {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        mid: Hex<'a>,
        delivered: Vec<Hex<'a>>,
        undelivered: Vec<JsonUndelivered<'a>>,
    },
    Peers {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        peers: Vec<JsonPeer<'a>>,
    },
    Pending {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        peers: Vec<JsonPending<'a>>,
    },
    Stats {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        links: Vec<JsonLink<'a>>,
    },
    Whoami {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        id: Hex<'a>,
        name: Option<&'a str>,
        decoy: bool,
    },
    Verify {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        peer: Hex<'a>,
        name: Option<&'a str>,
        sas: &'a str,
    },
    AuthFailed {
        addr: &'a str,
        inbound: bool,
        count: u64,
    },
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Ref<'a>,
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
    },
    Bye {
        reason: &'static str,
        status: u8,
    },
}

type Ref<'a> = Option<JsonReference<'a>>;

/// A peer that did not acknowledge a message.
#[derive(Serialize)]
pub(super) struct JsonUndelivered<'a> {
    peer: Hex<'a>,
    reason: &'static str,
}

/// An entry of `peers`.
#[derive(Serialize)]
pub(super) struct JsonPeer<'a> {
    peer: Option<Hex<'a>>,
    name: Option<&'a str>,
    addr: Option<&'a str>,
    since: Stamp,
    state: &'static str,
    /// The relay, if the link is a circuit.
    via: Option<Hex<'a>>,
    error: Option<&'a str>,
    ignored: bool,
}

/// An entry of `pending`.
#[derive(Serialize)]
pub(super) struct JsonPending<'a> {
    peer: Hex<'a>,
    name: Option<&'a str>,
    messages: usize,
    bytes: usize,
    oldest: Stamp,
}

/// An entry of `stats`.
#[derive(Serialize)]
pub(super) struct JsonLink<'a> {
    peer: Hex<'a>,
    name: Option<&'a str>,
    addr: String,
    interval_ms: Option<u64>,
    cells_sent: u64,
    cells_received: u64,
    data_cells_sent: u64,
    data_cells_received: u64,
    bytes_sent: u64,
    bytes_received: u64,
    bytes_sent_per_second: u64,
    bytes_received_per_second: u64,
    ticks_skipped: u64,
    worst_lateness_ms: u64,
    ratchet_steps: u64,
    ratchet_age_ms: u64,
    epoch: u64,
    epoch_age_ms: u64,
    round_trip_ms: Option<u64>,
    queued_messages: usize,
    queued_bytes: usize,
    up_for_ms: u64,
    carried_circuits: usize,
    carried_bytes: u64,
}

impl<'a> JsonEvent<'a> {
    /// The line for an event of the engine. `None` if programs do not get this event.
    pub(super) fn of(event: &'a Event, at: Moment) -> Option<Self> {
        Some(match event {
            Event::Message {
                who,
                text,
                mid,
                seq,
                direct,
            } => Self::Message {
                peer: id(who),
                name: name(who.name.as_ref()),
                text: text.as_str(),
                mid: Hex(&mid.0),
                seq: *seq,
                direct: *direct,
                time: Stamp(at.utc),
            },
            Event::Queued { tag, mid, peers } => Self::Queued {
                reference: reference(tag),
                mid: Hex(&mid.0),
                peers: ids(peers),
            },
            Event::Delivered { tag, mid, peer } => Self::Delivered {
                reference: reference(tag),
                mid: Hex(&mid.0),
                peer: Hex(&peer.0),
            },
            Event::Done {
                tag,
                mid,
                delivered,
                undelivered,
            } => Self::Done {
                reference: reference(tag),
                mid: Hex(&mid.0),
                delivered: ids(delivered),
                undelivered: undelivered
                    .iter()
                    .map(|(who, why)| JsonUndelivered::of(who, *why))
                    .collect(),
            },
            Event::PeerUp {
                who,
                addr,
                inbound,
                resumed,
                sas,
                ..
            } => Self::PeerUp {
                peer: id(who),
                name: name(who.name.as_ref()),
                addr,
                inbound: *inbound,
                resumed: *resumed,
                sas,
            },
            Event::PeerName { who, .. } => Self::PeerName {
                peer: id(who),
                name: name(who.name.as_ref()),
            },
            Event::PeerDown {
                who,
                reason,
                retrying,
                awaited,
            } => Self::PeerDown {
                peer: id(who),
                name: name(who.name.as_ref()),
                reason: reason.as_str(),
                retrying: *retrying,
                awaited: *awaited,
            },
            Event::PeerGone { who } => Self::PeerGone {
                peer: id(who),
                name: name(who.name.as_ref()),
            },
            Event::Peers { tag, peers } => Self::Peers {
                reference: reference(tag),
                peers: peers.iter().map(|peer| JsonPeer::of(peer, at)).collect(),
            },
            Event::Pending { tag, peers } => Self::Pending {
                reference: reference(tag),
                peers: peers.iter().map(|it| JsonPending::of(it, at)).collect(),
            },
            Event::Stats { tag, links } => Self::Stats {
                reference: reference(tag),
                links: links.iter().map(JsonLink::of).collect(),
            },
            Event::Whoami {
                tag,
                id,
                name: own,
                decoy,
            } => Self::Whoami {
                reference: reference(tag),
                id: Hex(&id.0),
                name: name(own.as_ref()),
                decoy: *decoy,
            },
            Event::Verify { tag, who, sas } => Self::Verify {
                reference: reference(tag),
                peer: id(who),
                name: name(who.name.as_ref()),
                sas,
            },
            Event::AuthFailed {
                addr,
                inbound,
                count,
            } => Self::AuthFailed {
                addr,
                inbound: *inbound,
                count: *count,
            },
            Event::Error { tag, code, message } => Self::error(tag, *code, message),
            Event::Advertised { address } => Self::Advertised {
                addr: address.to_string(),
            },
            // Events for users only, and events about typing.
            Event::Confirmed { .. }
            | Event::Notice { .. }
            | Event::Addressees(_)
            | Event::Audience { .. }
            | Event::Dialing { .. }
            | Event::Unacknowledged(_)
            | Event::Unsent { .. }
            | Event::WaitsToEnd { .. }
            | Event::Bye(_) => return None,
        })
    }

    /// An error, with the number of the input line that caused it.
    pub(super) fn error(tag: &'a Tag, code: ErrorCode, message: &'a str) -> Self {
        Self::Error {
            reference: reference(tag),
            code: code.as_str(),
            message,
            line: Some(tag.line).filter(|line| *line > 0),
        }
    }
}

impl<'a> JsonUndelivered<'a> {
    fn of(who: &'a Who, why: Undelivered) -> Self {
        Self {
            peer: id(who),
            reason: why.as_str(),
        }
    }
}

impl<'a> JsonPending<'a> {
    fn of(pending: &'a PendingMessages, at: Moment) -> Self {
        Self {
            peer: id(&pending.who),
            name: name(pending.who.name.as_ref()),
            messages: pending.messages,
            bytes: pending.bytes,
            oldest: Stamp(at.utc_before(pending.age)),
        }
    }
}

impl<'a> JsonPeer<'a> {
    fn of(peer: &'a PeerInfo, at: Moment) -> Self {
        Self {
            peer: peer.who.as_deref().map(id),
            name: peer.who.as_ref().and_then(|who| name(who.name.as_ref())),
            addr: peer.addr.as_deref(),
            since: Stamp(at.utc_before(peer.since)),
            state: peer.state.as_str(),
            via: peer.via.as_deref().map(id),
            error: peer.error.as_deref(),
            ignored: peer.ignored,
        }
    }
}

impl<'a> JsonLink<'a> {
    fn of(link: &'a LinkStats) -> Self {
        Self {
            peer: id(&link.who),
            name: name(link.who.name.as_ref()),
            addr: link.addr.to_string(),
            interval_ms: link.interval_ms,
            cells_sent: link.cells_sent,
            cells_received: link.cells_received,
            data_cells_sent: link.data_cells_sent,
            data_cells_received: link.data_cells_received,
            bytes_sent: link.bytes_sent,
            bytes_received: link.bytes_received,
            bytes_sent_per_second: render::a_second(link.bytes_sent, link.up_for),
            bytes_received_per_second: render::a_second(link.bytes_received, link.up_for),
            ticks_skipped: link.ticks_skipped,
            worst_lateness_ms: milliseconds(link.worst_lateness),
            ratchet_steps: link.ratchet_steps,
            ratchet_age_ms: milliseconds(link.ratchet_age),
            epoch: link.epoch,
            epoch_age_ms: milliseconds(link.epoch_age),
            round_trip_ms: link.round_trip.map(milliseconds),
            queued_messages: link.queued_messages,
            queued_bytes: link.queued_bytes,
            up_for_ms: milliseconds(link.up_for),
            carried_circuits: link.carried_circuits,
            carried_bytes: link.carried_bytes,
        }
    }
}

fn id(who: &Who) -> Hex<'_> {
    Hex(&who.id.0)
}

fn ids(peers: &[PeerId]) -> Vec<Hex<'_>> {
    peers.iter().map(|peer| Hex(&peer.0)).collect()
}

fn name(name: Option<&DisplayName>) -> Option<&str> {
    name.map(DisplayName::as_str)
}

/// The `ref` that an event carries.
pub(super) fn reference(tag: &Tag) -> Option<JsonReference<'_>> {
    tag.reference.as_ref().map(JsonReference)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A `ref` as the program wrote it.
pub(super) struct JsonReference<'a>(&'a Reference);

impl Serialize for JsonReference<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Reference::Text(text) => to.serialize_str(text),
            Reference::Integer(number) => to.serialize_i128(*number),
        }
    }
}

/// Bytes as lower-case hex digits.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| char::from(DIGITS[usize::from(value & 0xf)]);
        let digits = |byte: &u8| [digit(byte >> 4), digit(*byte)];
        to.serialize_str(&self.0.iter().flat_map(digits).collect::<String>())
    }
}

/// A time in RFC 3339.
pub(super) struct Stamp(OffsetDateTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut stamp = Vec::new();
        push_stamp(&mut stamp, self.0);
        to.serialize_str(&String::from_utf8_lossy(&stamp))
    }
}
