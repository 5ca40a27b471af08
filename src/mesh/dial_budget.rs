//! How many dials gossip can cause (PROTOCOL.md, section 10): which network pays for a dial, and
//! how many failed dials one host has to bear.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::admission::{Network, Source, network, source};
use super::bucket::Bucket;
use super::scope::translated;
use super::shares::Shares;
use crate::proto::{Address, Host};

/// Failed dials at one host, whatever the port or the name.
pub(super) const HOST_TRIES: usize = 6;
/// Failed dials at one address.
pub(super) const ADDRESS_TRIES: usize = 3;
/// Failed dials at one host that one network caused. So no member uses up the dials at an address
/// that others vouch for.
pub(super) const NETWORK_TRIES: usize = 4;
/// Dials at once that one network pays for, and how long one more takes to earn.
const NETWORK_BURST: u32 = 32;
const NETWORK_REFILL: Duration = Duration::from_secs(10);
/// The same for all networks together.
const TOTAL_BURST: u32 = 128;
const TOTAL_REFILL: Duration = Duration::from_secs(1);
/// Hosts with failed dials that are remembered.
const MAX_HOSTS: usize = 2048;

/// The address that a member which vouches is linked from. Its network pays for the dials. Within a
/// network, limits count addresses and not identities, because an identity costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Voucher {
    pub network: Network,
    pub source: Source,
}

impl Voucher {
    /// A member that is linked from this IP address.
    pub(super) fn at(ip: IpAddr) -> Self {
        Self {
            network: network(ip),
            source: source(ip),
        }
    }
}

/// One computer, as far as limits can tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Site {
    /// An IPv4 address, the /64 of IPv6, or one link-local address.
    Ip(u128),
    /// A name; to which address it leads is not known yet.
    Name(String),
}

impl Site {
    /// The computer at an IP address.
    pub(super) fn at(ip: IpAddr) -> Self {
        match translated(ip) {
            // All link-local addresses of one network share a /64.
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Ip(ip.to_bits()),
            ip => Self::Ip(source(ip)),
        }
    }

    /// The computer that an address names.
    pub(super) fn of(address: &Address) -> Self {
        match (&address.host, address.ip()) {
            (Host::Name(name), _) => Self::Name(name.clone()),
            (_, ip) => ip.map_or_else(|| Self::Name(address.to_string()), Self::at),
        }
    }
}

/// A dial that has failed, or still may.
struct Spent {
    address: Address,
    network: Network,
    order: u64,
}

/// The dials that gossip may still cause.
pub(super) struct DialBudget {
    total: Bucket,
    /// Only those that are not full.
    networks: BTreeMap<Network, Bucket>,
    hosts: BTreeMap<Site, Vec<Spent>>,
    dials: u64,
}

impl Default for DialBudget {
    fn default() -> Self {
        Self {
            total: Bucket::full(TOTAL_BURST * TOTAL_REFILL),
            networks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            dials: 0,
        }
    }
}

impl DialBudget {
    /// When one of these networks can pay for a dial; `None`: now. Without any network it never
    /// can, so the caller must not ask then.
    pub(super) fn ready_at(&self, networks: &[Network]) -> Option<Instant> {
        let total = self.total.ready_at(TOTAL_REFILL);
        let of = |network| self.networks.get(network)?.ready_at(NETWORK_REFILL);
        // `None`, which means now, sorts before any moment.
        networks.iter().map(of).min().flatten().max(total)
    }

    /// Whether this network can pay for a dial now.
    pub(super) fn can_pay(&self, now: Instant, network: Network) -> bool {
        self.ready_at(&[network]).is_none_or(|at| at <= now)
    }

    /// When a network has earned back all that it paid. The later that is, the less it has left.
    pub(super) fn earned_at(&self, network: Network) -> Option<Instant> {
        self.networks.get(&network)?.full_at()
    }

    /// Charges a network for a dial.
    pub(super) fn pay(&mut self, now: Instant, network: Network) {
        self.total.take(now, TOTAL_REFILL);
        // Only networks that paid within one refill time are less than full, so these are few.
        self.networks.retain(|_, bucket| !bucket.is_full(now));
        let bucket = self.networks.entry(network);
        bucket
            .or_insert_with(|| Bucket::full(NETWORK_BURST * NETWORK_REFILL))
            .take(now, NETWORK_REFILL);
    }

    /// Refunds a dial that reached the peer it was meant for.
    pub(super) fn pay_back(&mut self, network: Network) {
        self.total.give_back(TOTAL_REFILL);
        if let Some(bucket) = self.networks.get_mut(&network) {
            bucket.give_back(NETWORK_REFILL);
        }
    }

    /// Whether a host can bear another dial to this address on the word of this network.
    pub(super) fn can_bear(&self, site: &Site, address: &Address, network: Network) -> bool {
        let Some(spent) = self.hosts.get(site) else {
            return true;
        };
        let at_address = spent.iter().filter(|spent| spent.address == *address);
        let of_network = spent.iter().filter(|spent| spent.network == network);
        spent.len() < HOST_TRIES
            && at_address.count() < ADDRESS_TRIES
            && of_network.count() < NETWORK_TRIES
    }

    /// Charges a host with a dial. The charge stays until the expected peer answers there.
    pub(super) fn charge(&mut self, site: Site, address: &Address, network: Network) {
        if !self.hosts.contains_key(&site) && self.hosts.len() >= MAX_HOSTS {
            self.forget_one();
        }
        self.dials += 1;
        let spent = self.hosts.entry(site).or_default();
        // Where the expected peer has answered before, dials continue beyond the limit.
        if spent.len() >= 2 * HOST_TRIES {
            spent.remove(0);
        }
        spent.push(Spent {
            address: address.clone(),
            network,
            order: self.dials,
        });
    }

    /// The expected peer has answered at a host.
    pub(super) fn answered(&mut self, site: &Site) {
        self.hosts.remove(site);
    }

    /// The last dial to this address turned out needless: removes its charge.
    pub(super) fn uncharge(&mut self, site: &Site, address: &Address) {
        let Some(spent) = self.hosts.get_mut(site) else {
            return;
        };
        if let Some(last) = spent.iter().rposition(|spent| spent.address == *address) {
            spent.remove(last);
        }
        if spent.is_empty() {
            self.hosts.remove(site);
        }
    }

    /// Forgets one host: of those that the network with most hosts was charged for, the one without
    /// a dial for longest. So no network can make sesame forget the dials of others.
    fn forget_one(&mut self) {
        let spent = || {
            let all = self.hosts.iter();
            all.flat_map(|(site, all)| all.iter().map(move |one| (site, all, one.network)))
        };
        let last = |spent: &[Spent]| spent.iter().map(|spent| spent.order).max();
        let shares = Shares::of(spent().map(|(_, _, network)| network));
        // Between networks with equally many hosts, one loses all of them before the next loses
        // any.
        let worth =
            |(_, spent, network): &(&Site, &Vec<Spent>, Network)| (Reverse(*network), last(spent));
        let oldest = shares.evict(spent(), |(_, _, network)| *network, worth);
        if let Some(oldest) = oldest.map(|(site, _, _)| site.clone()) {
            self.hosts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Address {
        Address::parse(address).unwrap()
    }

    /// How many dials this network can pay for at once.
    fn dials(budget: &mut DialBudget, now: Instant, network: Network) -> u32 {
        let mut dials = 0;
        while budget.can_pay(now, network) {
            budget.pay(now, network);
            dials += 1;
        }
        dials
    }

    #[test]
    fn a_network_pays_for_32_and_one_in_ten_seconds() {
        let (mut budget, start) = (DialBudget::default(), Instant::now());
        assert_eq!(dials(&mut budget, start, 7), 32);
        assert_eq!(budget.ready_at(&[7]), Some(start + NETWORK_REFILL));
        assert_eq!(dials(&mut budget, start + NETWORK_REFILL / 2, 7), 0);
        assert_eq!(dials(&mut budget, start + NETWORK_REFILL, 7), 1);
        assert_eq!(dials(&mut budget, start + NETWORK_REFILL * 100, 7), 32);
    }

    #[test]
    fn all_networks_pay_for_128_and_one_a_second() {
        let (mut budget, start) = (DialBudget::default(), Instant::now());
        let all = |budget: &mut DialBudget, now| {
            let networks = 0..100;
            networks.map(|it| dials(budget, now, it)).sum::<u32>()
        };
        assert_eq!(all(&mut budget, start), 128);
        assert_eq!(all(&mut budget, start + TOTAL_REFILL / 2), 0);
        assert_eq!(all(&mut budget, start + TOTAL_REFILL * 10), 10);
    }

    #[test]
    fn any_network_with_budget_pays() {
        let (mut budget, now) = (DialBudget::default(), Instant::now());
        dials(&mut budget, now, 1);
        assert!(budget.ready_at(&[1, 2]).is_none_or(|at| at <= now));
        dials(&mut budget, now, 2);
        assert_eq!(budget.ready_at(&[1, 2]), Some(now + NETWORK_REFILL));
    }

    #[test]
    fn refunded_dial_can_be_spent_again() {
        let (mut budget, now) = (DialBudget::default(), Instant::now());
        for _ in 0..1000 {
            budget.pay(now, 1);
            budget.pay_back(1);
        }
        assert_eq!(dials(&mut budget, now, 1), 32);
        (0..100).for_each(|_| budget.pay_back(1));
        assert_eq!(dials(&mut budget, now, 1), 32);
    }

    #[test]
    fn networks_that_owe_nothing_are_not_kept() {
        let (mut budget, mut now) = (DialBudget::default(), Instant::now());
        for network in 0..10_000 {
            if !budget.can_pay(now, network) {
                now += TOTAL_REFILL;
            }
            budget.pay(now, network);
            assert!(budget.networks.len() <= TOTAL_BURST as usize + 320);
        }
    }

    #[test]
    fn a_host_bears_six_an_address_three_a_network_four() {
        let mut budget = DialBudget::default();
        let site = Site::of(&at("1.2.3.4:1"));
        let mut bears = |address: &str, network| {
            let address = at(address);
            let bears = budget.can_bear(&site, &address, network);
            if bears {
                budget.charge(site.clone(), &address, network);
            }
            bears
        };
        assert_eq!(
            [1; 4].map(|it| bears("1.2.3.4:1", it)),
            [true, true, true, false]
        );
        assert_eq!([2; 2].map(|it| bears("1.2.3.4:2", it)), [true; 2]);
        assert!(bears("1.2.3.4:3", 1) && !bears("1.2.3.4:4", 1));
        assert!(!bears("1.2.3.4:4", 3), "there were six");
        budget.answered(&site);
        assert!(budget.can_bear(&site, &at("1.2.3.4:1"), 1));
    }

    #[test]
    fn one_host_is_one_site_whatever_its_addresses() {
        let same = |one: &str, other: &str| Site::of(&at(one)) == Site::of(&at(other));
        assert!(same("1.2.3.4:1", "[::ffff:1.2.3.4]:2"));
        assert!(same("1.2.3.4:1", "[64:ff9b::1.2.3.4]:1"));
        assert!(same("1.2.3.4:1", "[2002:102:304:5::1]:1"));
        assert!(same("[2a00::1]:1", "[2a00::ffff]:2"));
        assert!(!same("[2a00::1]:1", "[2a00:0:0:1::1]:1"));
        assert!(!same("1.2.3.4:1", "1.2.3.5:1"));
    }

    #[test]
    fn dials_beyond_what_a_host_bears_are_not_kept() {
        let mut budget = DialBudget::default();
        let there = at("1.2.3.4:9000");
        for _ in 0..1000 {
            budget.charge(Site::of(&there), &there, 1);
        }
        assert_eq!(budget.hosts[&Site::of(&there)].len(), 2 * HOST_TRIES);
        assert!(!budget.can_bear(&Site::of(&there), &at("1.2.3.4:1"), 2));
    }

    #[test]
    fn network_cannot_make_dials_of_others_forgotten() {
        let mut budget = DialBudget::default();
        let victim = at("1.2.3.4:9000");
        for _ in 0..ADDRESS_TRIES {
            budget.charge(Site::of(&victim), &victim, 1);
        }
        let other = |n: usize| Address::from_ip([5, 6, (n / 256) as u8, n as u8].into(), 9000);
        for n in 0..3 * MAX_HOSTS {
            budget.charge(Site::of(&other(n)), &other(n), 2);
            assert!(budget.hosts.len() <= MAX_HOSTS);
        }
        assert!(!budget.can_bear(&Site::of(&victim), &victim, 2));
    }
}
