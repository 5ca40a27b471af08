//! Network interfaces.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;

/// The index of the interface that this zone of an IPv6 address (RFC 4007) names, by what the
/// system's resolver makes of an address in this zone. `None` if there is no such interface.
pub fn index(zone: &str) -> Option<NonZeroU32> {
    let found = (format!("fe80::1%{zone}").as_str(), 1).to_socket_addrs();
    found.ok()?.find_map(|found| match found {
        SocketAddr::V6(found) => NonZeroU32::new(found.scope_id()),
        SocketAddr::V4(_) => None,
    })
}
