//! One peer: how it stands, and what is kept of it.

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
pub const MAX_PEERS: usize = 256;
/// Between two names of a peer that people are told.
pub const RENAME_PAUSE: Duration = Duration::from_secs(1);
/// How many entries of gossip a peer may tell at once, and how long it takes to earn another one.
const GOSSIP: u32 = 2 * MAX_PEERS as u32;
const GOSSIP_REFILL: Duration = Duration::from_millis(1000 / 16);
/// How often a peer may replace its own link at once, and how long it takes to earn another time.
const REPLACE_BUDGET: u32 = 4;
const REPLACE_REFILL: Duration = Duration::from_secs(1);
/// What became of a peer's links and waits to be told behind its messages, at most, beside what the
/// links bring that it has by then.
const MAX_DEFERRED: usize = 32;
/// Hex digits that name a peer without a name.
pub const ID_DIGITS: usize = 16;

/// How a peer stands. Whether a lost one is redialled or only waited for is known to
/// [`Dialing`](super::dialing::Dialing), which has the addresses.
enum State {
    /// Others have told of it, or it was given up: there is no link, and none is missed.
    Known,
    /// A link is up.
    Up {
        /// The connection under it.
        conn: ConnId,
        /// What is owed both ways.
        conversation: Conversation,
    },
    /// The link was lost, and the peer is waited for.
    Lost {
        /// What is owed both ways.
        conversation: Conversation,
        /// Why the link ended.
        reason: DownReason,
        /// Another connection may take over: until this moment people are not told of the loss.
        untold_until: Option<Instant>,
    },
    /// It sent GOODBYE, which people are told behind everything that it had said.
    Leaving {
        /// What is still to be released.
        conversation: Conversation,
        /// Whether it leaves the mesh, or has ended this link only.
        leaving: bool,
        /// What keeps it from being dialled, unless the user has asked for it again meanwhile.
        departure: Option<Departure>,
    },
    /// It sent GOODBYE, or this end sent GOODBYE to it.
    Gone(Departure),
}

/// How a peer stands with those who might dial it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is here.
    Up,
    /// It has said goodbye, or this end has said goodbye to it.
    Departed(Departure),
    /// It is not here, and should be.
    Missing,
}

/// What a GOODBYE meant. Until the peer comes by itself or `/connect` names it, it is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The peer left the mesh. With `--stay` its address is dialled for whoever comes next.
    Left,
    /// One of the two ends ended this link only (`/disconnect`).
    Disconnected,
}

/// How two peers part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The peer has sent GOODBYE on its link.
    Goodbye {
        /// Whether it leaves the mesh, or ends this link only.
        leaving: bool,
    },
    /// This end sends GOODBYE to it.
    Disconnect,
    /// It vanished, and is waited for no longer.
    GiveUp,
}

/// What a new link means beside the link itself.
pub struct Connected {
    /// Whether both ends know what they knew of each other on the link before.
    pub resumed: bool,
    /// Messages that may or may not have arrived: the peer has forgotten them.
    pub lost: Vec<Arc<Outgoing>>,
    /// The connection that it replaces.
    pub replaced: Option<ConnId>,
    /// How the link before ended, where people were not told of that yet.
    pub untold_end: Option<DownReason>,
}

/// One peer.
pub struct Peer {
    state: State,
    /// Since when its state is what it is.
    pub since: Instant,
    /// What it calls itself, and how it is shown.
    pub naming: Naming,
    /// What it says is dropped.
    pub ignored: bool,
    /// Where it is.
    pub place: Place,
    /// Linked peers that say they are linked to it.
    pub vouchers: BTreeSet<PeerId>,
    /// What is known of its past.
    pub history: History,
    /// How it takes messages.
    pub uptake: Uptake,
    /// What it said, on the way to the front end.
    pub showing: Showing,
    /// How often it may still replace its own link.
    replace_budget: Bucket,
    /// How much more gossip is taken from it.
    gossip_budget: Bucket,
}

/// The names of a peer.
pub struct Naming {
    /// What it calls itself.
    pub name: Option<DisplayName>,
    /// When people were last told a change of its name.
    pub told_at: Option<Instant>,
    /// A name that came too soon after that.
    pub next: Option<Option<DisplayName>>,
    /// How it is shown.
    pub who: Arc<Who>,
}

/// Where a peer is.
#[derive(Default)]
pub struct Place {
    /// Where it can be dialled, as it said or as was seen.
    pub address: Option<Address>,
    /// Whether this end has reached or seen it there itself.
    pub is_reached: bool,
    /// The other end of its last link.
    pub remote: Option<IpAddr>,
}

/// The past of a peer.
#[derive(Default)]
pub struct History {
    /// When it was linked for the first time: since then it has existed.
    pub met: Option<Instant>,
    /// How long its links have lasted that ended, together.
    pub linked_for: Duration,
    /// When it was heard last on a link that was lost: until then it has existed.
    pub heard: Option<Instant>,
}

/// How a peer takes messages.
#[derive(Default)]
pub struct Uptake {
    /// How long its full outbox may hold up the input.
    pub patience: Patience,
    /// A message on its way, to measure the round trip: its token and when it was queued.
    pub sample: Option<(u64, Instant)>,
    /// From a message to its acknowledgement, smoothed.
    pub round_trip: Option<Duration>,
}

/// What a peer said, on the way to the front end.
#[derive(Default)]
pub struct Showing {
    /// The `seq` of the last message released.
    pub seq: u64,
    /// Messages released and not shown yet: `seq` and size.
    pub out: VecDeque<(u64, usize)>,
    /// What became of its links, each to be told behind the message with this `seq`, in order.
    pub deferred: VecDeque<(u64, Event)>,
}

impl Peer {
    /// A peer of which others have told.
    pub fn new(now: Instant, id: PeerId) -> Self {
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
            history: History::default(),
            uptake: Uptake::default(),
            showing: Showing::default(),
            replace_budget: Bucket::full(REPLACE_BUDGET * REPLACE_REFILL),
            gossip_budget: Bucket::full(GOSSIP * GOSSIP_REFILL),
        }
    }

    /// The connection of its link, if one is up.
    pub fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Up { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// Whether a link with it is up.
    pub fn is_up(&self) -> bool {
        self.conn().is_some()
    }

    /// Whether its link was lost, and it is waited for.
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Whether it is here, or waited for: a message to everybody goes to it.
    pub fn is_present(&self) -> bool {
        self.is_up() || self.is_awaited()
    }

    /// Whether it has sent GOODBYE, and people are still to be told so.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// The GOODBYE that keeps it from being dialled.
    pub fn departure(&self) -> Option<Departure> {
        match self.state {
            State::Leaving { departure, .. } => departure,
            State::Gone(departure) => Some(departure),
            _ => None,
        }
    }

    /// How it stands, unless it matters to nobody.
    pub fn standing(&self) -> Option<Standing> {
        if self.is_up() {
            Some(Standing::Up)
        } else if let Some(departure) = self.departure() {
            Some(Standing::Departed(departure))
        } else if self.is_awaited() || !self.vouchers.is_empty() {
            Some(Standing::Missing)
        } else {
            None
        }
    }

    /// What is owed both ways, as long as it is not forgotten.
    pub fn conversation(&self) -> Option<&Conversation> {
        match &self.state {
            State::Up { conversation, .. }
            | State::Lost { conversation, .. }
            | State::Leaving { conversation, .. } => Some(conversation),
            State::Known | State::Gone(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn conversation_mut(&mut self) -> Option<&mut Conversation> {
        match &mut self.state {
            State::Up { conversation, .. }
            | State::Lost { conversation, .. }
            | State::Leaving { conversation, .. } => Some(conversation),
            State::Known | State::Gone(_) => None,
        }
    }

    /// Why its link was lost, while it is waited for.
    pub fn loss(&self) -> Option<DownReason> {
        match self.state {
            State::Lost { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Until when people are not told of its loss.
    pub fn untold_until(&self) -> Option<Instant> {
        match self.state {
            State::Lost { untold_until, .. } => untold_until,
            _ => None,
        }
    }

    /// A link comes up on this connection, with this HELLO; the peer was told this
    /// session_id there.
    ///
    /// # Errors
    /// The HELLO lies. Nothing is changed then.
    pub fn connect(
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

    /// Its link ended without a goodbye, which people are not told before `untold_until`, if that is
    /// given.
    pub fn lose(&mut self, now: Instant, reason: DownReason, untold_until: Option<Instant>) {
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

    /// People are told of its loss now: why the link ended, if they have not been told yet.
    pub fn take_untold_loss(&mut self) -> Option<DownReason> {
        match &mut self.state {
            State::Lost {
                reason,
                untold_until,
                ..
            } => untold_until.take().map(|_| *reason),
            _ => None,
        }
    }

    /// The two part; what it was owed, which it will never get. What it had said before its GOODBYE is
    /// still told.
    pub fn part(&mut self, now: Instant, parting: Parting) -> Vec<Arc<Outgoing>> {
        self.since = now;
        self.uptake.sample = None;
        self.uptake.patience.holds_up(now, false);
        // A name that was still to be told would have it count again.
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

    /// People can be told of its GOODBYE: whether it leaves the mesh.
    pub fn take_farewell(&mut self) -> Option<bool> {
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
    pub fn forgive(&mut self) {
        match &mut self.state {
            State::Leaving { departure, .. } => *departure = None,
            State::Gone(_) => self.state = State::Known,
            _ => {}
        }
    }

    /// Whether it may replace its link by another one, `others` aside that may do so as well.
    pub fn may_replace(&self, now: Instant, others: u32) -> bool {
        let times = others.saturating_add(1).min(REPLACE_BUDGET + 1);
        self.replace_budget.holds(now, times * REPLACE_REFILL)
    }

    /// Whether it may replace its link by another one now; counted. Each is told to the user.
    pub fn replaces(&mut self, now: Instant) -> bool {
        self.replace_budget.try_take(now, REPLACE_REFILL)
    }

    /// Whether another entry of gossip is taken from it; counted.
    pub fn may_tell(&mut self, now: Instant) -> bool {
        self.gossip_budget.try_take(now, GOSSIP_REFILL)
    }

    /// It acknowledges its messages up to this number: the tokens of those that it had not before.
    ///
    /// # Errors
    /// So much was never sent.
    pub fn acknowledge(
        &mut self,
        now: Instant,
        number: u64,
        give_up: Duration,
    ) -> Result<Vec<u64>, Fault> {
        let Some(conversation) = self.conversation_mut() else {
            return Ok(Vec::new());
        };
        let acknowledged: Vec<_> = conversation.outbox.acknowledge(number)?.collect();
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

    /// Its full outbox has held up others for too long: what it was owed.
    pub fn stall(&mut self) -> Vec<Arc<Outgoing>> {
        self.uptake.patience.gave_up();
        self.uptake.sample = None;
        let owed = self.conversation_mut().map(|it| it.outbox.withdraw());
        owed.unwrap_or_default()
    }

    /// Whether it may make room for another.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Known | State::Gone(_)) && self.showing.out.is_empty()
    }

    /// When the name that came too soon may be told: not before what became of its links.
    pub fn next_name_at(&self) -> Option<Instant> {
        self.naming
            .next
            .as_ref()
            .filter(|_| self.showing.deferred.is_empty())?;
        Some(self.naming.told_at? + RENAME_PAUSE)
    }

    /// How it is shown now.
    pub fn who(&self) -> Arc<Who> {
        Arc::clone(&self.naming.who)
    }

    /// Whether the front end is so slow that enough of its links wait to be told already.
    pub fn defers_much(&self) -> bool {
        self.showing.deferred.len() >= MAX_DEFERRED
    }

    /// This is told behind everything that it has said by now.
    pub fn defer(&mut self, event: Event) {
        let last = self.conversation().map_or(0, |it| it.inbox.seqs().1);
        self.showing.deferred.push_back((last, event));
    }

    /// The next thing to tell that no message comes before any more.
    pub fn next_deferred(&mut self) -> Option<Event> {
        let inbox = self.conversation().map(|it| &it.inbox);
        let waiting = inbox
            .filter(|inbox| inbox.has_waiting())
            .map(|inbox| inbox.seqs().0);
        let deferred = &mut self.showing.deferred;
        let next =
            deferred.pop_front_if(|(behind, _)| waiting.is_none_or(|released| *behind <= released));
        next.map(|(_, event)| event)
    }

    /// Whether it has said something that was not released yet.
    pub fn has_waiting(&self) -> bool {
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
            features: 0,
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
        pub fn link(&mut self, now: Instant, conn: ConnId) {
            assert!(self.connect(now, conn, 5, &hello()).is_ok());
        }

        /// Its link was lost, and people know.
        pub fn miss(&mut self, now: Instant) {
            self.link(now, ConnId(1));
            self.lose(now, DownReason::Lost, None);
        }

        /// It has left, and people know.
        pub fn leave(&mut self, now: Instant) {
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
    fn lost_link_is_told_once_and_not_after_another_took_over() {
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
    fn goodbye_is_told_when_all_is_released_or_a_link_comes_up() {
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
