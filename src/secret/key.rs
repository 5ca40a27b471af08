//! One secret: a key, or the material of a key.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::arena::{self, Slot};

/// `N` secret bytes (1 to 128) in locked memory, wiped when dropped. It can be neither printed nor
/// copied, and is compared in constant time only; reading the bytes takes an explicit
/// [`expose`](Self::expose).
///
/// Only the system limits how much memory there is for them. If it cannot be locked it is used
/// unlocked, and [`arena::on_unlocked`] reports that.
pub struct Secret<const N: usize> {
    bytes: NonNull<[u8; N]>,
    owns: PhantomData<[u8; N]>,
}

// SAFETY: the slot has one owner and belongs to no thread.
unsafe impl<const N: usize> Send for Secret<N> {}
// SAFETY: `&Secret` gives out nothing but `&[u8; N]`.
unsafe impl<const N: usize> Sync for Secret<N> {}

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes in place, so that no copy is made on the way. The bytes are
    /// zeros at first.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        const { assert!(N > 0 && N <= arena::MAX, "a secret has 1 to 128 bytes") };
        let Slot(start) = arena::take(N);
        // Owned before it is filled: if `fill` unwinds, the slot is wiped and given back.
        let mut secret = Self {
            bytes: start.cast(),
            owns: PhantomData,
        };
        fill(secret.expose_mut());
        secret
    }

    /// The bytes. A caller that copies them must wipe the copy.
    pub fn expose(&self) -> &[u8; N] {
        // SAFETY: the slot holds at least N initialised bytes, stays mapped for as long as the
        // process lives, and this value is its only owner.
        unsafe { self.bytes.as_ref() }
    }

    /// The bytes, to change them in place.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as in `expose`, and `self` is borrowed exclusively.
        unsafe { self.bytes.as_mut() }
    }
}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose()[..].ct_eq(&other.expose()[..])
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.expose_mut().zeroize();
        arena::give(Slot(self.bytes.cast()), N);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn secret_exposes_what_was_filled_in() {
        let mut secret = Secret::<32>::fill_with(|bytes| bytes.fill(7));
        assert_eq!(secret.expose(), &[7; 32]);
        secret.expose_mut()[31] = 8;
        assert_eq!(secret.expose()[30..], [7, 8]);
    }

    #[test]
    fn equal_means_every_byte() {
        let one = Secret::<64>::fill_with(|bytes| bytes.fill(1));
        let same = Secret::<64>::fill_with(|bytes| bytes.fill(1));
        let mut other = Secret::<64>::fill_with(|bytes| bytes.fill(1));
        other.expose_mut()[63] = 0;
        assert!(bool::from(one.ct_eq(&same)));
        assert!(!bool::from(one.ct_eq(&other)));
    }

    // 127 bytes come from the largest size, which no other test here uses: the slot is not given
    // out again before it is looked at.
    #[test]
    fn a_slot_is_wiped_when_its_secret_goes() {
        let secret = Secret::<127>::fill_with(|bytes| bytes.fill(0xee));
        let bytes = secret.bytes;
        drop(secret);
        // SAFETY: chunks are never unmapped.
        assert_eq!(unsafe { bytes.read_volatile() }, [0; 127]);

        let panicked = catch_unwind(AssertUnwindSafe(|| {
            Secret::<127>::fill_with(|bytes| {
                bytes.fill(0xee);
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        // SAFETY: as above.
        assert_eq!(unsafe { bytes.read_volatile() }, [0; 127]);
        assert_eq!(
            Secret::<127>::fill_with(|_| ()).bytes,
            bytes,
            "the slot was given back"
        );
    }

    #[test]
    fn many_threads_share_the_arena() {
        const ROUNDS: u32 = if cfg!(miri) { 300 } else { 20_000 };
        thread::scope(|scope| {
            for thread in 0..8u8 {
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..ROUNDS {
                        let mark = thread ^ round.to_le_bytes()[0];
                        kept.push((
                            Secret::<32>::fill_with(|b| b.fill(mark)),
                            Secret::<64>::fill_with(|b| b.fill(mark)),
                            mark,
                        ));
                        if kept.len() > 200 {
                            let (small, large, mark) =
                                kept.swap_remove(usize::from(mark) % kept.len());
                            assert_eq!(small.expose(), &[mark; 32]);
                            assert_eq!(large.expose(), &[mark; 64]);
                        }
                        assert_eq!(
                            Secret::<33>::fill_with(|_| ()).expose(),
                            &[0; 33],
                            "a fresh slot is zeroed"
                        );
                    }
                });
            }
        });
    }
}
