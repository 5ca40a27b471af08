//! The text view in the style of chat.

use std::sync::OnceLock;

use unicode_width::UnicodeWidthStr;

use super::tests::{at, left, message};
use super::*;
use crate::front::departures;
use crate::front::options::Notifier;
use crate::front::render::tests::{link, who};
use crate::mesh::{Addressee, LinkStats, PeerInfo, PeerState, Predecessor, Tag, Undelivered};
use crate::proto::{MessageId, PeerId};

fn chat(options: FrontendOptions) -> TextView {
    chat_with(options, CompletionNames::default())
}

fn chat_with(options: FrontendOptions, names: CompletionNames) -> TextView {
    chat_at(options, names, || 80)
}

fn chat_at(options: FrontendOptions, names: CompletionNames, columns: fn() -> usize) -> TextView {
    let style = ChatStyle::new(names, Arc::default(), None, columns);
    TextView::new(Arc::new(options), Style::Chat(style))
}

fn put(chat: &mut TextView, event: Event) -> String {
    let shown = put_at(chat, event, Duration::ZERO);
    let mut batch = OutputBatch::default();
    chat.settle(later(departures::PATIENCE), &mut batch);
    shown + &String::from_utf8(batch.out).unwrap()
}

/// So long after the beginning of the tests.
fn later(after: Duration) -> Moment {
    let first = *FIRST.get_or_init(at);
    Moment {
        now: first.now + after,
        utc: first.utc + after,
    }
}

/// What is shown at once for an event at this time.
fn put_at(chat: &mut TextView, event: Event, after: Duration) -> String {
    let mut batch = OutputBatch::default();
    chat.event(event, later(after), &mut batch);
    assert!(batch.err.is_empty());
    String::from_utf8(batch.out).unwrap()
}

static FIRST: OnceLock<Moment> = OnceLock::new();

fn without_time(text: &str) -> &str {
    assert_eq!(text.as_bytes()[2], b':', "{text}");
    &text[6..]
}

#[test]
fn everything_appears_as_specified() {
    let mut chat = chat(FrontendOptions::default());
    let shown = put(&mut chat, message("hello", false));
    assert_eq!(without_time(&shown), "alice: hello\n");
    let shown = put(&mut chat, message("hello", true));
    assert_eq!(without_time(&shown), "alice (to you): hello\n");
    assert_eq!(
        without_time(&put(&mut chat, left())),
        "* alice left: goodbye\n"
    );
    let done = Event::Done {
        tag: Tag::default(),
        mid: MessageId([0; 16]),
        delivered: vec![],
        undelivered: vec![(who("bob"), Undelivered::Stalled)],
    };
    assert_eq!(
        without_time(&put(&mut chat, done)),
        "! not delivered to bob: stalled\n"
    );
}

#[test]
fn colour_bell_and_decoy_are_added_when_chosen() {
    let mut chat = chat(FrontendOptions {
        colour: true,
        decoy: true,
        ..FrontendOptions::default()
    });
    assert!(put(&mut chat, message("x", false)).contains("\x1b[1;36malice\x1b[0m: x\n"));
    assert!(put(&mut chat, left()).contains("* [decoy] alice left: goodbye\x1b[0m\n"));
    let mut batch = OutputBatch::default();
    chat.local(
        Local::Alert(Tag::default(), Alert::Bell, AlertFor::Direct),
        at(),
        &mut batch,
    );
    assert!(put(&mut chat, message("x", true)).starts_with('\x07'));
    assert!(!put(&mut chat, message("x", false)).contains('\x07'));
}

#[test]
fn names_are_those_of_the_last_event() {
    let names = CompletionNames::default();
    let mut chat = chat_with(FrontendOptions::default(), names.clone());
    let mut tell = |all: &[(&str, bool)]| {
        let all = all.iter().map(|(shown, up)| Addressee {
            shown: (*shown).into(),
            up: *up,
        });
        assert_eq!(put(&mut chat, Event::Addressees(all.collect())), "");
        names.clone()
    };
    let names = tell(&[("bob", false), ("alice", true), ("al", true)]);
    assert_eq!(names.beginning("al", true), ["al", "alice"]);
    assert_eq!(names.beginning("b", false), ["bob"]);
    assert!(names.beginning("b", true).is_empty());
    assert!(tell(&[]).beginning("", false).is_empty());
}

#[test]
fn name_taken_over_is_reported_with_both_ids() {
    let mut chat = chat(FrontendOptions::default());
    let left_at = at().now;
    let taken = |name: &str| Event::PeerUp {
        via: None,
        who: who(name),
        addr: String::new(),
        inbound: true,
        resumed: false,
        sas: String::new(),
        instead_of: Some(Arc::new(Predecessor {
            id: PeerId([0x34; 32]),
            name: who("bob").name.clone().unwrap(),
            left_at,
        })),
    };
    let shown = put(&mut chat, taken("bob"));
    let time = &shown[..5];
    assert_eq!(
        without_time(&shown),
        format!("* bob is here (3f9c01aa24b7d08e), not the bob (34343434…) who left at {time}\n")
    );
    let renamed = Event::PeerName {
        who: who("bob"),
        before: "rob".into(),
        instead_of: match taken("bob") {
            Event::PeerUp { instead_of, .. } => instead_of,
            _ => None,
        },
    };
    assert_eq!(
        without_time(&put(&mut chat, renamed)),
        format!(
            "* rob is now bob (3f9c01aa24b7d08e), not the bob (34343434…) who left at {time}\n"
        )
    );
}

fn up(name: &str, resumed: bool, instead_of: Option<Predecessor>) -> Event {
    Event::PeerUp {
        who: who(name),
        addr: String::new(),
        inbound: true,
        resumed,
        sas: String::new(),
        instead_of: instead_of.map(Arc::new),
        via: None,
    }
}

fn lost(id: u8) -> Event {
    Event::PeerDown {
        who: Arc::new(Who {
            id: PeerId([id; 32]),
            ..Who::clone(&who("bob"))
        }),
        reason: DownReason::Lost,
        retrying: true,
        awaited: true,
    }
}

#[test]
fn notify_needs_a_terminal_that_has_it() {
    let notify = || Local::Alert(Tag::default(), Alert::Notification, AlertFor::All);
    let mut without = chat(FrontendOptions::default());
    assert!(ask(&mut without, notify()).contains("! sesame knows no notifications"));
    let mut with = chat(FrontendOptions {
        notifier: Some(Notifier::Osc9),
        ..FrontendOptions::default()
    });
    assert!(!put(&mut with, message("x", true)).contains('\x1b'));
    let answer = ask(&mut with, notify());
    assert_eq!(
        without_time(&answer),
        "* the terminal notifies you of every message\n"
    );
    let notification = "\x1b]9;sesame: new message\x07";
    let shown = put(&mut with, message("x", true));
    let line = shown.strip_prefix(notification).unwrap();
    assert_eq!(without_time(line), "alice (to you): x\n");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn peer_that_comes_back_at_once_gets_one_line() {
    let mut chat = chat(FrontendOptions::default());
    let down = |reason| Event::PeerDown {
        who: who("alice"),
        reason,
        retrying: true,
        awaited: true,
    };
    assert_eq!(put_at(&mut chat, down(DownReason::Lost), SECOND), "");
    assert_eq!(chat.due(), Some(later(6 * SECOND).now));
    let shown = put_at(&mut chat, up("alice", true, None), 3 * SECOND);
    let back = "* alice is here again (3f9c01aa24b7d08e), gone for 2 s\n";
    assert_eq!(without_time(&shown), back);
    assert_eq!(chat.due(), None);
    // What the user did appears at once.
    let shown = put_at(&mut chat, down(DownReason::Local), 4 * SECOND);
    assert_eq!(
        without_time(&shown),
        "* you disconnected alice; neither end dials the other until /connect\n"
    );
    // A peer that stays away has left.
    assert_eq!(put_at(&mut chat, down(DownReason::Lost), 5 * SECOND), "");
    let mut batch = OutputBatch::default();
    chat.settle(later(9 * SECOND), &mut batch);
    assert!(batch.out.is_empty());
    chat.settle(later(10 * SECOND), &mut batch);
    let shown = String::from_utf8(batch.out).unwrap();
    assert_eq!(without_time(&shown), "* alice left: lost, trying again\n");
    let shown = put_at(&mut chat, up("alice", true, None), 11 * SECOND);
    let back = "* alice is here again (3f9c01aa24b7d08e)\n";
    assert_eq!(without_time(&shown), back);
}

#[test]
fn name_that_comes_back_at_once_gets_one_line() {
    let mut chat = chat(FrontendOptions::default());
    let before = Predecessor {
        id: PeerId([7; 32]),
        name: who("bob").name.clone().unwrap(),
        left_at: later(SECOND).now,
    };
    assert_eq!(put_at(&mut chat, lost(7), SECOND), "");
    assert_eq!(put_at(&mut chat, lost(8), SECOND), "");
    let shown = put_at(&mut chat, up("bob", false, Some(before)), 2 * SECOND);
    let lines: Vec<_> = shown.lines().map(without_time).collect();
    // The other bob, of whom the second line says nothing.
    assert_eq!(lines[0], "* bob left: lost, trying again");
    assert!(lines[1].starts_with("* bob is here (3f9c01aa24b7d08e), not the bob (07070707…)"));
    assert_eq!((lines.len(), chat.due()), (2, None));
}

#[test]
fn who_left_is_told_before_what_follows_from_it() {
    let follows = || {
        let peers = Vec::new();
        let tag = Tag::default();
        [
            Event::Audience {
                anybody: false,
                left: true,
            },
            Event::Peers { tag, peers },
            Event::PeerGone { who: who("alice") },
        ]
    };
    for event in follows() {
        let mut chat = chat(FrontendOptions::default());
        put_at(&mut chat, lost(7), SECOND);
        let shown = put_at(&mut chat, event, 2 * SECOND);
        assert!(without_time(&shown).starts_with("* bob left: lost, trying again\n"));
        assert!(shown.lines().count() == 2, "{shown}");
    }
    let mut chat = chat(FrontendOptions::default());
    put_at(&mut chat, lost(7), SECOND);
    let mut batch = OutputBatch::default();
    chat.bye(ByeReason::Quit, 0, later(2 * SECOND), &mut batch);
    assert!(String::from_utf8(batch.out).unwrap().contains("* bob left"));
}

#[test]
fn departures_that_are_held_are_bounded() {
    let mut chat = chat(FrontendOptions::default());
    let shown: String = (0..200)
        .map(|id| put_at(&mut chat, lost(id), SECOND))
        .collect();
    assert_eq!(shown.lines().count(), 200 - 64);
}

fn ask(chat: &mut TextView, local: Local) -> String {
    let mut batch = OutputBatch::default();
    chat.local(local, at(), &mut batch);
    String::from_utf8(batch.out).unwrap()
}

#[test]
fn long_message_is_cut_and_more_shows_its_rest() {
    let mut chat = chat(FrontendOptions::default());
    let lines = |count: usize| {
        (1..=count)
            .map(|n| format!("line {n}\n"))
            .collect::<String>()
    };
    let shown = put(&mut chat, message(&lines(20), false));
    assert_eq!(shown.lines().count(), 20);
    let shown = put(&mut chat, message(&lines(23), false));
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!(shown.len(), 21);
    assert_eq!(shown[19], "  line 20");
    assert_eq!(
        without_time(shown[20]),
        "* 3 more lines from alice; /more shows them"
    );
    let more = ask(&mut chat, Local::More(Tag::default()));
    let (note, rest) = more.split_once('\n').unwrap();
    let note = without_time(note).replace(&shown[0][..5], "TIME");
    assert_eq!(note, "* the message of TIME from alice goes on:");
    assert_eq!(rest, "  line 21\n  line 22\n  line 23\n");
    let more = ask(&mut chat, Local::More(Tag::default()));
    assert_eq!(
        without_time(&more),
        "* all lines of all messages are shown\n"
    );
}

#[test]
fn cut_messages_are_bounded_and_clear_forgets_them() {
    let mut chat = chat(FrontendOptions::default());
    let long = "x\n".repeat(30);
    for _ in 0..2 * MOST_FOLDED {
        put(&mut chat, message(&long, false));
    }
    for _ in 0..MOST_FOLDED {
        assert!(ask(&mut chat, Local::More(Tag::default())).contains("goes on"));
    }
    assert!(ask(&mut chat, Local::More(Tag::default())).contains("all lines"));
    put(&mut chat, message(&long, false));
    ask(&mut chat, Local::Clear);
    assert!(ask(&mut chat, Local::More(Tag::default())).contains("all lines"));
}

#[test]
fn new_day_is_told_before_its_first_line() {
    let mut chat = chat(FrontendOptions::default());
    put(&mut chat, message("late", false));
    let mut batch = OutputBatch::default();
    let tomorrow = Moment {
        utc: at().utc + time::Duration::days(1),
        ..at()
    };
    for text in ["early", "and again"] {
        chat.event(message(text, false), tomorrow, &mut batch);
    }
    let shown = String::from_utf8(batch.out).unwrap();
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    let day = tomorrow.local().date();
    assert_eq!(shown[0], format!("      * it is {}, {day}", day.weekday()));
}

/// What a chat shows on terminals of 80 and of 40 columns, each line shorter than that.
fn at_two_widths(shown: impl Fn(&mut TextView) -> String) -> [Vec<String>; 2] {
    let lines = |decoy, columns: fn() -> usize| {
        let options = FrontendOptions {
            decoy,
            ..FrontendOptions::default()
        };
        let shown = shown(&mut chat_at(options, CompletionNames::default(), columns));
        let lines: Vec<_> = shown.lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|it| it.width() < columns()), "{lines:#?}");
        lines
    };
    let widths: [fn() -> usize; 2] = [|| 80, || 40];
    widths.map(|columns| {
        lines(true, columns);
        lines(false, columns)
    })
}

#[test]
fn peers_and_stats_fit_80_and_40_columns() {
    let names = [
        "al",
        "Bartholomew the Great",
        "日本語日本語日本",
        "👩\u{200d}🚀",
    ];
    let peer = |name| PeerInfo {
        who: Some(who(name)),
        addr: Some("[2001:db8::7]:9000".into()),
        since: Duration::from_secs(100_000),
        state: PeerState::Retrying,
        ignored: true,
        via: None,
        error: Some("connection refused".into()),
    };
    let [wide, narrow] = at_two_widths(|chat| {
        let peers = names.map(peer).to_vec();
        let tag = Tag::default();
        put(chat, Event::Peers { tag, peers })
    });
    assert_eq!((wide.len(), narrow.len()), (8, 16));
    let links = |chat: &mut TextView| {
        let links = names.map(|name| LinkStats {
            who: who(name),
            bytes_sent: 123_456_789_012,
            ..link()
        });
        let (tag, links) = (Tag::default(), links.to_vec());
        put(chat, Event::Stats { tag, links })
    };
    let [wide, narrow] = at_two_widths(links);
    assert_eq!((wide.len() % 5, narrow.len() % 5), (0, 0));
    let heads = |lines: &[String]| {
        let heads = lines
            .iter()
            .step_by(5)
            .map(|line| line[8..].trim_start_matches("peer"));
        let words = heads.flat_map(|head| head.split("  ")).map(str::trim);
        words
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(heads(&wide).len(), 21);
    assert_eq!(heads(&wide), heads(&narrow));
    at_two_widths(|chat| ask(chat, Local::Help(None)));
}
