//! Network interfaces of this computer.

use std::num::NonZeroU32;

/// The index of the interface that this zone of an IPv6 address (RFC 4007) names: by its name or,
/// if none has that name, by its index. `None` if there is no such interface.
#[cfg(target_os = "linux")]
pub fn index(zone: &str) -> Option<NonZeroU32> {
    use rustix::net::netdevice;
    // Any socket serves to ask. The C library would take one of another family, which the sandbox
    // refuses.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    if let Ok(index) = netdevice::name_to_index(&socket, zone) {
        return NonZeroU32::new(index);
    }
    let index: NonZeroU32 = zone.parse().ok()?;
    netdevice::index_to_name(&socket, index.get()).ok()?;
    Some(index)
}

/// The same, by what the system's resolver makes of an address in this zone.
#[cfg(not(target_os = "linux"))]
pub fn index(zone: &str) -> Option<NonZeroU32> {
    use std::net::{SocketAddr, ToSocketAddrs};
    let found = (format!("fe80::1%{zone}").as_str(), 1).to_socket_addrs();
    found.ok()?.find_map(|found| match found {
        SocketAddr::V6(found) => NonZeroU32::new(found.scope_id()),
        SocketAddr::V4(_) => None,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn interface_is_found_by_name_and_by_index() {
        let loopback = index("lo").unwrap();
        assert_eq!(index(&loopback.to_string()), Some(loopback));
        for none in [
            "",
            "nope",
            "0",
            "4294967295",
            "-1",
            "a\0b",
            &"x".repeat(100),
        ] {
            assert_eq!(index(none), None, "{none:?}");
        }
    }
}
