//! Why a dial failed.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::proto::ONION_NEEDS_PROXY;
use crate::proto::socks::SocksError;
use crate::sys::reason;

/// How long a connection from this computer may take, including the resolution of a name.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Why a dial failed. Each is a line for the user, who knows the address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("no such host: check the spelling, and whether DNS works")]
    NoSuchHost,
    /// The address is an onion service.
    #[error("{ONION_NEEDS_PROXY}")]
    Onion,
    /// The host answered that no program listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// There was no answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// There is no route.
    #[error("no route to host")]
    Unreachable,
    /// The system refused.
    #[error("{0}")]
    System(String),
    /// There is no connection to the proxy at this place.
    #[error("no connection to the proxy at {0}: {1}")]
    NoProxy(String, Box<DialError>),
    /// The proxy closed the connection before it had answered.
    #[error("the proxy closed the connection without an answer")]
    ProxyLeft,
    /// What the proxy answered.
    #[error(transparent)]
    Socks(#[from] SocksError),
    /// Names are not resolved here.
    #[error("names are left to the proxy")]
    LeftToProxy,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut(LIMIT),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable,
            _ => Self::System(reason(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_and_no_route_are_told_apart() {
        let of = |kind: io::ErrorKind| DialError::from(io::Error::from(kind)).to_string();
        assert_eq!(of(io::ErrorKind::TimedOut), "no answer within 10 s");
        assert_eq!(of(io::ErrorKind::HostUnreachable), "no route to host");
    }
}
