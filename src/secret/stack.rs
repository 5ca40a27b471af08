//! Wipes what calls leave on the stack.

use zeroize::Zeroize;

/// Overwrites this number of words of eight bytes, beginning at the end of the caller's frame,
/// where the calls before this one ran: ciphers and hashes leave copies of keys there.
///
/// It reaches only what those calls had on the stack, and only if none of them was inlined into the
/// caller (`#[inline(never)]`). Copies may remain in registers, in the caller's own frame, and
/// beyond these words.
#[inline(never)]
pub fn wipe_stack<const WORDS: usize>() {
    let mut used = [0_u64; WORDS];
    used.zeroize();
}
