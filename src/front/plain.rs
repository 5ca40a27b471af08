//! Plain mode: what was said on stdout, one line a message; all about the program on stderr.

use std::sync::Arc;
use std::time::Instant;

use super::clock::Moment;
use super::clock::push_stamp;
use super::input_sender::Local;
use super::lines::BadLine;
use super::options::FrontendOptions;
use super::output::{OutputBatch, View};
use super::ready::Ready;
use super::render::{self, Mark, Note};
use super::sanitize::clean;
use super::undelivered::Fates;
use crate::channels::Shown;
use crate::mesh::{ByeReason, ErrorCode, Event};

/// The view of plain mode.
pub(super) struct Plain {
    options: Arc<FrontendOptions>,
    fates: Fates,
    line_open: bool,
}

impl Plain {
    /// With `line_open`, the first thing on stdout ends a line that was cut short.
    pub fn new(options: Arc<FrontendOptions>, line_open: bool) -> Self {
        Self {
            options,
            fates: Fates::default(),
            line_open,
        }
    }

    fn note(&self, note: &Note, at: Moment, batch: &mut OutputBatch) {
        if !note.is_wanted(self.options.verbosity) {
            return;
        }
        self.stamp(&mut batch.err, at);
        let mark = match note.mark {
            Mark::Notice => "* ",
            Mark::Attention => "! ",
        };
        let decoy = if self.options.decoy { "[decoy] " } else { "" };
        for part in [mark, decoy, &note.text, "\n"] {
            batch.err.extend_from_slice(part.as_bytes());
        }
    }

    fn trouble(&self, text: &str, at: Moment, batch: &mut OutputBatch) {
        self.stamp(&mut batch.err, at);
        let line = format!("sesame: {}\n", clean(text));
        batch.err.extend_from_slice(line.as_bytes());
    }

    fn stamp(&self, out: &mut Vec<u8>, at: Moment) {
        if self.options.timestamps {
            push_stamp(out, at.utc);
            out.push(b' ');
        }
    }
}

/// That the input cannot be read at all.
pub(super) const UTF16: &str = "cannot read stdin: it is UTF-16, and sesame sent nothing of it; \
    write it as UTF-8 (PowerShell: $OutputEncoding = [Text.UTF8Encoding]::new(), or Set-Content \
    -Encoding utf8)";

/// What is wrong with an input line, for stderr.
pub(super) fn bad_line(number: u64, why: BadLine) -> String {
    match why {
        BadLine::TooLong => format!("line {number}: not sent: longer than 65,536 bytes"),
        BadLine::NotUtf8 => format!("line {number}: not sent: not UTF-8"),
    }
}

/// The first notices of a run, in chat and plain mode.
pub(super) fn greeting(ready: &Ready) -> Vec<Note> {
    let id = ready.id.hex_prefix(16);
    let mut notes = Vec::new();
    if ready.after_panic.is_some() {
        notes.push(Note::attention("sesame has forgotten everything"));
    }
    notes.push(Note::notice(match &ready.name {
        Some(name) => format!("you are {name} ({id})"),
        None => format!("you are {id}"),
    }));
    if !ready.listen.is_empty() {
        notes.push(Note::notice(format!(
            "listening on {}",
            ready.listen.join(", ")
        )));
    }
    notes
}

/// The last notice of a run, where the user did not end it.
pub(super) fn farewell(reason: ByeReason) -> Option<Note> {
    matches!(reason, ByeReason::Goodbye).then(|| Note::notice("nobody is left, so sesame exits"))
}

impl View for Plain {
    fn ready(&mut self, ready: &Ready, at: Moment, batch: &mut OutputBatch) {
        if std::mem::take(&mut self.line_open) {
            batch.out.push(b'\n');
        }
        for note in greeting(ready) {
            self.note(&note, at, batch);
        }
    }

    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch) {
        match event {
            Event::Message {
                who,
                text,
                seq,
                direct,
                ..
            } => {
                self.stamp(&mut batch.out, at);
                batch.out.extend_from_slice(clean(&who.shown).as_bytes());
                batch
                    .out
                    .extend_from_slice(if direct { b" (to you): " } else { b": " });
                render::push_text(&mut batch.out, &text);
                batch.shown.push(Shown { peer: who.id, seq });
            }
            Event::Done {
                tag, undelivered, ..
            } => {
                self.fates.last_word(at.now, &undelivered, tag.line);
            }
            Event::Error {
                tag,
                code: ErrorCode::NoPeers,
                message,
            } => {
                self.fates.add(at.now, message, tag.line);
            }
            Event::Error { tag, message, .. } if tag.line > 0 => {
                self.note(
                    &Note::mistake(format!("line {}: {message}", tag.line)),
                    at,
                    batch,
                );
            }
            event => {
                for note in render::notes(&event, at) {
                    self.note(&note, at, batch);
                }
            }
        }
    }

    fn local(&mut self, local: Local, at: Moment, batch: &mut OutputBatch) {
        match local {
            Local::Mistake(tag, mistake) => {
                let text = format!("line {}: {}", tag.line, mistake.message);
                if mistake.code == ErrorCode::TooLong {
                    self.trouble(&text, at, batch);
                } else {
                    self.note(&Note::mistake(text), at, batch);
                }
            }
            Local::BadLine(tag, why) => self.trouble(&bad_line(tag.line, why), at, batch),
            Local::Utf16 => self.trouble(UTF16, at, batch),
            Local::Trouble(text) => self.trouble(&text, at, batch),
            Local::Help => {
                for note in render::help() {
                    self.note(&note, at, batch);
                }
            }
            Local::Bell(tag, _) => {
                let text = format!("line {}: /bell works in chat mode only", tag.line);
                self.note(&Note::mistake(text), at, batch);
            }
            Local::Clear | Local::Choices(_) | Local::Kept => {}
        }
    }

    fn due(&self) -> Option<Instant> {
        self.fates.due()
    }

    fn settle(&mut self, at: Moment, batch: &mut OutputBatch) {
        for fate in self.fates.take() {
            self.note(
                &Note::attention(format!("{}: {}", fate.what, fate.lines)),
                at,
                batch,
            );
        }
    }

    fn bye(&mut self, reason: ByeReason, _: u8, at: Moment, batch: &mut OutputBatch) {
        if let Some(note) = farewell(reason) {
            self.note(&note, at, batch);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::front::clock;
    use crate::front::options::Verbosity;
    use crate::front::render::tests::who;
    use crate::mesh::{DownReason, Tag, Text, Undelivered};
    use crate::proto::{MessageId, PeerId};

    pub fn at() -> Moment {
        let utc = OffsetDateTime::from_unix_timestamp_nanos(1_714_565_045_007_000_000).unwrap();
        Moment {
            now: clock::now(),
            utc,
        }
    }

    pub fn message(text: &str, direct: bool) -> Event {
        Event::Message {
            who: who("alice"),
            text: Text::from(text),
            mid: MessageId([0xab; 16]),
            seq: 3,
            direct,
        }
    }

    pub fn ready() -> Ready {
        Ready {
            version: "0.1.0",
            id: PeerId([0x12; 32]),
            listen: vec!["[::]:9000".into()],
            name: None,
            decoy: false,
            after_panic: None,
        }
    }

    fn put(options: &FrontendOptions, events: Vec<Event>) -> (String, String) {
        let mut plain = Plain::new(Arc::new(options.clone()), false);
        let mut batch = OutputBatch::default();
        for event in events {
            plain.event(event, at(), &mut batch);
        }
        plain.settle(at(), &mut batch);
        (
            String::from_utf8(batch.out).unwrap(),
            String::from_utf8(batch.err).unwrap(),
        )
    }

    fn left() -> Event {
        Event::PeerDown {
            who: who("alice"),
            reason: DownReason::Goodbye,
            retrying: false,
            awaited: false,
        }
    }

    fn lost(line: u64) -> Event {
        Event::Done {
            tag: Tag {
                reference: None,
                line,
            },
            mid: MessageId([0; 16]),
            delivered: Vec::new(),
            undelivered: vec![(who("bob"), Undelivered::Stalled)],
        }
    }

    #[test]
    fn messages_go_to_stdout_and_notices_to_stderr() {
        let events = vec![message("hello", false), message("psst", true), left()];
        let (out, err) = put(&FrontendOptions::default(), events);
        assert_eq!(out, "alice: hello\nalice (to you): psst\n");
        assert_eq!(err, "* alice left: goodbye\n");
    }

    #[test]
    fn a_nameless_peer_is_shown_by_its_id() {
        let event = Event::Message {
            who: Arc::new((*who("")).clone()),
            text: Text::from("a\u{1b}b"),
            mid: MessageId([0; 16]),
            seq: 1,
            direct: false,
        };
        assert_eq!(
            put(&FrontendOptions::default(), vec![event]).0,
            "3f9c01aa24b7d08e: a\\u{1b}b\n"
        );
    }

    #[test]
    fn the_options_change_what_is_shown() {
        let options = FrontendOptions {
            timestamps: true,
            ..FrontendOptions::default()
        };
        assert_eq!(
            put(&options, vec![message("a\nb", false), left()]),
            (
                "2024-05-01T12:04:05.007Z alice: a\n  b\n".into(),
                "2024-05-01T12:04:05.007Z * alice left: goodbye\n".into()
            )
        );
        let options = FrontendOptions {
            verbosity: Verbosity {
                quiet: true,
                level: 0,
            },
            ..FrontendOptions::default()
        };
        assert_eq!(put(&options, vec![left(), lost(1)]).1, "");
        let options = FrontendOptions {
            decoy: true,
            ..FrontendOptions::default()
        };
        assert_eq!(
            put(&options, vec![left()]).1,
            "* [decoy] alice left: goodbye\n"
        );
    }

    #[test]
    fn undelivered_lines_are_named_together() {
        let err = put(
            &FrontendOptions::default(),
            (120..=450).chain([452]).map(lost).collect(),
        )
        .1;
        assert_eq!(err, "! not delivered to bob: stalled: lines 120-450, 452\n");
        let nobody = |line| Event::Error {
            tag: Tag {
                reference: None,
                line,
            },
            code: ErrorCode::NoPeers,
            message: "nobody was reached within 30 s".into(),
        };
        let err = put(&FrontendOptions::default(), (1..=3).map(nobody).collect()).1;
        assert_eq!(err, "! nobody was reached within 30 s: lines 1-3\n");
    }

    #[test]
    fn bad_lines_are_named_even_if_quiet() {
        let options = FrontendOptions {
            verbosity: Verbosity {
                quiet: true,
                level: 0,
            },
            ..FrontendOptions::default()
        };
        let mut plain = Plain::new(Arc::new(options), false);
        let mut batch = OutputBatch::default();
        plain.local(
            Local::BadLine(
                Tag {
                    line: 12,
                    ..Tag::default()
                },
                BadLine::TooLong,
            ),
            at(),
            &mut batch,
        );
        assert_eq!(
            batch.err,
            b"sesame: line 12: not sent: longer than 65,536 bytes\n"
        );
    }

    #[test]
    fn a_line_that_a_panic_cut_short_is_ended() {
        let mut plain = Plain::new(Arc::default(), true);
        let mut batch = OutputBatch::default();
        plain.ready(
            &Ready {
                after_panic: Some(Tag::default()),
                ..ready()
            },
            at(),
            &mut batch,
        );
        assert_eq!(batch.out, b"\n");
        assert!(
            batch
                .err
                .starts_with(b"! sesame has forgotten everything\n* you are 1212121212121212\n")
        );
    }
}
