//! The beacon of `--lan` (PROTOCOL.md, section 10): a datagram that says that a sesame listens on a
//! port, and nothing else.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

/// The groups to which beacons are sent: one of IPv4's organization-local scope (RFC 2365), one of
/// IPv6's link-local scope.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 83, 101);
/// See [`GROUP_V4`].
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x7365, 0x7361);

/// The UDP port to which beacons are sent.
pub const BEACON_PORT: u16 = 9000;

/// The first bytes of a beacon.
const BEGIN: [u8; 8] = *b"sesame\0\x01";

/// The length of a beacon.
pub const BEACON_LENGTH: usize = BEGIN.len() + 2;

/// The beacon of an end that listens on this port.
pub fn encode(port: NonZeroU16) -> [u8; BEACON_LENGTH] {
    let mut beacon = [0; BEACON_LENGTH];
    let (begin, end) = beacon.split_at_mut(BEGIN.len());
    begin.copy_from_slice(&BEGIN);
    end.copy_from_slice(&port.get().to_be_bytes());
    beacon
}

/// The port in a beacon. `None` if the datagram is none.
pub fn decode(datagram: &[u8]) -> Option<NonZeroU16> {
    let port = datagram.strip_prefix(&BEGIN)?;
    NonZeroU16::new(u16::from_be_bytes(port.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beacon_is_fixed_bytes_and_a_port() {
        let port = NonZeroU16::new(0x1234).unwrap();
        let beacon = encode(port);
        assert_eq!(beacon, *b"sesame\0\x01\x12\x34");
        assert_eq!(decode(&beacon), Some(port));
    }

    #[test]
    fn other_datagrams_are_no_beacons() {
        let beacon = encode(NonZeroU16::MAX);
        for end in 0..beacon.len() {
            assert_eq!(decode(&beacon[..end]), None);
        }
        for at in 0..BEGIN.len() {
            let mut other = beacon;
            other[at] ^= 1;
            assert_eq!(decode(&other), None);
        }
        assert_eq!(decode(b"sesame\0\x01\0\0"), None, "port 0");
        assert_eq!(decode(&[&beacon[..], b"x"].concat()), None, "longer");
    }
}
