//! Asks the router of this computer to forward a port: by PCP (RFC 6887), NAT-PMP (RFC 6886) or
//! UPnP-IGD. Nobody but the gateway of the default route is asked, and only its answers count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig};
use crab_nat::{natpmp, pcp};

use super::refusal::{Granted, LEASE, Refusal};
#[cfg(feature = "upnp")]
use super::upnp;
use crate::sys::network::DefaultRoute;

/// How long one answer of a router is waited for: it is near, and asked four times, each time for
/// longer.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: None,
};

/// The ways to ask, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Port Control Protocol.
    Pcp,
    /// The NAT Port Mapping Protocol, which came before it.
    NatPmp,
    /// The Internet Gateway Device of Universal Plug and Play.
    Upnp,
}

impl Protocol {
    /// All of them. UPnP is left out of a program that was built without it.
    const ALL: &'static [Self] = match cfg!(feature = "upnp") {
        true => &[Self::Pcp, Self::NatPmp, Self::Upnp],
        false => &[Self::Pcp, Self::NatPmp],
    };
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What it takes to renew a mapping, or to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How the router was asked.
    pub protocol: Protocol,
    /// The router.
    pub gateway: Ipv4Addr,
    /// The port of the router.
    pub outside_port: NonZeroU16,
}

/// A mapping as a router has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) held: Held,
    /// What the router says is its own address towards other networks.
    pub(super) outside: Ipv4Addr,
    /// How long it lasts. A router that knows only permanent ones is asked again as well.
    pub(super) lease: Duration,
}

/// Why a router forwards no port, by any protocol.
#[derive(Debug)]
pub(super) struct Refused {
    gateway: Ipv4Addr,
    refusals: Vec<(Protocol, Refusal)>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the router {} forwards no port to you (", self.gateway)?;
        for (n, (protocol, refusal)) in self.refusals.iter().enumerate() {
            let comma = if n > 0 { "; " } else { "" };
            write!(f, "{comma}{protocol}: {refusal}")?;
        }
        f.write_str(")")
    }
}

/// A port to be forwarded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The port on which sesame listens.
    pub(super) port: NonZeroU16,
    /// What tells a PCP router that it is the same one who asks again.
    pub(super) nonce: pcp::Nonce,
}

/// Asks for a mapping, or for the one that this router has `held` so far to last longer.
///
/// # Errors
/// What each protocol came to.
pub(super) async fn forward(
    route: DefaultRoute,
    wanted: Wanted,
    held: Option<Held>,
) -> Result<Mapping, Refused> {
    let gateway = route.gateway;
    let outside_port = held.map_or(wanted.port, |held| held.outside_port);
    let mut order = Protocol::ALL.to_vec();
    // A stable sort: the others keep their order.
    order.sort_by_key(|protocol| held.is_none_or(|held| held.protocol != *protocol));
    let mut refusals = Vec::new();
    for protocol in order {
        let asked = match protocol {
            Protocol::Pcp => ask_by_pcp(route, wanted, outside_port).await,
            Protocol::NatPmp => ask_by_nat_pmp(gateway, wanted.port, outside_port).await,
            #[cfg(feature = "upnp")]
            Protocol::Upnp => upnp::forward(route, wanted.port, outside_port).await,
            #[cfg(not(feature = "upnp"))]
            Protocol::Upnp => Err(Refusal::Unsupported),
        };
        match asked {
            Ok((outside, outside_port, seconds)) => {
                return Ok(Mapping {
                    held: Held {
                        protocol,
                        gateway,
                        outside_port,
                    },
                    outside,
                    lease: Duration::from_secs(seconds.into()),
                });
            }
            Err(refusal) => refusals.push((protocol, refusal)),
        }
    }
    Err(Refused { gateway, refusals })
}

fn options(outside_port: NonZeroU16) -> PortMappingOptions {
    PortMappingOptions {
        external_port: Some(outside_port),
        lifetime_seconds: Some(LEASE),
        timeout_config: Some(PATIENCE),
    }
}

async fn ask_by_pcp(
    route: DefaultRoute,
    wanted: Wanted,
    outside_port: NonZeroU16,
) -> Result<Granted, Refusal> {
    let base = pcp::BaseMapRequest::new(
        route.gateway.into(),
        route.local.into(),
        InternetProtocol::Tcp,
        wanted.port,
    );
    let mapping = pcp::port_mapping(base, Some(wanted.nonce), None, options(outside_port)).await?;
    match mapping.mapping_type() {
        PortMappingType::Pcp {
            external_ip: IpAddr::V4(outside),
            ..
        } => Ok((outside, mapping.external_port(), mapping.lifetime())),
        _ => Err(Refusal::Strange),
    }
}

async fn ask_by_nat_pmp(
    gateway: Ipv4Addr,
    port: NonZeroU16,
    outside_port: NonZeroU16,
) -> Result<Granted, Refusal> {
    let outside = natpmp::external_address(gateway.into(), Some(PATIENCE)).await?;
    let tcp = InternetProtocol::Tcp;
    let mapping = natpmp::port_mapping(gateway.into(), tcp, port, options(outside_port)).await?;
    Ok((outside, mapping.external_port(), mapping.lifetime()))
}

/// Takes a mapping back.
///
/// # Errors
/// The router has not confirmed it.
pub(super) async fn withdraw(
    route: DefaultRoute,
    wanted: Wanted,
    held: Held,
) -> Result<(), Refusal> {
    let gateway = held.gateway.into();
    let tcp = InternetProtocol::Tcp;
    match held.protocol {
        Protocol::Pcp => {
            let range = pcp::DropMappingRange::Single {
                protocol: tcp,
                internal_port: wanted.port,
            };
            let local = route.local.into();
            pcp::try_drop_mapping(gateway, local, wanted.nonce, range, Some(PATIENCE)).await?;
        }
        Protocol::NatPmp => {
            natpmp::try_drop_mapping(gateway, tcp, Some(wanted.port), Some(PATIENCE)).await?;
        }
        #[cfg(feature = "upnp")]
        Protocol::Upnp => upnp::withdraw(route, held.outside_port).await?,
        #[cfg(not(feature = "upnp"))]
        Protocol::Upnp => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_says_what_each_protocol_came_to() {
        let refused = Refused {
            gateway: [192, 168, 1, 1].into(),
            refusals: vec![
                (Protocol::Pcp, pcp::Failure::NotAuthorized(30).into()),
                (Protocol::NatPmp, natpmp::Failure::Timeout.into()),
            ],
        };
        assert_eq!(
            refused.to_string(),
            "the router 192.168.1.1 forwards no port to you (PCP: not allowed; NAT-PMP: no answer)"
        );
    }
}
