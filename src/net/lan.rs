//! Beacons of `--lan`: sends this computer's, and hands those of others to the engine, which judges
//! them.
//!
//! Everybody in the network can send datagrams here. Each costs a system call and a comparison, and no
//! more than a few in a second are taken.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use quinn_udp::{RecvMeta, UdpSocketState};
use rand_core::{Rng, UnwrapErr};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use super::clock;
use crate::mesh::LocalNetwork;
use crate::proto::beacon::{self, BEACON_LENGTH, BEACON_PORT, GROUP_V4, GROUP_V6};
use crate::sys::network::{self, Network};
use crate::sys::{multicast, reason, routes};

/// The shortest and the longest time between two beacons.
const PAUSE: [Duration; 2] = [Duration::from_secs(25), Duration::from_secs(35)];

/// How many datagrams are taken within this time.
const AT_ONCE: u32 = 32;
const SPELL: Duration = Duration::from_secs(1);

/// How many beacons may wait for the engine. Others are lost, and come again.
pub const WAITING: usize = 64;

/// What the engine learns from the local network.
pub enum Heard {
    /// The networks of this computer, and its routers.
    Networks(Vec<LocalNetwork>, Vec<IpAddr>),
    /// A beacon came from this IP address, of an end that listens at this port, on this interface.
    Beacon(SocketAddr, u32),
}

/// What this end's beacons say.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// Where sesame listens; `None`: nowhere.
    pub port: Option<NonZeroU16>,
    /// The one address on which it listens, if it does not listen on all.
    pub only: Option<IpAddr>,
}

/// Starts sending and hearing beacons; to be called within a runtime. A line for the user goes to
/// `notices` if the system does not allow it.
pub fn start(
    announced: Announced,
    heard: mpsc::Sender<Heard>,
    notices: &mpsc::UnboundedSender<(u8, String)>,
) {
    let mut opened = 0;
    let mut last = None;
    for group in [IpAddr::V4(GROUP_V4), IpAddr::V6(GROUP_V6)] {
        match Group::open(group) {
            Ok(group) => {
                tokio::spawn(group.run(announced, heard.clone(), opened == 0));
                opened += 1;
            }
            Err(error) => last = Some(error),
        }
    }
    if let Some(error) = last {
        // A computer may have no IPv6.
        let level = if opened > 0 { 1 } else { 0 };
        let line = format!("--lan: cannot use multicast: {}", reason(&error));
        let _ = notices.send((level, line));
    }
}

impl From<&Network> for LocalNetwork {
    fn from(network: &Network) -> Self {
        Self {
            interface: network.interface,
            ip: network.ip,
            prefix: network.prefix,
        }
    }
}

/// One of the two groups, and the socket that is in it.
struct Group {
    group: IpAddr,
    socket: UdpSocket,
    state: UdpSocketState,
    /// The interfaces on which the socket is in the group.
    joined: BTreeSet<u32>,
}

impl Group {
    fn open(group: IpAddr) -> io::Result<Self> {
        let socket = multicast::socket(group, BEACON_PORT)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            group,
            socket: UdpSocket::from_std(socket)?,
            state,
            joined: BTreeSet::new(),
        })
    }

    /// `tells`: the engine learns the networks from this group, and not from the other one too.
    async fn run(mut self, announced: Announced, heard: mpsc::Sender<Heard>, tells: bool) {
        loop {
            let until = clock::now() + pause();
            let networks = network::networks();
            self.join(&networks);
            self.announce(announced, &networks);
            if tells {
                let told = Heard::Networks(
                    networks.iter().map(LocalNetwork::from).collect(),
                    routes::gateways().into_iter().map(|(_, ip)| ip).collect(),
                );
                if heard.send(told).await.is_err() {
                    return;
                }
            }
            self.hear(until, &heard).await;
        }
    }

    /// Joins the group on interfaces that are new. One that is gone has left it.
    fn join(&mut self, networks: &[Network]) {
        let usable = |network: &&Network| {
            network.ip.is_ipv4() == self.group.is_ipv4() && network.has_neighbours()
        };
        let now: BTreeSet<u32> = networks
            .iter()
            .filter(usable)
            .map(|network| network.interface)
            .collect();
        self.joined.retain(|interface| now.contains(interface));
        for interface in now {
            if !self.joined.contains(&interface)
                && multicast::join(&self.socket, self.group, interface).is_ok()
            {
                self.joined.insert(interface);
            }
        }
    }

    /// Sends a beacon on each interface.
    fn announce(&self, announced: Announced, networks: &[Network]) {
        let Some(port) = announced.port else {
            return;
        };
        let beacon = beacon::encode(port);
        let mut reached = BTreeSet::new();
        for network in networks {
            let here = network.ip.is_ipv4() == self.group.is_ipv4();
            let listens = announced.only.is_none_or(|only| only == network.ip);
            let joined = self.joined.contains(&network.interface);
            if here && listens && joined && reached.insert(network.interface) {
                // Without a route, or with the cable out, the next one may get through.
                let _ = multicast::send(&self.socket, self.group, BEACON_PORT, network, &beacon);
            }
        }
    }

    /// Hands beacons to the engine until this moment.
    async fn hear(&self, until: Instant, heard: &mpsc::Sender<Heard>) {
        let (mut spell, mut taken) = (clock::now(), 0);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until.into()) => return,
                found = self.receive() => {
                    if let Some((from, interface)) = found {
                        // If the engine has too many, this one is lost.
                        let _ = heard.try_send(Heard::Beacon(from, interface));
                    }
                }
            }
            taken += 1;
            if taken >= AT_ONCE {
                let rest = SPELL.saturating_sub(clock::now().saturating_duration_since(spell));
                sleep(rest).await;
                (spell, taken) = (clock::now(), 0);
            }
        }
    }

    /// The next datagram, if it is a beacon that was sent to the group.
    async fn receive(&self) -> Option<(SocketAddr, u32)> {
        // A longer datagram fills one byte more, and is no beacon.
        let mut bytes = [0; BEACON_LENGTH + 1];
        let mut meta = RecvMeta::default();
        let received = self.socket.async_io(Interest::READABLE, || {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            let metas = std::slice::from_mut(&mut meta);
            self.state.recv((&self.socket).into(), &mut buffers, metas)
        });
        if received.await.is_err() {
            // Not in a circle, if it fails again and again.
            sleep(SPELL).await;
            return None;
        }
        let port = beacon::decode(bytes.get(..meta.len)?)?;
        let interface = meta.interface_index?;
        if meta.dst_ip?.to_canonical() != self.group {
            return None;
        }
        let mut from = meta.addr;
        from.set_port(port.get());
        Some((from, interface))
    }
}

/// How long until the next beacon.
fn pause() -> Duration {
    let range = PAUSE[1] - PAUSE[0];
    let fraction = f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX);
    PAUSE[0] + range.mul_f64(fraction)
}
