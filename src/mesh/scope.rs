//! How far addresses reach, and which of them may be believed when somebody else names them.

use std::net::IpAddr;

use crate::proto::Address;

/// Whether an address that came over a link from `link` may be believed: nothing narrower than
/// the link itself, no multicast, nothing unspecified. Names are judged by what they stand for,
/// when they are dialled.
pub fn is_plausible(address: &Address, link: IpAddr) -> bool {
    address.ip().is_none_or(|ip| Scope::of(link).admits(ip))
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This host.
    Host,
    /// This wire.
    Wire,
    /// This site.
    Site,
    /// Everywhere.
    World,
}

impl Scope {
    /// How far this address reaches.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() => Self::Host,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Wire,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Wire,
            IpAddr::V4(ip)
                if ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) =>
            {
                Self::Site
            }
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            _ => Self::World,
        }
    }

    /// Whether somebody who reached so far may name this address to be dialled.
    pub fn admits(self, ip: IpAddr) -> bool {
        !ip.is_multicast()
            && !ip.is_unspecified()
            && ip != IpAddr::from([255; 4])
            && Self::of(ip) >= self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plausible(address: &str, link: &str) -> bool {
        is_plausible(&Address::parse(address).unwrap(), link.parse().unwrap())
    }

    #[test]
    fn gossip_cannot_point_inside() {
        assert!(plausible("127.0.0.1:1", "127.0.0.1"));
        assert!(!plausible("127.0.0.1:1", "192.168.0.1"));
        assert!(!plausible("192.168.0.1:1", "198.51.100.1"));
        assert!(plausible("198.51.100.1:1", "192.168.0.1"));
        assert!(!plausible("[fe80::1]:1", "2001:db8::1"));
        assert!(!plausible("[::ffff:127.0.0.1]:1", "10.0.0.1"));
        assert!(!plausible("224.0.0.1:1", "127.0.0.1"));
        assert!(!plausible("0.0.0.0:1", "127.0.0.1"));
    }
}
