//! One address that may be dialled: which peers are believed to be there, who says so, and how
//! dials went.

use std::time::Instant;

use rand_core::CryptoRng;

use super::admission::Network;
use super::backoff;
use super::conn_id::ConnId;
use super::dial_budget::{DialBudget, Site, Voucher};
use super::peer::{Departure, Peer, Standing};
use super::roster::Roster;
use super::scope::Scopes;
use super::shares::Shares;
use crate::proto::{Address, PeerId};

/// The most claims kept per address.
pub(super) const MAX_CLAIMS: usize = 4;
/// The most vouchers kept per claim.
const MAX_VOUCHERS: usize = 8;

/// Dials in a row that may end between Ta and Tb and are repeated soon.
const QUICK_TRIES: u32 = 5;

/// A claim that a peer is at an address.
pub(super) struct Said {
    /// The peer that is claimed to be there.
    pub peer: PeerId,
    /// The peer that makes the claim.
    pub teller: PeerId,
    /// Whether the claim is about the teller itself, and its connection came from that IP address.
    pub seen: bool,
    /// Whether the teller claims it of itself, and it was not observed there.
    pub advertised: bool,
    /// The addresses that the tellers are linked from, first teller first. Their networks may pay
    /// for dials.
    pub vouchers: Vec<Voucher>,
    /// Grows with each claim, whatever the address.
    pub order: u64,
}

/// What a dial on gossip has cost so far.
pub(super) struct Paid {
    /// The network that paid.
    pub network: Network,
    /// The hosts that were charged.
    pub sites: Vec<Site>,
}

/// Why an address is dialled once, beside the dials for the user and on gossip: what led to it says
/// nothing about who is there, so a failure has no consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// A beacon came from there.
    Beacon,
    /// This peer says that it listens there, in this end's own network.
    Local(PeerId),
}

/// One address.
pub(super) struct Target {
    /// The peer that last proved its identity there.
    pub peer: Option<PeerId>,
    /// The peer that last answered there with the phrase, whether or not its proof arrived. It is
    /// not a stranger, so it is worth more tries.
    pub answered: Option<PeerId>,
    /// For a name: the host at which an expected peer last answered.
    pub answered_at: Option<Site>,
    /// Answers with another phrase in a row.
    pub refusals: u32,
    /// Dials in a row without a link, or whose link was lost too soon.
    pub failures: u32,
    /// Dials since a peer last answered that ended between Ta and Tb and were repeated soon.
    pub quick_tries: u32,
    /// Dials since a peer last answered.
    pub attempts: u32,
    /// When the last dial began.
    pub dialled_at: Option<Instant>,
    /// Why the last dial failed; `None` after one that led to a peer.
    pub error: Option<String>,
    /// Whether the user named it.
    pub user: bool,
    /// Since when it is known, or since the user last named it.
    pub since: Instant,
    /// Whether it is redialled even after its peer's goodbye (`--stay`).
    pub persistent: bool,
    /// Whether a peer has answered there in this run.
    pub reached: bool,
    /// Claims that other peers are there.
    pub said: Vec<Said>,
    /// The scopes accepted over the links on which it was gossiped.
    pub scopes: Scopes,
    /// Whether the last dial led back to this process.
    pub own: bool,
    /// Not dialled any more until `/connect` names it.
    pub stopped: bool,
    /// The hint that its present dial follows, if it follows one and nobody has proven itself yet.
    pub hint: Option<Hint>,
    /// What its present dial has cost.
    pub paid: Option<Paid>,
    /// When it may be dialled again.
    pub due: Instant,
    /// The connection of its present dial.
    pub dialling: Option<ConnId>,
}

impl Target {
    /// An address without any claim, known since this moment.
    pub(super) fn new(since: Instant, due: Instant, scopes: Scopes) -> Self {
        Self {
            peer: None,
            answered: None,
            answered_at: None,
            refusals: 0,
            failures: 0,
            quick_tries: 0,
            attempts: 0,
            dialled_at: None,
            error: None,
            user: false,
            since,
            persistent: false,
            reached: false,
            said: Vec::new(),
            scopes,
            own: false,
            stopped: false,
            hint: None,
            paid: None,
            due,
            dialling: None,
        }
    }

    /// Adds a claim, which came over a link that accepts these scopes.
    pub(super) fn hear(
        &mut self,
        roster: &Roster,
        budget: &DialBudget,
        said: Said,
        scopes: Scopes,
    ) {
        self.scopes = self.scopes.or(scopes);
        if let Some(before) = self.said.iter_mut().find(|it| it.peer == said.peer) {
            before.seen |= said.seen;
            before.advertised |= said.advertised;
            before.add_vouchers(said.vouchers, budget);
            return;
        }
        if self.said.len() >= MAX_CLAIMS {
            self.said.retain(|said| roster.get(&said.peer).is_some());
        }
        if self.said.len() >= MAX_CLAIMS {
            self.drop_of_talker(&said);
        }
        if said.seen {
            self.said.insert(0, said);
            self.said.truncate(MAX_CLAIMS);
        } else if self.said.len() < MAX_CLAIMS {
            self.said.push(said);
        }
    }

    /// Drops the newest claim of the member with most claims, in the network with most, unless the
    /// newcomer's have as many.
    fn drop_of_talker(&mut self, newcomer: &Said) {
        let shares = Claimants::of(&self.said);
        let unseen = self.said.iter().enumerate().filter(|(_, said)| !said.seen);
        let victim = unseen.max_by_key(|(_, said)| (shares.held(said), said.order));
        if let Some((at, victim)) = victim
            && shares.is_outdone(newcomer, victim)
        {
            self.said.remove(at);
        }
    }

    /// The present dial has led to no link so far: the next one has to wait.
    pub(super) fn fail(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        (self.dialling, self.paid) = (None, None);
        self.failures = self.failures.saturating_add(1);
        self.due = now + backoff::after_failures(self.failures, rng);
    }

    /// Whether a dial that ends between Ta and Tb is repeated soon. A listener with many strangers
    /// closes some connections by lot, which says nothing about the phrase.
    pub(super) fn has_quick_tries(&self) -> bool {
        self.quick_tries < QUICK_TRIES
    }

    /// The present dial has ended between Ta and Tb.
    pub(super) fn break_off(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        if !self.has_quick_tries() {
            return self.fail(now, rng);
        }
        (self.dialling, self.paid) = (None, None);
        self.quick_tries += 1;
        self.due = now + backoff::soon(rng);
    }

    /// The present dial has ended. Returns whether it followed a hint.
    pub(super) fn end_hinted(&mut self) -> bool {
        let hinted = self.hint.take().is_some();
        if hinted {
            (self.dialling, self.paid) = (None, None);
        }
        hinted
    }

    /// Whether nothing but a hint has led to it.
    pub(super) fn is_bare(&self) -> bool {
        !self.user && self.peer.is_none() && self.said.is_empty() && self.dialling.is_none()
    }

    /// A peer has proven its identity there. Returns the peer that was there before, if that was
    /// another.
    pub(super) fn reach(&mut self, peer: PeerId) -> Option<PeerId> {
        (self.reached, self.own, self.error) = (true, false, None);
        self.hint = None;
        (self.refusals, self.quick_tries, self.attempts) = (0, 0, 0);
        let seen = self.said.iter().find(|it| it.seen && it.peer != peer);
        let before = self.peer.or(seen.map(|said| said.peer));
        self.said.retain(|said| !said.seen && said.peer != peer);
        self.peer = Some(peer);
        before.filter(|before| *before != peer)
    }

    /// Whether this connection is the address's present dial.
    pub(super) fn is_dialled_by(&self, conn: ConnId) -> bool {
        self.dialling == Some(conn)
    }

    /// Whether a dial to this address can only be meant for this peer.
    pub(super) fn is_for(&self, peer: &PeerId) -> bool {
        match (self.peer, self.hint) {
            (Some(there), _) | (None, Some(Hint::Local(there))) => there == *peer,
            (None, Some(Hint::Beacon)) => self.is_witnessed(peer),
            (None, None) => !self.user && self.said.iter().all(|said| said.peer == *peer),
        }
    }

    /// Whether this end itself has found the peer there.
    pub(super) fn is_witnessed(&self, peer: &PeerId) -> bool {
        let seen = |said: &Said| said.peer == *peer && said.seen;
        self.peer == Some(*peer) || self.said.iter().any(seen)
    }

    /// Whether a peer that is up was seen to be there.
    pub(super) fn is_here(&self, roster: &Roster) -> bool {
        let up = |said: &Said| roster.get(&said.peer).is_some_and(Peer::is_up);
        self.said.iter().any(|said| said.seen && up(said))
    }

    /// Whether any claim says that the peer is there.
    pub(super) fn is_said(&self, peer: &PeerId) -> bool {
        self.said.iter().any(|said| said.peer == *peer)
    }

    /// Whether the peer is expected to answer its present dial.
    pub(super) fn is_expected(&self, peer: &PeerId) -> bool {
        self.is_said(peer) || self.hint == Some(Hint::Local(*peer))
    }

    /// Whether it can be dropped: no claim mentions it, and it leads to no peer that is here or
    /// will be missed.
    pub(super) fn is_needless(&self, roster: &Roster) -> bool {
        let there = self.peer.and_then(|id| roster.standing(&id));
        let counts = matches!(there, Some(Standing::Up | Standing::Missing));
        !self.user && !counts && self.said.is_empty() && self.dialling.is_none()
    }

    /// Whether to dial it for a peer that this end has found there before, or for the user.
    pub(super) fn is_known_and_wanted(&self, roster: &Roster) -> bool {
        match self.peer.and_then(|id| roster.standing(&id)) {
            Some(Standing::Departed(Departure::Left)) => self.user && self.persistent,
            Some(Standing::Up | Standing::Departed(Departure::Disconnected)) => false,
            Some(Standing::Missing) => true,
            None if self.user => true,
            None => {
                let mut seen = self.said.iter().filter(|said| said.seen);
                seen.any(|said| is_missing(roster, said))
            }
        }
    }

    /// The vouchers whose networks may pay for a dial on gossip, as far as the host can bear
    /// another one.
    pub(super) fn payers<'a>(
        &'a self,
        address: &'a Address,
        roster: &'a Roster,
        budget: &'a DialBudget,
    ) -> impl Iterator<Item = Voucher> + 'a {
        let there = self.peer.and_then(|id| roster.standing(&id));
        let site = (there != Some(Standing::Up) && !self.stopped).then(|| Site::of(address));
        let worthwhile = self.said.iter().filter(|said| self.is_sought(roster, said));
        worthwhile.flat_map(move |said| {
            let site = site.clone();
            let answers = self.answered == Some(said.peer);
            said.vouchers.iter().copied().filter(move |voucher| {
                let bears = |site| answers || budget.can_bear(site, address, voucher.network);
                site.as_ref().is_some_and(bears)
            })
        })
    }

    /// Whether this end looks for the peer there: the peer is missing; or it is here, and nobody
    /// has reached it at this advertised address, which is not gossiped before.
    fn is_sought(&self, roster: &Roster, said: &Said) -> bool {
        match roster.standing(&said.peer) {
            Some(Standing::Missing) => true,
            Some(Standing::Up) => said.advertised && !said.seen,
            _ => false,
        }
    }
}

impl Said {
    /// Adds vouchers. When there are too many, the network with most of them loses one; between
    /// networks with equally many, the one with less budget left does.
    fn add_vouchers(&mut self, vouchers: Vec<Voucher>, budget: &DialBudget) {
        for voucher in vouchers {
            if self.vouchers.contains(&voucher) {
                continue;
            }
            if self.vouchers.len() < MAX_VOUCHERS {
                self.vouchers.push(voucher);
                continue;
            }
            let shares = Shares::of(self.vouchers.iter().map(|it| it.network));
            let rank = |it: &Voucher, more| {
                let kept = shares.share(&it.network) + more;
                (kept, budget.earned_at(it.network))
            };
            let kept = self.vouchers.iter_mut();
            let least = kept.max_by_key(|it| rank(it, 0));
            if let Some(least) = least.filter(|it| rank(it, 0) > rank(&voucher, 1)) {
                *least = voucher;
            }
        }
    }

    fn first(&self) -> Voucher {
        self.vouchers.first().copied().unwrap_or_default()
    }
}

/// How many claims each network, and each member in it, was the first to make.
pub(super) struct Claimants {
    networks: Shares<Network>,
    members: Shares<Voucher>,
}

impl Claimants {
    /// Counts them.
    pub(super) fn of<'a>(said: impl IntoIterator<Item = &'a Said> + Clone) -> Self {
        let first = |said: &Said| said.first();
        Self {
            networks: Shares::of(said.clone().into_iter().map(|said| first(said).network)),
            members: Shares::of(said.into_iter().map(first)),
        }
    }

    /// How many claims the network and the member have that made this one.
    pub(super) fn held(&self, said: &Said) -> (usize, usize) {
        let first = said.first();
        let network = self.networks.share(&first.network);
        (network, self.members.share(&first))
    }

    /// Whether the maker of `victim` has more claims than the maker of `newcomer` would.
    fn is_outdone(&self, newcomer: &Said, victim: &Said) -> bool {
        let (network, member) = self.held(newcomer);
        let (other_network, other_member) = self.held(victim);
        if newcomer.first().network == victim.first().network {
            return other_member > member + 1;
        }
        other_network > network + 1
    }
}

fn is_missing(roster: &Roster, said: &Said) -> bool {
    roster.standing(&said.peer) == Some(Standing::Missing)
}
