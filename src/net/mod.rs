//! Sockets, TLS and clocks around one [`Engine`](crate::mesh::Engine).
//!
//! [`run`] is the one task that owns the engine. It is told by [`driver`]s, each of which has one
//! connection, by the [`listen`]ers, and by the front end's channels; what the engine answers it
//! hands back to them. Nothing here decides anything: whom to dial, when a cell leaves and when a
//! connection ends is the engine's word. [`intake`] holds what the front end asked for until the
//! engine takes it, and [`drivers`] the ways to the drivers, which tell it a [`report`]. [`tls`] makes the channel under the
//! handshake, from a [`certificate`] that lives for one connection; [`record`] seals and opens on
//! it; [`pacer`] is the thread that writes paced cells at their moment, on the [`tls_channel`] that it
//! shares with the driver, whose [`sender`] writes the rest; [`dial`] finds the way to an address;
//! [`admission_wait`] holds back what strangers would have worked on until the engine admits it; [`socket`]
//! holds what the kernel is asked for; [`clock`] is the one place that reads the time.

pub mod admission_wait;
pub mod certificate;
pub mod clock;
pub mod dial;
pub mod driver;
pub mod drivers;
pub mod intake;
pub mod listen;
pub mod pacer;
pub mod record;
pub mod report;
pub mod run;
pub mod sender;
pub mod socket;
pub mod tls;
pub mod tls_channel;
