//! Where a connection comes from, as the limits see it.

use std::net::{IpAddr, Ipv6Addr};

/// One address: IPv4, or the /64 of IPv6.
pub(in crate::mesh) type Source = u128;

/// One network: the /24 of IPv4, or the /48 of IPv6.
pub(in crate::mesh) type Network = u128;

/// Which places, share and limits apply to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// The common ones.
    #[default]
    Common,
    /// Those reserved for addresses from which a member has come over a proven link.
    Reserved,
    /// Those of connections through a forwarder on this computer, whose addresses mean nothing.
    Forwarded,
    /// The same for connections through this run's onion service.
    Onion,
}

/// The origin of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its address.
    pub source: Source,
    /// Its network.
    pub network: Network,
    /// Decided once for each connection.
    pub class: Class,
}

impl Origin {
    /// The origin of a connection from this address. All forwarded connections count as one
    /// address, since nobody can tell them apart, and so do all that come through the onion service.
    pub(super) fn new(ip: IpAddr, class: Class) -> Self {
        let (source, network) = match class {
            Class::Forwarded => (0, 0),
            // No address is masked to this.
            Class::Onion => (1, 1),
            Class::Common | Class::Reserved => (source(ip), network(ip)),
        };
        Self {
            source,
            network,
            class,
        }
    }
}

fn masked(ip: IpAddr, v4: u32, v6: u32) -> u128 {
    let keep = |bits: u32| u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()) & keep(96 + v4),
        IpAddr::V6(ip) => u128::from(Ipv6Addr::from(ip.octets())) & keep(v6),
    }
}

/// What counts as one address.
pub(crate) fn source(ip: IpAddr) -> Source {
    masked(ip, 32, 64)
}

/// What counts as one network.
pub(crate) fn network(ip: IpAddr) -> Network {
    masked(ip, 24, 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subnet_are_one_and_networks_are_wider() {
        let both = |ip: &str| {
            let ip = ip.parse().unwrap();
            (source(ip), network(ip))
        };
        let (home, network) = both("2001:db8:1:1::1");
        assert_eq!(both("2001:db8:1:1:ffff::2"), (home, network));
        let (other, same) = both("2001:db8:1:2::1");
        assert!(other != home && same == network);
        assert_ne!(both("2001:db8:2:1::1").1, network);
        let (home, network) = both("198.51.100.7");
        assert_eq!(both("::ffff:198.51.100.7"), (home, network));
        let (other, same) = both("198.51.100.8");
        assert!(other != home && same == network);
        assert_ne!(both("198.51.101.7").1, network);
    }
}
