//! From an address to a TCP connection.

use std::io;
use std::net::{SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::mesh::Scopes;
use crate::proto::{Address, Host};
use crate::sys::interface;

/// How long a dial may take, with the resolving of a name.
const LIMIT: Duration = Duration::from_secs(10);

/// How long one address is tried before the next is tried beside it (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses of one name are tried.
const MOST: usize = 8;

/// How many names are looked up at once: those that the user gave, and those that others did. A
/// resolver that does not answer holds its place, and one kind cannot take those of the other.
pub const LOOK_UPS: [usize; 2] = [4, 2];
static USERS: Semaphore = Semaphore::const_new(LOOK_UPS[0]);
static OTHERS: Semaphore = Semaphore::const_new(LOOK_UPS[1]);

/// Why nobody was reached. Each is a line for people, without the address, which they know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("no such host: the name is mistyped, or there is no DNS here")]
    NoSuchHost,
    /// An onion service.
    #[error("an onion service is reached through --proxy, which is not in this version")]
    Onion,
    /// The name leads to where only the user's own word may.
    #[error("a peer gave this name, and it leads into this computer or its network")]
    Inside,
    /// A host answered that nothing listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// Nobody answered in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// The network knows no way.
    #[error("no route to the host")]
    Unreachable,
    /// The system refuses.
    #[error("the system refuses: {0}")]
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
            _ => Self::System(error.to_string()),
        }
    }
}

/// Connects to an address, trying each that its name stands for, IPv6 and IPv4 in turn. With
/// scopes, which are for what others told, only those that they admit.
///
/// # Errors
/// The first address's, if all fail; see [`DialError`].
pub async fn connect(
    address: &Address,
    scopes: Option<Scopes>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let found = async {
        let mut targets = resolve(address, scopes.is_none()).await?;
        targets.retain(|target| scopes.is_none_or(|scopes| scopes.admit(target.ip())));
        if targets.is_empty() {
            return Err(DialError::Inside);
        }
        race(targets).await
    };
    timeout(LIMIT, found)
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

async fn resolve(address: &Address, users: bool) -> Result<Vec<SocketAddr>, DialError> {
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
    let places = if users { &USERS } else { &OTHERS };
    let place = places.acquire().await.map_err(|_| DialError::TimedOut)?;
    let port = address.port;
    // The system's resolver blocks, and goes on when nobody waits for it any more.
    let found = spawn_blocking(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        drop(place);
        found.map(Iterator::collect::<Vec<_>>)
    });
    match found.await {
        Ok(Ok(found)) if !found.is_empty() => Ok(interleaved(found)),
        _ => Err(DialError::NoSuchHost),
    }
}

/// The families in turn, each in the resolver's order and beginning with its first choice.
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
            let (_, remote) = connect(&parsed(&format!("{host}:{port}")), None)
                .await
                .unwrap();
            assert_eq!(remote, listener.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_name_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = connect(&parsed(&format!("127.0.0.1:{port}")), None).await;
        assert_eq!(refused.unwrap_err(), DialError::Refused);
        let unknown = connect(&parsed("nobody.invalid:9000"), None).await;
        assert_eq!(unknown.unwrap_err(), DialError::NoSuchHost);
    }

    #[tokio::test]
    async fn the_name_of_an_onion_service_is_not_looked_up() {
        for scopes in [None, Some(Scopes::PUBLIC)] {
            let connected = connect(&parsed("abcdefghijklmnop.onion"), scopes).await;
            assert_eq!(connected.unwrap_err(), DialError::Onion);
        }
    }

    #[tokio::test]
    async fn a_name_that_a_peer_gave_does_not_lead_inside() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = parsed(&format!("localhost:{port}"));
        let private = Scopes::over([192, 168, 0, 1].into());
        for (scopes, taken) in [
            (Scopes::PUBLIC, false),
            (private, false),
            (Scopes::over_own_computer(true), true),
        ] {
            let connected = connect(&name, Some(scopes)).await;
            assert_eq!(connected.is_ok(), taken);
            assert!(taken || connected.unwrap_err() == DialError::Inside);
        }
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
