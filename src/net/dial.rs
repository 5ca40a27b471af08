//! From an address to a TCP connection.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::dial_error::{DialError, LIMIT};
use super::proxy_dial::ProxyDialer;
use crate::mesh::Remote;
use crate::proto::{Address, Host, Proxy};
use crate::sys::interface;

/// How long TLS may take, and how long through a proxy. The engine has its own deadline for
/// everything before a link.
const TLS_LIMIT: Duration = Duration::from_secs(10);
const PROXIED_TLS_LIMIT: Duration = Duration::from_secs(30);

/// How long one address is tried before the next is tried in parallel (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses of one name are tried.
const MOST: usize = 8;

/// How many names are resolved at once: those that the user gave, and those from gossip. A resolver
/// that does not answer blocks only places of its own kind.
pub const LOOK_UPS: [usize; 2] = [4, 2];
static USERS: Semaphore = Semaphore::const_new(LOOK_UPS[0]);
static OTHERS: Semaphore = Semaphore::const_new(LOOK_UPS[1]);

/// Makes all connections of a run, and asks the system's resolver. Where there is a proxy, nothing
/// else can be dialled or resolved: only [`Connector::new`] makes a [`Direct`].
#[derive(Clone)]
pub enum Connector {
    /// From here to the other end.
    Direct(Direct),
    /// By a proxy.
    Proxied(ProxyDialer),
}

impl Connector {
    /// The connector of a run with this proxy, or without one.
    pub fn new(proxy: Option<Arc<Proxy>>) -> Self {
        match proxy {
            None => Self::Direct(Direct(())),
            Some(proxy) => Self::Proxied(ProxyDialer::new(proxy)),
        }
    }

    /// Connects to an address. It must be one that may lead anywhere: without a proxy, a name must
    /// be one that the user gave, and names from gossip are first resolved with [`Self::look_up`]
    /// and judged.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, address: &Address) -> Result<(TcpStream, Remote), DialError> {
        match self {
            Self::Direct(direct) => {
                let (stream, remote) = direct.connect(address).await?;
                Ok((stream, Remote::Direct(remote)))
            }
            Self::Proxied(proxy) => {
                let stream = proxy.connect(address).await?;
                Ok((stream, Remote::Proxied(address.clone())))
            }
        }
    }

    /// Resolves a name from gossip; the addresses come in the resolver's order.
    ///
    /// # Errors
    /// The name does not exist, or there was no answer in time; always with a proxy.
    pub async fn look_up(&self, name: String) -> Result<Vec<IpAddr>, DialError> {
        match self {
            Self::Direct(direct) => direct.look_up(name).await,
            Self::Proxied(_) => Err(DialError::LeftToProxy),
        }
    }

    /// How long TLS may take on a connection that this made.
    pub fn tls_limit(&self) -> Duration {
        match self {
            Self::Direct(_) => TLS_LIMIT,
            Self::Proxied(_) => PROXIED_TLS_LIMIT,
        }
    }
}

/// Dials from this computer.
#[derive(Clone)]
pub struct Direct(());

impl Direct {
    /// Connects to an address. All addresses of a name are tried, IPv6 and IPv4 in turn; the error
    /// is that of the first, if all fail.
    async fn connect(&self, address: &Address) -> Result<(TcpStream, SocketAddr), DialError> {
        let found = async { race(resolve(address).await?).await };
        timeout(LIMIT, found)
            .await
            .unwrap_or(Err(DialError::TimedOut(LIMIT)))
    }

    async fn look_up(&self, name: String) -> Result<Vec<IpAddr>, DialError> {
        let found = async {
            let found = ask_resolver(name, 0, &OTHERS).await?;
            Ok(found.iter().map(SocketAddr::ip).collect())
        };
        timeout(LIMIT, found)
            .await
            .unwrap_or(Err(DialError::TimedOut(LIMIT)))
    }
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
    let place = places
        .acquire()
        .await
        .map_err(|_| DialError::TimedOut(LIMIT))?;
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

    fn direct() -> Direct {
        Direct(())
    }

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_listener_is_found_by_number_and_by_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let (_, remote) = direct()
                .connect(&parsed(&format!("{host}:{port}")))
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
        let refused = direct()
            .connect(&parsed(&format!("127.0.0.1:{port}")))
            .await;
        assert_eq!(refused.unwrap_err(), DialError::Refused);
        let unknown = direct().connect(&parsed("nobody.invalid:9000")).await;
        assert_eq!(unknown.unwrap_err(), DialError::NoSuchHost);
    }

    #[tokio::test]
    async fn the_name_of_an_onion_service_is_not_looked_up() {
        let connected = direct().connect(&parsed("abcdefghijklmnop.onion")).await;
        assert_eq!(connected.unwrap_err(), DialError::Onion);
    }

    #[tokio::test]
    async fn a_name_that_others_gave_is_looked_up() {
        let found = direct().look_up("localhost".into()).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        let unknown = direct().look_up("nobody.invalid".into()).await;
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
