//! Messages on their way in: held back, paused, queued; and what becomes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::command::{Command, PeerQuery, Request, Tag, Text};
use super::event::{ByeReason, DownReason, ErrorCode, Event, Undelivered};
use super::ledger::Ledger;
use super::output::Output;
use super::peer::Peer;
use super::roster::Roster;
use super::settings::Settings;
use crate::proto::outbox::Outgoing;
use crate::proto::{MAX_TEXT, MessageId, PeerId};

/// How long a peer whose link was lost may hold up messages to others.
const GRACE: Duration = Duration::from_secs(3);

/// What became of a message that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It is on its way.
    Queued,
    /// It waits for room or for a peer: it is to be offered again after anything has changed.
    Waits,
    /// It was not sent, and the user knows why.
    Declined,
    /// Nobody is there to send it to.
    Unreachable,
}

/// The recipients of a message.
enum Recipients {
    /// These.
    Are(Vec<PeerId>),
    /// Nobody is there yet.
    Nobody,
    /// The user named somebody who cannot get it.
    Wrong(ErrorCode, String),
}

/// The messages that peers have yet to acknowledge, and the one that waits to be next.
pub struct Delivery {
    settings: Arc<Settings>,
    ledger: Ledger,
    /// Whether messages still wait for `--min-peers`.
    holding: bool,
    /// Messages for which there is no peer are refused at once.
    in_a_hurry: bool,
    /// The request offered last waits for room or for a peer.
    waits: bool,
    /// When its wait may be over though nothing else has changed.
    wait_until: Option<Instant>,
    /// It waits for room.
    paused: bool,
    /// A message to a name that another peer has taken over, which the same line again sends.
    withheld: Option<(PeerQuery, Text)>,
    /// Messages not sent while nobody had been reached, and later.
    unreached: u64,
    abandoned: u64,
}

/// Whether a peer's outbox has no room for a message of this many bytes.
fn is_full(peer: &Peer, bytes: usize) -> bool {
    let outbox = peer.conversation().map(|it| &it.outbox);
    outbox.is_some_and(|outbox| !outbox.is_stalled() && !outbox.has_room(bytes))
}

impl Delivery {
    /// Nobody is owed anything.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            ledger: Ledger::new(settings.require, settings.report_each),
            settings,
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

    /// A request is offered. The one that waited, if any did, was this one or is behind it.
    pub fn begin_offer(&mut self, now: Instant, roster: &mut Roster) {
        (self.waits, self.wait_until) = (false, None);
        // No request is known to wait for room any more, so nobody's time runs.
        if std::mem::take(&mut self.paused) {
            roster.stop_pause(now);
        }
    }

    /// Takes a message, if it can be sent now. `reached` says whether anybody was ever linked.
    pub fn send(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        rng: &mut dyn CryptoRng,
        output: &mut Output,
        request: &Request,
        reached: bool,
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
        let recipients = match recipients(roster, to.as_deref()) {
            Recipients::Wrong(code, message) => {
                self.abandon(output, request, code, message, reached);
                return Sending::Declined;
            }
            // With --stay the next peer that comes may be another one than the one that is missed.
            Recipients::Are(_)
                if self.is_kept_for_next(roster, to.is_some()) && self.may_wait(now, request) =>
            {
                return self.wait_for_peer(request);
            }
            Recipients::Are(recipients) => recipients,
            Recipients::Nobody if self.settings.interactive => {
                let text = text.clone();
                output.tell(Event::Unsent { text });
                return Sending::Declined;
            }
            Recipients::Nobody if self.may_wait(now, request) => {
                return self.wait_for_peer(request);
            }
            Recipients::Nobody => return Sending::Unreachable,
        };
        if let Some(until) = self.pause(now, roster, &recipients, bytes) {
            return self.wait(until);
        }
        let mut mid = MessageId([0; 16]);
        rng.fill_bytes(&mut mid.0);
        let (tag, direct) = (request.tag.clone(), to.is_some());
        self.queue(now, roster, output, (tag, mid, text, direct), &recipients);
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

    /// Whether a message has to wait until a peer is up, although there is one that is missed.
    fn is_kept_for_next(&self, roster: &Roster, direct: bool) -> bool {
        !direct
            && !self.settings.interactive
            && self.settings.stay.outlasts_peers()
            && roster.up() == 0
    }

    /// Where the user names somebody by a name that another peer has taken over: that this one may not
    /// be meant. The same message again says that it is.
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
            if said_before.is_some_and(|(to, said)| to == *query && said == *text) {
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
            self.withheld = Some((query.clone(), text.clone()));
            return Some(message);
        }
        None
    }

    /// Whether messages still wait for `--min-peers`; not longer than `--timeout`.
    fn is_held(&mut self, now: Instant, roster: &Roster, request: &Request) -> bool {
        if self.settings.interactive {
            return false;
        }
        if self.holding {
            let enough = roster.up() >= self.settings.min_peers;
            let in_time = now < request.read_at + self.settings.timeout;
            self.holding = !enough && !self.in_a_hurry && in_time;
        }
        self.holding
    }

    /// Whether a message for which there is no peer may wait for one.
    fn may_wait(&self, now: Instant, request: &Request) -> bool {
        let in_time = |wait| now < request.read_at + wait;
        !self.in_a_hurry && self.settings.wait_for_peer.is_none_or(in_time)
    }

    /// Whether a message waits because somebody's outbox is full, and until when it waits at most. A
    /// peer that is not up holds up others for a moment only. Where others have room, all whose
    /// outbox is half full or more hold them up, and their time runs: they cannot take turns at it.
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
        let message = Arc::new(Outgoing {
            mid,
            direct,
            text: text.share(),
            token,
        });
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
                    conversation.outbox.push(Arc::clone(&message));
                    peer.uptake.sample.get_or_insert((token, now));
                }
                _ => {
                    let who = peer.who();
                    self.ledger.undelivered(token, &who, reason, output);
                }
            }
        }
    }

    /// Somebody waits for the end: messages that nobody can be given now are refused.
    pub fn stop_waiting(&mut self) {
        (self.holding, self.in_a_hurry) = (false, true);
    }

    /// The run ends: what waits is offered once more, to be refused.
    pub fn stop(&mut self) {
        self.wait_until = None;
    }

    /// Whether the request offered last waits for room or for a peer.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// A message cannot be sent as the user wants it. `reached` says whether anybody was ever linked.
    pub fn abandon(
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
    pub fn delivered(&mut self, output: &mut Output, id: PeerId, tokens: Vec<u64>) {
        for token in tokens {
            self.ledger.delivered(token, id, output);
        }
    }

    /// A peer will never acknowledge these messages.
    pub fn undelivered(
        &mut self,
        roster: &Roster,
        output: &mut Output,
        id: &PeerId,
        lost: &[Arc<Outgoing>],
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

    /// The run ends for this reason: nobody gets what it is owed any more.
    pub fn give_up_all(&mut self, roster: &mut Roster, output: &mut Output, reason: ByeReason) {
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

    /// What time by itself brings about: the request that waits is offered again after this, and
    /// peers whose full outbox has held others up for too long lose what they are owed.
    pub fn expire(&mut self, now: Instant, roster: &mut Roster, output: &mut Output) {
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
    pub fn deadline(&self) -> Option<Instant> {
        self.wait_until
    }

    /// Whether peers have yet to acknowledge messages.
    pub fn is_owed(&self) -> bool {
        !self.ledger.is_empty()
    }

    /// Whether any message was ever taken.
    pub fn has_any(&self) -> bool {
        self.ledger.has_any()
    }

    /// Messages that fewer peers than `--require` says have acknowledged, or that were not sent though
    /// somebody had been reached.
    pub fn unsatisfied(&self) -> u64 {
        self.ledger.unsatisfied() + self.abandoned
    }

    /// Messages that were not sent while nobody had been reached.
    pub fn unreached(&self) -> u64 {
        self.unreached
    }
}

fn recipients(roster: &Roster, to: Option<&[PeerQuery]>) -> Recipients {
    let Some(queries) = to else {
        let all: Vec<_> = roster
            .iter()
            .filter(|(_, peer)| peer.is_present())
            .map(|(id, _)| *id)
            .collect();
        return if all.is_empty() {
            Recipients::Nobody
        } else {
            Recipients::Are(all)
        };
    };
    if queries.is_empty() {
        let message = "not sent: no peer named".to_owned();
        return Recipients::Wrong(ErrorCode::BadCommand, message);
    }
    let mut named = Vec::with_capacity(queries.len());
    for query in queries {
        match roster.find(query) {
            Err((code, message)) => return Recipients::Wrong(code, message),
            Ok(id) if !roster.get(&id).is_some_and(Peer::is_present) => {
                let message = format!("not sent: {} is not connected", roster.show(&id));
                return Recipients::Wrong(ErrorCode::NoPeers, message);
            }
            Ok(id) if named.contains(&id) => {}
            Ok(id) => named.push(id),
        }
    }
    Recipients::Are(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::conn_id::ConnId;
    use crate::mesh::settings::Stay;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const SECOND: Duration = Duration::from_secs(1);

    /// A user who says things to peers.
    struct Desktop {
        delivery: Delivery,
        roster: Roster,
        output: Output,
        rng: ChaCha20Rng,
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
                delivery: Delivery::new(settings),
                output: Output::default(),
                rng: ChaCha20Rng::seed_from_u64(1),
                start: Instant::now(),
            }
        }

        fn link(&mut self, byte: u8) {
            let peer = self.roster.entry(self.start, id(byte)).unwrap();
            peer.link(self.start, ConnId(byte.into()));
        }

        fn say(&mut self, after: Duration, text: &str, to: Option<&str>) -> Sending {
            let now = self.start + after;
            let request = Request {
                tag: Tag::default(),
                read_at: self.start,
                command: Command::Send {
                    text: text.into(),
                    to: to.map(|to| vec![PeerQuery(to.into())]),
                },
            };
            self.delivery.begin_offer(now, &mut self.roster);
            let Self {
                delivery,
                roster,
                output,
                rng,
                ..
            } = self;
            delivery.send(now, roster, rng, output, &request, false)
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
        assert_eq!(user.delivery.deadline(), Some(user.start + timeout));
        let now = user.start + timeout;
        user.delivery
            .expire(now, &mut user.roster, &mut user.output);
        assert_eq!(user.delivery.deadline(), None);
        assert_eq!(user.say(timeout, "hello", None), Sending::Unreachable);
    }

    #[test]
    fn message_in_a_hurry_waits_for_nobody() {
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
    fn message_is_owed_until_each_recipient_has_it_or_never_will() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        user.link(2);
        assert_eq!(user.say(SECOND, "hello", None), Sending::Queued);
        let Desktop {
            delivery,
            roster,
            output,
            ..
        } = &mut user;
        delivery.delivered(output, id(1), vec![0]);
        assert!(delivery.is_owed() && delivery.has_any());
        let owed = roster.get_mut(&id(2)).unwrap().stall();
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
    fn end_of_the_run_gives_up_what_everybody_is_owed() {
        let mut user = Desktop::new(Settings::default());
        user.link(1);
        user.say(SECOND, "hello", None);
        let (roster, output) = (&mut user.roster, &mut user.output);
        user.delivery.give_up_all(roster, output, ByeReason::Panic);
        assert!(!user.delivery.is_owed());
        assert_eq!(user.delivery.unsatisfied(), 1);
    }
}
