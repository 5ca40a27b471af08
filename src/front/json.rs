//! JSON mode, outwards: one object a line, and nothing else on stdout.

use std::time::{Duration, Instant};

use super::clock::Moment;
use super::clock::push_stamp;
use super::input_sender::Local;
use super::lines::BadLine;
use super::options::Verbosity;
use super::output::{OutputBatch, View};
use super::ready::Ready;
use super::render::{self, Note};
use super::text::UTF16;
use crate::channels::Shown;
use crate::mesh::{ByeReason, ErrorCode, Event, LinkStats, PeerInfo, Reference, Tag, Who};
use crate::proto::{DisplayName, PeerId, is_unseen};

/// The version of this interface, in `ready`.
const API: u64 = 1;
/// The version of the wire protocol, in `ready`.
const PROTOCOL: u64 = crate::proto::VERSION as u64;

/// The view of JSON mode.
pub(super) struct Json {
    verbosity: Verbosity,
    line_open: bool,
}

impl Json {
    /// With `line_open`, the first thing on stdout ends a line that was cut short.
    pub fn new(verbosity: Verbosity, line_open: bool) -> Self {
        Self {
            verbosity,
            line_open,
        }
    }

    /// What has no event of its own is a diagnostic.
    fn diagnose(&self, notes: &[Note], batch: &mut OutputBatch) {
        for note in notes.iter().filter(|note| note.is_wanted(self.verbosity)) {
            batch
                .err
                .extend_from_slice(format!("sesame: {}\n", note.text).as_bytes());
        }
    }
}

/// The last line.
pub(super) fn push_bye(out: &mut Vec<u8>, reason: ByeReason, status: u8) {
    let mut object = Object::event(out, "bye");
    object.text("reason", reason.as_str());
    object.number("status", u64::from(status));
    object.end();
}

/// An object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    fn event(out: &'a mut Vec<u8>, kind: &str) -> Self {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out }
    }

    fn nested(out: &'a mut Vec<u8>, peer: &PeerId) -> Self {
        out.extend_from_slice(b"{\"peer\":");
        push_hex(out, &peer.0);
        Self { out }
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn text(&mut self, key: &str, text: &str) {
        push_string(self.key(key), text);
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.key(key).extend_from_slice(b"null"),
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        push_number(self.key(key), number);
    }

    fn flag(&mut self, key: &str, flag: bool) {
        let text: &[u8] = if flag { b"true" } else { b"false" };
        self.key(key).extend_from_slice(text);
    }

    fn hex(&mut self, key: &str, bytes: &[u8]) {
        push_hex(self.key(key), bytes);
    }

    fn name(&mut self, name: Option<&DisplayName>) {
        self.text_or_null("name", name.map(DisplayName::as_str));
    }

    fn who(&mut self, who: &Who) {
        self.hex("peer", &who.id.0);
        self.name(who.name.as_ref());
    }

    fn stamp(&mut self, key: &str, at: time::OffsetDateTime) {
        let out = self.key(key);
        out.push(b'"');
        push_stamp(out, at);
        out.push(b'"');
    }

    fn milliseconds(&mut self, key: &str, time: Duration) {
        self.number(key, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    fn reference(&mut self, tag: &Tag) {
        match &tag.reference {
            None => {}
            Some(Reference::Text(text)) => self.text("ref", text),
            Some(Reference::Integer(number)) => {
                let out = self.key("ref");
                out.extend_from_slice(number.to_string().as_bytes());
            }
        }
    }

    fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            push(out, item);
        }
        out.push(b']');
    }

    fn close(self) {
        self.out.push(b'}');
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        out.push(digit(u16::from(byte >> 4)));
        out.push(digit(u16::from(*byte)));
    }
    out.push(b'"');
}

fn digit(value: u16) -> u8 {
    b"0123456789abcdef"[usize::from(value & 0xf)]
}

/// A string whose line can be looked at on a terminal: what would draw nothing there, or redraw
/// something else, is escaped, which leaves the value as it is.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') {
            at += 1;
            continue;
        }
        // Not plain ASCII; `at` is always the beginning of a character.
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        let next = at + c.len_utf8();
        if is_unseen(c) || matches!(c, '"' | '\\') {
            out.extend_from_slice(&bytes[plain..at]);
            push_escape(out, c);
            plain = next;
        }
        at = next;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                (0..4)
                    .rev()
                    .for_each(|place| out.push(digit(*unit >> (4 * place))));
            }
        }
    }
}

fn push_peer(out: &mut Vec<u8>, peer: &PeerInfo, at: Moment) {
    let mut object = Object::nested(out, &peer.who.id);
    object.name(peer.who.name.as_ref());
    object.text_or_null("addr", peer.addr.as_deref());
    let since = time::Duration::try_from(peer.since).ok();
    object.stamp(
        "since",
        since.and_then(|s| at.utc.checked_sub(s)).unwrap_or(at.utc),
    );
    object.text("state", peer.state.as_str());
    object.flag("ignored", peer.ignored);
    object.close();
}

fn push_link(out: &mut Vec<u8>, link: &LinkStats) {
    let mut object = Object::nested(out, &link.who.id);
    object.name(link.who.name.as_ref());
    object.text("addr", &link.addr.to_string());
    match link.interval_ms {
        Some(ms) => object.number("interval_ms", ms),
        None => object.text_or_null("interval_ms", None),
    }
    object.number("cells_sent", link.cells_sent);
    object.number("cells_received", link.cells_received);
    object.number("data_cells_sent", link.data_cells_sent);
    object.number("data_cells_received", link.data_cells_received);
    object.number("bytes_sent", link.bytes_sent);
    object.number("bytes_received", link.bytes_received);
    for (key, bytes) in [
        ("bytes_sent_per_second", link.bytes_sent),
        ("bytes_received_per_second", link.bytes_received),
    ] {
        object.number(key, render::a_second(bytes, link.up_for));
    }
    object.number("ticks_skipped", link.ticks_skipped);
    object.milliseconds("worst_lateness_ms", link.worst_lateness);
    object.number("ratchet_steps", link.ratchet_steps);
    object.milliseconds("ratchet_age_ms", link.ratchet_age);
    match link.round_trip {
        Some(time) => object.milliseconds("round_trip_ms", time),
        None => object.text_or_null("round_trip_ms", None),
    }
    object.number("queued_messages", link.queued_messages as u64);
    object.number("queued_bytes", link.queued_bytes as u64);
    object.milliseconds("up_for_ms", link.up_for);
    object.close();
}

fn push_error(out: &mut Vec<u8>, tag: &Tag, code: ErrorCode, message: &str) {
    let mut object = Object::event(out, "error");
    object.reference(tag);
    object.text("code", code.as_str());
    object.text("message", message);
    if tag.line > 0 {
        object.number("line", tag.line);
    }
    object.end();
}

impl View for Json {
    fn ready(&mut self, ready: &Ready, _: Moment, batch: &mut OutputBatch) {
        let out = &mut batch.out;
        if std::mem::take(&mut self.line_open) {
            out.push(b'\n');
        }
        if let Some(tag) = &ready.after_panic {
            let mut object = Object::event(out, "panicked");
            object.reference(tag);
            object.hex("id", &ready.id.0);
            object.end();
        }
        let mut object = Object::event(out, "ready");
        object.text("version", ready.version);
        object.number("api", API);
        object.number("protocol", PROTOCOL);
        object.hex("id", &ready.id.0);
        object.list("listen", &ready.listen, |out, addr| push_string(out, addr));
        object.name(ready.name.as_ref());
        object.flag("decoy", ready.decoy);
        object.end();
    }

    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch) {
        let out = &mut batch.out;
        match &event {
            Event::Message {
                who,
                text,
                mid,
                seq,
                direct,
            } => {
                let mut object = Object::event(out, "message");
                object.who(who);
                object.text("text", text.as_str());
                object.hex("mid", &mid.0);
                object.number("seq", *seq);
                object.flag("direct", *direct);
                object.stamp("time", at.utc);
                object.end();
                batch.shown.push(Shown {
                    peer: who.id,
                    seq: *seq,
                });
            }
            Event::Queued { tag, mid, peers } => {
                let mut object = Object::event(out, "queued");
                object.reference(tag);
                object.hex("mid", &mid.0);
                object.list("peers", peers, |out, peer| push_hex(out, &peer.0));
                object.end();
            }
            Event::Delivered { tag, mid, peer } => {
                let mut object = Object::event(out, "delivered");
                object.reference(tag);
                object.hex("mid", &mid.0);
                object.hex("peer", &peer.0);
                object.end();
            }
            Event::Done {
                tag,
                mid,
                delivered,
                undelivered,
            } => {
                let mut object = Object::event(out, "done");
                object.reference(tag);
                object.hex("mid", &mid.0);
                object.list("delivered", delivered, |out, peer| push_hex(out, &peer.0));
                object.list("undelivered", undelivered, |out, (who, why)| {
                    let mut object = Object::nested(out, &who.id);
                    object.text("reason", why.as_str());
                    object.close();
                });
                object.end();
            }
            Event::PeerUp {
                who,
                addr,
                inbound,
                resumed,
                sas,
                ..
            } => {
                let mut object = Object::event(out, "peer_up");
                object.who(who);
                object.text("addr", addr);
                object.flag("inbound", *inbound);
                object.flag("resumed", *resumed);
                object.text("sas", sas);
                object.end();
            }
            Event::PeerName { who, .. } => {
                let mut object = Object::event(out, "peer_name");
                object.who(who);
                object.end();
            }
            Event::PeerDown {
                who,
                reason,
                retrying,
                awaited,
            } => {
                let mut object = Object::event(out, "peer_down");
                object.who(who);
                object.text("reason", reason.as_str());
                object.flag("retrying", *retrying);
                object.flag("awaited", *awaited);
                object.end();
            }
            Event::PeerGone { who } => {
                let mut object = Object::event(out, "peer_gone");
                object.who(who);
                object.end();
            }
            Event::Peers { tag, peers } => {
                let mut object = Object::event(out, "peers");
                object.reference(tag);
                object.list("peers", peers, |out, peer| push_peer(out, peer, at));
                object.end();
            }
            Event::Stats { tag, links } => {
                let mut object = Object::event(out, "stats");
                object.reference(tag);
                object.list("links", links, push_link);
                object.end();
            }
            Event::Whoami {
                tag,
                id,
                name,
                decoy,
            } => {
                let mut object = Object::event(out, "whoami");
                object.reference(tag);
                object.hex("id", &id.0);
                object.name(name.as_ref());
                object.flag("decoy", *decoy);
                object.end();
            }
            Event::Verify { tag, who, sas } => {
                let mut object = Object::event(out, "verify");
                object.reference(tag);
                object.who(who);
                object.text("sas", sas);
                object.end();
            }
            Event::AuthFailed {
                addr,
                inbound,
                count,
            } => {
                let mut object = Object::event(out, "auth_failed");
                object.text("addr", addr);
                object.flag("inbound", *inbound);
                object.number("count", *count);
                object.end();
            }
            Event::Error { tag, code, message } => push_error(out, tag, *code, message),
            Event::Confirmed { .. } | Event::Notice { .. } => {
                self.diagnose(&render::notes(&event, at), batch);
            }
            // Nobody types.
            Event::Addressees(_)
            | Event::Audience { .. }
            | Event::Unsent { .. }
            | Event::Bye(_) => {}
        }
    }

    fn local(&mut self, local: Local, _: Moment, batch: &mut OutputBatch) {
        match local {
            Local::Mistake(tag, mistake) => {
                push_error(&mut batch.out, &tag, mistake.code, &mistake.message);
            }
            Local::BadLine(tag, BadLine::TooLong) => {
                let message = "the line is longer than 524,288 bytes";
                push_error(&mut batch.out, &tag, ErrorCode::TooLong, message);
            }
            Local::BadLine(tag, BadLine::NotUtf8) => {
                let message = "the line is not UTF-8";
                push_error(&mut batch.out, &tag, ErrorCode::BadJson, message);
            }
            Local::Utf16 => {
                let first = Tag {
                    reference: None,
                    line: 1,
                };
                push_error(&mut batch.out, &first, ErrorCode::BadJson, UTF16);
                self.diagnose(&[Note::mistake(UTF16)], batch);
            }
            Local::Trouble(text) => self.diagnose(&[Note::mistake(text)], batch),
            Local::Help => self.diagnose(&render::help(), batch),
            Local::Bell(tag, _) => {
                let message = "/bell works in chat mode only";
                push_error(&mut batch.out, &tag, ErrorCode::BadCommand, message);
            }
            Local::Clear | Local::Choices(_) | Local::Kept => {}
        }
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn settle(&mut self, _: Moment, _: &mut OutputBatch) {}

    fn bye(&mut self, reason: ByeReason, status: u8, _: Moment, batch: &mut OutputBatch) {
        push_bye(&mut batch.out, reason, status);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::front::render::tests::{link, who};
    use crate::front::text::tests::{at, message, ready};
    use crate::mesh::{DownReason, PeerState, Undelivered};
    use crate::proto::MessageId;

    const ALICE: &str = "3f9c01aa24b7d08e000000000000000000000000000000000000000000000000";

    fn view() -> Json {
        Json::new(Verbosity::default(), false)
    }

    fn line(event: Event) -> String {
        let mut batch = OutputBatch::default();
        view().event(event, at(), &mut batch);
        assert!(batch.err.is_empty());
        String::from_utf8(batch.out).unwrap()
    }

    fn value(event: Event) -> Value {
        let line = line(event);
        assert!(
            line.ends_with("}\n") && line.matches('\n').count() == 1,
            "{line:?}"
        );
        serde_json::from_str(&line).unwrap()
    }

    fn tag(reference: &str) -> Tag {
        Tag {
            reference: Some(Reference::Text(reference.into())),
            line: 4,
        }
    }

    #[test]
    fn a_message_is_written_as_the_contract_has_it() {
        assert_eq!(
            line(message("hi", false)),
            format!(
                "{{\"type\":\"message\",\"peer\":\"{ALICE}\",\"name\":\"alice\",\"text\":\"hi\",\
                 \"mid\":\"{}\",\"seq\":3,\"direct\":false,\"time\":\"2024-05-01T12:04:05.007Z\"}}\n",
                "ab".repeat(16)
            )
        );
    }

    #[test]
    fn whatever_is_said_the_value_is_the_same_and_the_line_is_harmless() {
        let nasty: String = (0..0x3000_u32)
            .chain(0xd7f0..0xd800)
            .chain(0xe000..0xe010)
            .chain(0xfe00..0x1_0010)
            .chain(0x1_d170..0x1_d180)
            .chain(0x1_f980..0x1_f990)
            .chain(0xe_0000..0xe_0080)
            .filter_map(char::from_u32)
            .collect();
        let line = line(message(&nasty, false));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["text"], nasty);
        assert!(!line.trim_end().chars().any(is_unseen));
        let small = "\u{7f}\u{9b}\u{202e}\u{e0041}\u{1b}[2J";
        let mut out = Vec::new();
        push_string(&mut out, small);
        assert_eq!(out, br#""\u007f\u009b\u202e\udb40\udc41\u001b[2J""#);
    }

    #[test]
    fn what_happens_to_a_message_carries_its_ref() {
        let mid = MessageId([1; 16]);
        let hex = "01".repeat(16);
        assert_eq!(
            value(Event::Queued {
                tag: tag("r1"),
                mid,
                peers: vec![who("alice").id]
            }),
            json!({"type": "queued", "ref": "r1", "mid": hex, "peers": [ALICE]})
        );
        let integer = Tag {
            reference: Some(Reference::Integer(-7)),
            line: 1,
        };
        assert_eq!(
            value(Event::Delivered {
                tag: integer,
                mid,
                peer: who("alice").id
            }),
            json!({"type": "delivered", "ref": -7, "mid": hex, "peer": ALICE})
        );
        let done = Event::Done {
            tag: Tag::default(),
            mid,
            delivered: vec![],
            undelivered: vec![(who("alice"), Undelivered::Restarted)],
        };
        assert_eq!(
            value(done),
            json!({"type": "done", "mid": hex, "delivered": [],
                "undelivered": [{"peer": ALICE, "reason": "restarted"}]})
        );
    }

    #[test]
    fn peers_and_links_are_listed() {
        let up = Event::PeerUp {
            who: who(""),
            addr: "192.0.2.7:9000".into(),
            inbound: true,
            resumed: false,
            instead_of: None,
            sas: "six words".into(),
        };
        assert_eq!(
            value(up),
            json!({"type": "peer_up", "peer": ALICE, "name": null, "addr": "192.0.2.7:9000",
                "inbound": true, "resumed": false, "sas": "six words"})
        );
        let down = Event::PeerDown {
            who: who("b"),
            reason: DownReason::Lost,
            retrying: true,
            awaited: true,
        };
        assert_eq!(
            value(down),
            json!({"type": "peer_down", "peer": ALICE, "name": "b", "reason": "lost",
                "retrying": true, "awaited": true})
        );
        assert_eq!(
            value(Event::PeerGone { who: who("b") }),
            json!({"type": "peer_gone", "peer": ALICE, "name": "b"})
        );
        let peer = PeerInfo {
            who: who("b"),
            addr: None,
            since: Duration::from_secs(65),
            state: PeerState::Retrying,
            ignored: false,
        };
        assert_eq!(
            value(Event::Peers {
                tag: tag("p"),
                peers: vec![peer]
            }),
            json!({"type": "peers", "ref": "p", "peers": [{"peer": ALICE, "name": "b",
                "addr": null, "since": "2024-05-01T12:03:00.007Z", "state": "retrying",
                "ignored": false}]})
        );
        let link = LinkStats {
            interval_ms: None,
            cells_sent: u64::MAX,
            ..link()
        };
        let stats = value(Event::Stats {
            tag: tag("s"),
            links: vec![link],
        });
        assert_eq!(stats["links"][0]["cells_sent"], u64::MAX);
        assert_eq!(stats["links"][0]["interval_ms"], Value::Null);
        assert_eq!(stats["links"][0]["up_for_ms"], 60_000);
        assert_eq!(stats["links"][0]["bytes_sent_per_second"], 10_240);
        assert_eq!(stats["links"][0]["bytes_received_per_second"], 10_222);
    }

    #[test]
    fn errors_name_the_line_and_notices_stay_off_stdout() {
        let error = Event::Error {
            tag: tag("r"),
            code: ErrorCode::NoSuchPeer,
            message: "nobody is called \u{1b}x".into(),
        };
        assert_eq!(
            value(error),
            json!({"type": "error", "ref": "r", "code": "no_such_peer",
                "message": "nobody is called \u{1b}x", "line": 4})
        );
        let mut batch = OutputBatch::default();
        let notice = Event::Notice {
            level: 0,
            text: "port 9000 is taken".into(),
        };
        view().event(notice, at(), &mut batch);
        view().local(Local::Help, at(), &mut batch);
        assert!(batch.out.is_empty());
        assert!(batch.err.starts_with(b"sesame: port 9000 is taken\n"));
    }

    #[test]
    fn a_run_begins_with_ready_and_ends_with_bye() {
        let mut batch = OutputBatch::default();
        let mut view = Json::new(Verbosity::default(), true);
        view.ready(
            &Ready {
                after_panic: Some(Tag {
                    reference: Some(Reference::Integer(7)),
                    line: 3,
                }),
                ..ready()
            },
            at(),
            &mut batch,
        );
        view.bye(ByeReason::Goodbye, 3, at(), &mut batch);
        let id = "12".repeat(32);
        assert_eq!(
            String::from_utf8(batch.out).unwrap(),
            format!(
                "\n{{\"type\":\"panicked\",\"ref\":7,\"id\":\"{id}\"}}\n\
                 {{\"type\":\"ready\",\"version\":\"0.1.0\",\"api\":1,\"protocol\":1,\
                 \"id\":\"{id}\",\"listen\":[\"[::]:9000\"],\"name\":null,\"decoy\":false}}\n\
                 {{\"type\":\"bye\",\"reason\":\"goodbye\",\"status\":3}}\n"
            )
        );
    }
}
