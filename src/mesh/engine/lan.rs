//! Local networks (PROTOCOL.md, section 10): dials because of beacons, and the addresses that
//! members in the same place tell each other.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{ConnId, Engine};
use crate::mesh::action::Action;
use crate::mesh::admission::{Source, source};
use crate::mesh::conn::Conn;
use crate::mesh::dial_budget::Voucher;
use crate::mesh::lan::LocalNetwork;
use crate::mesh::peer::{Departure, Standing};
use crate::mesh::remote::Remote;
use crate::mesh::scope::Scope;
use crate::mesh::target::Hint;
use crate::proto::link::Link;
use crate::proto::{Address, Fault, PeerId};

impl Engine {
    /// The networks that this computer is in now, and its routers. To be called at the start, and
    /// whenever they may have changed. Without `settings.lan` it has no effect.
    pub fn handle_networks(
        &mut self,
        now: Instant,
        networks: Vec<LocalNetwork>,
        gateways: Vec<IpAddr>,
    ) {
        if self.settings.lan {
            self.lan.set(networks, gateways);
        }
        self.settle(now);
    }

    /// A beacon came by multicast from this IP address, on the interface with this index. Its sender
    /// listens at `from.port()`.
    pub fn handle_beacon(&mut self, now: Instant, from: SocketAddr, interface: u32) {
        self.take_beacon(now, from, interface);
        self.settle(now);
    }

    fn take_beacon(&mut self, now: Instant, from: SocketAddr, interface: u32) {
        let Some(address) = self.lan.sender(from, interface) else {
            return;
        };
        let met = self.lan.last_met(&address);
        let is_known = met.is_some_and(|peer| self.needs_no_hint(&peer));
        if is_known || !self.may_follow_hint(now, &address) {
            return;
        }
        if !self.lan.pay(now, from.ip()) {
            let line = format!("too many dials because of beacons failed; not dialling {address}");
            return self.output.debug(line);
        }
        self.follow_hint(now, &address, Hint::Beacon, None);
    }

    /// Whether a peer is here over a direct link, or the user has ended the link with it.
    fn needs_no_hint(&self, peer: &PeerId) -> bool {
        matches!(
            self.roster.standing(peer),
            Some(Standing::Up | Standing::Departed(Departure::Disconnected))
        )
    }

    fn may_follow_hint(&self, now: Instant, address: &Address) -> bool {
        let may_dial = !self.lifecycle.is_leaving() && !self.output.is_backlogged();
        may_dial && self.dialing.may_follow_hint(now, &self.roster, address)
    }

    fn follow_hint(
        &mut self,
        now: Instant,
        address: &Address,
        hint: Hint,
        voucher: Option<Voucher>,
    ) {
        let conn = self.begin_dial(now, address);
        self.dialing
            .follow_hint(now, address, (hint, voucher), conn);
        let addr = address.clone();
        self.output.act(Action::Dial { conn, addr });
    }

    /// Tells the peer of a new link from which public IP address that comes, if the peer wants to
    /// know it.
    pub(super) fn tell_observed(&mut self, id: ConnId) {
        let conn = self.connections.get(id);
        let Some(ip) = conn.and_then(public_remote) else {
            return;
        };
        if let Some(link) = self.connections.link_mut(id)
            && link.exchanges_local()
        {
            link.tell_observed(ip);
        }
    }

    /// A peer says from which IP address this end's link comes. Unverified, as gossip is.
    pub(super) fn take_observed(&mut self, id: ConnId, ip: IpAddr) -> Result<(), Fault> {
        if !self.settings.lan {
            return Err(Fault::UnaskedLocal);
        }
        let conn = self.connections.get_mut(id);
        let conn = conn.filter(|conn| conn.link().is_some_and(|link| !link.is_relayed()));
        if let Some(conn) = conn.filter(|_| Scope::of(ip) == Scope::Public) {
            conn.local.observed = Some(ip);
            self.lan.note_change();
        }
        Ok(())
    }

    /// Tells the members that seem to have the same public address where this end listens in its
    /// local networks, if that has changed.
    pub(super) fn tell_local_addresses(&mut self) {
        if !self.lan.take_change() {
            return;
        }
        let port = self.settings.listen_port;
        let own = port.map_or_else(Vec::new, |port| self.lan.addresses(port));
        if own.is_empty() {
            return;
        }
        let linked = || {
            let up = self.roster.iter().filter_map(|(id, peer)| {
                let conn = peer.conn()?;
                Some((id, conn, self.connections.get(conn)?))
            });
            up.filter(|(_, _, conn)| conn.link().is_some_and(|link| !link.is_over()))
        };
        let observed = linked().filter_map(|(_, _, conn)| conn.local.observed);
        let observed: BTreeSet<Source> = observed.map(source).collect();
        if observed.is_empty() {
            return;
        }
        let is_beside = |id: &PeerId, conn: &Conn| {
            let theirs = public_remote(conn).into_iter();
            let gossiped = self.dialing.addresses(id);
            let gossiped = gossiped.filter_map(|(address, _)| address.ip());
            let gossiped = gossiped.filter(|ip| Scope::of(*ip) == Scope::Public);
            theirs
                .chain(gossiped)
                .any(|ip| observed.contains(&source(ip)))
        };
        let due = linked().filter(|(id, _, conn)| {
            let exchanges = conn.link().is_some_and(Link::exchanges_local);
            exchanges && conn.local.told != own && is_beside(id, conn)
        });
        let due: Vec<ConnId> = due.map(|(_, conn, _)| conn).collect();
        for id in due {
            if let Some(conn) = self.connections.get_mut(id) {
                conn.local.told.clone_from(&own);
                if let Some(link) = conn.link_mut() {
                    link.tell_local(own.clone());
                }
            }
        }
    }

    /// A peer says where it listens in its local networks. Such an address counts only if it lies in
    /// a network of this computer, and is dialled once, as long as there is no direct link. The
    /// limits of gossip apply, because a member could name any neighbour and come back as often as
    /// it likes.
    pub(super) fn take_local(
        &mut self,
        now: Instant,
        id: ConnId,
        peer_id: PeerId,
        addresses: &[Address],
    ) -> Result<(), Fault> {
        let conn = self.connections.get(id);
        let Some((conn, link)) = conn.and_then(|conn| Some((conn, conn.link()?))) else {
            return Ok(());
        };
        if !self.settings.lan || !link.exchanges_local() {
            return Err(Fault::UnaskedLocal);
        }
        let voucher = conn.remote.as_ref().map(Remote::voucher);
        let Some(voucher) = voucher.filter(|_| link.is_relayed()) else {
            return Ok(());
        };
        for address in addresses {
            if !self.lan.admits_told(address)
                || !self.may_follow_hint(now, address)
                || !self.dialing.can_vouch(now, voucher, address)
            {
                continue;
            }
            let conn = self.connections.get_mut(id);
            if conn.is_some_and(|conn| conn.local.take(address)) {
                self.follow_hint(now, address, Hint::Local(peer_id), Some(voucher));
            }
        }
        Ok(())
    }

    /// A peer was reached or seen at this address. `hint`: the one that the dial there followed.
    pub(super) fn met_at(&mut self, address: &Address, peer: PeerId, hint: Option<Hint>) {
        if !self.settings.lan {
            return;
        }
        if hint == Some(Hint::Beacon) {
            self.lan.pay_back(address);
        }
        self.lan.meet(address, peer);
    }

    /// Whether a dial because of a hint has led to a peer with which no link is wanted: it is here
    /// already, or the user has ended the link with it.
    pub(super) fn is_needless_hint(&self, now: Instant, hint: Option<Hint>, peer: &PeerId) -> bool {
        let disconnected = Some(Standing::Departed(Departure::Disconnected));
        let is_unwanted =
            self.is_surely_here(now, peer) || self.roster.standing(peer) == disconnected;
        hint.is_some() && is_unwanted
    }
}

/// The public IP address of the other end of a direct link.
fn public_remote(conn: &Conn) -> Option<IpAddr> {
    let is_direct = conn.link().is_some_and(|link| !link.is_relayed());
    let ip = match conn.remote {
        Some(Remote::Direct(addr)) => addr.ip().to_canonical(),
        _ => return None,
    };
    let counts = is_direct && !conn.is_with_own_computer();
    (counts && Scope::of(ip) == Scope::Public).then_some(ip)
}
