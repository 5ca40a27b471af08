//! The networks that this computer is in (`--lan`): which addresses lie in them, and which dials
//! beacons may cause (PROTOCOL.md, section 10).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::scope::Scope;
use crate::proto::frame::MAX_LOCAL;
use crate::proto::{Address, PeerId};

/// Dials at once that beacons from one IP address cause without leading to a peer; the same for all
/// of them; and how long one more takes to earn for each.
const SOURCE_BURST: u32 = 5;
const TOTAL_BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(60);
/// The most IP addresses whose dials are counted, and the most addresses whose peers are
/// remembered.
const MAX_REMEMBERED: usize = 256;

/// A network in which this computer has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalNetwork {
    /// The index of the interface.
    pub interface: u32,
    /// This computer's address in it.
    pub ip: IpAddr,
    /// How many leading bits all addresses in it have in common.
    pub prefix: u8,
}

impl LocalNetwork {
    /// Whether this address lies in it. A network of all addresses there are is none.
    fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, bits) = match (self.ip.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let [own, other] = [own, other].map(|ip| u128::from(ip.to_bits()));
                (own, other, 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let prefix = u32::from(self.prefix).min(bits);
        prefix > 0 && (own ^ other) >> (bits - prefix) == 0
    }
}

/// What the two ends of a link have told each other about where they are.
#[derive(Default)]
pub(super) struct LocalExchange {
    /// The public IP address from which this end's link comes, as the peer says.
    pub observed: Option<IpAddr>,
    /// The addresses that this end has told the peer.
    pub told: Vec<Address>,
    /// The addresses of the peer that were dialled.
    pub taken: Vec<Address>,
}

impl LocalExchange {
    /// Takes an address of the peer, unless it is known or there are enough. Returns whether to
    /// dial it.
    pub(super) fn take(&mut self, address: &Address) -> bool {
        let may = self.taken.len() < MAX_LOCAL && !self.taken.contains(address);
        if may {
            self.taken.push(address.clone());
        }
        may
    }
}

/// The networks, and what was done because of them.
pub(super) struct Lan {
    networks: Vec<LocalNetwork>,
    gateways: Vec<IpAddr>,
    total: Bucket,
    /// Only those that are not full. As each dial costs `total` too, these are few.
    sources: BTreeMap<IpAddr, Bucket>,
    /// The peer that was last met at each address in these networks, oldest first.
    met: VecDeque<(Address, PeerId)>,
    /// Whether it has to be looked up again who gets this end's addresses.
    stale: bool,
}

impl Default for Lan {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            gateways: Vec::new(),
            total: Bucket::full(TOTAL_BURST * REFILL),
            sources: BTreeMap::new(),
            met: VecDeque::new(),
            stale: false,
        }
    }
}

impl Lan {
    /// Sets the networks of this computer and its routers.
    pub(super) fn set(&mut self, networks: Vec<LocalNetwork>, gateways: Vec<IpAddr>) {
        if self.networks != networks || self.gateways != gateways {
            (self.networks, self.gateways) = (networks, gateways);
            self.stale = true;
        }
    }

    /// What decides who gets this end's addresses has changed.
    pub(super) fn note_change(&mut self) {
        self.stale = true;
    }

    /// Whether it has changed since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// Whether a neighbour may be at this address: it lies in one of these networks, and is neither
    /// a router nor this computer.
    fn admits(&self, ip: IpAddr, within: impl Fn(&LocalNetwork) -> bool) -> bool {
        let is = |other: &IpAddr| other.to_canonical() == ip.to_canonical();
        let mut own = self.networks.iter().map(|network| &network.ip);
        let is_taken = self.gateways.iter().any(is) || own.any(is);
        let mut networks = self.networks.iter().filter(|network| within(network));
        let scope = Scope::of(ip);
        scope >= Scope::LinkLocal && !is_taken && networks.any(|network| network.contains(ip))
    }

    /// Whether an address that a member tells may be a neighbour's. A link-local one has no meaning
    /// without its interface.
    pub(super) fn admits_told(&self, address: &Address) -> bool {
        let ip = address.ip().filter(|_| !address.is_link_local());
        ip.is_some_and(|ip| self.admits(ip, |_| true))
    }

    /// Whether this address lies in one of these networks.
    fn is_near(&self, address: &Address) -> bool {
        let ip = address.ip();
        ip.is_some_and(|ip| self.networks.iter().any(|network| network.contains(ip)))
    }

    /// The address to dial for a beacon from there, which came on this interface. `None`: no
    /// neighbour sends from there.
    pub(super) fn sender(&self, from: SocketAddr, interface: u32) -> Option<Address> {
        let here = |network: &LocalNetwork| network.interface == interface;
        if from.port() == 0 || !self.admits(from.ip(), here) {
            return None;
        }
        Some(Address::from(match from {
            SocketAddr::V6(from) if from.ip().is_unicast_link_local() => {
                SocketAddrV6::new(*from.ip(), from.port(), 0, interface).into()
            }
            from => from,
        }))
    }

    /// Pays for a dial because of a beacon from this IP address, if that can be paid; returns
    /// whether it was.
    pub(super) fn pay(&mut self, now: Instant, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.sources.retain(|_, bucket| !bucket.is_full(now));
        let is_known = self.sources.contains_key(&ip);
        if !self.total.holds(now, REFILL) || !is_known && self.sources.len() >= MAX_REMEMBERED {
            return false;
        }
        let full = || Bucket::full(SOURCE_BURST * REFILL);
        let source = self.sources.entry(ip).or_insert_with(full);
        let may = source.try_take(now, REFILL);
        if may {
            self.total.take(now, REFILL);
        }
        may
    }

    /// A dial because of a beacon from this address has led to a peer: it costs nothing.
    pub(super) fn pay_back(&mut self, address: &Address) {
        self.total.give_back(REFILL);
        if let Some(bucket) = address.ip().and_then(|ip| self.sources.get_mut(&ip)) {
            bucket.give_back(REFILL);
        }
    }

    /// A peer has proven its identity at this address. It is remembered in these networks only.
    pub(super) fn meet(&mut self, address: &Address, peer: PeerId) {
        if !self.is_near(address) {
            return;
        }
        self.met.retain(|(met, _)| met != address);
        if self.met.len() >= MAX_REMEMBERED {
            self.met.pop_front();
        }
        self.met.push_back((address.clone(), peer));
    }

    /// The peer that was last met at this address.
    pub(super) fn last_met(&self, address: &Address) -> Option<PeerId> {
        let met = self.met.iter().find(|(met, _)| met == address);
        met.map(|(_, peer)| *peer)
    }

    /// The addresses to tell others that are in the same place, for a listener at this port: one of
    /// IPv4 and one of IPv6 if there are both. Those of an interface with a router come first: other
    /// interfaces are often bridges to virtual machines.
    pub(super) fn addresses(&self, port: u16) -> Vec<Address> {
        let may_tell = |ip: IpAddr| matches!(Scope::of(ip), Scope::Private | Scope::Public);
        let routers = || self.gateways.iter().filter(|ip| may_tell(**ip));
        let leads_out = |network: &&LocalNetwork| routers().any(|ip| network.contains(*ip));
        let outward = self.networks.iter().filter(leads_out);
        let outward: BTreeSet<u32> = outward.map(|network| network.interface).collect();
        let mut all: Vec<&LocalNetwork> = self.networks.iter().collect();
        all.retain(|network| may_tell(network.ip));
        all.sort_by_key(|network| !outward.contains(&network.interface));
        let first_of = |v4: bool| {
            all.iter()
                .position(|it| it.ip.to_canonical().is_ipv4() == v4)
        };
        let firsts: Vec<usize> = [true, false].into_iter().filter_map(first_of).collect();
        let rest = (0..all.len()).filter(|at| !firsts.contains(at));
        let chosen = firsts.iter().copied().chain(rest).take(MAX_LOCAL);
        chosen
            .map(|at| Address::from_ip(all[at].ip, port))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn network(interface: u32, own: &str, prefix: u8) -> LocalNetwork {
        LocalNetwork {
            interface,
            ip: ip(own),
            prefix,
        }
    }

    fn lan(networks: &[LocalNetwork], gateways: &[&str]) -> Lan {
        let mut lan = Lan::default();
        let gateways = gateways.iter().map(|gateway| ip(gateway)).collect();
        lan.set(networks.to_vec(), gateways);
        lan
    }

    fn home() -> Lan {
        let networks = [
            network(2, "192.168.1.7", 24),
            network(2, "fe80::7", 64),
            network(2, "fd00:1::7", 64),
            network(3, "172.17.0.1", 16),
        ];
        lan(&networks, &["192.168.1.1", "fe80::1"])
    }

    fn sender(lan: &Lan, from: &str, interface: u32) -> Option<String> {
        let address = lan.sender(from.parse().unwrap(), interface);
        address.map(|address| address.to_string())
    }

    #[test]
    fn network_contains_what_shares_its_prefix() {
        for (own, prefix, other, inside) in [
            ("192.168.1.7", 24, "192.168.1.255", true),
            ("192.168.1.7", 24, "192.168.2.7", false),
            ("192.168.1.7", 24, "::ffff:192.168.1.9", true),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.2", false),
            ("10.0.0.1", 99, "10.0.0.2", false),
            ("10.0.0.1", 0, "10.0.0.2", false),
            ("fd00::1", 64, "fd00::ffff", true),
            ("fd00::1", 64, "fd00:0:0:1::1", false),
            ("fd00::1", 128, "fd00::2", false),
            ("fd00::1", 255, "fd00::2", false),
            ("fd00::1", 8, "10.0.0.2", false),
        ] {
            let found = network(1, own, prefix).contains(ip(other));
            assert_eq!(found, inside, "{own}/{prefix} and {other}");
        }
    }

    #[test]
    fn beacon_counts_from_the_network_of_its_interface() {
        let lan = home();
        for (from, interface, expected) in [
            ("192.168.1.9:9000", 2, Some("192.168.1.9:9000")),
            ("[fd00:1::9]:9000", 2, Some("[fd00:1::9]:9000")),
            ("[fe80::9]:9000", 2, Some("[fe80::9%2]:9000")),
            ("172.17.0.9:1", 3, Some("172.17.0.9:1")),
            ("192.168.1.9:9000", 3, None),
            ("192.168.1.9:0", 2, None),
            ("192.168.2.9:9000", 2, None),
            ("8.8.8.8:9000", 2, None),
            ("192.168.1.1:9000", 2, None),
            ("192.168.1.7:9000", 2, None),
            ("[fe80::1]:9000", 2, None),
            ("[fe80::9]:9000", 3, None),
        ] {
            assert_eq!(sender(&lan, from, interface).as_deref(), expected, "{from}");
        }
        let no_networks = Lan::default();
        assert_eq!(sender(&no_networks, "192.168.1.9:9000", 2), None);
    }

    #[test]
    fn loopback_and_multicast_are_no_neighbours() {
        let lan = lan(
            &[network(1, "127.0.0.1", 8), network(2, "224.0.0.9", 4)],
            &[],
        );
        assert_eq!(sender(&lan, "127.0.0.2:9000", 1), None);
        assert_eq!(sender(&lan, "224.0.0.1:9000", 2), None);
        assert_eq!(lan.addresses(9000), []);
    }

    #[test]
    fn told_address_counts_in_any_network_here() {
        let lan = home();
        assert!(lan.admits_told(&at("192.168.1.9:1")) && lan.admits_told(&at("172.17.0.9:1")));
        for other in [
            "192.168.2.9:1",
            "192.168.1.1:1",
            "192.168.1.7:1",
            "[fe80::9]:1",
            "a.example:1",
        ] {
            assert!(!lan.admits_told(&at(other)), "{other}");
        }
    }

    #[test]
    fn addresses_told_are_one_of_each_family_near_the_router() {
        let told = |lan: &Lan| -> Vec<_> {
            let addresses = lan.addresses(9000).into_iter();
            addresses.map(|address| address.to_string()).collect()
        };
        assert_eq!(told(&home()), ["192.168.1.7:9000", "[fd00:1::7]:9000"]);
        let bridge_first = [
            network(3, "172.17.0.1", 16),
            network(2, "192.168.1.7", 24),
            network(4, "10.0.0.7", 24),
        ];
        let lan_with_router = lan(&bridge_first, &["192.168.1.1"]);
        assert_eq!(
            told(&lan_with_router),
            ["192.168.1.7:9000", "172.17.0.1:9000"]
        );
        let without = lan(&bridge_first, &["fe80::1"]);
        assert_eq!(told(&without), ["172.17.0.1:9000", "192.168.1.7:9000"]);
        let only_local = lan(&[network(2, "fe80::7", 64)], &[]);
        assert!(told(&only_local).is_empty());
    }

    #[test]
    fn source_pays_for_five_dials_and_one_per_minute() {
        let (mut lan, start) = (home(), Instant::now());
        let mut paid = |now| (0..100).filter(|_| lan.pay(now, ip("192.168.1.9"))).count();
        assert_eq!(paid(start), 5);
        assert_eq!(paid(start + REFILL / 2), 0);
        assert_eq!(paid(start + REFILL), 1);
        assert_eq!(paid(start + 100 * REFILL), 5);
    }

    #[test]
    fn all_sources_pay_for_thirty_dials_and_one_per_minute() {
        let (mut lan, start) = (home(), Instant::now());
        let mut paid = |now| {
            let all = (0..=255).map(|host| IpAddr::from([192, 168, 1, host]));
            let paid = all.filter(|ip| lan.pay(now, *ip)).count();
            assert!(lan.sources.len() <= MAX_REMEMBERED);
            paid
        };
        assert_eq!(paid(start), 30);
        assert_eq!(paid(start + REFILL / 2), 0);
        assert_eq!(paid(start + 3 * REFILL), 3);
        for minute in 4..1000 {
            assert_eq!(paid(start + minute * REFILL), 1);
        }
    }

    #[test]
    fn dial_that_led_to_a_peer_costs_nothing() {
        let (mut lan, now) = (home(), Instant::now());
        for _ in 0..1000 {
            assert!(lan.pay(now, ip("192.168.1.9")));
            lan.pay_back(&at("192.168.1.9:9000"));
        }
        let paid = (0..100).filter(|_| lan.pay(now, ip("192.168.1.9")));
        assert_eq!(paid.count(), 5);
    }

    #[test]
    fn peers_met_are_remembered_up_to_a_limit() {
        let mut lan = lan(&[network(2, "10.0.0.1", 8)], &[]);
        let address = |n: usize| Address::from_ip([10, 1, (n / 256) as u8, n as u8].into(), 9000);
        for n in 0..1000 {
            lan.meet(&address(n), PeerId([1; 32]));
            lan.meet(&address(n), PeerId([2; 32]));
            assert!(lan.met.len() <= MAX_REMEMBERED);
        }
        assert_eq!(lan.last_met(&address(999)), Some(PeerId([2; 32])));
        assert_eq!(lan.last_met(&address(0)), None);
        lan.meet(&at("192.168.1.9:9000"), PeerId([3; 32]));
        assert_eq!(lan.last_met(&at("192.168.1.9:9000")), None);
    }

    #[test]
    fn two_addresses_of_a_peer_are_taken_for_each_link() {
        let mut exchange = LocalExchange::default();
        let all = ["10.0.0.1:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"];
        let taken = all.map(|address| exchange.take(&at(address)));
        assert_eq!(taken, [true, false, true, false]);
    }

    #[test]
    fn networks_count_as_changed_only_if_they_are_others() {
        let mut lan = home();
        assert!(lan.take_change() && !lan.take_change());
        let (networks, gateways) = (lan.networks.clone(), lan.gateways.clone());
        lan.set(networks.clone(), gateways);
        assert!(!lan.take_change());
        lan.set(networks, Vec::new());
        assert!(lan.take_change());
    }
}
