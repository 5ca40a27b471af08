//! Sets and maps as sorted arrays. They hold what changes with every message and every tick: an
//! array keeps its memory while it is empty, and a tree would take and free a node each time.

/// A set in the order of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SortedSet<K>(Vec<K>);

/// A map in the order of its keys.
#[derive(Debug)]
pub(super) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> SortedSet<K> {
    /// Adds a key.
    pub(super) fn insert(&mut self, key: K) {
        if let Err(place) = self.0.binary_search(&key) {
            self.0.insert(place, key);
        }
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(place) = self.0.binary_search(key) {
            self.0.remove(place);
        }
    }

    /// Whether it has no key.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least key.
    pub(super) fn first(&self) -> Option<&K> {
        self.0.first()
    }

    /// The greatest key.
    pub(super) fn last(&self) -> Option<&K> {
        self.0.last()
    }

    /// The least key that is greater than this one.
    pub(super) fn after(&self, key: &K) -> Option<&K> {
        self.0.get(self.0.partition_point(|other| other <= key))
    }

    /// The keys in order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, K> {
        self.0.iter()
    }

    /// Takes all keys, in order.
    pub(super) fn drain(&mut self) -> std::vec::Drain<'_, K> {
        self.0.drain(..)
    }

    /// How many keys there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: Ord> Extend<K> for SortedSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        keys.into_iter().for_each(|key| self.insert(key));
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::default();
        set.extend(keys);
        set
    }
}

impl<K> IntoIterator for SortedSet<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Sets the value of a key, or removes it. Returns the value that it had.
    pub(super) fn set(&mut self, key: K, value: Option<V>) -> Option<V> {
        let place = self.0.binary_search_by(|(other, _)| other.cmp(&key));
        match (place, value) {
            (Ok(place), Some(value)) => Some(std::mem::replace(&mut self.0[place].1, value)),
            (Ok(place), None) => Some(self.0.remove(place).1),
            (Err(place), Some(value)) => {
                self.0.insert(place, (key, value));
                None
            }
            (Err(_), None) => None,
        }
    }

    /// The keys in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn they_hold_what_trees_hold() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut set, mut tree) = (SortedSet::default(), BTreeSet::new());
        let (mut map, mut tree_map) = (SortedMap::default(), BTreeMap::new());
        for _ in 0..2000 {
            let key = rng.next_u32() % 16;
            match rng.next_u32() % 2 {
                0 => {
                    set.insert(key);
                    tree.insert(key);
                    let value = rng.next_u32();
                    assert_eq!(map.set(key, Some(value)), tree_map.insert(key, value));
                }
                _ => {
                    set.remove(&key);
                    tree.remove(&key);
                    assert_eq!(map.set(key, None), tree_map.remove(&key));
                }
            }
            assert!(set.iter().eq(&tree) && map.keys().eq(tree_map.keys()));
            assert_eq!((set.first(), set.last()), (tree.first(), tree.last()));
            assert_eq!(set.after(&key), tree.range(key + 1..).next());
        }
        assert!(set.drain().eq(tree) && set.is_empty());
    }
}
