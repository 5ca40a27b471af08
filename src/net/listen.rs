//! The listening sockets, and the connections that they accept.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use super::clock;
use crate::proto::Host;
use crate::sys::{limits, reason, socket};

/// How many incoming connections the kernel queues for each socket.
const BACKLOG: i32 = 128;

/// How many port numbers are tried to find one that is free in both families.
const TRIES: usize = 64;

/// How long to wait when the system is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(20);

/// How many connections one socket accepts at once, and how long one more takes to earn. Further
/// ones wait in the kernel's queue, and then at the other end: accepting has a cost, and does not
/// show yet who connects.
const ACCEPTS_AT_ONCE: u32 = 64;
const ACCEPT: Duration = Duration::from_micros(500);

/// Why sesame cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("cannot listen on port {0}: another program uses it")]
    Taken(u16),
    /// The port needs a privilege.
    #[error("cannot listen on port {0}: permission denied")]
    Denied(u16),
    /// The address is not one of this computer.
    #[error("cannot listen on {0}: this computer does not have that address")]
    NotHere(IpAddr),
    /// Anything else.
    #[error("cannot listen on port {0}: {reason}", reason = reason(.1))]
    System(u16, io::Error),
}

impl BindError {
    fn of(error: io::Error, at: SocketAddr) -> Self {
        match error.kind() {
            _ if socket::is_taken(&error) => Self::Taken(at.port()),
            io::ErrorKind::PermissionDenied => Self::Denied(at.port()),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(at.ip()),
            _ => Self::System(at.port(), error),
        }
    }

    /// One line of advice.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Taken(_) => {
                "if it is sesame, -p localhost joins it; or choose another port with --port N"
            }
            Self::Denied(_) => "choose a port above 1023 with --port N",
            Self::NotHere(_) => "give --listen an address of this computer, or omit it",
            Self::System(..) => "choose another port with --port N, or use --no-listen",
        }
    }
}

/// All addresses of this computer, IPv6 first.
pub const EVERYWHERE: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
];
/// Those that only this computer reaches.
pub const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
];

/// Listens at this host, which must be an IP address, or like [`bind`] on `all`.
///
/// # Errors
/// As for [`bind`].
pub fn bind_host(
    at: Option<&Host>,
    all: [IpAddr; 2],
    port: u16,
) -> Result<Vec<TcpListener>, BindError> {
    match at {
        Some(Host::Ip(ip)) => Ok(vec![one(SocketAddr::new(*ip, port))?]),
        Some(Host::LinkLocal(ip, zone)) => {
            let at = SocketAddrV6::new(*ip, port, 0, zone.index().get());
            Ok(vec![one(at.into())?])
        }
        Some(Host::Name(_)) | None => bind(all, port),
    }
}

/// Listens on both addresses with one port number; 0 picks a free one. A family that this computer
/// does not have is left out.
///
/// # Errors
/// See [`BindError`].
pub fn bind(all: [IpAddr; 2], port: u16) -> Result<Vec<TcpListener>, BindError> {
    let mut tries = if port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match on_both(all, port) {
            Err(BindError::Taken(_)) if tries > 0 => {}
            result => return result,
        }
    }
}

fn on_both([v6, v4]: [IpAddr; 2], port: u16) -> Result<Vec<TcpListener>, BindError> {
    let first = one_of_family(SocketAddr::new(v6, port))?;
    let port = first.as_ref().and_then(local_port).unwrap_or(port);
    let v4 = SocketAddr::new(v4, port);
    let second = match first {
        Some(_) => one_of_family(v4)?,
        // The error of the last attempt is the one to report.
        None => Some(one(v4)?),
    };
    Ok(first.into_iter().chain(second).collect())
}

fn local_port(listener: &TcpListener) -> Option<u16> {
    listener.local_addr().ok().map(|addr| addr.port())
}

/// A listener, or none if the computer does not have the address family.
fn one_of_family(at: SocketAddr) -> Result<Option<TcpListener>, BindError> {
    if Socket::new(Domain::for_address(at), Type::STREAM, None).is_err() {
        return Ok(None);
    }
    match one(at) {
        Ok(listener) => Ok(Some(listener)),
        Err(BindError::NotHere(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens at this address only.
///
/// # Errors
/// See [`BindError`].
pub(super) fn one(at: SocketAddr) -> Result<TcpListener, BindError> {
    let listening = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket::allow_restart(&socket)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    listening()
        .map(TcpListener::from)
        .map_err(|error| BindError::of(error, at))
}

/// What a listening socket reports.
pub enum Incoming {
    /// A connection from this address.
    Accepted(TcpStream, SocketAddr),
    /// A connection that tor has made from this address, for the onion service.
    ThroughOnion(TcpStream, SocketAddr),
    /// A connection waits, and the system has no descriptor for it.
    Exhausted,
}

/// Limits how fast connections are accepted.
struct AcceptRate {
    /// When the next connection may be accepted, if none were saved up.
    next: Instant,
}

impl AcceptRate {
    /// Counts one more connection, and returns when it may be accepted unless that is at once.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let saved = now.checked_sub(ACCEPT * ACCEPTS_AT_ONCE).unwrap_or(now);
        let at = self.next.max(saved);
        self.next = at + ACCEPT;
        (at > now).then_some(at)
    }
}

/// Accepts connections until the receiver of `incoming` is dropped, and reports them as `report`
/// makes it; to be called within a runtime. The listener must be non-blocking.
///
/// # Errors
/// The system's, if the runtime cannot watch the socket.
pub fn spawn(
    listener: TcpListener,
    report: fn(TcpStream, SocketAddr) -> Incoming,
    incoming: mpsc::Sender<Incoming>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        let mut rate = AcceptRate { next: clock::now() };
        while !incoming.is_closed() {
            if let Some(at) = rate.take(clock::now()) {
                sleep_until(at.into()).await;
            }
            match listener.accept().await {
                Ok((stream, remote)) => {
                    if incoming.send(report(stream, remote)).await.is_err() {
                        return;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if limits::out_of_descriptors(&error)
                        && incoming.send(Incoming::Exhausted).await.is_err()
                    {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    });
    Ok(())
}

/// Whether accept(2) failed because the one connection at hand is already gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(listeners: &[TcpListener]) -> Vec<u16> {
        listeners.iter().filter_map(local_port).collect()
    }

    #[test]
    fn a_free_port_is_the_same_in_both_families() {
        let listeners = bind(EVERYWHERE, 0).unwrap();
        let ports = ports(&listeners);
        assert!(
            ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok());
        if listeners.len() == 2 {
            assert!(std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, ports[0])).is_ok());
        }
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let listeners = bind(EVERYWHERE, 0).unwrap();
        let port = ports(&listeners)[0];
        let error = bind(EVERYWHERE, port).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        assert!(matches!(error, BindError::Taken(_)));
        assert!(error.advice().contains("--port"));
        let free = one((Ipv4Addr::LOCALHOST, 0).into())
            .map(|one| vec![one])
            .unwrap();
        assert_eq!(free.len(), 1);
    }

    #[test]
    fn another_computers_address_is_named() {
        let error = one((Ipv4Addr::new(192, 0, 2, 1), 0).into()).unwrap_err();
        assert!(matches!(error, BindError::NotHere(_)), "{error}");
    }

    #[test]
    fn accepting_keeps_to_a_rate_after_a_burst() {
        let start = clock::now();
        let mut rate = AcceptRate { next: start };
        let mut now = start + Duration::from_secs(9);
        let mut at_once = 0;
        while rate.take(now).is_none() {
            at_once += 1;
        }
        assert_eq!(at_once, ACCEPTS_AT_ONCE + 1);
        for _ in 0..4000 {
            now = rate.take(now).unwrap_or(now);
        }
        let took = now - start - Duration::from_secs(9);
        assert_eq!(took, 4001 * ACCEPT);
    }

    #[tokio::test]
    async fn incoming_connections_are_accepted() {
        let listener = one((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, mut incoming) = mpsc::channel(4);
        spawn(listener, Incoming::Accepted, sender).unwrap();
        for _ in 0..3 {
            let caller = TcpStream::connect(addr).await.unwrap();
            let Some(Incoming::Accepted(_, remote)) = incoming.recv().await else {
                panic!("nobody came")
            };
            assert_eq!(remote, caller.local_addr().unwrap());
        }
    }
}
