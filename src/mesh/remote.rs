//! The other end of a connection.

use std::net::{IpAddr, SocketAddr};

use super::dial_budget::{Site, Voucher};
use crate::proto::{Address, PeerId};

/// The other end of a connection, as far as this end knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Its socket address.
    Direct(SocketAddr),
    /// What the proxy was asked to dial. It may lead anywhere, also to the proxy's own computer.
    Proxied(Address),
    /// A circuit over this relay.
    Relayed(Relay),
}

/// The relay of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The peer that carries the circuit.
    pub id: PeerId,
    /// The other end of the link with it.
    pub address: Address,
    /// Whether that may be forwarded from anywhere: it comes from this computer.
    pub is_forwarded: bool,
}

impl Remote {
    /// Its IP address, if that is known.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Direct(addr) => Some(addr.ip().to_canonical()),
            Self::Proxied(address) => address.ip(),
            Self::Relayed(_) => None,
        }
    }

    /// The IP address to which its links count, if one is known: over a circuit, the relay's.
    pub(super) fn counts_at(&self) -> Option<IpAddr> {
        match self {
            Self::Direct(_) | Self::Proxied(_) => self.ip(),
            Self::Relayed(relay) => relay.address.ip(),
        }
    }

    /// Whether it is at an address that leads back to this computer.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Direct(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Proxied(_) | Self::Relayed(_) => false,
        }
    }

    /// The address of the connection: over a circuit, the relay's.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Direct(addr) => Address::from(*addr),
            Self::Proxied(address) => address.clone(),
            Self::Relayed(relay) => relay.address.clone(),
        }
    }

    /// Which computer it is, as far as limits can tell.
    pub(super) fn site(&self) -> Site {
        match self {
            Self::Direct(addr) => Site::at(addr.ip()),
            Self::Proxied(address) => Site::of(address),
            Self::Relayed(relay) => Site::of(&relay.address),
        }
    }

    /// Who pays for the dials for which it vouches. All names count as one network, since a name
    /// costs nothing.
    pub(super) fn voucher(&self) -> Voucher {
        self.counts_at().map(Voucher::at).unwrap_or_default()
    }

    /// The form of an address for this end, if it may be sent to it.
    pub(super) fn tell(&self, address: &Address) -> Option<Address> {
        match self {
            Self::Direct(addr) => address.told_over(*addr),
            Self::Proxied(_) | Self::Relayed(_) => {
                (!address.is_link_local()).then(|| address.clone())
            }
        }
    }

    /// The meaning of an address that came from this end.
    pub(super) fn hear(&self, address: Address) -> Option<Address> {
        match self {
            Self::Direct(addr) => address.heard_over(*addr),
            Self::Proxied(_) | Self::Relayed(_) => (!address.is_link_local()).then_some(address),
        }
    }
}

impl From<SocketAddr> for Remote {
    fn from(addr: SocketAddr) -> Self {
        Self::Direct(addr)
    }
}
