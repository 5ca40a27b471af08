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
            })
        })
        .collect()
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
pub(super) fn towards_others() -> Option<Ipv4Addr> {
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
