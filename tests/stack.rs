//! What calls with secrets leave on the stack: nothing.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    reason = "a failed expectation ends the test, and the stack can be read in no other way"
)]

use std::hint::black_box;

use ml_kem::Seed;
use ml_kem::ml_kem_768::DecapsulationKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sesame::proto::kdf;
use sesame::proto::kem;
use sesame::secret::Secret;

/// How far below the caller a call is looked for. (No call here gets that far.)
const DEPTH: usize = 512 * 1024;
const UNTOUCHED: u8 = 0xa5;

#[inline(never)]
fn paint() -> *const u8 {
    let area = [UNTOUCHED; DEPTH];
    black_box(&area).as_ptr()
}

/// What a call has left.
#[derive(Debug)]
struct Left {
    /// How deep the lowest byte lies that it has touched.
    reach: usize,
    /// How many bytes below the caller are neither untouched nor zero.
    bytes: usize,
}

#[inline(never)]
fn left_by(call: &mut dyn FnMut()) -> Left {
    let area = paint();
    call();
    let mut left = Left { reach: 0, bytes: 0 };
    for at in 0..DEPTH {
        // SAFETY: the stack of a thread stays mapped below its frames.
        let byte = unsafe { area.add(at).read_volatile() };
        if byte != UNTOUCHED && left.reach == 0 {
            left.reach = DEPTH - at;
        }
        left.bytes += usize::from(byte != UNTOUCHED && byte != 0);
    }
    left
}

/// The frames of the call itself and of what wipes: addresses, lengths and public values.
const FRAMES: usize = 512;

/// Asserts that a call has not gone deeper than the `wiped` bytes that it overwrites.
fn is_wiped(name: &str, wiped: usize, call: &mut dyn FnMut()) {
    let left = left_by(call);
    assert!(left.reach < wiped + FRAMES, "{name}: {left:?}");
    assert!(left.reach >= wiped, "{name} wipes less: {left:?}");
    assert!(left.bytes < FRAMES, "{name}: {left:?}");
}

fn numbers() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

#[test]
fn computation_that_does_not_wipe_is_seen() {
    let seed = Seed::from(*kem::generate(&mut numbers()).expose());
    let left = left_by(&mut || {
        black_box(DecapsulationKey::from_seed(seed));
    });
    assert!(left.reach > 8 * 1024 && left.bytes > 4 * 1024, "{left:?}");
}

#[test]
fn kem_leaves_nothing() {
    const WIPED: usize = 64 * 1024;
    let seed = kem::generate(&mut numbers());
    let key = kem::encapsulation_key(&seed);
    let (ciphertext, _) = kem::encapsulate(&key, &mut numbers()).unwrap();
    is_wiped("encapsulation key", WIPED, &mut || {
        black_box(kem::encapsulation_key(&seed));
    });
    is_wiped("encapsulation", WIPED, &mut || {
        black_box(kem::encapsulate(&key, &mut numbers()).is_ok());
    });
    is_wiped("decapsulation", WIPED, &mut || {
        black_box(kem::decapsulate(&seed, &ciphertext));
    });
}

#[test]
fn derivation_agreement_and_cipher_leave_nothing() {
    const WIPED: usize = 4 * 1024;
    const WIPED_BY_CIPHER: usize = 8 * 1024;
    let key = [7; 32];
    let secret = Secret::fill_with(|place| *place = key);
    let public = kdf::x25519_public(&secret);
    let mut text = [3; 976];
    is_wiped("public key", WIPED, &mut || {
        black_box(kdf::x25519_public(&secret));
    });
    is_wiped("agreement", WIPED, &mut || {
        black_box(kdf::x25519(&secret, &public).is_ok());
    });
    is_wiped("derivation", WIPED, &mut || {
        black_box(kdf::derive::<64>(&key, &key, b"label", b"context"));
    });
    is_wiped("expansion", WIPED, &mut || {
        black_box(kdf::expand::<64>(&key, b"label"));
    });
    is_wiped("sealing", WIPED_BY_CIPHER, &mut || {
        black_box(kdf::seal(&key, b"header", &mut text));
    });
    is_wiped("opening", WIPED_BY_CIPHER, &mut || {
        black_box(kdf::open(&key, b"header", &mut text, &[0; 16]).is_ok());
    });
}
