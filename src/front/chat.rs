//! Chat mode: what appears above the line being typed.

use std::sync::Arc;
use std::time::Instant;

use super::audience::Audience;
use super::clock::{Moment, push_local};
use super::command::Bell;
use super::completion_names::CompletionNames;
use super::input_sender::Local;
use super::keyboard::Keys;
use super::options::FrontendOptions;
use super::output::{OutputBatch, View};
use super::plain::{UTF16, bad_line, farewell, greeting};
use super::ready::Ready;
use super::render::{self, Mark, Note};
use super::sanitize::clean;
use super::screen::CLEAR;
use super::undelivered::Fates;
use crate::channels::Shown;
use crate::mesh::{ByeReason, ErrorCode, Event};

const TIME: &str = "\x1b[2m";
const NAME: &str = "\x1b[1;36m";
const DIRECT: &str = "\x1b[1;35m";
const NOTICE: &str = "\x1b[2m";
const ATTENTION: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The view of chat mode.
pub(super) struct Chat {
    options: Arc<FrontendOptions>,
    names: CompletionNames,
    bell: Bell,
    fates: Fates,
    audience: Arc<Audience>,
    /// The line editor, if the terminal has a cursor for one.
    keys: Option<Arc<Keys>>,
}

impl Chat {
    /// With `keys` where there is a line editor. `audience` is kept up to date.
    pub fn new(
        options: Arc<FrontendOptions>,
        names: CompletionNames,
        audience: Arc<Audience>,
        keys: Option<Arc<Keys>>,
    ) -> Self {
        Self {
            options,
            names,
            bell: Bell::default(),
            fates: Fates::default(),
            audience,
            keys,
        }
    }

    fn coloured(&self, out: &mut Vec<u8>, colour: &str, text: &str) {
        if self.options.colour {
            out.extend_from_slice(colour.as_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(RESET.as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn time(&self, out: &mut Vec<u8>, at: Moment) {
        if self.options.colour {
            out.extend_from_slice(TIME.as_bytes());
        }
        push_local(out, at.utc);
        if self.options.colour {
            out.extend_from_slice(RESET.as_bytes());
        }
        out.push(b' ');
    }

    fn note(&self, note: &Note, at: Moment, batch: &mut OutputBatch) {
        if !note.is_wanted(self.options.verbosity) {
            return;
        }
        self.time(&mut batch.out, at);
        let (mark, colour) = match note.mark {
            Mark::Notice => ("* ", NOTICE),
            Mark::Attention => ("! ", ATTENTION),
        };
        let decoy = if self.options.decoy { "[decoy] " } else { "" };
        self.coloured(
            &mut batch.out,
            colour,
            &format!("{mark}{decoy}{}", note.text),
        );
        batch.out.push(b'\n');
    }

    /// A message that was typed when somebody was here, and taken when nobody was.
    fn unsent(&self, text: &str, at: Moment, batch: &mut OutputBatch) {
        let put_back = |keys: &Arc<Keys>| keys.put_back(text);
        let what = match self.keys.as_ref().map(put_back) {
            Some(true) => "not sent: nobody is here; Enter sends the line when somebody is".into(),
            Some(false) => format!("not sent: nobody is here; Up recalls it: {text}"),
            None => format!("not sent: nobody is here: {text}"),
        };
        self.note(&Note::mistake(what), at, batch);
    }

    fn notes(&self, notes: &[Note], at: Moment, batch: &mut OutputBatch) {
        for note in notes {
            self.note(note, at, batch);
        }
    }
}

impl View for Chat {
    fn ready(&mut self, ready: &Ready, at: Moment, batch: &mut OutputBatch) {
        if ready.after_panic.is_some() && self.keys.is_some() {
            batch.out.extend_from_slice(CLEAR);
        }
        self.notes(&greeting(ready), at, batch);
    }

    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch) {
        match event {
            Event::Addressees(all) => self.names.learn(all),
            Event::Audience { anybody, left } => {
                let before = self.audience.is_anybody();
                self.audience.set(at.now, anybody, left);
                if left {
                    let ends = "nobody is left; Enter on an empty line quits";
                    self.note(&Note::answer(ends), at, batch);
                } else if before && !anybody {
                    self.note(&Note::answer("nobody is left"), at, batch);
                }
            }
            Event::Unsent { text } => self.unsent(text.as_str(), at, batch),
            Event::Message {
                who,
                text,
                seq,
                direct,
                ..
            } => {
                if self.bell == Bell::All || (self.bell == Bell::Direct && direct) {
                    batch.out.push(b'\x07');
                }
                self.time(&mut batch.out, at);
                let colour = if direct { DIRECT } else { NAME };
                self.coloured(&mut batch.out, colour, &clean(&who.shown));
                batch
                    .out
                    .extend_from_slice(if direct { b" (to you): " } else { b": " });
                render::push_text(&mut batch.out, &text);
                batch.shown.push(Shown { peer: who.id, seq });
            }
            Event::Done { undelivered, .. } => {
                self.fates.last_word(at.now, &undelivered, 0);
            }
            Event::Error {
                code: ErrorCode::NoPeers,
                message,
                ..
            } => {
                self.fates.add(at.now, message, 0);
            }
            event => {
                if matches!(event, Event::PeerUp { .. }) {
                    // Before it is shown, and so before anybody could answer it.
                    self.audience.came();
                }
                self.notes(&render::notes(&event, at), at, batch);
            }
        }
    }

    fn local(&mut self, local: Local, at: Moment, batch: &mut OutputBatch) {
        match local {
            Local::Mistake(_, mistake) => self.note(&Note::mistake(mistake.message), at, batch),
            Local::BadLine(tag, why) => {
                self.note(&Note::mistake(bad_line(tag.line, why)), at, batch);
            }
            Local::Utf16 => self.note(&Note::mistake(UTF16), at, batch),
            Local::Trouble(text) => self.note(&Note::mistake(text), at, batch),
            Local::Help => self.notes(&render::help(), at, batch),
            Local::Bell(_, bell) => {
                self.bell = bell;
                let when = match bell {
                    Bell::Off => "the bell is off",
                    Bell::Direct => "the bell rings for direct messages only",
                    Bell::All => "the bell rings for every message",
                };
                self.note(&Note::answer(when), at, batch);
            }
            Local::Choices(found) => {
                self.note(&Note::answer(found.join("  ")), at, batch);
            }
            Local::Kept => {
                let kept = "nobody is here; Enter sends the line when somebody is";
                self.note(&Note::answer(kept), at, batch);
            }
            Local::Clear => {
                if self.keys.is_some() {
                    batch.out.extend_from_slice(CLEAR);
                }
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.fates.due()
    }

    fn settle(&mut self, at: Moment, batch: &mut OutputBatch) {
        for fate in self.fates.take() {
            let count = match fate.count {
                1 => String::new(),
                count => format!(" ({count} messages)"),
            };
            self.note(&Note::attention(fate.what + &count), at, batch);
        }
    }

    fn bye(&mut self, reason: ByeReason, _: u8, at: Moment, batch: &mut OutputBatch) {
        if let Some(note) = farewell(reason) {
            self.note(&note, at, batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::plain::tests::{at, message};
    use crate::front::render::tests::who;
    use crate::mesh::{Addressee, DownReason, Predecessor, Tag, Undelivered};
    use crate::proto::{MessageId, PeerId};

    fn chat(options: FrontendOptions) -> Chat {
        Chat::new(
            Arc::new(options),
            CompletionNames::default(),
            Arc::default(),
            None,
        )
    }

    fn put(chat: &mut Chat, event: Event) -> String {
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

    fn left() -> Event {
        Event::PeerDown {
            who: who("alice"),
            reason: DownReason::Goodbye,
            retrying: false,
            awaited: false,
        }
    }

    #[test]
    fn everything_appears_as_the_contract_has_it() {
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
    fn names_are_those_that_the_engine_told_last() {
        let mut chat = chat(FrontendOptions::default());
        let mut tell = |all: &[(&str, bool)]| {
            let all = all.iter().map(|(shown, up)| Addressee {
                shown: (*shown).into(),
                up: *up,
            });
            assert_eq!(put(&mut chat, Event::Addressees(all.collect())), "");
            chat.names.clone()
        };
        let names = tell(&[("bob", false), ("alice", true), ("al", true)]);
        assert_eq!(names.beginning("al", true), ["al", "alice"]);
        assert_eq!(names.beginning("b", false), ["bob"]);
        assert!(names.beginning("b", true).is_empty());
        assert!(tell(&[]).beginning("", false).is_empty());
    }

    #[test]
    fn a_name_taken_over_is_told_with_both_ids() {
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
            format!(
                "* bob is here (3f9c01aa24b7d08e), not the bob (34343434…) who left at {time}\n"
            )
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
}
