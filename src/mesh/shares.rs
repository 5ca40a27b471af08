//! Eviction when all places are taken: the holder with most of them loses one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The number of places of each holder.
pub(super) struct Shares<K>(BTreeMap<K, usize>);

impl<K: Ord> Shares<K> {
    /// Counts the places; each item names the holder of one.
    pub(super) fn of(holders: impl IntoIterator<Item = K>) -> Self {
        let mut shares = BTreeMap::new();
        for holder in holders {
            *shares.entry(holder).or_default() += 1;
        }
        Self(shares)
    }

    /// How many places this holder has.
    pub(super) fn share(&self, holder: &K) -> usize {
        self.0.get(holder).copied().unwrap_or_default()
    }

    /// All holders.
    pub(super) fn holders(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// Chooses which of these has to go: of the items of the holder with most, the one that is
    /// worth least. So no holder can push out the items of others by adding to its own.
    pub(super) fn evict<T, W: Ord>(
        &self,
        candidates: impl IntoIterator<Item = T>,
        holder: impl Fn(&T) -> K,
        worth: impl Fn(&T) -> W,
    ) -> Option<T> {
        let rank = |it: &T| (self.share(&holder(it)), Reverse(worth(it)));
        candidates.into_iter().max_by_key(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fullest_holder_loses_its_least_item() {
        let held = [('a', 1), ('b', 9), ('b', 5), ('b', 7), ('c', 0)];
        let shares = Shares::of(held.map(|(holder, _)| holder));
        assert_eq!((shares.share(&'b'), shares.share(&'x')), (3, 0));
        let evict = |held: &[(char, u32)]| shares.evict(held.to_vec(), |it| it.0, |it| it.1);
        assert_eq!(evict(&held), Some(('b', 5)));
        let others = [('a', 1), ('c', 0), ('x', 0)];
        assert_eq!(evict(&others), Some(('c', 0)), "not one that holds less");
        assert_eq!(evict(&[]), None);
    }
}
