//! Wipes what calls leave on the stack.

use zeroize::Zeroize;

/// Calls `compute`, and then overwrites this number of words of eight bytes where it ran: ciphers and
/// hashes leave copies of keys there.
///
/// It reaches only what `compute` had on the stack. Copies may remain in registers, in the caller's
/// own frame, and beyond these words.
pub fn wiping_stack<const WORDS: usize, T>(compute: impl FnOnce() -> T) -> T {
    let result = in_its_own_frame(compute);
    wipe::<WORDS>();
    result
}

// Not inlined: what was in the caller's frame would lie above what is wiped.
#[inline(never)]
fn in_its_own_frame<T>(compute: impl FnOnce() -> T) -> T {
    compute()
}

#[inline(never)]
fn wipe<const WORDS: usize>() {
    let mut used = [0_u64; WORDS];
    used.zeroize();
}
