//! The addresses of this computer.

use std::net::IpAddr;

use super::network::towards_others;

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
    all.sort_by_key(|ip| first.map(IpAddr::V4) != Some(*ip));
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn own_addresses_include_the_loopback_interface() {
        let all = own_addresses();
        assert!(all.contains(&Ipv4Addr::LOCALHOST.into()), "{all:?}");
        if let Some(first) = towards_others() {
            assert_eq!(all.first(), Some(&first.into()));
        }
    }
}
