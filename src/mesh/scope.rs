//! Where addresses lead, and which of them are accepted in gossip.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::proto::Address;

/// Where an address leads, by IANA's registries of special-purpose addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To no peer: unspecified, multicast, reserved, or IPv4 that is not public within IPv6.
    Never,
    /// To this computer.
    Loopback,
    /// To a neighbour on the same network.
    LinkLocal,
    /// To a computer of the same site: everything that is not globally reachable. That includes the
    /// ranges for documentation and measurements, since a laboratory may use them.
    Private,
    /// To a computer anywhere.
    Public,
}

impl Scope {
    /// Where this address leads.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
fn of_v4(ip: Ipv4Addr) -> Scope {
    match ip.octets() {
        [127, ..] => Scope::Loopback,
        [169, 254, ..] => Scope::LinkLocal,
        // RFC 1918, and RFC 6598 for carriers.
        [10, ..] | [172, 16..32, ..] | [192, 168, ..] | [100, 64..128, ..] => Scope::Private,
        // Protocol assignments. The two that count as global are anycast, so the nearest server of
        // this site answers.
        [192, 0, 0, _] => Scope::Private,
        // RFC 5737, and RFC 2544 for measurements.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => {
            Scope::Private
        }
        // This network (Linux takes 0.0.0.0 for itself), the relays of 6to4 (RFC 7526), multicast,
        // reserved, broadcast.
        [0, ..] | [192, 88, 99, _] | [224..=255, ..] => Scope::Never,
        _ => Scope::Public,
    }
}

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
fn of_v6(ip: Ipv6Addr) -> Scope {
    if let Some(embedded) = embedded(ip) {
        // A translator or a tunnel inside its own site would dial any other address there.
        return match embedded.iter().all(|ip| of_v4(*ip) == Scope::Public) {
            true => Scope::Public,
            false => Scope::Never,
        };
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        [0xfe80..0xfec0, ..] => Scope::LinkLocal,
        // Unique local (RFC 4193), and what was site-local before (RFC 3879).
        [0xfc00..0xfe00 | 0xfec0..0xff00, ..] => Scope::Private,
        // Translation within a site (RFC 8215).
        [0x64, 0xff9b, 1, ..] => Scope::Private,
        // Protocol assignments (measurements and host identities among them), and documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => Scope::Private,
        [0x2000..0x4000, ..] => Scope::Public,
        // Unspecified, multicast, and everything that is not allocated for hosts.
        _ => Scope::Never,
    }
}

/// The IPv4 addresses to which a translator or a tunnel takes this address: NAT64 (RFC 6052), 6to4
/// (RFC 3056), and both server and client of Teredo (RFC 4380).
fn embedded(ip: Ipv6Addr) -> Option<Vec<Ipv4Addr>> {
    let ipv4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(vec![ipv4(high, low)]),
        [0x2002, high, low, ..] => Some(vec![ipv4(high, low)]),
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            Some(vec![ipv4(high, low), ipv4(!client_high, !client_low)])
        }
        _ => None,
    }
}

/// The computer that a translator or a tunnel reaches at this address: NAT64 and 6to4 have many
/// addresses for one IPv4 address.
pub(super) fn translated(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => match embedded(ip).as_deref() {
            Some([one]) => IpAddr::V4(*one),
            _ => IpAddr::V6(ip),
        },
        ip => ip,
    }
}

/// The bit of onion services, beside those of the scopes. Only a proxy reaches them.
const ONION: u8 = 1 << 7;

/// The scopes of addresses that are accepted from some source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope; only the user may name such addresses.
    pub const ALL: Self = Self(u8::MAX);
    /// Public addresses only.
    pub const PUBLIC: Self = Self(1 << Scope::Public as u8);
    /// What a run with a proxy accepts. All its dials leave this computer, wherever the link that
    /// an address came over leads.
    pub const PROXIED: Self = Self(Self::PUBLIC.0 | ONION);

    /// The scopes accepted over a link with this other end: none narrower than the link itself.
    pub fn over(remote: IpAddr) -> Self {
        let all = [Scope::LinkLocal, Scope::Private, Scope::Public];
        let link = Scope::of(remote);
        let taken = all.iter().filter(|scope| **scope >= link);
        match link {
            Scope::Never => Self::PUBLIC,
            _ => Self(taken.fold(0, |set, scope| set | 1 << *scope as u8)),
        }
    }

    /// The scopes accepted over a link with this computer itself, which may be forwarded from or to
    /// anywhere. `dialled`: the user has named this computer.
    pub fn over_own_computer(dialled: bool) -> Self {
        match dialled {
            true => Self(Self::PUBLIC.0 | 1 << Scope::Loopback as u8),
            false => Self::PUBLIC,
        }
    }

    /// The scopes of either.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this IP address is accepted.
    pub fn admit(self, ip: IpAddr) -> bool {
        let scope = Scope::of(ip);
        self == Self::ALL || (scope != Scope::Never && self.0 & 1 << scope as u8 != 0)
    }

    /// Whether this address is accepted. A name is judged by its IP addresses when it is dialled.
    pub fn admit_address(self, address: &Address) -> bool {
        let reachable = !address.is_onion() || self.0 & ONION != 0;
        reachable && address.ip().is_none_or(|ip| self.admit(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all_are(scope: Scope, ips: &[&str]) {
        for ip in ips {
            assert_eq!(Scope::of(ip.parse().unwrap()), scope, "{ip}");
        }
    }

    fn taken(scopes: Scopes, address: &str) -> bool {
        scopes.admit_address(&Address::parse(address).unwrap())
    }

    fn over(remote: &str) -> Scopes {
        Scopes::over(remote.parse().unwrap())
    }

    #[test]
    fn loopback_is_127_and_one() {
        let all = ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"];
        all_are(Scope::Loopback, &all);
    }

    #[test]
    fn link_local_addresses_are_told_apart() {
        let all = ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"];
        all_are(Scope::LinkLocal, &all);
        all_are(Scope::LinkLocal, &["::ffff:169.254.169.254"]);
    }

    #[test]
    fn address_not_globally_reachable_is_private() {
        let rfc_1918 = ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255"];
        all_are(Scope::Private, &rfc_1918);
        all_are(Scope::Private, &["192.168.77.1", "::ffff:192.168.77.1"]);
        all_are(Scope::Private, &["100.64.0.0", "100.127.255.255"]);
        let protocols = ["192.0.0.8", "192.0.0.9", "2001:1::1", "2001:20::1"];
        all_are(Scope::Private, &protocols);
        let documentation = ["192.0.2.1", "198.51.100.1", "203.0.113.1"];
        all_are(Scope::Private, &documentation);
        all_are(Scope::Private, &["2001:db8::1", "3fff::1", "3fff:fff::1"]);
        let measurements = ["198.18.0.0", "198.19.255.255", "2001:2::1"];
        all_are(Scope::Private, &measurements);
        let local = ["fc00::1", "fdff::1", "fec0::1", "feff::1", "64:ff9b:1::1"];
        all_are(Scope::Private, &local);
    }

    #[test]
    fn address_of_no_peer_is_never_dialled() {
        let this_network = ["0.0.0.0", "0.0.0.1", "0.255.255.255", "::"];
        all_are(Scope::Never, &this_network);
        let many = ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"];
        all_are(Scope::Never, &many);
        let reserved = ["240.0.0.1", "192.88.99.1", "100::1", "4000::1", "5f00::1"];
        all_are(Scope::Never, &reserved);
        // IPv4 inside IPv6, in forms that are no longer used.
        let compatible = ["::192.168.77.1", "::8.8.8.8", "::ffff:0:127.0.0.1"];
        all_are(Scope::Never, &compatible);
    }

    #[test]
    fn neighbours_of_special_ranges_are_public() {
        let v4 = ["1.1.1.1", "9.255.255.255", "11.0.0.0", "126.255.255.255"];
        all_are(Scope::Public, &v4);
        let v4 = ["128.0.0.0", "100.63.255.255", "100.128.0.0", "169.253.0.1"];
        all_are(Scope::Public, &v4);
        let v4 = ["172.15.255.255", "172.32.0.0", "192.167.0.1", "192.169.0.1"];
        all_are(Scope::Public, &v4);
        let v4 = [
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
        ];
        all_are(Scope::Public, &v4);
        let v6 = [
            "2000::1",
            "2001:200::1",
            "2001:db9::1",
            "2a00::1",
            "3fff:1000::1",
        ];
        all_are(Scope::Public, &v6);
    }

    #[test]
    fn ipv4_within_ipv6_is_public_if_all_of_it_is() {
        // NAT64, 6to4, and Teredo with a public server and client.
        let public = [
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ];
        all_are(Scope::Public, &public);
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.77.1",
            "169.254.169.254",
            "0.0.0.0",
        ] {
            let [a, b, c, d] = inside.parse::<Ipv4Addr>().unwrap().octets();
            let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
            let not = format!("{:02x}{:02x}:{:02x}{:02x}", !a, !b, !c, !d);
            all_are(Scope::Never, &[&format!("64:ff9b::{inside}")]);
            all_are(Scope::Never, &[&format!("2002:{hex}::1")]);
            all_are(Scope::Never, &[&format!("2001:0:{hex}::f7f7:f7f7")]);
            all_are(Scope::Never, &[&format!("2001:0:808:808::{not}")]);
        }
    }

    #[test]
    fn a_link_takes_nothing_of_narrower_scope() {
        for (remote, wider) in [("8.8.8.8", 1), ("192.168.0.1", 2), ("fe80::1", 3)] {
            let addresses = ["9.9.9.9:1", "10.0.0.1:1", "[fe80::2]:1", "127.0.0.1:1"];
            let taken = addresses.map(|address| taken(over(remote), address));
            let expected = [0, 1, 2, 3].map(|n| n < wider);
            assert_eq!(taken, expected, "{remote}");
        }
        assert!(!taken(over("192.168.0.1"), "224.0.0.1:1"));
        assert!(!taken(over("192.168.0.1"), "0.0.0.0:1"));
        assert!(!taken(over("240.0.0.1"), "192.168.0.1:1"));
    }

    #[test]
    fn a_link_with_this_computer_takes_no_private_address() {
        for dialled in [false, true] {
            let scopes = Scopes::over_own_computer(dialled);
            assert!(taken(scopes, "9.9.9.9:1"));
            assert_eq!(taken(scopes, "127.0.0.1:1"), dialled);
            for inside in ["192.168.77.1:8080", "169.254.169.254:80", "[fd00::1]:1"] {
                assert!(!taken(scopes, inside), "{inside}");
            }
        }
    }
}
