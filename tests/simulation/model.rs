//! The model of all messages: it knows which were accepted, and checks which are delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sesame::mesh::{ByeReason, DownReason, Event, Reference, Settings, Tag, Undelivered};
use sesame::proto::{MessageId, PeerId, WINDOW_BYTES, WINDOW_MESSAGES};

/// A time for `--away` that no run lasts.
pub const LONG_AWAY: Duration = Duration::from_secs(1800);

/// Beyond the sum of the engine's own timeouts at its end.
const SLACK: Duration = Duration::from_secs(6);

/// A message as its sender gave it.
pub struct Said {
    /// The whole text. It begins with the sender's number and its own.
    pub text: String,
    /// The recipients, if not all.
    pub to: Option<Vec<usize>>,
    /// Its id, once accepted.
    pub mid: Option<MessageId>,
    /// The peers for which it was accepted.
    pub peers: BTreeSet<PeerId>,
    /// Whether it was refused, or dropped before it was accepted.
    pub refused: bool,
    /// The peers that acknowledged it.
    pub delivered: BTreeSet<PeerId>,
    /// Whether its final event has come.
    pub done: bool,
    /// The processes that were shown it, and under which id.
    pub heard: BTreeMap<usize, MessageId>,
}

/// A process, as the model sees it.
pub struct Person {
    /// Its id.
    pub id: PeerId,
    settings: Settings,
    /// The messages that it had to send.
    pub said: Vec<Said>,
    /// Whether it may be gone: it had to end, or it does not stay.
    pub leaves: bool,
    /// Whether it is a liar.
    pub lies: bool,
    /// Whether it has ended.
    pub gone: bool,
    /// When it must have ended.
    pub ends_by: Option<Instant>,
    /// The verification words of each link, and its relay.
    up: BTreeMap<PeerId, (String, Option<PeerId>)>,
    said_bye: bool,
    bytes: usize,
}

/// What one process has received from another.
#[derive(Default)]
struct Heard {
    last: Option<usize>,
    said: Vec<usize>,
    handed_over: usize,
}

/// Everything sent, received, acknowledged and given up.
#[derive(Default)]
pub struct Model {
    /// All processes there ever were.
    pub people: Vec<Person>,
    ids: BTreeMap<PeerId, usize>,
    /// The liar with too many ids to keep track of.
    crowd: Option<usize>,
    heard: BTreeMap<(usize, usize), Heard>,
    /// Pairs of which one had to disconnect the other.
    parted: BTreeSet<(usize, usize)>,
    /// Pairs of which the first ever had to ignore the second.
    ignoring: BTreeSet<(usize, usize)>,
    /// Pairs at rest that cannot dial each other, and that no relay has to link.
    apart: BTreeSet<(usize, usize)>,
}

impl Model {
    /// A process starts.
    pub fn join(&mut self, id: PeerId, settings: &Settings, lies: bool) {
        self.ids.insert(id, self.people.len());
        if lies {
            self.crowd = Some(self.people.len());
        }
        self.people.push(Person {
            id,
            settings: settings.clone(),
            said: Vec::new(),
            leaves: !settings.stay.outlasts_peers(),
            lies,
            gone: false,
            ends_by: None,
            up: BTreeMap::new(),
            said_bye: false,
            bytes: 0,
        });
    }

    /// The process of an id.
    pub fn person(&self, id: &PeerId) -> Option<usize> {
        self.ids.get(id).copied().or(self.crowd)
    }

    /// A process sends a message. Returns the text, and its number.
    pub fn say(&mut self, node: usize, to: Option<Vec<usize>>, filler: &str) -> (String, Tag) {
        let said = &mut self.people[node].said;
        let text = format!("{node} {} {filler}", said.len());
        let tag = Tag {
            reference: Some(Reference::Integer(said.len() as i128)),
            line: 0,
        };
        said.push(Said {
            text: text.clone(),
            to,
            mid: None,
            peers: BTreeSet::new(),
            refused: false,
            delivered: BTreeSet::new(),
            done: false,
            heard: BTreeMap::new(),
        });
        self.people[node].bytes += text.len();
        (text, tag)
    }

    /// A process has to disconnect another.
    pub fn part(&mut self, a: usize, b: usize) {
        self.parted.insert((a.min(b), a.max(b)));
    }

    /// Whether that ever happened.
    pub fn are_parted(&self, a: usize, b: usize) -> bool {
        self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// A process has to ignore another.
    pub fn ignore(&mut self, node: usize, other: usize) {
        self.ignoring.insert((node, other));
    }

    /// A process has to end once it owes nothing, or when its timeout is up.
    pub fn leave(&mut self, now: Instant, node: usize) {
        let person = &mut self.people[node];
        person.leaves = true;
        person.ends_by = Some(now + limit(&person.settings));
    }

    /// It has ended; what it would still have reported is not known.
    pub fn end(&mut self, node: usize) {
        self.people[node].gone = true;
        self.people[node].ends_by = None;
    }

    /// The front end has written a message, and all before it.
    pub fn hand_over(&mut self, node: usize, peer: &PeerId, seq: u64) {
        if let Some(sender) = self.person(peer) {
            let heard = self.heard.entry((node, sender)).or_default();
            heard.handed_over = heard.handed_over.max(seq as usize);
        }
    }

    /// Takes an event of a process.
    pub fn take(&mut self, now: Instant, node: usize, event: &Event) {
        assert!(!self.people[node].said_bye, "an event after Bye: {event:?}");
        match event {
            Event::Message {
                who,
                text,
                mid,
                seq,
                direct,
            } => {
                let is_up = self.people[node].up.contains_key(&who.id);
                assert!(is_up, "{node}: a message of {who:?}, which is not up");
                self.take_message(node, who.id, text.as_str(), *mid, *seq, *direct);
            }
            Event::Queued { tag, mid, peers } => {
                let said = self.said(node, tag).expect("only messages are queued");
                assert!(said.mid.is_none() && !said.refused, "queued twice: {tag:?}");
                assert!(!peers.is_empty(), "queued for nobody");
                said.mid = Some(*mid);
                said.peers = peers.iter().copied().collect();
                assert_eq!(said.peers.len(), peers.len(), "queued twice for one peer");
            }
            Event::Delivered { tag, peer, .. } => self.take_delivered(now, node, tag, peer),
            Event::Done {
                tag,
                delivered,
                undelivered,
                ..
            } => {
                let undelivered: Vec<_> = undelivered
                    .iter()
                    .map(|(who, reason)| (who.id, *reason))
                    .collect();
                self.take_done(node, tag, delivered, &undelivered);
            }
            Event::Error { tag, .. } => {
                if let Some(said) = self.said(node, tag) {
                    assert!(
                        said.mid.is_none() && !said.refused,
                        "an error after queued: {event:?}"
                    );
                    said.refused = true;
                }
            }
            Event::PeerUp { who, sas, via, .. } => {
                let link = (sas.clone(), via.as_ref().map(|via| via.id));
                let before = self.people[node].up.insert(who.id, link);
                assert!(before.is_none(), "{node}: {who:?} came up twice");
            }
            Event::PeerDown { who, reason, .. } => {
                let before = self.people[node].up.remove(&who.id);
                // A process that has to disconnect a peer confirms it, linked or not.
                let confirms = *reason == DownReason::Local;
                assert!(
                    before.is_some() || confirms,
                    "{node}: {who:?} went down without having been up"
                );
            }
            Event::PeerGone { who } => {
                let is_up = self.people[node].up.contains_key(&who.id);
                assert!(!is_up, "{node}: {who:?} is given up while it is up");
            }
            Event::Bye(outcome) => {
                let person = &mut self.people[node];
                person.said_bye = true;
                let open = person
                    .said
                    .iter()
                    .filter(|said| said.mid.is_some() && !said.done);
                assert_eq!(
                    open.count(),
                    0,
                    "{node}: Bye before the last word on a message"
                );
                let mut waiting = person.said.iter().filter(|said| said.mid.is_none());
                assert!(
                    waiting.all(|said| said.refused) || !person.settings.report_each,
                    "{node}: Bye, and not a word on a message that was offered"
                );
                assert!(person.leaves, "{node} ended unasked: {outcome:?}");
                if outcome.reason == ByeReason::Goodbye {
                    assert!(
                        !person.settings.stay.outlasts_peers(),
                        "{node} was told to stay"
                    );
                }
            }
            _ => {}
        }
    }

    fn said(&mut self, node: usize, tag: &Tag) -> Option<&mut Said> {
        match tag.reference {
            Some(Reference::Integer(number)) => self.people[node].said.get_mut(number as usize),
            _ => None,
        }
    }

    fn take_message(
        &mut self,
        node: usize,
        sender: PeerId,
        text: &str,
        mid: MessageId,
        seq: u64,
        direct: bool,
    ) {
        let sender = self.person(&sender).expect("messages come from people");
        assert_ne!(sender, node, "{node} hears itself");
        if self.people[sender].lies {
            return;
        }
        let heard = self.heard.entry((node, sender)).or_default();
        assert_eq!(
            seq as usize,
            heard.said.len() + 1,
            "{node}: a gap in seq from {sender}"
        );
        let mut parts = text.splitn(3, ' ').map(str::parse::<usize>);
        let (from, number) = match (parts.next(), parts.next()) {
            (Some(Ok(from)), Some(Ok(number))) => (from, number),
            _ => panic!("{node} hears what nobody said"),
        };
        assert_eq!(from, sender, "{node}: one speaks as another");
        assert!(
            heard.last.is_none_or(|last| last < number),
            "{node}: {number} of {sender} comes after {:?}: out of order or twice",
            heard.last
        );
        heard.last = Some(number);
        heard.said.push(number);
        let said = &mut self.people[sender].said[number];
        assert_eq!(said.text, text, "{node}: a text was altered");
        assert_eq!(said.to.is_some(), direct, "{node}: direct or not");
        if let Some(to) = &said.to {
            assert!(to.contains(&node), "{node} hears what was for {to:?}");
        }
        assert!(!said.refused, "{node} hears what was refused");
        said.heard.insert(node, mid);
    }

    fn take_delivered(&mut self, now: Instant, node: usize, tag: &Tag, peer: &PeerId) {
        let limit = limit(&self.people[node].settings);
        if let Some(ends_by) = &mut self.people[node].ends_by {
            *ends_by = now + limit;
        }
        let receiver = self.person(peer).expect("people acknowledge");
        let Some(Reference::Integer(number)) = tag.reference else {
            panic!("a delivery of nothing");
        };
        let said = &mut self.people[node].said[number as usize];
        assert!(!said.done, "delivered after the last word");
        assert!(said.peers.contains(peer), "delivered to somebody else");
        assert!(said.delivered.insert(*peer), "delivered twice");
        if self.people[receiver].lies || self.ignoring.contains(&(receiver, node)) {
            return;
        }
        let heard = self.heard.get(&(receiver, node));
        let handed_over =
            heard.is_some_and(|heard| heard.said[..heard.handed_over].contains(&(number as usize)));
        assert!(
            handed_over,
            "{number} of {node} counts as delivered to {receiver}, which has not handed it over"
        );
    }

    fn take_done(
        &mut self,
        node: usize,
        tag: &Tag,
        delivered: &[PeerId],
        undelivered: &[(PeerId, Undelivered)],
    ) {
        for (id, reason) in undelivered {
            self.check_excuse(node, tag, id, *reason);
        }
        let report_each = self.people[node].settings.report_each;
        let said = self.said(node, tag).expect("only messages are done");
        assert!(!said.done, "a second last word on {tag:?}");
        said.done = true;
        if report_each {
            let all: Vec<_> = delivered
                .iter()
                .copied()
                .chain(undelivered.iter().map(|(id, _)| *id))
                .collect();
            let each: BTreeSet<_> = all.iter().copied().collect();
            assert_eq!(each.len(), all.len(), "someone is twice in done");
            assert!(each.is_superset(&said.peers), "someone is missing in done");
            // Only this list has a peer that is not up and has no room for more.
            let unqueued = undelivered
                .iter()
                .filter(|(id, _)| !said.peers.contains(id));
            assert!(
                unqueued.clone().all(|(_, why)| *why == Undelivered::Away)
                    && each.len() == said.peers.len() + unqueued.count(),
                "a stranger in done"
            );
            let reported: BTreeSet<_> = delivered.iter().copied().collect();
            assert_eq!(reported, said.delivered, "done and delivered differ");
        }
    }

    /// Whether a message may be undelivered for this reason.
    fn check_excuse(&self, node: usize, tag: &Tag, id: &PeerId, reason: Undelivered) {
        let receiver = self.person(id).expect("messages go to people");
        let (sender, other) = (&self.people[node], &self.people[receiver]);
        let parted = self.are_parted(node, receiver);
        let excused = match reason {
            Undelivered::Goodbye => other.leaves || parted || other.lies,
            Undelivered::Restarted => {
                let forgot = other.settings.away < LONG_AWAY;
                other.gone || other.leaves || parted || other.lies || forgot
            }
            Undelivered::Away => {
                let full = sender.bytes > WINDOW_BYTES || sender.said.len() > WINDOW_MESSAGES;
                let gave_up = sender.settings.away < LONG_AWAY;
                other.gone || other.leaves || other.lies || full || gave_up
            }
            Undelivered::Stalled => {
                sender.bytes > WINDOW_BYTES || sender.said.len() > WINDOW_MESSAGES
            }
            Undelivered::Timeout => sender.leaves,
            Undelivered::Protocol => other.lies && sender.leaves,
            Undelivered::Panic => false,
        };
        assert!(
            excused,
            "{tag:?} of {node} is undelivered to {receiver} for no good reason: {reason:?}"
        );
    }

    /// The verification words of a link, if it is up.
    pub fn words(&self, node: usize, peer: &PeerId) -> Option<&str> {
        let (words, _) = self.people[node].up.get(peer)?;
        Some(words)
    }

    /// The relay of a link, if it is up and this end holds it for a circuit.
    pub fn relay(&self, node: usize, peer: &PeerId) -> Option<usize> {
        let (_, relay) = self.people[node].up.get(peer)?;
        self.person(relay.as_ref()?)
    }

    /// Sets the pairs that nothing has to link.
    pub fn set_apart(&mut self, apart: BTreeSet<(usize, usize)>) {
        self.apart = apart;
    }

    /// Checks what can be checked only at rest: each message has its final event. `waiting` gives
    /// the number of a process's last messages that were not taken yet.
    pub fn check_rest(&self, waiting: impl Fn(usize) -> usize) {
        for (node, person) in self.people.iter().enumerate() {
            for (number, said) in person.said.iter().enumerate() {
                self.check_said(node, number, said);
                if person.gone || person.lies || !person.settings.report_each {
                    continue;
                }
                let waits = number + waiting(node) >= person.said.len();
                assert!(
                    waits || said.refused || said.mid.is_some(),
                    "{number} of {node} was taken, and nothing was said about it"
                );
                if said.mid.is_none() || said.done {
                    continue;
                }
                let owed: Vec<_> = self.owed(said).collect();
                let lost = owed
                    .iter()
                    .find(|other| !self.may_be_given_up(node, **other));
                assert_eq!(
                    lost, None,
                    "{number} of {node} is still on its way to this one"
                );
                assert!(!owed.is_empty(), "{number} of {node} has no last word");
            }
        }
    }

    /// Whether no message is on its way to a process that could take it.
    pub fn is_quiet(&self) -> bool {
        let sound = self
            .people
            .iter()
            .enumerate()
            .filter(|(node, _)| self.is_sound(*node));
        sound
            .flat_map(|(node, person)| person.said.iter().map(move |said| (node, said)))
            .all(|(node, said)| {
                said.mid.is_none()
                    || said.done
                    || self
                        .owed(said)
                        .all(|other| self.may_be_given_up(node, other))
            })
    }

    /// The processes that have not acknowledged a message.
    fn owed<'a>(&'a self, said: &'a Said) -> impl Iterator<Item = usize> + 'a {
        said.peers
            .difference(&said.delivered)
            .filter_map(|id| self.person(id))
    }

    fn is_sound(&self, node: usize) -> bool {
        !self.people[node].gone && !self.people[node].lies
    }

    /// Whether a message may be on its way for ever, or be given up before its final event: for all
    /// that its sender knows, a process that vanished may come back.
    fn may_be_given_up(&self, node: usize, other: usize) -> bool {
        let person = &self.people[node];
        let stalls = person.bytes > WINDOW_BYTES || person.said.len() > WINDOW_MESSAGES;
        let forgets = |node: usize| self.people[node].settings.away < LONG_AWAY;
        let forgotten = forgets(node) || forgets(other);
        !self.is_sound(other)
            || forgotten
            || self.people[other].leaves
            || self.are_parted(node, other)
            || self.apart.contains(&(node.min(other), node.max(other)))
            || stalls
    }

    fn check_said(&self, node: usize, number: usize, said: &Said) {
        if !self.people[node].settings.report_each || said.mid.is_none() {
            return;
        }
        for (receiver, mid) in &said.heard {
            let id = self.people[*receiver].id;
            assert!(
                said.peers.contains(&id),
                "{receiver} heard {number} of {node} unasked"
            );
            assert_eq!(Some(*mid), said.mid, "{number} of {node} has two ids");
        }
    }
}

/// How long an end may take without progress.
fn limit(settings: &Settings) -> Duration {
    settings.timeout + 2 * Duration::from_secs(10) + SLACK
}
