//! Why tor cannot be used.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::proto::tor::TorError;
use crate::sys::reason;

/// How long connecting to tor and everything up to the service may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What failed.
#[derive(Debug, Error)]
pub enum TorFault {
    /// Nothing listens at any of the usual places.
    #[error("nothing listens there")]
    NotFound,
    /// The system refused the connection.
    #[error("{}", reason(.0))]
    Connect(io::Error),
    /// There was no whole answer in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// It closed the connection before it had answered.
    #[error("the program there closed the connection without an answer")]
    Closed,
    /// The cookie file cannot be read.
    #[error("cannot read tor's cookie file '{0}': {reason}", reason = reason(.1))]
    Cookie(String, io::Error),
    /// The cookie file has another length.
    #[error("tor's cookie file '{0}' does not have 32 bytes")]
    CookieLength(String),
    /// The answers of tor.
    #[error(transparent)]
    Tor(#[from] TorError),
    /// Tor has another SOCKS port than at the start of the run.
    #[error("tor's SOCKS port has changed")]
    OtherSocks,
}

/// A fault, and where tor was looked for.
#[derive(Debug, Error)]
#[error("cannot use tor at {place}: {fault}")]
pub struct TorFailure {
    /// The place, or several.
    pub place: String,
    /// What failed.
    pub fault: TorFault,
}

impl TorFailure {
    /// One line of advice; may be empty.
    pub fn advice(&self) -> &'static str {
        match &self.fault {
            TorFault::NotFound => {
                "start tor with a ControlPort or a ControlSocket, or give its place: --onion CONTROL"
            }
            TorFault::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let your user use the socket; with Debian's tor, add it to the group debian-tor, and \
                 log in again"
            }
            TorFault::Connect(_) => "start tor, or give --onion the place of its ControlPort",
            TorFault::TimedOut | TorFault::Closed => {
                "give --onion the place of tor's ControlPort or ControlSocket"
            }
            TorFault::Cookie(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let your user read it: put CookieAuthFileGroupReadable 1 into torrc, and add your user \
                 to tor's group"
            }
            TorFault::Cookie(..) | TorFault::CookieLength(_) => {
                "restart tor; if that does not help, see CookieAuthFile in tor's manual"
            }
            TorFault::Tor(error) => error.advice(),
            TorFault::OtherSocks => "start sesame again",
        }
    }

    /// Whether there may be another tor at another place.
    pub(super) fn is_absence(&self) -> bool {
        match &self.fault {
            TorFault::Connect(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ),
            _ => false,
        }
    }
}
