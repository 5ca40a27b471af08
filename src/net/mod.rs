//! Sockets, TLS and clocks around one [`Engine`](crate::mesh::Engine).
//!
//! [`run`] is the one task that owns the engine. It gets input from the [`driver`]s, each of which
//! has one connection, from the [`listen`]ers and from the front end's channels, and hands them
//! what the engine answers. This layer decides nothing: the engine says whom to dial, when a cell
//! leaves and when a connection ends.
//!
//! - [`intake`] holds requests of the front end until the engine takes them.
//! - [`drivers`] has the handles of all drivers, which send the engine's task a [`report`].
//! - [`circuit_driver`] has one connection that a circuit carries, with a [`circuit_stream`] in the
//!   place of a socket.
//! - [`tls`] makes the channel under the handshake, from a [`certificate`] that lives for one
//!   connection; [`record`] seals and opens on it.
//! - [`pacer`] is the thread that writes paced cells on time, on the [`tls_channel`] that it shares
//!   with the driver, whose [`sender`] writes the rest.
//! - [`dial`] turns an address into a TCP connection, by itself or as [`proxy_dial`] does; a
//!   [`dial_error`] says why not.
//! - [`onion`] keeps an onion service, which [`tor_control`] has tor create; a [`tor_error`] says why
//!   not.
//! - [`port_mapping`] keeps a port forwarded, which [`router`] asks the router for, by [`upnp`] too; a
//!   `refusal` says why not.
//! - [`lan`] sends beacons in the local network, and hears those of others.
//! - [`admission_wait`] holds back strangers' work until the engine admits it.
//! - [`socket`] sets and reads the kernel's options; [`clock`] is the one place that reads the
//!   time.

pub mod admission_wait;
pub mod certificate;
pub mod circuit_driver;
pub mod circuit_stream;
pub mod clock;
pub mod dial;
pub mod dial_error;
pub mod driver;
pub mod drivers;
pub mod intake;
pub mod lan;
pub mod listen;
pub mod onion;
pub mod pacer;
pub mod port_mapping;
pub mod proxy_dial;
pub mod record;
mod refusal;
pub mod report;
pub mod router;
pub mod run;
pub mod sender;
pub mod socket;
pub mod tls;
pub mod tls_channel;
pub mod tor_control;
pub mod tor_error;
#[cfg(feature = "upnp")]
pub mod upnp;
