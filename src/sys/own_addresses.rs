//! The addresses of this computer.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address that no computer has (RFC 5737), behind the default route.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The addresses of this computer's interfaces that are up, first the one from which it reaches
/// other networks. Without link-local IPv6 addresses, whose interface has another name on every
/// computer. Empty if the system does not say.
pub fn own_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .filter(|interface| interface.is_oper_up())
        .map(if_addrs::Interface::ip)
        .collect();
    let first = towards_others();
    // A stable sort: the others keep the system's order.
    all.sort_by_key(|ip| first != Some(*ip));
    all
}

/// The address that the system takes for connections to other networks. No packet is sent.
fn towards_others() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_include_the_loopback_interface() {
        let all = own_addresses();
        assert!(all.contains(&Ipv4Addr::LOCALHOST.into()), "{all:?}");
        if let Some(first) = towards_others() {
            assert_eq!(all.first(), Some(&first));
        }
    }
}
