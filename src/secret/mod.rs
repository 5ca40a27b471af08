//! The memory for secrets.
//!
//! - [`Secret`]: a key, in locked and guarded memory, wiped when dropped.
//! - [`arena`]: that memory, and Argon2's work space.
//! - [`alloc`]: the global allocator, which zeroes what it frees.
//! - [`wiping_stack`]: overwrites what a call left on the stack.

pub mod alloc;
pub mod arena;
mod key;
mod stack;

pub use key::Secret;
pub use stack::wiping_stack;
