//! Network interfaces of this computer.
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

use std::num::NonZeroU32;
#[cfg(target_os = "linux")]
use std::{io, net::UdpSocket, os::fd::AsRawFd};

#[cfg(target_os = "linux")]
use nix::libc;

/// The index of the interface that this zone of an IPv6 address (RFC 4007) names: by its name or,
/// if no interface has that name, by its index. `None` if there is no such interface.
#[cfg(target_os = "linux")]
pub fn index(zone: &str) -> Option<NonZeroU32> {
    // Any socket serves. The C library would take one of another family, which the sandbox refuses.
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    if let Some(index) = index_of_name(&socket, zone) {
        return Some(index);
    }
    let index: NonZeroU32 = zone.parse().ok()?;
    let mut request = EMPTY;
    request.ifr_ifru.ifru_ifindex = index.get().try_into().ok()?;
    ask(&socket, libc::SIOCGIFNAME as _, &mut request).ok()?;
    Some(index)
}

#[cfg(target_os = "linux")]
fn index_of_name(socket: &UdpSocket, name: &str) -> Option<NonZeroU32> {
    let mut request = EMPTY;
    // The name needs room for a NUL.
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    ask(socket, libc::SIOCGIFINDEX as _, &mut request).ok()?;
    // SAFETY: this request fills the index.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    NonZeroU32::new(index.try_into().ok()?)
}

/// A request without an interface (netdevice(7)).
#[cfg(target_os = "linux")]
const EMPTY: libc::ifreq = libc::ifreq {
    ifr_name: [0; libc::IFNAMSIZ],
    ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 },
};

#[cfg(target_os = "linux")]
fn ask(socket: &UdpSocket, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both requests read and write one such struct, which outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) };
    Ok(nix::errno::Errno::result(answer).map(drop)?)
}

/// The same, from the way in which the system's resolver parses an address with this zone.
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
