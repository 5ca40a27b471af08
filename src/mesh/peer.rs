//! One peer: its state, and what this end keeps about it.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::conn_id::ConnId;
use super::event::{DownReason, Event, Who};
use super::patience::Patience;
use crate::proto::conversation::Conversation;
use crate::proto::frame::Hello;
use crate::proto::outbox::Outgoing;
use crate::proto::{Address, DisplayName, Fault, PeerId};

/// The most peers known at once (PROTOCOL.md, section 10).
pub(super) const MAX_PEERS: usize = 256;
/// The shortest time between two reported names of a peer.
pub(super) const RENAME_PAUSE: Duration = Duration::from_secs(1);
/// Entries of gossip that a peer may send at once, and how long one more takes to earn.
const GOSSIP: u32 = 2 * MAX_PEERS as u32;
const GOSSIP_REFILL: Duration = Duration::from_millis(1000 / 16);
/// How often a peer may replace its own link in a row, and how long one more time takes to earn.
const REPLACE_BUDGET: u32 = 4;
const REPLACE_REFILL: Duration = Duration::from_secs(1);
/// The number of reports waiting behind a peer's messages from which on it gets no new link; the
/// links that it has may still add theirs.
const MAX_DEFERRED: usize = 32;
/// Hex digits shown for a peer without a name.
pub(super) const ID_DIGITS: usize = 16;

/// The state of a peer. Whether a lost one is redialled or only awaited is known to
/// [`Dialing`](super::dialing::Dialing), which has the addresses.
enum State {
    /// Known from gossip, or given up: there is no link, and none is missing.
    Known,
    /// A link is up.
    Up {
        /// The connection of the link.
        conn: ConnId,
        /// What is owed in both directions.
        conversation: Conversation,
    },
    /// The link was lost, and the peer is awaited.
    Lost {
        /// What is owed in both directions.
        conversation: Conversation,
        /// Why the link ended.
        reason: DownReason,
        /// Another connection may take over: the loss is not reported before this moment.
        untold_until: Option<Instant>,
    },
    /// It sent GOODBYE, which is reported after everything that it had sent before.
    Leaving {
        /// Its messages that are still to be released.
        conversation: Conversation,
        /// Whether it leaves the mesh, or has ended this link only.
        leaving: bool,
        /// Why it is not dialled; `None` if the user has asked for it again meanwhile.
        departure: Option<Departure>,
    },
    /// It sent GOODBYE, or this end sent GOODBYE to it.
    Gone(Departure),
}

/// The state of a peer, as far as it matters for dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is here, over a direct link.
    Up,
    /// It has said goodbye, or this end has said goodbye to it.
    Departed(Departure),
    /// It is not here over a direct link, and should be.
    Missing,
}

/// What a GOODBYE meant. The peer is not dialled until it connects by itself or `/connect` names
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The peer left the mesh. With `--stay` this end redials its address, where another peer may
    /// answer.
    Left,
    /// One of the two ends ended this link only (`/disconnect`).
    Disconnected,
}

/// How two peers part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// The peer has sent GOODBYE on its link.
    Goodbye {
        /// Whether it leaves the mesh, or ends this link only.
        leaving: bool,
    },
    /// This end sends GOODBYE to it.
    Disconnect,
    /// It vanished, and is awaited no longer.
    GiveUp,
}

/// What a new link changes, besides being there.
pub(super) struct Connected {
    /// Whether both ends still know everything from their previous link.
    pub resumed: bool,
    /// Messages that may or may not have arrived: the peer has forgotten them.
    pub lost: Vec<Outgoing>,
    /// The connection that it replaces.
    pub replaced: Option<ConnId>,
    /// How the previous link ended, if that was not reported yet.
    pub untold_end: Option<DownReason>,
}

/// One peer.
pub(super) struct Peer {
    state: State,
    /// When it entered its present state.
    pub since: Instant,
    /// What it calls itself, and how it is shown.
    pub naming: Naming,
    /// Whether this end drops its messages.
    pub ignored: bool,
    /// Where it can be reached.
    pub place: Place,
    /// Linked peers that say they are linked to it.
    pub vouchers: BTreeSet<PeerId>,
    /// Those of them that say that their link with it is direct.
    pub relays: BTreeSet<PeerId>,
    /// Its past links.
    pub history: History,
    /// How it takes messages from this end.
    pub uptake: Uptake,
    /// Its messages on the way to the front end.
    pub showing: Showing,
    /// How often it may still replace its own link.
    replace_budget: Bucket,
    /// How much more gossip is accepted from it.
    gossip_budget: Bucket,
}

/// The names of a peer.
pub(super) struct Naming {
    /// What it calls itself.
    pub name: Option<DisplayName>,
    /// When a change of its name was last reported.
    pub told_at: Option<Instant>,
    /// A later name, which came too soon to be reported.
    pub next: Option<Option<DisplayName>>,
    /// How it is shown.
    pub who: Arc<Who>,
}

/// Where a peer can be reached.
#[derive(Default)]
pub(super) struct Place {
    /// The address at which it can be dialled, as claimed or observed.
    pub address: Option<Address>,
    /// Whether this end has reached or observed it there itself.
    pub is_reached: bool,
    /// The other end of its last link; if a circuit carried that, the relay.
    pub remote: Option<IpAddr>,
    /// Whether a circuit carries its link, as far as either end knows.
    pub is_relayed: bool,
    /// The relay, if this end holds its link for a circuit.
    pub via: Option<PeerId>,
}

/// The past of a peer.
#[derive(Default)]
pub(super) struct History {
    /// When it was first linked; it has existed since then at least.
    pub met: Option<Instant>,
    /// The total time of its links that have ended.
    pub linked_for: Duration,
    /// When it was last heard on a link that was lost; it existed until then at least.
    pub heard: Option<Instant>,
}

/// How a peer takes messages.
#[derive(Default)]
pub(super) struct Uptake {
    /// How long its full outbox may still delay the input.
    pub patience: Patience,
    /// One message under way, to measure the round trip: its token and when it was queued.
    pub sample: Option<(u64, Instant)>,
    /// The smoothed time from a message to its acknowledgement.
    pub round_trip: Option<Duration>,
}

/// A peer's messages on the way to the front end.
#[derive(Default)]
pub(super) struct Showing {
    /// The `seq` of the last message released.
    pub seq: u64,
    /// Messages released and not shown yet: `seq` and size.
    pub out: VecDeque<(u64, usize)>,
    /// Reports about its links, in order, each to follow the message with this `seq`.
    pub deferred: VecDeque<(u64, Event)>,
}

impl Peer {
    /// A peer known from gossip.
    pub(super) fn new(now: Instant, id: PeerId) -> Self {
        Self {
            state: State::Known,
            since: now,
            naming: Naming {
                name: None,
                told_at: None,
                next: None,
                who: Arc::new(Who {
                    id,
                    name: None,
                    shown: id.hex_prefix(ID_DIGITS),
                }),
            },
            ignored: false,
            place: Place::default(),
            vouchers: BTreeSet::new(),
            relays: BTreeSet::new(),
            history: History::default(),
            uptake: Uptake::default(),
            showing: Showing::default(),
            replace_budget: Bucket::full(REPLACE_BUDGET * REPLACE_REFILL),
            gossip_budget: Bucket::full(GOSSIP * GOSSIP_REFILL),
        }
    }

    /// The connection of its link, if one is up.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Up { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// Whether a link with it is up.
    pub(super) fn is_up(&self) -> bool {
        self.conn().is_some()
    }

    /// Whether its link was lost and it is awaited.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Whether it is here or awaited, so that a message to all goes to it.
    pub(super) fn is_present(&self) -> bool {
        self.is_up() || self.is_awaited()
    }

    /// Whether it has sent GOODBYE and that is still to be reported.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// The GOODBYE because of which it is not dialled.
    pub(super) fn departure(&self) -> Option<Departure> {
        match self.state {
            State::Leaving { departure, .. } => departure,
            State::Gone(departure) => Some(departure),
            _ => None,
        }
    }

    /// The connection of its link, if one is up and no circuit carries it.
    pub(super) fn direct_conn(&self) -> Option<ConnId> {
        self.conn().filter(|_| !self.place.is_relayed)
    }

    /// Linked peers say these things about it: no more what this one said.
    pub(super) fn unvouch(&mut self, voucher: &PeerId) -> bool {
        self.relays.remove(voucher);
        self.vouchers.remove(voucher)
    }

    /// A linked peer says that it is linked to it, directly or not.
    pub(super) fn vouch(&mut self, voucher: PeerId, directly: bool) {
        self.vouchers.insert(voucher);
        match directly {
            true => self.relays.insert(voucher),
            false => self.relays.remove(&voucher),
        };
    }

    /// Its state as far as it matters for dialling; `None` if it does not. A peer whose link is a
    /// circuit is still dialled.
    pub(super) fn standing(&self) -> Option<Standing> {
        if self.direct_conn().is_some() {
            Some(Standing::Up)
        } else if let Some(departure) = self.departure() {
            Some(Standing::Departed(departure))
        } else if self.is_present() || !self.vouchers.is_empty() {
            Some(Standing::Missing)
        } else {
            None
        }
    }

    /// What is owed in both directions, until it is forgotten.
    pub(super) fn conversation(&self) -> Option<&Conversation> {
        match &self.state {
            State::Up { conversation, .. }
            | State::Lost { conversation, .. }
            | State::Leaving { conversation, .. } => Some(conversation),
            State::Known | State::Gone(_) => None,
        }
    }

    /// What is owed in both directions, for changes.
    pub(super) fn conversation_mut(&mut self) -> Option<&mut Conversation> {
        match &mut self.state {
            State::Up { conversation, .. }
            | State::Lost { conversation, .. }
            | State::Leaving { conversation, .. } => Some(conversation),
            State::Known | State::Gone(_) => None,
        }
    }

    /// Why its link was lost, while it is awaited.
    pub(super) fn loss(&self) -> Option<DownReason> {
        match self.state {
            State::Lost { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Until when its loss is not reported.
    pub(super) fn untold_until(&self) -> Option<Instant> {
        match self.state {
            State::Lost { untold_until, .. } => untold_until,
            _ => None,
        }
    }

    /// A link comes up on this connection, with this HELLO. `session_id` is what this end sent to
    /// the peer there.
    ///
    /// # Errors
    /// The HELLO lies. Nothing is changed then.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        conn: ConnId,
        session_id: u64,
        hello: &Hello,
    ) -> Result<Connected, Fault> {
        let mut fresh = Conversation::new(session_id, self.showing.seq);
        let conversation = self.conversation_mut().unwrap_or(&mut fresh);
        let resumed = conversation.heard_session_id() == hello.session_id;
        let lost = conversation.connect(hello)?;
        let replaced = self.conn();
        let (conversation, untold_end) = match std::mem::replace(&mut self.state, State::Known) {
            State::Up { conversation, .. }
            | State::Lost {
                conversation,
                untold_until: Some(_),
                ..
            } => (conversation, Some(DownReason::Replaced)),
            State::Lost { conversation, .. } => (conversation, None),
            State::Leaving { conversation, .. } => (conversation, Some(DownReason::Goodbye)),
            State::Known | State::Gone(_) => (fresh, None),
        };
        self.state = State::Up { conn, conversation };
        self.since = now;
        self.history.met.get_or_insert(now);
        Ok(Connected {
            resumed,
            lost,
            replaced,
            untold_end,
        })
    }

    /// Its link ended without a goodbye, which is not reported before `untold_until`, if that is
    /// given.
    pub(super) fn lose(&mut self, now: Instant, reason: DownReason, untold_until: Option<Instant>) {
        self.state = match std::mem::replace(&mut self.state, State::Known) {
            State::Up { conversation, .. } => State::Lost {
                conversation,
                reason,
                untold_until,
            },
            other => other,
        };
        self.since = now;
    }

    /// Its loss is reported now: returns why the link ended, unless that was reported before.
    pub(super) fn take_untold_loss(&mut self) -> Option<DownReason> {
        match &mut self.state {
            State::Lost {
                reason,
                untold_until,
                ..
            } => untold_until.take().map(|_| *reason),
            _ => None,
        }
    }

    /// The two part. Returns the messages that the peer will never get. What it had sent before its
    /// GOODBYE is still shown.
    pub(super) fn part(&mut self, now: Instant, parting: Parting) -> Vec<Outgoing> {
        self.since = now;
        self.uptake.sample = None;
        self.uptake.patience.holds_up(now, false);
        // Reporting a pending name would make it bear that name again.
        self.naming.next = None;
        let owed = self.conversation_mut().map(|it| it.outbox.withdraw());
        self.state = match (std::mem::replace(&mut self.state, State::Known), parting) {
            (State::Up { conversation, .. }, Parting::Goodbye { leaving }) => State::Leaving {
                conversation,
                leaving,
                departure: Some(match leaving {
                    true => Departure::Left,
                    false => Departure::Disconnected,
                }),
            },
            (
                State::Leaving {
                    conversation,
                    leaving,
                    ..
                },
                Parting::Disconnect,
            ) => State::Leaving {
                conversation,
                leaving,
                departure: Some(Departure::Disconnected),
            },
            (_, Parting::Disconnect) => State::Gone(Departure::Disconnected),
            (State::Lost { .. }, Parting::GiveUp) => State::Known,
            (other, _) => other,
        };
        owed.unwrap_or_default()
    }

    /// Its GOODBYE can be reported: returns whether it leaves the mesh.
    pub(super) fn take_farewell(&mut self) -> Option<bool> {
        let State::Leaving {
            leaving, departure, ..
        } = self.state
        else {
            return None;
        };
        self.state = departure.map_or(State::Known, State::Gone);
        Some(leaving)
    }

    /// The user wants to be connected to it again.
    pub(super) fn forgive(&mut self) {
        match &mut self.state {
            State::Leaving { departure, .. } => *departure = None,
            State::Gone(_) => self.state = State::Known,
            _ => {}
        }
    }

    /// Whether it may replace its link, beside this number of others that may do so too.
    pub(super) fn may_replace(&self, now: Instant, others: u32) -> bool {
        let times = others.saturating_add(1).min(REPLACE_BUDGET + 1);
        self.replace_budget.holds(now, times * REPLACE_REFILL)
    }

    /// Whether it may replace its link now. Counts it; the user sees each time.
    pub(super) fn replaces(&mut self, now: Instant) -> bool {
        self.replace_budget.try_take(now, REPLACE_REFILL)
    }

    /// Whether another entry of gossip is accepted from it. Counts it.
    pub(super) fn may_tell(&mut self, now: Instant) -> bool {
        self.gossip_budget.try_take(now, GOSSIP_REFILL)
    }

    /// It acknowledges its messages up to this number. Returns the tokens of those that are new.
    ///
    /// # Errors
    /// Messages up to that number were never sent.
    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        number: u64,
        give_up: Duration,
    ) -> Result<Vec<u64>, Fault> {
        let Some(conversation) = self.conversation_mut() else {
            return Ok(Vec::new());
        };
        let acknowledged = conversation.outbox.acknowledge(number)?;
        let Uptake {
            patience,
            sample,
            round_trip,
        } = &mut self.uptake;
        for message in &acknowledged {
            patience.took(now, message.text.len(), give_up);
            if let Some((_, at)) = sample.take_if(|(token, _)| *token <= message.token) {
                let trip = now.saturating_duration_since(at);
                // RFC 6298's weight for a new sample.
                let smoothed = round_trip.map(|it| it.mul_f64(0.875) + trip / 8);
                *round_trip = Some(smoothed.unwrap_or(trip));
            }
        }
        Ok(acknowledged.iter().map(|message| message.token).collect())
    }

    /// Its full outbox has delayed others for too long. Returns the messages that it was owed.
    pub(super) fn stall(&mut self) -> Vec<Outgoing> {
        self.uptake.patience.gave_up();
        self.uptake.sample = None;
        let owed = self.conversation_mut().map(|it| it.outbox.withdraw());
        owed.unwrap_or_default()
    }

    /// Whether it may be dropped to make room for another.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Known | State::Gone(_)) && self.showing.out.is_empty()
    }

    /// When a name that came too soon may be reported: not before pending reports about its links.
    pub(super) fn next_name_at(&self) -> Option<Instant> {
        self.naming
            .next
            .as_ref()
            .filter(|_| self.showing.deferred.is_empty())?;
        Some(self.naming.told_at? + RENAME_PAUSE)
    }

    /// How it is shown now.
    pub(super) fn who(&self) -> Arc<Who> {
        Arc::clone(&self.naming.who)
    }

    /// Whether enough reports about its links wait already, as they do for a slow front end.
    pub(super) fn defers_much(&self) -> bool {
        self.showing.deferred.len() >= MAX_DEFERRED
    }

    /// Queues a report behind everything that it has sent by now.
    pub(super) fn defer(&mut self, event: Event) {
        let last = self.conversation().map_or(0, |it| it.inbox.seqs().1);
        self.showing.deferred.push_back((last, event));
    }

    /// The next report that need not wait for a message any more.
    pub(super) fn next_deferred(&mut self) -> Option<Event> {
        let inbox = self.conversation().map(|it| &it.inbox);
        let waiting = inbox
            .filter(|inbox| inbox.has_waiting())
            .map(|inbox| inbox.seqs().0);
        let deferred = &mut self.showing.deferred;
        let next =
            deferred.pop_front_if(|(behind, _)| waiting.is_none_or(|released| *behind <= released));
        next.map(|(_, event)| event)
    }

    /// Whether it has sent something that was not released yet.
    pub(super) fn has_waiting(&self) -> bool {
        self.conversation().is_some_and(|it| it.inbox.has_waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::Listening;

    const ID: PeerId = PeerId([1; 32]);

    fn hello() -> Hello {
        Hello {
            circuits: None,
            local: false,
            epochs: false,
            session_id: 7,
            heard_session_id: 0,
            heard: 0,
            interval_ms: 100,
            link_seq: 1,
            oldest_live: 1,
            listening: Listening::No,
            name: None,
        }
    }

    fn linked(now: Instant) -> Peer {
        let mut peer = Peer::new(now, ID);
        peer.link(now, ConnId(1));
        peer
    }

    impl Peer {
        /// A link is up.
        pub(crate) fn link(&mut self, now: Instant, conn: ConnId) {
            assert!(self.connect(now, conn, 5, &hello()).is_ok());
        }

        /// Its link was lost, and that was reported.
        pub(crate) fn miss(&mut self, now: Instant) {
            self.link(now, ConnId(1));
            self.lose(now, DownReason::Lost, None);
        }

        /// It has left, and that was reported.
        pub(crate) fn leave(&mut self, now: Instant) {
            self.link(now, ConnId(1));
            self.part(now, Parting::Goodbye { leaving: true });
            self.take_farewell();
        }
    }

    #[test]
    fn peer_replaces_its_link_four_times_and_once_a_second() {
        let (now, mut peer) = (Instant::now(), Peer::new(Instant::now(), ID));
        assert!(peer.may_replace(now, 3) && !peer.may_replace(now, 4));
        assert!(!peer.may_replace(now, u32::MAX));
        assert!((0..4).all(|_| peer.replaces(now)) && !peer.replaces(now));
        let later = now + REPLACE_REFILL;
        assert!(peer.may_replace(later, 0) && !peer.may_replace(later, 1));
        assert!(peer.replaces(later) && !peer.replaces(later));
    }

    #[test]
    fn peer_tells_512_entries_and_16_a_second() {
        let (now, mut peer) = (Instant::now(), Peer::new(Instant::now(), ID));
        let mut told = |at| (0..1000).filter(|_| peer.may_tell(at)).count();
        assert_eq!(told(now), 512);
        assert_eq!(told(now + Duration::from_secs(1)), 16);
    }

    #[test]
    fn peer_only_heard_of_is_missing_and_has_no_conversation() {
        let mut peer = Peer::new(Instant::now(), ID);
        assert_eq!(peer.standing(), None);
        peer.vouchers.insert(PeerId([2; 32]));
        assert_eq!(peer.standing(), Some(Standing::Missing));
        assert!(peer.conversation().is_none() && peer.is_idle());
    }

    #[test]
    fn lost_link_is_reported_once_unless_another_takes_over() {
        let now = Instant::now();
        let mut peer = linked(now);
        peer.lose(now, DownReason::Timeout, Some(now));
        assert!(peer.is_awaited() && peer.conversation().is_some());
        assert_eq!(peer.take_untold_loss(), Some(DownReason::Timeout));
        assert_eq!(peer.take_untold_loss(), None);
        assert_eq!(peer.loss(), Some(DownReason::Timeout));
        let mut peer = linked(now);
        peer.lose(now, DownReason::Lost, Some(now));
        let connected = peer.connect(now, ConnId(2), 5, &hello()).ok().unwrap();
        assert_eq!(connected.untold_end, Some(DownReason::Replaced));
        assert_eq!((connected.replaced, connected.resumed), (None, true));
        assert_eq!((peer.take_untold_loss(), peer.loss()), (None, None));
    }

    #[test]
    fn goodbye_is_reported_after_all_messages_or_a_new_link() {
        let now = Instant::now();
        let mut peer = linked(now);
        peer.part(now, Parting::Goodbye { leaving: true });
        assert!(peer.is_leaving() && peer.conversation().is_some());
        assert_eq!(peer.departure(), Some(Departure::Left));
        assert_eq!(peer.take_farewell(), Some(true));
        assert_eq!(peer.take_farewell(), None);
        assert!(peer.conversation().is_none());
        assert_eq!(peer.standing(), Some(Standing::Departed(Departure::Left)));
        let mut peer = linked(now);
        peer.part(now, Parting::Goodbye { leaving: false });
        let connected = peer.connect(now, ConnId(2), 5, &hello()).ok().unwrap();
        assert_eq!(connected.untold_end, Some(DownReason::Goodbye));
        assert_eq!((peer.take_farewell(), peer.departure()), (None, None));
    }

    #[test]
    fn user_who_asks_for_a_departed_peer_has_it_dialled() {
        let now = Instant::now();
        let mut peer = linked(now);
        peer.part(now, Parting::Disconnect);
        assert_eq!(peer.departure(), Some(Departure::Disconnected));
        peer.forgive();
        assert_eq!(peer.departure(), None);
        peer.link(now, ConnId(2));
        peer.part(now, Parting::Goodbye { leaving: true });
        peer.forgive();
        assert!(peer.is_leaving());
        assert_eq!(peer.take_farewell(), Some(true));
        assert_eq!(peer.departure(), None);
    }

    #[test]
    fn peer_given_up_is_forgotten() {
        let now = Instant::now();
        let mut peer = linked(now);
        peer.lose(now, DownReason::Lost, None);
        assert!(peer.part(now, Parting::GiveUp).is_empty());
        assert!(peer.is_idle() && !peer.is_present());
        let connected = peer.connect(now, ConnId(2), 5, &hello()).ok().unwrap();
        assert!(!connected.resumed);
    }

    #[test]
    fn hello_that_lies_changes_no_state() {
        let now = Instant::now();
        let mut peer = Peer::new(now, ID);
        let lie = Hello {
            heard_session_id: 5,
            heard: 1,
            ..hello()
        };
        assert!(peer.connect(now, ConnId(1), 5, &lie).is_err());
        assert!(peer.conversation().is_none() && !peer.is_up());
    }
}
