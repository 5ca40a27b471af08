//! Linux, macOS and FreeBSD.

pub mod clock;
pub mod interface;
pub mod limits;
pub mod socket;
