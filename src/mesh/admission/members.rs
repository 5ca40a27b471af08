//! Addresses from which a member has come over a proven link.

use std::collections::BTreeMap;

use super::origin::{Network, Source};
use crate::mesh::shares::Shares;

/// How many addresses are remembered.
const REMEMBERED: usize = 1024;

struct Member {
    network: Network,
    /// Counts the visits of members, to find the oldest.
    order: u64,
}

/// The addresses. When the set is full, the network with most addresses loses its oldest. To make
/// sesame forget them all, an attacker would have to come as a member from as many networks.
#[derive(Default)]
pub(super) struct Members {
    addresses: BTreeMap<Source, Member>,
    order: u64,
}

impl Members {
    /// Whether a member has come from this address.
    pub(super) fn contains(&self, source: Source) -> bool {
        self.addresses.contains_key(&source)
    }

    /// Remembers that a member has come from this address.
    pub(super) fn insert(&mut self, source: Source, network: Network) {
        self.order += 1;
        let order = self.order;
        self.addresses.insert(source, Member { network, order });
        if self.addresses.len() <= REMEMBERED {
            return;
        }
        let all = self.addresses.iter();
        let shares = Shares::of(self.addresses.values().map(|member| member.network));
        let oldest = shares.evict(
            all,
            |(_, member)| member.network,
            |(_, member)| member.order,
        );
        if let Some(oldest) = oldest.map(|(source, _)| *source) {
            self.addresses.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::{network, source};
    use super::*;
    use std::net::IpAddr;

    fn come(members: &mut Members, ip: [u8; 4]) {
        let ip = IpAddr::from(ip);
        members.insert(source(ip), network(ip));
    }

    fn knows(members: &Members, ip: [u8; 4]) -> bool {
        members.contains(source(ip.into()))
    }

    #[test]
    fn a_full_memory_drops_the_oldest_of_the_fullest_network() {
        let mut members = Members::default();
        come(&mut members, [198, 51, 100, 1]);
        for n in 0..=255 {
            come(&mut members, [203, 0, 113, n]);
        }
        for n in 0..800u16 {
            let [high, low] = n.to_be_bytes();
            come(&mut members, [10, high, low, 1]);
        }
        assert_eq!(members.addresses.len(), REMEMBERED);
        assert!(!knows(&members, [203, 0, 113, 0]));
        assert!(knows(&members, [198, 51, 100, 1]));
        assert!(knows(&members, [203, 0, 113, 255]));
    }

    #[test]
    fn one_network_cannot_push_out_the_members_of_others() {
        let mut members = Members::default();
        come(&mut members, [198, 51, 100, 1]);
        for n in 0..5000u32 {
            members.insert(u128::from(n), 7);
        }
        assert!(knows(&members, [198, 51, 100, 1]));
        assert_eq!(members.addresses.len(), REMEMBERED);
    }
}
