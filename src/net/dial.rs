//! From an address to a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::proto::{Address, Host};
use crate::sys::{interface, reason};

/// How long a dial may take, including the resolution of a name.
const LIMIT: Duration = Duration::from_secs(10);

/// How long one address is tried before the next is tried in parallel (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses of one name are tried.
const MOST: usize = 8;

/// How many names are resolved at once: those that the user gave, and those from gossip. A resolver
/// that does not answer blocks only places of its own kind.
pub const LOOK_UPS: [usize; 2] = [4, 2];
static USERS: Semaphore = Semaphore::const_new(LOOK_UPS[0]);
static OTHERS: Semaphore = Semaphore::const_new(LOOK_UPS[1]);

/// Why a dial failed. Each is a line for the user, who knows the address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("no such host: check the spelling, and whether DNS works")]
    NoSuchHost,
    /// The address is an onion service.
    #[error("an onion service needs --proxy, which is not supported")]
    Onion,
    /// The host answered that no program listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// There was no answer in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// There is no route.
    #[error("no route to host")]
    Unreachable,
    /// The system refused.
    #[error("{0}")]
    System(String),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable,
            _ => Self::System(reason(&error)),
        }
    }
}

/// Connects to an address. All addresses of a name are tried, IPv6 and IPv4 in turn. The name must
/// be one that the user gave; names from gossip are first resolved with [`look_up`] and judged.
///
/// # Errors
/// The error of the first address, if all fail; see [`DialError`].
pub async fn connect(address: &Address) -> Result<(TcpStream, SocketAddr), DialError> {
    let found = async { race(resolve(address).await?).await };
    timeout(LIMIT, found)
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

/// Resolves a name from gossip; the addresses come in the resolver's order.
///
/// # Errors
/// The name does not exist, or there was no answer in time.
pub async fn look_up(name: String) -> Result<Vec<IpAddr>, DialError> {
    let found = async {
        let found = ask_resolver(name, 0, &OTHERS).await?;
        Ok(found.iter().map(SocketAddr::ip).collect())
    };
    timeout(LIMIT, found)
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, DialError> {
    if address.is_onion() {
        return Err(DialError::Onion);
    }
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::LinkLocal(ip, zone) => {
            // An interface that was unplugged meanwhile may have another index.
            let index = interface::index(zone.as_str()).unwrap_or(zone.index());
            let addr = SocketAddrV6::new(*ip, address.port, 0, index.get());
            return Ok(vec![addr.into()]);
        }
        Host::Name(name) => name.clone(),
    };
    let found = ask_resolver(name, address.port, &USERS).await?;
    Ok(interleaved(found))
}

async fn ask_resolver(
    name: String,
    port: u16,
    places: &'static Semaphore,
) -> Result<Vec<SocketAddr>, DialError> {
    let place = places.acquire().await.map_err(|_| DialError::TimedOut)?;
    // The system's resolver blocks its thread, even after the wait for it has been given up.
    let found = spawn_blocking(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        drop(place);
        found.map(Iterator::collect::<Vec<_>>)
    });
    match found.await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        _ => Err(DialError::NoSuchHost),
    }
}

/// The two families in turn, each in the resolver's order, beginning with its first choice.
fn interleaved(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|one| one.is_ipv6() == first_is_v6);
    let mut same = same.into_iter();
    let mut other = other.into_iter();
    let mut turns = Vec::new();
    while turns.len() < MOST {
        let before = turns.len();
        turns.extend(same.next());
        turns.extend(other.next());
        if turns.len() == before {
            break;
        }
    }
    turns
}

async fn race(targets: Vec<SocketAddr>) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut targets = targets.into_iter();
    let mut tries = JoinSet::new();
    let mut failed = None;
    loop {
        if let Some(target) = targets.next() {
            tries.spawn(async move { TcpStream::connect(target).await.map(|s| (s, target)) });
        } else if tries.is_empty() {
            return Err(failed.unwrap_or(DialError::NoSuchHost));
        }
        tokio::select! {
            Some(ended) = tries.join_next() => match ended {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => { failed.get_or_insert(error.into()); }
                Err(_) => {}
            },
            () = sleep(STAGGER), if targets.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_listener_is_found_by_number_and_by_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let (_, remote) = connect(&parsed(&format!("{host}:{port}"))).await.unwrap();
            assert_eq!(remote, listener.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_name_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = connect(&parsed(&format!("127.0.0.1:{port}"))).await;
        assert_eq!(refused.unwrap_err(), DialError::Refused);
        let unknown = connect(&parsed("nobody.invalid:9000")).await;
        assert_eq!(unknown.unwrap_err(), DialError::NoSuchHost);
    }

    #[tokio::test]
    async fn the_name_of_an_onion_service_is_not_looked_up() {
        let connected = connect(&parsed("abcdefghijklmnop.onion")).await;
        assert_eq!(connected.unwrap_err(), DialError::Onion);
    }

    #[tokio::test]
    async fn a_name_that_others_gave_is_looked_up() {
        let found = look_up("localhost".into()).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        let unknown = look_up("nobody.invalid".into()).await;
        assert_eq!(unknown.unwrap_err(), DialError::NoSuchHost);
    }

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(|one| one.parse().unwrap());
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(|one| one.parse().unwrap());
        assert_eq!(interleaved(all.to_vec()), turns);
        let many = vec![SocketAddr::from(([127, 0, 0, 1], 1)); 100];
        assert_eq!(interleaved(many).len(), MOST);
    }
}
