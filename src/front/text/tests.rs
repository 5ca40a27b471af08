//! The text view in the style of plain mode.

use time::OffsetDateTime;

use super::*;
use crate::front::clock;
use crate::front::options::Verbosity;
use crate::front::render::tests::who;
use crate::mesh::{DownReason, Tag, Text, Undelivered};
use crate::proto::{MessageId, PeerId};

pub(crate) fn at() -> Moment {
    let utc = OffsetDateTime::from_unix_timestamp_nanos(1_714_565_045_007_000_000).unwrap();
    Moment {
        now: clock::now(),
        utc,
    }
}

pub(crate) fn message(text: &str, direct: bool) -> Event {
    Event::Message {
        who: who("alice"),
        text: Text::from(text),
        mid: MessageId([0xab; 16]),
        seq: 3,
        direct,
    }
}

pub(crate) fn ready() -> Ready {
    Ready {
        version: "0.1.0",
        id: PeerId([0x12; 32]),
        listen: vec!["[::]:9000".parse().unwrap()],
        advertise: None,
        name: None,
        decoy: false,
        after_panic: None,
    }
}

fn plain(options: FrontendOptions, line_open: bool) -> TextView {
    TextView::new(Arc::new(options), Style::Plain { line_open })
}

fn put(options: &FrontendOptions, events: Vec<Event>) -> (String, String) {
    let mut view = plain(options.clone(), false);
    let mut batch = OutputBatch::default();
    for event in events {
        view.event(event, at(), &mut batch);
    }
    view.settle(at(), &mut batch);
    (
        String::from_utf8(batch.out).unwrap(),
        String::from_utf8(batch.err).unwrap(),
    )
}

pub(crate) fn left() -> Event {
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
    let mut view = plain(options, false);
    let mut batch = OutputBatch::default();
    view.local(
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
    let mut view = plain(FrontendOptions::default(), true);
    let mut batch = OutputBatch::default();
    view.ready(
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
