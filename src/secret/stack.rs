//! What calls leave on the stack.

use zeroize::Zeroize;

/// Overwrites as many words of eight bytes, from the end of the caller's frame on, as the calls
/// before this one used: ciphers and hashes leave copies of keys there.
///
/// It reaches what those calls had on the stack and nothing else, and that only if none of them was
/// inlined into the caller (`#[inline(never)]`). Copies stay in registers, in the caller's own frame,
/// and beyond these words. What a later call writes over them is not known here either.
#[inline(never)]
pub fn wipe_stack<const WORDS: usize>() {
    let mut used = [0_u64; WORDS];
    used.zeroize();
}
