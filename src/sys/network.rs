//! The networks to which this computer is connected.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use super::routes;

/// An address that no computer has (RFC 5737), behind the default route.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// An address of this computer on an interface that is up, and the network around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The index of the interface.
    pub interface: u32,
    /// The address of this computer.
    pub ip: IpAddr,
    /// How many bits all addresses of the network have in common.
    pub prefix: u8,
    /// Whether there is one other end, as in a tunnel.
    pub point_to_point: bool,
}

impl Network {
    /// Whether several other computers may be in it.
    pub fn has_neighbours(&self) -> bool {
        !self.ip.is_loopback() && !self.point_to_point
    }
}

/// The way to other networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The address of this computer on the way there.
    pub local: Ipv4Addr,
    /// The router that comes first.
    pub gateway: Ipv4Addr,
}

/// The networks of this computer. Empty if the system does not say.
pub fn networks() -> Vec<Network> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
    interfaces
        .filter(if_addrs::Interface::is_oper_up)
        .filter_map(|interface| {
            Some(Network {
                interface: interface.index?,
                ip: interface.ip(),
                prefix: match &interface.addr {
                    if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                    if_addrs::IfAddr::V6(addr) => addr.prefixlen,
                },
                point_to_point: interface.is_p2p(),
            })
        })
        .collect()
}

/// The addresses of this computer's interfaces that are up, first the one from which it reaches
/// other networks. Without link-local addresses: of IPv6's, the interface has another name on every
/// computer. Empty if the system does not say.
pub fn own_addresses() -> Vec<IpAddr> {
    let is_link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut all: Vec<IpAddr> = networks()
        .iter()
        .map(|network| network.ip)
        .filter(|ip| !is_link_local(ip))
        .collect();
    let first = towards_others();
    // A stable sort: the others keep the system's order.
    all.sort_by_key(|ip| first.map(IpAddr::V4) != Some(*ip));
    all
}

/// The way to other networks by IPv4. `None` if there is none, or none with a router.
pub fn default_route() -> Option<DefaultRoute> {
    let local = towards_others()?;
    let networks = networks();
    let interface = networks.iter().find(|network| network.ip == local)?;
    let gateways = routes::gateways().into_iter();
    let mut gateways = gateways.filter_map(|(index, ip)| match ip {
        IpAddr::V4(ip) if index == interface.interface => Some(ip),
        _ => None,
    });
    Some(DefaultRoute {
        local,
        gateway: gateways.next()?,
    })
}

/// The address that the system takes for connections to other networks. No packet is sent.
fn towards_others() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_include_the_loopback_interface() {
        let all = networks();
        let loopback = all
            .iter()
            .find(|network| network.ip == Ipv4Addr::LOCALHOST)
            .unwrap();
        assert_eq!(loopback.prefix, 8);
        assert_ne!(loopback.interface, 0);
        assert!(!loopback.has_neighbours());
    }

    #[test]
    fn own_addresses_begin_with_the_one_that_others_are_reached_from() {
        let all = own_addresses();
        assert!(all.contains(&Ipv4Addr::LOCALHOST.into()), "{all:?}");
        if let Some(first) = towards_others() {
            assert_eq!(all.first(), Some(&first.into()));
        }
    }

    #[test]
    fn default_route_leaves_from_an_address_of_this_computer() {
        if let Some(route) = default_route() {
            let own = networks();
            assert!(own.iter().any(|network| network.ip == route.local));
            assert!(own.iter().all(|network| network.ip != route.gateway));
        }
    }
}
