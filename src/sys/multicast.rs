//! Datagrams to all in a network that wait for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::network::Network;
use super::system;

/// A socket that receives what is sent to this port. Several programs of this computer can have one
/// each. It is in no group yet.
///
/// # Errors
/// The system's: for example, it has no IPv6, or another program wants the port for itself.
pub fn socket(group: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let (domain, all): (_, IpAddr) = match group {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    system::socket::share_port(&socket)?;
    match group {
        IpAddr::V4(_) => {
            socket.set_multicast_ttl_v4(1)?;
            socket.set_multicast_loop_v4(false)?;
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
        }
    }
    socket.bind(&SocketAddr::new(all, port).into())?;
    Ok(socket.into())
}

/// Joins a group on the interface with this index.
///
/// # Errors
/// The system's: the interface is gone, or knows no multicast.
pub fn join<S>(socket: &S, group: IpAddr, interface: u32) -> io::Result<()>
where
    for<'a> SockRef<'a>: From<&'a S>,
{
    let socket = SockRef::from(socket);
    match group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
    }
}

/// Sends a datagram to a group, on the interface of this network.
///
/// # Errors
/// The system's.
pub fn send<S>(
    socket: &S,
    group: IpAddr,
    port: u16,
    network: &Network,
    bytes: &[u8],
) -> io::Result<()>
where
    for<'a> SockRef<'a>: From<&'a S>,
{
    let socket = SockRef::from(socket);
    match network.ip {
        IpAddr::V4(ip) => socket.set_multicast_if_v4(&ip)?,
        IpAddr::V6(_) => socket.set_multicast_if_v6(network.interface)?,
    }
    socket
        .send_to(bytes, &SocketAddr::new(group, port).into())
        .map(drop)
}
