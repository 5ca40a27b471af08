//! The places of connections that have not proven that they know the phrase, in two stages.

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::origin::{Class, Network, Origin};
use crate::mesh::conn_id::ConnId;
use crate::mesh::shares::Shares;

/// Connections at once in the first stage (until TLS and Ya are complete), and in the second (until
/// Ta has been answered).
const FIRST: usize = 256;
const SECOND: usize = 64;
/// Descriptors that strangers never get: for standard streams, the runtime, listeners, the saved
/// name, a panic, and the first links.
const KEPT: u64 = 24;
/// Strangers get one in this number of the other descriptors.
const SHARE: u64 = 2;
/// One in this number of a stranger's descriptors is in the second stage, as in [`FIRST`] and
/// [`SECOND`].
const PARTS: usize = 5;
/// The fewest places of each stage, even where the limit of descriptors is so low that little else
/// works.
const LEAST: usize = 4;

/// One stage.
struct StagePlaces {
    size: usize,
    held: BTreeMap<ConnId, Origin>,
}

impl StagePlaces {
    fn new(size: usize) -> Self {
        Self {
            size,
            held: BTreeMap::new(),
        }
    }

    /// How many places a class has: a quarter is reserved for members' addresses, and for each
    /// way in through a forwarder there is another quarter.
    fn of(&self, class: Class, ways: WaysIn) -> usize {
        let quarter = self.size / 4;
        let others = usize::from(ways.forwarding) + usize::from(ways.onion);
        match class {
            Class::Reserved | Class::Forwarded | Class::Onion => quarter,
            Class::Common => self.size - (1 + others) * quarter,
        }
    }

    /// Gives a connection a place. If its class has none free, returns the connection that has to
    /// go, which may be the new one.
    fn enter(
        &mut self,
        conn: ConnId,
        origin: Origin,
        ways: WaysIn,
        rng: &mut dyn CryptoRng,
    ) -> Option<ConnId> {
        self.held.insert(conn, origin);
        let held = self.of_class(origin.class).count();
        if held <= self.of(origin.class, ways) {
            return None;
        }
        self.draw(origin.class, rng)
    }

    fn of_class(&self, class: Class) -> impl Iterator<Item = (ConnId, Network)> {
        let held = self.held.iter();
        held.filter(move |(_, origin)| origin.class == class)
            .map(|(conn, origin)| (*conn, origin.network))
    }

    /// Takes a place away by lot: from networks that hold more than an eighth of the stage, if
    /// there are any, otherwise from the whole class. Progress in the handshake protects no
    /// connection.
    fn draw(&mut self, class: Class, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        let shares = Shares::of(self.of_class(class).map(|(_, network)| network));
        let crowded = |network: &Network| shares.share(network) > self.size / 8;
        let any_crowded = shares.holders().any(crowded);
        let lots: Vec<ConnId> = self
            .of_class(class)
            .filter(|(_, network)| !any_crowded || crowded(network))
            .map(|(conn, _)| conn)
            .collect();
        let drawn = *lots.get(drawn(lots.len(), rng))?;
        self.held.remove(&drawn);
        Some(drawn)
    }
}

/// One of `count` numbers, each equally likely.
pub(in crate::mesh) fn drawn(count: usize, rng: &mut dyn CryptoRng) -> usize {
    // The remainder is biased by at most one part in 2^50.
    (rng.next_u64() % count.max(1) as u64) as usize
}

/// The ways in through a forwarder, each of which has places of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WaysIn {
    /// Connections from this computer itself may come from anywhere.
    pub forwarding: bool,
    /// There is an onion service.
    pub onion: bool,
}

/// Both stages.
pub(super) struct Places {
    first: StagePlaces,
    second: StagePlaces,
    ways: WaysIn,
}

impl Places {
    /// As many places as there can be, some of them for these ways in.
    pub(super) fn new(ways: WaysIn) -> Self {
        Self {
            first: StagePlaces::new(FIRST),
            second: StagePlaces::new(SECOND),
            ways,
        }
    }

    /// Adapts to the process's limit of descriptors: strangers get half of those that sesame does
    /// not need itself, and no more than there are places.
    pub(super) fn fit(&mut self, descriptors: u64) {
        let theirs = descriptors.saturating_sub(KEPT) / SHARE;
        let theirs = usize::try_from(theirs).unwrap_or(usize::MAX);
        let second = (theirs / PARTS).clamp(LEAST, SECOND);
        self.second.size = second;
        self.first.size = theirs.saturating_sub(second).clamp(LEAST, FIRST);
    }

    /// Gives a new connection a place in the first stage; see [`StagePlaces::enter`].
    pub(super) fn enter(
        &mut self,
        conn: ConnId,
        origin: Origin,
        rng: &mut dyn CryptoRng,
    ) -> Option<ConnId> {
        self.first.enter(conn, origin, self.ways, rng)
    }

    /// Moves a connection from the first to the second stage.
    pub(super) fn advance(&mut self, conn: ConnId, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        let origin = self.first.held.remove(&conn)?;
        self.second.enter(conn, origin, self.ways, rng)
    }

    /// The origin of a connection that has a place.
    pub(super) fn origin(&self, conn: ConnId) -> Option<Origin> {
        let held = self.first.held.get(&conn);
        held.or_else(|| self.second.held.get(&conn)).copied()
    }

    /// A connection has ended, or has proven that it knows the phrase.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.first.held.remove(&conn);
        self.second.held.remove(&conn);
    }

    /// The system has no descriptor left: takes a place away from the class that holds most, in the
    /// stage where it holds most.
    pub(super) fn draw_one(&mut self, rng: &mut dyn CryptoRng) -> Option<ConnId> {
        let classes = [
            Class::Common,
            Class::Forwarded,
            Class::Onion,
            Class::Reserved,
        ];
        let stage = match self.first.held.len() >= self.second.held.len() {
            true => &mut self.first,
            false => &mut self.second,
        };
        let fullest = classes.into_iter().rev();
        let fullest = fullest.max_by_key(|class| stage.of_class(*class).count())?;
        stage.draw(fullest, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn origin(network: u128, class: Class) -> Origin {
        Origin {
            source: network,
            network,
            class,
        }
    }

    const FORWARDING: WaysIn = WaysIn {
        forwarding: true,
        onion: false,
    };

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    /// Adds `count` connections of a class, each from a network of its own.
    fn fill(places: &mut Places, from: u64, count: u64, class: Class) {
        for n in from..from + count {
            let entered = places.enter(ConnId(n), origin(n.into(), class), &mut rng());
            assert_eq!(entered, None);
        }
    }

    #[test]
    fn a_full_stage_closes_one_of_its_own_by_lot() {
        let mut rng = rng();
        let mut gone = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let mut places = Places::new(WaysIn::default());
            fill(&mut places, 0, 192, Class::Common);
            let entered = places.enter(ConnId(500), origin(500, Class::Common), &mut rng);
            gone.insert(entered.unwrap());
            assert_eq!(places.first.held.len(), 192);
        }
        assert!(gone.len() > 140, "{} of 193 lots were drawn", gone.len());
    }

    #[test]
    fn network_with_more_than_an_eighth_loses_a_place() {
        let mut rng = rng();
        let mut places = Places::new(WaysIn::default());
        fill(&mut places, 0, 192 - 33, Class::Common);
        for n in 1000..1033 {
            assert_eq!(
                places.enter(ConnId(n), origin(7777, Class::Common), &mut rng),
                None
            );
        }
        let crowded = places.enter(ConnId(2000), origin(2000, Class::Common), &mut rng);
        assert!((1000..1033).contains(&crowded.unwrap().0));
        let from_all = (2001..2060).map(|n| {
            let entered = places.enter(ConnId(n), origin(n.into(), Class::Common), &mut rng);
            entered.unwrap().0
        });
        assert!(from_all.filter(|n| *n < 1000).count() > 10);
    }

    #[test]
    fn the_first_stage_takes_no_place_of_the_second() {
        let mut rng = rng();
        let mut places = Places::new(WaysIn::default());
        fill(&mut places, 0, 48, Class::Common);
        for n in 0..48 {
            assert_eq!(places.advance(ConnId(n), &mut rng), None);
        }
        for n in 100..1100 {
            let entered = places.enter(ConnId(n), origin(n.into(), Class::Common), &mut rng);
            assert!(entered.is_none_or(|gone| gone.0 >= 100));
        }
        assert_eq!(places.second.held.len(), 48);
        let last = *places.first.held.keys().next().unwrap();
        let gone = places.advance(last, &mut rng).unwrap();
        assert!(gone == last || gone.0 < 48);
        assert_eq!(places.second.held.len(), 48);
    }

    #[test]
    fn a_quarter_of_each_stage_is_kept_for_members_addresses() {
        let mut rng = rng();
        let mut places = Places::new(WaysIn::default());
        fill(&mut places, 0, 64, Class::Reserved);
        for n in 0..16 {
            assert_eq!(places.advance(ConnId(n), &mut rng), None);
        }
        for n in 1000..5000 {
            let gone = places.enter(ConnId(n), origin(n.into(), Class::Common), &mut rng);
            assert!(gone.is_none_or(|gone| gone.0 >= 1000));
            if places.origin(ConnId(n)).is_some() {
                let gone = places.advance(ConnId(n), &mut rng);
                assert!(gone.is_none_or(|gone| gone.0 >= 1000));
            }
        }
        assert_eq!(
            (0..64)
                .filter(|n| places.origin(ConnId(*n)).is_some())
                .count(),
            64
        );
    }

    #[test]
    fn forwarded_connections_have_a_quarter_and_no_more() {
        let mut rng = rng();
        let mut places = Places::new(FORWARDING);
        for n in 0..1000 {
            places.enter(ConnId(n), origin(0, Class::Forwarded), &mut rng);
        }
        assert_eq!(places.first.held.len(), 64);
        fill(&mut places, 2000, 128, Class::Common);
        assert!(
            places
                .enter(ConnId(3000), origin(3000, Class::Common), &mut rng)
                .is_some_and(|gone| gone.0 >= 2000)
        );
    }

    #[test]
    fn flood_through_the_onion_service_takes_its_own_places_only() {
        let mut rng = rng();
        let mut places = Places::new(WaysIn {
            forwarding: true,
            onion: true,
        });
        for n in 0..64 {
            let entered = places.enter(ConnId(n), origin(0, Class::Forwarded), &mut rng);
            assert_eq!(entered, None);
        }
        for n in 1000..2000 {
            let gone = places.enter(ConnId(n), origin(1, Class::Onion), &mut rng);
            assert!(gone.is_none_or(|gone| gone.0 >= 1000));
        }
        assert_eq!(places.first.held.len(), 128);
        fill(&mut places, 3000, 64, Class::Common);
        let more = places.enter(ConnId(4000), origin(4000, Class::Common), &mut rng);
        assert!(more.is_some_and(|gone| gone.0 >= 3000));
    }

    #[test]
    fn few_descriptors_make_few_places() {
        let sizes = |descriptors| {
            let mut places = Places::new(WaysIn::default());
            places.fit(descriptors);
            (places.first.size, places.second.size)
        };
        assert_eq!(sizes(1 << 20), (256, 64));
        assert_eq!(sizes(1024), (256, 64));
        assert_eq!(sizes(256), (93, 23));
        assert_eq!(sizes(64), (16, 4));
        assert_eq!(sizes(20), (4, 4));
    }

    #[test]
    fn without_descriptors_the_most_crowded_give_one_up() {
        let mut rng = rng();
        let mut places = Places::new(WaysIn::default());
        assert_eq!(places.draw_one(&mut rng), None);
        fill(&mut places, 0, 3, Class::Reserved);
        fill(&mut places, 10, 4, Class::Common);
        let gone = places.draw_one(&mut rng).unwrap();
        assert!(gone.0 >= 10 && places.origin(gone).is_none());
    }

    #[test]
    fn network_with_an_eighth_is_not_crowded_yet() {
        let mut rng = rng();
        let of_others = (0..50).filter(|_| {
            let mut places = Places::new(WaysIn::default());
            for n in 0..32 {
                places.enter(ConnId(n), origin(0, Class::Common), &mut rng);
            }
            fill(&mut places, 100, 160, Class::Common);
            let gone = places.enter(ConnId(500), origin(500, Class::Common), &mut rng);
            gone.unwrap().0 >= 100
        });
        assert!(of_others.count() > 0);
    }
}
