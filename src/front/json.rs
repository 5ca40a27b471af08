//! The output of JSON mode: one object per line, and nothing else on stdout.

use std::net::SocketAddr;
use std::time::Instant;

use super::clock::Moment;
use super::input_sender::Local;
use super::invitation::Invitation;
use super::json_event::{Hex, JsonEvent, reference};
use super::json_text::push_line;
use super::lines::BadLine;
use super::options::Verbosity;
use super::output::{OutputBatch, View};
use super::ready::Ready;
use super::render::{self, Note};
use super::table::ANY_WIDTH;
use super::text::UTF16;
use crate::channels::Shown;
use crate::mesh::{ByeReason, ErrorCode, Event, Tag};
use crate::proto::{Address, DisplayName};

/// The version of this interface, for `ready`.
const API: u64 = 1;
/// The version of the wire protocol, for `ready`.
const PROTOCOL: u64 = crate::proto::VERSION as u64;

/// The view of JSON mode.
pub(super) struct Json {
    verbosity: Verbosity,
    line_open: bool,
    invitation: Option<Invitation>,
}

impl Json {
    /// With `line_open`, the first output ends a line that a panic cut short.
    pub(super) fn new(verbosity: Verbosity, line_open: bool) -> Self {
        Self {
            verbosity,
            line_open,
            invitation: None,
        }
    }

    /// Writes notes that have no event of their own as diagnostics.
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
    let reason = reason.as_str();
    push_line(out, &JsonEvent::Bye { reason, status });
}

fn push_error(out: &mut Vec<u8>, tag: &Tag, code: ErrorCode, message: &str) {
    push_line(out, &JsonEvent::error(tag, code, message));
}

impl View for Json {
    fn ready(&mut self, ready: &Ready, _: Moment, batch: &mut OutputBatch) {
        self.invitation = Some(Invitation::of(ready));
        let out = &mut batch.out;
        if std::mem::take(&mut self.line_open) {
            out.push(b'\n');
        }
        let id = || Hex(&ready.id.0);
        if let Some(tag) = &ready.after_panic {
            let reference = reference(tag);
            push_line(
                out,
                &JsonEvent::Panicked {
                    reference,
                    id: id(),
                },
            );
        }
        let line = JsonEvent::Ready {
            version: ready.version,
            api: API,
            protocol: PROTOCOL,
            id: id(),
            listen: ready.listen.iter().map(SocketAddr::to_string).collect(),
            advertise: ready.advertise.as_ref().map(Address::to_string),
            name: ready.name.as_ref().map(DisplayName::as_str),
            decoy: ready.decoy,
        };
        push_line(out, &line);
    }

    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch) {
        if let Some(invitation) = &mut self.invitation {
            invitation.update(&event);
        }
        match JsonEvent::of(&event, at) {
            Some(line) => push_line(&mut batch.out, &line),
            None => self.diagnose(&render::notes(&event, at), batch),
        }
        if let Event::Message { who, seq, .. } = &event {
            batch.shown.push(Shown {
                peer: who.id,
                seq: *seq,
            });
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
            Local::Help(topic) => self.diagnose(&render::help(topic, ANY_WIDTH), batch),
            Local::Invite => {
                let lines = self.invitation.as_ref().map(Invitation::answer);
                self.diagnose(&lines.unwrap_or_default(), batch);
            }
            Local::Alert(tag, alert, _) => {
                let message = format!("{} works in chat mode only", alert.command());
                push_error(&mut batch.out, &tag, ErrorCode::BadCommand, &message);
            }
            Local::More(tag) => {
                let message = "/more works in chat mode only";
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
    use std::time::Duration;

    use crate::mesh::{
        DownReason, LinkStats, PeerInfo, PeerState, PendingMessages, Reference, Undelivered,
    };
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
    fn message_is_written_as_specified() {
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
    fn events_about_a_message_carry_its_ref() {
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
            via: None,
            sas: "six words that are the same".into(),
        };
        assert_eq!(
            value(up),
            json!({"type": "peer_up", "peer": ALICE, "name": null, "addr": "192.0.2.7:9000",
                "inbound": true, "resumed": false, "sas": "six words that are the same"})
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
            who: Some(who("b")),
            addr: None,
            since: Duration::from_secs(65),
            state: PeerState::Retrying,
            ignored: false,
            via: None,
            error: Some("connection refused".into()),
        };
        assert_eq!(
            value(Event::Peers {
                tag: tag("p"),
                peers: vec![peer]
            }),
            json!({"type": "peers", "ref": "p", "peers": [{"peer": ALICE, "name": "b",
                "addr": null, "since": "2024-05-01T12:03:00.007Z", "state": "retrying",
                "via": null, "error": "connection refused", "ignored": false}]})
        );
        let pending = PendingMessages {
            who: who("b"),
            messages: 3,
            bytes: 120,
            age: Duration::from_secs(65),
        };
        assert_eq!(
            value(Event::Pending {
                tag: tag("p"),
                peers: vec![pending]
            }),
            json!({"type": "pending", "ref": "p", "peers": [{"peer": ALICE, "name": "b",
                "messages": 3, "bytes": 120, "oldest": "2024-05-01T12:03:00.007Z"}]})
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
        view().local(Local::Help(None), at(), &mut batch);
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
                 \"id\":\"{id}\",\"listen\":[\"[::]:9000\"],\"advertise\":null,\"name\":null,\"decoy\":false}}\n\
                 {{\"type\":\"bye\",\"reason\":\"goodbye\",\"status\":3}}\n"
            )
        );
    }

    #[test]
    fn every_event_keeps_its_form_to_the_byte() {
        let mid = MessageId([0xab; 16]);
        let number = || Tag {
            reference: Some(Reference::Integer(u64::MAX.into())),
            line: 9,
        };
        let instead_of = || None;
        let peer = PeerInfo {
            who: None,
            addr: Some("h:1".into()),
            since: Duration::from_secs(65),
            state: PeerState::Away,
            ignored: true,
            via: None,
            error: None,
        };
        let stats = LinkStats {
            round_trip: Some(Duration::from_millis(7)),
            ..link()
        };
        let events = vec![
            message(
                "a\u{8}\u{c}\n\r\t\"\\/\u{7f}\u{202e}é\u{1f600}\u{e0041}",
                true,
            ),
            Event::Queued {
                tag: tag("r\u{1b}"),
                mid,
                peers: vec![who("a").id, who("b").id],
            },
            Event::Queued {
                tag: Tag::default(),
                mid,
                peers: vec![],
            },
            Event::Delivered {
                tag: number(),
                mid,
                peer: who("a").id,
            },
            Event::Done {
                tag: tag("d"),
                mid,
                delivered: vec![who("a").id],
                undelivered: vec![(who("b"), Undelivered::Away)],
            },
            Event::PeerUp {
                who: who("a"),
                addr: "[::1]:9".into(),
                inbound: false,
                resumed: true,
                sas: "six words that are the same".into(),
                instead_of: instead_of(),
                via: None,
            },
            Event::PeerName {
                who: who(""),
                before: "x".into(),
                instead_of: instead_of(),
            },
            Event::PeerDown {
                who: who("a"),
                reason: DownReason::Protocol,
                retrying: false,
                awaited: true,
            },
            Event::PeerGone { who: who("a") },
            Event::Peers {
                tag: tag("p"),
                peers: vec![peer],
            },
            Event::Pending {
                tag: tag("o"),
                peers: vec![PendingMessages {
                    who: who("b"),
                    messages: 1,
                    bytes: 5,
                    age: Duration::from_secs(65),
                }],
            },
            Event::Stats {
                tag: tag("s"),
                links: vec![stats, link()],
            },
            Event::Whoami {
                tag: tag("w"),
                id: who("a").id,
                name: None,
                decoy: true,
            },
            Event::Verify {
                tag: number(),
                who: who("a"),
                sas: "six words that are the same".into(),
            },
            Event::AuthFailed {
                addr: "h:1".into(),
                inbound: true,
                count: 3,
            },
            Event::Advertised {
                address: Address::parse("h.onion:9000").unwrap(),
            },
            Event::Error {
                tag: tag("e"),
                code: ErrorCode::TooLong,
                message: "m".into(),
            },
            Event::Error {
                tag: Tag::default(),
                code: ErrorCode::BadName,
                message: "m".into(),
            },
        ];
        let lines: String = events.into_iter().map(line).collect();
        assert_eq!(lines, include_str!("events.jsonl"));
    }
}
