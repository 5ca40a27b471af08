//! What a router answers to a request for a port, and why not.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use crab_nat::{natpmp, pcp};

use crate::sys::reason;

/// For how long a router is asked to forward a port, in seconds. Whatever ends sesame without its being
/// able to take the mapping back, and whatever makes the router forget it, is mended in this time.
pub(super) const LEASE: u32 = 600;

/// The router's outside address, its port, and for how many seconds.
pub(super) type Granted = (Ipv4Addr, NonZeroU16, u32);

/// Why a router does not forward a port.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing answers by this protocol.
    Silent,
    /// The router does not let this computer have a mapping.
    NotAllowed,
    /// It has no port or no memory left, or this computer has too many of them.
    Full,
    /// It has no connection of its own to other networks.
    Unconnected,
    /// It does not have what was asked for.
    Unsupported,
    /// Its answer makes no sense.
    Strange,
    /// The system does not let it be asked.
    System(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no answer",
            Self::NotAllowed => "not allowed",
            Self::Full => "no port left",
            Self::Unconnected => "the router is offline",
            Self::Unsupported => "not supported",
            Self::Strange => "an answer that makes no sense",
            Self::System(error) => return f.write_str(&reason(error)),
        })
    }
}

/// Nothing listens at a port, if the answer of the system is this.
pub(super) fn of_system(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::TimedOut => Refusal::Silent,
        _ => Refusal::System(error),
    }
}

impl From<pcp::Failure> for Refusal {
    fn from(failure: pcp::Failure) -> Self {
        use pcp::Failure as F;
        match failure {
            F::Socket(error) => of_system(error),
            F::Timeout => Self::Silent,
            F::NotAuthorized(_) | F::AddressMismatch => Self::NotAllowed,
            F::NoResources(_) | F::UserExceededQuota(_) | F::CannotProvideExternal(_) => Self::Full,
            F::NetworkFailure(_) => Self::Unconnected,
            F::UnsupportedVersion(_)
            | F::UnsupportedOpcode
            | F::UnsupportedOption
            | F::UnsupportedProtocol => Self::Unsupported,
            F::Nonce
            | F::InvalidResponse(_)
            | F::MalformedRequest
            | F::MalformedOption
            | F::ExcessiveRemotePeers => Self::Strange,
        }
    }
}

impl From<natpmp::Failure> for Refusal {
    fn from(failure: natpmp::Failure) -> Self {
        use natpmp::Failure as F;
        match failure {
            F::Socket(error) => of_system(error),
            F::Timeout => Self::Silent,
            F::NotAuthorized => Self::NotAllowed,
            F::OutOfResources => Self::Full,
            F::NetworkFailure => Self::Unconnected,
            F::UnsupportedVersion(_) | F::UnsupportedOpcode => Self::Unsupported,
            F::InvalidResponse(_) => Self::Strange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_where_nothing_listens_is_no_answer() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(of_system(refused).to_string(), "no answer");
        let timeout = Refusal::from(pcp::Failure::Timeout);
        assert_eq!(timeout.to_string(), "no answer");
    }
}
