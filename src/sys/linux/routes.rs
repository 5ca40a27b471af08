//! The routers of this computer, from the kernel's tables of routes (proc(5), `/proc/net`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The flags of a route that is up and leads through a gateway, and of one that refuses
/// (`linux/route.h`).
const UP: u32 = 1;
const GATEWAY: u32 = 2;
const REJECT: u32 = 0x200;

/// The gateways of all default routes, each with the name of its interface. Empty if the kernel does
/// not say.
pub(in crate::sys) fn gateways() -> Vec<(String, IpAddr)> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = read("/proc/net/route");
    let v6 = read("/proc/net/ipv6_route");
    let v4 = v4.lines().filter_map(gateway_v4);
    let v6 = v6.lines().filter_map(gateway_v6);
    v4.chain(v6).collect()
}

fn leads(flags: &str) -> Option<()> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & (UP | GATEWAY | REJECT) == UP | GATEWAY).then_some(())
}

/// A line has the interface, the destination, the gateway, the flags, three numbers and the mask.
/// Addresses are numbers as they lie in memory.
fn gateway_v4(line: &str) -> Option<(String, IpAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let interface = fields.next()?;
    let destination = fields.next()?;
    let gateway = fields.next()?;
    leads(fields.next()?)?;
    let mask = fields.nth(3)?;
    if [destination, mask] != ["00000000"; 2] {
        return None;
    }
    let gateway = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
    Some((interface.into(), Ipv4Addr::from(gateway).into()))
}

/// A line has the destination and the length of its prefix, the source and the length of its, the
/// gateway, three numbers, the flags and the interface.
fn gateway_v6(line: &str) -> Option<(String, IpAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let destination = fields.next()?;
    let length = fields.next()?;
    let gateway = fields.nth(2)?;
    leads(fields.nth(3)?)?;
    let interface = fields.next()?;
    if destination.bytes().any(|digit| digit != b'0') || length != "00" {
        return None;
    }
    let gateway = u128::from_str_radix(gateway, 16).ok()?;
    Some((interface.into(), Ipv6Addr::from(gateway).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_name_their_gateways_and_others_do_not() {
        let hex = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let gateway = hex([192, 168, 1, 1]);
        let route = |destination: &str, flags: &str, mask: &str| {
            gateway_v4(&format!(
                "eth0\t{destination}\t{gateway}\t{flags}\t0\t0\t100\t{mask}\t0\t0\t0"
            ))
        };
        let zero = "00000000";
        let expected = Some(("eth0".into(), IpAddr::from([192, 168, 1, 1])));
        assert_eq!(route(zero, "0003", zero), expected);
        assert_eq!(route(&hex([10, 0, 0, 0]), "0003", zero), None);
        assert_eq!(route(zero, "0003", "000000FF"), None, "half a default");
        assert_eq!(route(zero, "0001", zero), None, "no gateway");
        assert_eq!(route(zero, "0203", zero), None, "it refuses");
        let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask";
        assert_eq!(gateway_v4(header), None);
        assert_eq!(gateway_v4("eth0 00000000"), None);

        let zero = "0".repeat(32);
        let gateway = "fe800000000000000000000000000001";
        let route = |destination: &str, length: &str, flags: &str| {
            gateway_v6(&format!(
                "{destination} {length} {zero} 00 {gateway} 00000064 00000001 00000000 {flags} wlan0"
            ))
        };
        let expected = Some(("wlan0".into(), "fe80::1".parse().unwrap()));
        assert_eq!(route(&zero, "00", "00000003"), expected);
        assert_eq!(route(&zero, "40", "00000003"), None);
        assert_eq!(route(gateway, "00", "00000003"), None);
        assert_eq!(route(&zero, "00", "00200200"), None);
    }
}
