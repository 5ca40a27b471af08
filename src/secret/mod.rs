//! What keeps secrets out of reach: the memory that keys live in, the process around it, and the
//! way out of both. The only unsafe code of the crate is in this folder.
//!
//! - [`Secret`]: a key, in locked and guarded memory, wiped when dropped.
//! - [`arena`]: that memory, and Argon2's work space.
//! - [`alloc`]: the global allocator, which zeroes what it frees.
//! - [`descriptor`]: owning a descriptor that was inherited, and an option of sockets.
//! - [`harden`]: what `main` does first of all.
//! - [`panic`]: replaces the process image.
//! - [`signals`]: signals that wait to be taken.
//! - [`sandbox`]: what the process gives up before it meets anybody.

pub mod alloc;
pub mod arena;
pub mod descriptor;
pub mod harden;
mod key;
pub mod panic;
pub mod sandbox;
pub mod signals;

pub use key::Secret;
