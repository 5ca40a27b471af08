//! The way of a message into the outboxes: held back, paused or queued, and its outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::Zeroizing;

use super::command::{Command, PeerQuery, Request, Tag, Text};
use super::event::{DownReason, ErrorCode, Event, Undelivered};
use super::ledger::Ledger;
use super::outcome::ByeReason;
use super::output::Output;
use super::peer::Peer;
use super::roster::Roster;
use super::settings::Settings;
use crate::proto::outbox::Outgoing;
use crate::proto::{MAX_TEXT, MessageId, PeerId};

/// How long a peer whose link was lost may delay messages to others.
const GRACE: Duration = Duration::from_secs(3);

/// The outcome of offering a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// It is in at least one outbox.
    Queued,
    /// It waits for room or for a peer: offer it again after any change.
    Waits,
    /// It was not sent, and the user was told why.
    Declined,
    /// There is no peer to send it to.
    Unreachable,
}

/// Whether a message has recipients.
enum Recipients {
    /// It has.
    Known,
    /// No peer is up yet.
    Nobody,
    /// The user named a peer that cannot get it.
    Wrong(ErrorCode, String),
}

/// The messages that peers have not acknowledged yet, and the one that waits to be the next.
pub(super) struct Delivery {
    settings: Arc<Settings>,
    ledger: Ledger,
    /// Gives each message its id. A call of the system for each would take a fifth of the time that
    /// a short message costs; ids are no secrets, and nobody can predict them.
    ids: ChaCha20Rng,
    /// The recipients of the message that is being sent.
    recipients: Vec<PeerId>,
    /// Whether messages still wait for `--min-peers`.
    holding: bool,
    /// Whether messages for which there is no peer are refused at once.
    in_a_hurry: bool,
    /// Whether the request offered last waits for room or for a peer.
    waits: bool,
    /// When its wait may be over even if nothing else changes.
    wait_until: Option<Instant>,
    /// Whether it waits for room.
    paused: bool,
    /// A message that was held back because another peer has taken over the name in it, and that
    /// peer. The same line once more sends it.
    withheld: Option<(PeerQuery, PeerId, Text)>,
    /// Messages that were not sent: before any peer was ever reached, and later.
    unreached: u64,
    abandoned: u64,
}

/// Whether a peer's outbox has no room for a message of this many bytes.
fn is_full(peer: &Peer, bytes: usize) -> bool {
    let outbox = peer.conversation().map(|it| &it.outbox);
    outbox.is_some_and(|outbox| !outbox.is_stalled() && !outbox.has_room(bytes))
}

impl Delivery {
    /// No peer is owed anything yet.
    pub(super) fn new(settings: Arc<Settings>, rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self {
            ids: ChaCha20Rng::from_seed(*seed),
            ledger: Ledger::new(settings.require, settings.report_each),
            settings,
            recipients: Vec::new(),
            holding: true,
            in_a_hurry: false,
            waits: false,
            wait_until: None,
            paused: false,
            withheld: None,
            unreached: 0,
            abandoned: 0,
        }
    }

    /// A request is being offered: the one that waited, or one ahead of it.
    pub(super) fn begin_offer(&mut self, now: Instant, roster: &mut Roster) {
        (self.waits, self.wait_until) = (false, None);
        // No request is known to wait for room any more, so no peer's time runs.
        if std::mem::take(&mut self.paused) {
            roster.stop_pause(now);
        }
    }

    /// Takes a message if it can be sent now. `reached` says whether any peer was ever linked.
    pub(super) fn send(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        output: &mut Output,
        request: &Request,
        reached: bool,
    ) -> Sending {
        let mut recipients = std::mem::take(&mut self.recipients);
        recipients.clear();
        let sending = self.send_to(now, roster, output, (request, reached), &mut recipients);
        self.recipients = recipients;
        sending
    }

    fn send_to(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        output: &mut Output,
        (request, reached): (&Request, bool),
        peers: &mut Vec<PeerId>,
    ) -> Sending {
        let Command::Send { text, to } = &request.command else {
            return Sending::Declined;
        };
        let bytes = text.as_str().len();
        if bytes > MAX_TEXT {
            let message = format!("not sent: longer than {MAX_TEXT} bytes");
            self.abandon(output, request, ErrorCode::TooLong, message, reached);
            return Sending::Declined;
        }
        if self.is_held(now, roster, request) {
            return self.wait(Some(request.read_at + self.settings.timeout));
        }
        if let Some(message) = self.withhold(roster, text, to.as_deref()) {
            output.error(request.tag.clone(), ErrorCode::AmbiguousPeer, message);
            return Sending::Declined;
        }
        match recipients(roster, to.as_deref(), peers) {
            Recipients::Wrong(code, message) => {
                self.abandon(output, request, code, message, reached);
                return Sending::Declined;
            }
            // With --stay the next peer that comes need not be the one that is missing.
            Recipients::Known
                if self.is_kept_for_next(roster, to.is_some()) && self.may_wait(now, request) =>
            {
                return self.wait_for_peer(request);
            }
            Recipients::Known => {}
            Recipients::Nobody if self.settings.interactive => {
                let text = text.clone();
                output.tell(Event::Unsent { text });
                return Sending::Declined;
            }
            Recipients::Nobody if self.may_wait(now, request) => {
                return self.wait_for_peer(request);
            }
            Recipients::Nobody => return Sending::Unreachable,
        }
        if let Some(until) = self.pause(now, roster, peers, bytes) {
            return self.wait(until);
        }
        let mut mid = MessageId([0; 16]);
        self.ids.fill_bytes(&mut mid.0);
        let (tag, direct) = (request.tag.clone(), to.is_some());
        self.queue(now, roster, output, (tag, mid, text, direct), peers);
        Sending::Queued
    }

    fn wait(&mut self, until: Option<Instant>) -> Sending {
        (self.waits, self.wait_until) = (true, until);
        Sending::Waits
    }

    fn wait_for_peer(&mut self, request: &Request) -> Sending {
        let wait = self.settings.wait_for_peer;
        self.wait(wait.map(|wait| request.read_at + wait))
    }

    /// Whether a message has to wait until a peer is up, although one is known and missing.
    fn is_kept_for_next(&self, roster: &Roster, direct: bool) -> bool {
        !direct
            && !self.settings.interactive
            && self.settings.stay.outlasts_peers()
            && roster.up() == 0
    }

    /// Holds a message back if another peer has taken over the name in it, because the user may
    /// mean the earlier one. The same message once more confirms it.
    fn withhold(
        &mut self,
        roster: &mut Roster,
        text: &Text,
        to: Option<&[PeerQuery]>,
    ) -> Option<String> {
        let queries = to.filter(|_| self.settings.interactive)?;
        for query in queries {
            let Ok(id) = roster.resolve(query) else {
                continue;
            };
            let Some(before) = roster.doubt(query, &id) else {
                continue;
            };
            let said_before = self.withheld.take();
            if said_before
                .is_some_and(|(to, peer, said)| to == *query && peer == id && said == *text)
            {
                roster.confirm(query, &id);
                continue;
            }
            let message = format!(
                "not sent: {} is now {}, not the {} ({}…) who left; the same line again sends it",
                query.0,
                id.hex_prefix(16),
                before.name,
                before.id.hex_prefix(8)
            );
            self.withheld = Some((query.clone(), id, text.clone()));
            return Some(message);
        }
        None
    }

    /// Whether messages still wait for `--min-peers`, which they do for at most `--timeout`.
    fn is_held(&mut self, now: Instant, roster: &Roster, request: &Request) -> bool {
        if self.settings.interactive {
            return false;
        }
        if self.holding {
            let enough = roster.up() >= self.settings.min_peers;
            let in_time = now < request.read_at + self.settings.timeout;
            self.holding = !enough && in_time;
        }
        self.holding
    }

    /// Whether a message for which there is no peer may wait for one.
    fn may_wait(&self, now: Instant, request: &Request) -> bool {
        let in_time = |wait| now < request.read_at + wait;
        !self.in_a_hurry && self.settings.wait_for_peer.is_none_or(in_time)
    }

    /// Whether a message waits because an outbox is full, and until when at most. A peer that is
    /// not up delays others for a moment only. If other peers have room, every peer whose outbox is
    /// at least half full counts as delaying them and its time runs; so slow peers cannot take
    /// turns at delaying.
    fn pause(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        recipients: &[PeerId],
        bytes: usize,
    ) -> Option<Option<Instant>> {
        let waits_until = |peer: &Peer| (!peer.is_up()).then(|| peer.since + GRACE);
        let has_room = |peer: &Peer| {
            let outbox = peer.conversation().map(|it| &it.outbox);
            outbox.is_some_and(|outbox| !outbox.is_stalled() && outbox.has_room(bytes))
        };
        let some = |what: &dyn Fn(&Peer) -> bool| {
            let mut peers = recipients.iter().filter_map(|id| roster.get(id));
            peers.any(what)
        };
        let anybody_up = roster.up() > 0;
        let holds_up = |peer: &Peer| {
            let in_time = || waits_until(peer).is_none_or(|until| now < until);
            is_full(peer, bytes) && (!anybody_up || in_time())
        };
        if !some(&holds_up) {
            return None;
        }
        let full = recipients.iter().filter_map(|id| roster.get(id));
        let full = full.filter(|peer| is_full(peer, bytes));
        let ends = full.filter_map(waits_until).filter(|until| *until > now);
        let until = ends.min().filter(|_| anybody_up);
        let crowded = |peer: &Peer| {
            let outbox = peer.conversation().map(|it| &it.outbox);
            outbox.is_some_and(|outbox| !outbox.is_stalled() && outbox.is_half_full())
        };
        if some(&has_room) {
            for id in recipients {
                if let Some(peer) = roster.get_mut(id)
                    && crowded(peer)
                {
                    peer.uptake.patience.holds_up(now, true);
                }
            }
        }
        self.paused = true;
        Some(until)
    }

    fn queue(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        output: &mut Output,
        (tag, mid, text, direct): (Tag, MessageId, &Text, bool),
        recipients: &[PeerId],
    ) {
        let bytes = text.as_str().len();
        let has_room = |id: &&PeerId| !roster.get(id).is_some_and(|peer| is_full(peer, bytes));
        if self.settings.report_each {
            output.tell(Event::Queued {
                tag: tag.clone(),
                mid,
                peers: recipients.iter().filter(has_room).copied().collect(),
            });
        }
        let token = self.ledger.open(tag, mid, recipients.len());
        let message = Outgoing {
            mid,
            direct,
            text: text.share(),
            token,
            queued_at: now,
        };
        for id in recipients {
            let Some(peer) = roster.get_mut(id) else {
                continue;
            };
            let reason = if is_full(peer, bytes) {
                Undelivered::Away
            } else {
                Undelivered::Stalled
            };
            match peer.conversation_mut() {
                Some(conversation)
                    if reason != Undelivered::Away && !conversation.outbox.is_stalled() =>
                {
                    conversation.outbox.push(message.clone());
                    peer.uptake.sample.get_or_insert((token, now));
                }
                _ => {
                    let who = peer.who();
                    self.ledger.undelivered(token, &who, reason, output);
                }
            }
        }
    }

    /// The run is about to end: messages for which there is no peer are refused at once from now
    /// on.
    pub(super) fn stop_waiting(&mut self) {
        (self.holding, self.in_a_hurry) = (false, true);
    }

    /// The run ends: the waiting request is offered once more, and then refused.
    pub(super) fn stop(&mut self) {
        self.wait_until = None;
    }

    /// Whether the request offered last waits for room or for a peer.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Reports a message that cannot be sent as the user wants it. `reached` says whether any peer
    /// was ever linked.
    pub(super) fn abandon(
        &mut self,
        output: &mut Output,
        request: &Request,
        code: ErrorCode,
        message: String,
        reached: bool,
    ) {
        let nobody = matches!(code, ErrorCode::NoSuchPeer | ErrorCode::NoPeers);
        if nobody && !reached {
            self.unreached += 1;
        } else {
            self.abandoned += 1;
        }
        output.error(request.tag.clone(), code, message);
    }

    /// A peer has acknowledged these messages.
    pub(super) fn delivered(&mut self, output: &mut Output, id: PeerId, tokens: Vec<u64>) {
        for token in tokens {
            self.ledger.delivered(token, id, output);
        }
    }

    /// A peer will never acknowledge these messages.
    pub(super) fn undelivered(
        &mut self,
        roster: &Roster,
        output: &mut Output,
        id: &PeerId,
        lost: &[Outgoing],
        reason: Undelivered,
    ) {
        let Some(who) = roster.get(id).map(Peer::who) else {
            return;
        };
        for message in lost {
            let token = message.token;
            self.ledger.undelivered(token, &who, reason, output);
        }
    }

    /// The run ends for this reason: everything that is owed counts as undelivered.
    pub(super) fn give_up_all(
        &mut self,
        roster: &mut Roster,
        output: &mut Output,
        reason: ByeReason,
    ) {
        let ids: Vec<_> = roster.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(peer) = roster.get_mut(&id) else {
                continue;
            };
            let reason = match (reason, peer.loss()) {
                (ByeReason::Panic, _) => Undelivered::Panic,
                (_, Some(DownReason::Protocol)) => Undelivered::Protocol,
                _ => Undelivered::Timeout,
            };
            let owed = peer.conversation_mut().map(|it| it.outbox.withdraw());
            self.undelivered(roster, output, &id, &owed.unwrap_or_default(), reason);
        }
    }

    /// Acts on the time: the waiting request has to be offered again, and peers whose full outbox
    /// has delayed others for too long lose what they are owed.
    pub(super) fn expire(&mut self, now: Instant, roster: &mut Roster, output: &mut Output) {
        self.wait_until = self.wait_until.filter(|until| *until > now);
        for id in roster.stalled(now) {
            let Some(peer) = roster.get_mut(&id) else {
                continue;
            };
            let owed = peer.stall();
            self.undelivered(roster, output, &id, &owed, Undelivered::Stalled);
        }
    }

    /// When the wait of the request offered last may be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wait_until
    }

    /// Whether any peer has messages to acknowledge.
    pub(super) fn is_owed(&self) -> bool {
        !self.ledger.is_empty()
    }

    /// Whether any message was ever accepted.
    pub(super) fn has_any(&self) -> bool {
        self.ledger.has_any()
    }

    /// Messages that fewer peers acknowledged than `--require` demands, or that were not sent
    /// although a peer had been reached.
    pub(super) fn unsatisfied(&self) -> u64 {
        self.ledger.unsatisfied() + self.abandoned
    }

    /// Messages that were not sent because no peer had ever been reached.
    pub(super) fn unreached(&self) -> u64 {
        self.unreached
    }
}

/// Puts the recipients of a message into `peers`.
fn recipients(roster: &Roster, to: Option<&[PeerQuery]>, peers: &mut Vec<PeerId>) -> Recipients {
    let Some(queries) = to else {
        let present = roster.iter().filter(|(_, peer)| peer.is_present());
        peers.extend(present.map(|(id, _)| *id));
        return match peers.is_empty() {
            true => Recipients::Nobody,
            false => Recipients::Known,
        };
    };
    if queries.is_empty() {
        let message = "not sent: no peer named".to_owned();
        return Recipients::Wrong(ErrorCode::BadCommand, message);
    }
    for query in queries {
        match roster.find(query) {
            Err((code, message)) => return Recipients::Wrong(code, message),
            Ok(id) if !roster.get(&id).is_some_and(Peer::is_present) => {
                let message = format!("not sent: {} is not connected", roster.show(&id));
                return Recipients::Wrong(ErrorCode::NoPeers, message);
            }
            Ok(id) if peers.contains(&id) => {}
            Ok(id) => peers.push(id),
        }
    }
    Recipients::Known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::conn_id::ConnId;
    use crate::mesh::peer::Parting;
    use crate::mesh::settings::Stay;

    const SECOND: Duration = Duration::from_secs(1);

    /// A user with peers to send to.
    struct Desktop {
        delivery: Delivery,
        roster: Roster,
        output: Output,
        start: Instant,
    }

    fn id(byte: u8) -> PeerId {
        PeerId([byte; 32])
    }

    impl Desktop {
        fn new(settings: Settings) -> Self {
            let settings = Arc::new(settings);
            Self {
                roster: Roster::new(id(0xff), settings.give_up),
                delivery: Delivery::new(settings, &mut ChaCha20Rng::seed_from_u64(1)),
                output: Output::default(),
                start: Instant::now(),
            }
        }

        fn link(&mut self, byte: u8) {
            let peer = self.roster.entry(self.start, id(byte)).unwrap();
            peer.link(self.start, ConnId(byte.into()));
        }

        fn miss(&mut self, byte: u8, after: Duration) {
            let at = self.start + after;
            self.roster.get_mut(&id(byte)).unwrap().miss(at);
        }

        /// Fills the outbox for one peer.
        fn fill(&mut self, byte: u8) {
            let (text, named) = ("x".repeat(MAX_TEXT), id(byte).to_string());
            while self.say(Duration::ZERO, &text, Some(&named)) == Sending::Queued {}
            assert!(self.delivery.waits());
        }

        /// Offers a message to all, or to these peers, with commas between them.
        fn say(&mut self, after: Duration, text: &str, to: Option<&str>) -> Sending {
            let now = self.start + after;
            let request = Request {
                tag: Tag::default(),
                read_at: self.start,
                command: Command::Send {
                    text: text.into(),
                    to: to.map(|to| to.split(',').map(|to| PeerQuery(to.into())).collect()),
                },
            };
            self.delivery.begin_offer(now, &mut self.roster);
            let Self {
                delivery,
                roster,
                output,
                ..
            } = self;
            delivery.send(now, roster, output, &request, false)
        }

        fn told(&mut self) -> Vec<Event> {
            std::iter::from_fn(|| self.output.poll_event()).collect()
        }
    }

    #[test]
    fn message_waits_for_a_peer_as_long_as_it_may() {
        let mut user = Desktop::new(Settings::default());
        let timeout = Settings::default().timeout;
        assert_eq!(user.say(SECOND, "hello", None), Sending::Waits);
        assert!(user.delivery.waits());
        let until = user.start + timeout;
        for now in [user.start, until - SECOND] {
            assert_eq!(user.delivery.deadline(), Some(until));
            user.delivery
                .expire(now, &mut user.roster, &mut user.output);
        }
        assert_eq!(user.delivery.deadline(), Some(until));
        user.delivery
            .expire(until, &mut user.roster, &mut user.output);
        assert_eq!(user.delivery.deadline(), None);
        assert_eq!(user.say(timeout, "hello", None), Sending::Unreachable);
    }

    #[test]
    fn message_at_the_end_waits_for_no_peer() {
        let mut user = Desktop::new(Settings {
            stay: Stay::Always,
            wait_for_peer: None,
            ..Settings::default()
        });
        assert_eq!(user.say(SECOND, "hello", None), Sending::Waits);
        user.delivery.stop_waiting();
        assert_eq!(user.say(SECOND, "hello", None), Sending::Unreachable);
    }

    #[test]
    fn with_stay_a_message_that_names_nobody_waits_for_the_next_peer() {
        let settings = Settings {
            stay: Stay::Always,
            wait_for_peer: Some(30 * SECOND),
            ..Settings::default()
        };
        for interactive in [false, true] {
            let mut user = Desktop::new(Settings {
                interactive,
                ..settings.clone()
            });
            user.link(1);
            assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
            user.miss(1, Duration::ZERO);
            let named = PeerQuery(id(1).to_string()).0;
            assert_eq!(user.say(SECOND, "hello", Some(&named)), Sending::Queued);
            let sending = user.say(SECOND, "hello", None);
            if interactive {
                assert_eq!(sending, Sending::Queued);
            } else {
                assert_eq!(sending, Sending::Waits);
                let until = user.start + 30 * SECOND;
                assert_eq!(user.delivery.deadline(), Some(until));
            }
        }
    }

    #[test]
    fn message_is_held_until_enough_peers_are_up_or_its_time_is_over() {
        let settings = Settings {
            min_peers: 2,
            ..Settings::default()
        };
        let timeout = settings.timeout;
        let held = || {
            let mut user = Desktop::new(settings.clone());
            user.link(1);
            assert_eq!(user.say(SECOND, "hello", None), Sending::Waits);
            assert_eq!(user.delivery.deadline(), Some(user.start + timeout));
            user
        };
        let mut user = held();
        user.link(2);
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
        // Messages are not held again.
        user.miss(2, Duration::ZERO);
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
        let mut user = held();
        let before = timeout.saturating_sub(Duration::from_nanos(1));
        assert_eq!(user.say(before, "hello", None), Sending::Waits);
        assert_eq!(user.say(timeout, "hello", None), Sending::Queued);
        let mut user = held();
        user.delivery.stop_waiting();
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
        let mut user = Desktop::new(Settings {
            interactive: true,
            ..settings.clone()
        });
        user.link(1);
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
    }

    #[test]
    fn message_is_owed_until_each_recipient_has_it_or_never_will() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        user.link(2);
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
        assert!(!user.delivery.waits());
        let Desktop {
            delivery,
            roster,
            output,
            ..
        } = &mut user;
        let owed = roster.get_mut(&id(2)).unwrap().stall();
        delivery.delivered(output, id(1), vec![owed[0].token]);
        assert!(delivery.is_owed() && delivery.has_any());
        delivery.undelivered(roster, output, &id(2), &owed, Undelivered::Stalled);
        assert!(!delivery.is_owed());
        assert_eq!(delivery.unsatisfied(), 1);
    }

    #[test]
    fn message_to_a_stranger_is_abandoned_and_counted() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        let sending = user.say(SECOND, "hello", Some("nobody"));
        assert_eq!(sending, Sending::Declined);
        assert_eq!(
            (user.delivery.unreached(), user.delivery.unsatisfied()),
            (1, 0)
        );
        assert!(matches!(user.told()[..], [Event::Error { .. }]));
    }

    #[test]
    fn message_to_a_peer_that_was_given_up_is_abandoned() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        user.link(2);
        user.miss(1, Duration::ZERO);
        let peer = user.roster.get_mut(&id(1)).unwrap();
        peer.part(user.start, Parting::GiveUp);
        let named = id(1).to_string();
        assert_eq!(user.say(SECOND, "hello", Some(&named)), Sending::Declined);
        let [Event::Error { code, .. }] = user.told()[..] else {
            panic!("no error")
        };
        assert_eq!(code, ErrorCode::NoPeers);
    }

    #[test]
    fn peer_named_twice_gets_a_message_once() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        let twice = format!("{0},{0}", id(1));
        assert_eq!(user.say(SECOND, "hello", Some(&twice)), Sending::Queued);
        let conversation = user.roster.conversation(&id(1)).unwrap();
        assert_eq!(conversation.outbox.len(), 1);
    }

    #[test]
    fn message_that_is_too_long_is_abandoned_and_counted() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        let text = "x".repeat(MAX_TEXT + 1);
        for count in 1..=2 {
            assert_eq!(user.say(SECOND, &text, None), Sending::Declined);
            assert_eq!(user.delivery.unsatisfied(), count);
        }
        assert_eq!(user.delivery.unreached(), 0);
    }

    #[test]
    fn lost_peers_pause_the_input_for_a_moment_while_another_one_is_up() {
        let mut user = Desktop::new(Settings::default());
        (1..=3).for_each(|byte| user.link(byte));
        user.fill(1);
        user.fill(2);
        user.miss(1, Duration::ZERO);
        user.miss(2, SECOND);
        for (after, until) in [(2, GRACE), (3, GRACE + SECOND)] {
            assert_eq!(user.say(after * SECOND, "hello", None), Sending::Waits);
            assert_eq!(user.delivery.deadline(), Some(user.start + until));
        }
        user.miss(3, 3 * SECOND);
        assert_eq!(user.say(9 * SECOND, "hello", None), Sending::Waits);
        assert_eq!(user.delivery.deadline(), None);
        user.link(3);
        assert_eq!(user.say(4 * SECOND, "hello", None), Sending::Queued);
    }

    #[test]
    fn full_outbox_pauses_the_input_until_its_time_is_up() {
        let settings = Settings {
            give_up: 10 * SECOND,
            ..Settings::default()
        };
        let mut user = Desktop::new(settings);
        user.link(1);
        let text = "x".repeat(MAX_TEXT);
        while user.say(SECOND, &text, None) == Sending::Queued {}
        assert!(user.delivery.waits());
        // With a second peer that has room, the first one's time runs.
        user.link(2);
        assert_eq!(user.say(2 * SECOND, &text, None), Sending::Waits);
        user.told();
        let late = user.start + 12 * SECOND;
        let Desktop {
            delivery,
            roster,
            output,
            ..
        } = &mut user;
        delivery.expire(late, roster, output);
        let is_stalled = |byte| roster.conversation(&id(byte)).unwrap().outbox.is_stalled();
        assert!(is_stalled(1) && !is_stalled(2));
        let stalled = user.told().into_iter().filter(|event| {
            let Event::Done { undelivered, .. } = event else {
                return false;
            };
            undelivered
                .iter()
                .all(|(_, why)| *why == Undelivered::Stalled)
        });
        assert!(stalled.count() > 0);
        assert_eq!(user.say(12 * SECOND, &text, None), Sending::Queued);
    }

    #[test]
    fn end_of_the_run_gives_up_all_messages() {
        let reasons = [
            (ByeReason::Panic, DownReason::Protocol, Undelivered::Panic),
            (ByeReason::Quit, DownReason::Protocol, Undelivered::Protocol),
            (ByeReason::Quit, DownReason::Lost, Undelivered::Timeout),
        ];
        for (end, loss, reason) in reasons {
            let mut user = Desktop::new(Settings::default());
            user.link(1);
            user.say(SECOND, "hello", None);
            user.told();
            let peer = user.roster.get_mut(&id(1)).unwrap();
            peer.lose(user.start, loss, None);
            let (roster, output) = (&mut user.roster, &mut user.output);
            user.delivery.give_up_all(roster, output, end);
            assert!(!user.delivery.is_owed());
            assert_eq!(user.delivery.unsatisfied(), 1);
            let [Event::Done { undelivered, .. }] = &user.told()[..] else {
                panic!("no outcome")
            };
            assert_eq!(undelivered[0].1, reason);
        }
    }

    #[test]
    fn after_the_end_nothing_is_due() {
        let mut user = Desktop::new(Settings::default());
        assert_eq!(user.say(SECOND, "hello", None), Sending::Waits);
        assert!(user.delivery.deadline().is_some());
        user.delivery.stop();
        assert_eq!(user.delivery.deadline(), None);
    }
}
