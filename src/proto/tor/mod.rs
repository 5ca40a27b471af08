//! The controller's side of Tor's control protocol, as far as an onion service needs it (`--onion`).
//! Bytes come in and go out; the caller has the connection, and reads the cookie file.
//!
//! [`TorControl`] says where tor can be controlled. [`Replies`] cuts what tor sends into replies. An
//! [`Exchange`] authenticates, asks for tor's SOCKS port and creates the service. A [`TorError`] says
//! why not.
//!
//! The reference is Tor's specification `control-spec`.

mod control;
mod error;
mod exchange;
mod quoted;
mod reply;
mod safe_cookie;

pub use control::{ControlPlace, TorControl, TorControlError};
pub use error::TorError;
pub use exchange::{Exchange, OnionId, Outcome, Step, withdrawal};
pub use reply::{Replies, Reply};
