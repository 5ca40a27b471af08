//! The routers of this computer.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::slice;

use windows_sys::Win32::Foundation::NO_ERROR;
use windows_sys::Win32::NetworkManagement::IpHelper::{
    FreeMibTable, GetIpForwardTable2, MIB_IPFORWARD_ROW2, MIB_IPFORWARD_TABLE2,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_INET};

/// The gateways of all default routes, each with the index of its interface. Empty if the system
/// does not say.
pub fn gateways() -> Vec<(u32, IpAddr)> {
    let mut table: *mut MIB_IPFORWARD_TABLE2 = ptr::null_mut();
    // SAFETY: on success the system has made a table, which belongs to nobody else.
    let status = unsafe { GetIpForwardTable2(AF_UNSPEC, &raw mut table) };
    if status != NO_ERROR || table.is_null() {
        return Vec::new();
    }
    // SAFETY: the table has as many rows as it says, and lives until it is freed below.
    let rows = unsafe {
        let first = (&raw const (*table).Table).cast::<MIB_IPFORWARD_ROW2>();
        slice::from_raw_parts(first, (*table).NumEntries as usize)
    };
    let found = rows
        .iter()
        .filter(|row| row.DestinationPrefix.PrefixLength == 0)
        .filter_map(|row| Some((row.InterfaceIndex, address(&row.NextHop)?)))
        .filter(|(_, ip)| !ip.is_unspecified())
        .collect();
    // SAFETY: it came from the call above, and nothing refers to it any more.
    unsafe { FreeMibTable(table.cast()) };
    found
}

fn address(from: &SOCKADDR_INET) -> Option<IpAddr> {
    // SAFETY: the family, which all variants have in the same place, says which of them is there.
    unsafe {
        match from.si_family {
            AF_INET => Some(Ipv4Addr::from(from.Ipv4.sin_addr.S_un.S_addr.to_ne_bytes()).into()),
            AF_INET6 => Some(Ipv6Addr::from(from.Ipv6.sin6_addr.u.Byte).into()),
            _ => None,
        }
    }
}
