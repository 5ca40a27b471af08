//! Asks a router to forward a port by UPnP-IGD.
//!
//! A search for gateways is usually sent to a whole network, and anybody there may answer. This one goes
//! to nobody but the router, which has to name itself as the place of its description.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{
    AddAnyPortError, AddPortError, GetExternalIpError, PortMappingProtocol, RemovePortError,
    RequestError, SearchError, SearchOptions,
};
use tokio::time::timeout;

use super::refusal::{Granted, LEASE, Refusal, of_system};
use crate::sys::network::DefaultRoute;

/// The port of SSDP, by which devices are found.
const SSDP: u16 = 1900;

/// How long the search for the router may take, with its description; and all of the requests.
const SEARCH: Duration = Duration::from_secs(3);
const REQUESTS: Duration = Duration::from_secs(5);

/// What the router's own list shows for the mapping. It says no more than the list does.
const DESCRIPTION: &str = "tcp";

/// What a router answers that forwards nothing to this computer (UPnP-IGD 2, 2.3.15 and 2.5.16).
const NOT_AUTHORIZED: [u16; 2] = [606, 729];

/// Asks for a mapping from this port of the router, or another one if somebody else has it.
pub(super) async fn forward(
    route: DefaultRoute,
    port: NonZeroU16,
    outside_port: NonZeroU16,
) -> Result<Granted, Refusal> {
    let gateway = search(route).await?;
    let asked = timeout(REQUESTS, ask(&gateway, route.local, port, outside_port)).await;
    asked.unwrap_or(Err(Refusal::Silent))
}

/// Takes back the mapping from this port of the router.
pub(super) async fn withdraw(route: DefaultRoute, outside_port: NonZeroU16) -> Result<(), Refusal> {
    let gateway = search(route).await?;
    let removing = gateway.remove_port(PortMappingProtocol::TCP, outside_port.get());
    match timeout(REQUESTS, removing).await {
        Ok(Ok(()) | Err(RemovePortError::NoSuchPortMapping)) => Ok(()),
        Ok(Err(RemovePortError::ActionNotAuthorized)) => Err(Refusal::NotAllowed),
        Ok(Err(RemovePortError::RequestError(error))) => Err(of_request(error)),
        Err(_) => Err(Refusal::Silent),
    }
}

async fn search(route: DefaultRoute) -> Result<Gateway<Tokio>, Refusal> {
    let mut options = SearchOptions::default();
    options.bind_addr = (route.local, 0).into();
    options.broadcast_address = (route.gateway, SSDP).into();
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let gateway = search_gateway(options).await.map_err(|error| match error {
        SearchError::NoResponseWithinTimeout => Refusal::Silent,
        SearchError::IoError(error) => of_system(error),
        _ => Refusal::Strange,
    })?;
    // Anybody can send an answer to the socket.
    match gateway.addr.ip() == IpAddr::V4(route.gateway) {
        true => Ok(gateway),
        false => Err(Refusal::Strange),
    }
}

async fn ask(
    gateway: &Gateway<Tokio>,
    local: Ipv4Addr,
    port: NonZeroU16,
    outside_port: NonZeroU16,
) -> Result<Granted, Refusal> {
    let outside = match gateway.get_external_ip().await {
        Ok(IpAddr::V4(outside)) => outside,
        Ok(IpAddr::V6(_)) => return Err(Refusal::Strange),
        Err(GetExternalIpError::ActionNotAuthorized) => return Err(Refusal::NotAllowed),
        Err(GetExternalIpError::RequestError(error)) => return Err(of_request(error)),
    };
    let target = SocketAddr::from((local, port.get()));
    let tcp = PortMappingProtocol::TCP;
    // Without an end, if the router knows no other: it is taken back at the end of the run too.
    for lease in [LEASE, 0] {
        let same = gateway.add_port(tcp, outside_port.get(), target, lease, DESCRIPTION);
        match same.await {
            Ok(()) => return Ok((outside, outside_port, LEASE)),
            Err(AddPortError::OnlyPermanentLeasesSupported) => {}
            Err(AddPortError::ActionNotAuthorized) => return Err(Refusal::NotAllowed),
            Err(AddPortError::PortInUse | AddPortError::SamePortValuesRequired) => {
                let another = ask_for_another(gateway, target, lease).await?;
                return Ok((outside, another, LEASE));
            }
            Err(AddPortError::RequestError(error)) => return Err(of_request(error)),
            Err(_) => return Err(Refusal::Strange),
        }
    }
    Err(Refusal::Strange)
}

/// Asks for any port, because somebody else has the one that was wanted.
async fn ask_for_another(
    gateway: &Gateway<Tokio>,
    target: SocketAddr,
    lease: u32,
) -> Result<NonZeroU16, Refusal> {
    let tcp = PortMappingProtocol::TCP;
    match gateway.add_any_port(tcp, target, lease, DESCRIPTION).await {
        Ok(port) => NonZeroU16::new(port).ok_or(Refusal::Strange),
        Err(AddAnyPortError::ActionNotAuthorized) => Err(Refusal::NotAllowed),
        Err(AddAnyPortError::RequestError(error)) => Err(of_request(error)),
        Err(_) => Err(Refusal::Full),
    }
}

fn of_request(error: RequestError) -> Refusal {
    match error {
        RequestError::IoError(error) => of_system(error),
        RequestError::ErrorCode(code, _) if NOT_AUTHORIZED.contains(&code) => Refusal::NotAllowed,
        RequestError::UnsupportedAction(_) => Refusal::Unsupported,
        RequestError::HyperError(_) | RequestError::HyperClientError(_) => Refusal::Silent,
        _ => Refusal::Strange,
    }
}
