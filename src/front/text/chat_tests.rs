//! The text view in the style of chat.

use super::tests::{at, left, message};
use super::*;
use crate::front::render::tests::who;
use crate::mesh::{Addressee, Predecessor, Tag, Undelivered};
use crate::proto::{MessageId, PeerId};

fn chat(options: FrontendOptions) -> TextView {
    chat_with(options, CompletionNames::default())
}

fn chat_with(options: FrontendOptions, names: CompletionNames) -> TextView {
    let style = ChatStyle {
        names,
        audience: Arc::default(),
        keys: None,
        bell: Bell::default(),
    };
    TextView::new(Arc::new(options), Style::Chat(style))
}

fn put(chat: &mut TextView, event: Event) -> String {
    let mut batch = OutputBatch::default();
    chat.event(event, at(), &mut batch);
    chat.settle(at(), &mut batch);
    assert!(batch.err.is_empty());
    String::from_utf8(batch.out).unwrap()
}

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
    chat.local(Local::Bell(Tag::default(), Bell::Direct), at(), &mut batch);
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
