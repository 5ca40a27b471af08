//! The routers of this computer.

use std::net::IpAddr;

/// The gateways of all default routes, each with the index of its interface. Empty if the system
/// does not say.
#[cfg(target_os = "linux")]
pub fn gateways() -> Vec<(u32, IpAddr)> {
    let gateways = crate::sys::linux::routes::gateways().into_iter();
    gateways
        .filter_map(|(name, ip)| Some((super::interface::index(&name)?.get(), ip)))
        .collect()
}

/// The same, by a library that knows these systems.
#[cfg(not(target_os = "linux"))]
pub fn gateways() -> Vec<(u32, IpAddr)> {
    let interfaces = netdev::get_interfaces().into_iter();
    interfaces
        .filter_map(|interface| Some((interface.index, interface.gateway?)))
        .flat_map(|(index, gateway)| {
            let v4 = gateway.ipv4.into_iter().map(IpAddr::V4);
            let v6 = gateway.ipv6.into_iter().map(IpAddr::V6);
            v4.chain(v6).map(move |ip| (index, ip)).collect::<Vec<_>>()
        })
        .collect()
}
