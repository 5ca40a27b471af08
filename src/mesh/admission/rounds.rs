//! Rounds in which networks take turns, however much each of them asks for.

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::origin::{Network, Origin};
use super::places::drawn;
use crate::mesh::conn_id::ConnId;

/// Networks whose last turn is remembered.
const REMEMBERED: usize = 1024;

/// When each network had its last turn.
#[derive(Default)]
pub(super) struct Rounds {
    /// The number of each network's last turn.
    last: BTreeMap<Network, u64>,
    turns: u64,
}

impl Rounds {
    /// The network that has the next turn: by lot from those that have waited longest.
    pub(super) fn draw(
        &self,
        waiting: impl Iterator<Item = (ConnId, Origin)>,
        rng: &mut dyn CryptoRng,
    ) -> Option<(ConnId, Origin)> {
        let last = |origin: &Origin| self.last.get(&origin.network).copied();
        let mut lots: Vec<_> = waiting.collect();
        let longest = lots.iter().map(|(_, origin)| last(origin)).min()?;
        lots.retain(|(_, origin)| last(origin) == longest);
        lots.get(drawn(lots.len(), rng)).copied()
    }

    /// Notes that a network has its turn. When too many are remembered, the one whose last turn was
    /// longest ago is forgotten.
    pub(super) fn note(&mut self, network: Network) {
        self.turns += 1;
        self.last.insert(network, self.turns);
        if self.last.len() > REMEMBERED {
            let oldest = self.last.iter().min_by_key(|(_, turn)| **turn);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.last.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::admission::Class;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn from(network: Network, conn: u64) -> (ConnId, Origin) {
        let origin = Origin {
            source: network,
            network,
            class: Class::Common,
        };
        (ConnId(conn), origin)
    }

    #[test]
    fn network_with_one_waiting_is_served_as_often_as_a_crowd() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut rounds = Rounds::default();
        let waiting = || (0..100).map(|conn| from(1, conn)).chain([from(2, 500)]);
        let mut served = [0; 2];
        for _ in 0..100 {
            let (_, origin) = rounds.draw(waiting(), &mut rng).unwrap();
            rounds.note(origin.network);
            served[usize::from(origin.network == 2)] += 1;
        }
        assert_eq!(served, [50, 50]);
        assert!(rounds.draw([].into_iter(), &mut rng).is_none());
    }

    #[test]
    fn turns_of_few_networks_are_remembered() {
        let mut rounds = Rounds::default();
        (0..5000).for_each(|network| rounds.note(network));
        assert_eq!(rounds.last.len(), REMEMBERED);
        assert!(rounds.last.contains_key(&4999) && !rounds.last.contains_key(&0));
    }
}
