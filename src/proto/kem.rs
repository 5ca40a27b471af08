//! ML-KEM-768 (FIPS 203), of which only the seeds are kept: a seed of 64 bytes becomes the
//! decapsulation key for the length of one call.

use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{Key, Seed, SharedKey};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::Fault;
use crate::secret::{Secret, wiping_stack};

/// The bytes of an encapsulation key.
pub const KEY: usize = 1184;
/// The bytes of a ciphertext.
pub const CIPHERTEXT: usize = 1088;
/// The bytes of a seed: `d || z` of FIPS 203, section 7.1.
pub const SEED: usize = 64;

/// How much of the stack a call of the KEM uses at most, in words: 64 KiB, of which 40 were measured
/// on x86-64. It leaves parts of the decapsulation key there.
const KEM_STACK: usize = 8192;

/// An encapsulation key.
pub type KeyBytes = [u8; KEY];
/// A ciphertext.
pub type CiphertextBytes = [u8; CIPHERTEXT];

/// A new seed.
pub fn generate(rng: &mut dyn CryptoRng) -> Secret<SEED> {
    Secret::fill_with(|bytes| rng.fill_bytes(bytes))
}

/// The encapsulation key that belongs to a seed.
pub fn encapsulation_key(seed: &Secret<SEED>) -> Box<KeyBytes> {
    wiping_stack::<KEM_STACK, _>(|| {
        let decapsulation = DecapsulationKey::from_seed(Seed::from(*seed.expose()));
        Box::new(decapsulation.encapsulation_key().to_bytes().into())
    })
}

/// A new shared secret, and the ciphertext that gives it to the holder of the seed.
///
/// # Errors
/// The key encodes a number that is not reduced (FIPS 203, section 7.2).
pub fn encapsulate(
    key: &KeyBytes,
    rng: &mut dyn CryptoRng,
) -> Result<(Box<CiphertextBytes>, Secret<32>), Fault> {
    wiping_stack::<KEM_STACK, _>(|| {
        let key = EncapsulationKey::new(&Key::<EncapsulationKey>::from(*key))
            .map_err(|_| Fault::InvalidKemKey)?;
        let (ciphertext, shared) = key.encapsulate_with_rng(rng);
        Ok((Box::new(ciphertext.into()), keep(shared)))
    })
}

/// The shared secret in a ciphertext. For a ciphertext that was not made with this key it is a
/// value that nobody else has (implicit rejection).
pub fn decapsulate(seed: &Secret<SEED>, ciphertext: &CiphertextBytes) -> Secret<32> {
    wiping_stack::<KEM_STACK, _>(|| {
        let decapsulation = DecapsulationKey::from_seed(Seed::from(*seed.expose()));
        keep(decapsulation.decapsulate(&Ciphertext::from(*ciphertext)))
    })
}

fn keep(mut shared: SharedKey) -> Secret<32> {
    let kept = Secret::fill_with(|bytes| bytes.copy_from_slice(&shared));
    shared.zeroize();
    kept
}
