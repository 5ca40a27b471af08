//! ML-KEM-768 against vectors of NIST, and against another implementation.
//!
//! `vectors/ml_kem_768.json` has vectors of the Automated Cryptographic Validation Program (ACVP-Server
//! 1.1.0.43, ML-KEM-keyGen-FIPS203 and ML-KEM-encapDecap-FIPS203-tr1), in hex: the first ten of key
//! generation and of encapsulation, and all with seeds of decapsulation and of the check of keys.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;

use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use serde::{Deserialize, Deserializer};
use sesame::proto::{Fault, kem};
use sesame::secret::Secret;

#[derive(Deserialize)]
struct Vectors {
    key_generation: Vec<KeyGeneration>,
    encapsulation: Vec<Encapsulation>,
    decapsulation: Vec<Decapsulation>,
    key_check: Vec<KeyCheck>,
}

#[derive(Deserialize)]
struct KeyGeneration {
    d: Hex<32>,
    z: Hex<32>,
    ek: Hex<{ kem::KEY }>,
}

#[derive(Deserialize)]
struct Encapsulation {
    ek: Hex<{ kem::KEY }>,
    m: Hex<32>,
    c: Hex<{ kem::CIPHERTEXT }>,
    k: Hex<32>,
}

#[derive(Deserialize)]
struct Decapsulation {
    d: Hex<32>,
    z: Hex<32>,
    c: Hex<{ kem::CIPHERTEXT }>,
    k: Hex<32>,
    reason: String,
}

#[derive(Deserialize)]
struct KeyCheck {
    ek: Hex<{ kem::KEY }>,
    passes: bool,
    reason: String,
}

struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert_eq!(text.len(), 2 * N);
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        Ok(Self(std::array::from_fn(byte)))
    }
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/ml_kem_768.json")).unwrap()
}

fn seed(d: &Hex<32>, z: &Hex<32>) -> Secret<{ kem::SEED }> {
    Secret::fill_with(|bytes| {
        bytes[..32].copy_from_slice(&d.0);
        bytes[32..].copy_from_slice(&z.0);
    })
}

/// Draws these bytes, once.
struct Once(Option<[u8; 32]>);

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("32 bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("32 bytes are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.take().expect("one draw"));
        Ok(())
    }
}

impl TryCryptoRng for Once {}

#[test]
fn keys_are_those_of_the_vectors() {
    let vectors = vectors().key_generation;
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        assert_eq!(
            *kem::encapsulation_key(&seed(&vector.d, &vector.z)),
            vector.ek.0
        );
    }
}

#[test]
fn ciphertexts_are_those_of_the_vectors() {
    let vectors = vectors().encapsulation;
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let mut rng = Once(Some(vector.m.0));
        let (ciphertext, shared) = kem::encapsulate(&vector.ek.0, &mut rng).unwrap();
        assert_eq!(*ciphertext, vector.c.0);
        assert_eq!(*shared.expose(), vector.k.0);
    }
}

#[test]
fn secrets_are_those_of_the_vectors_also_for_altered_ciphertexts() {
    let vectors = vectors().decapsulation;
    let altered = |vector: &&Decapsulation| vector.reason == "modified ciphertext";
    assert!(vectors.iter().filter(altered).count() >= 3);
    for vector in vectors {
        let shared = kem::decapsulate(&seed(&vector.d, &vector.z), &vector.c.0);
        assert_eq!(*shared.expose(), vector.k.0, "{}", vector.reason);
    }
}

#[test]
fn invalid_keys_of_the_vectors_are_refused() {
    let vectors = vectors().key_check;
    assert!(vectors.iter().any(|vector| vector.passes));
    assert!(vectors.iter().any(|vector| !vector.passes));
    for vector in vectors {
        let wanted = match vector.passes {
            true => Ok(()),
            false => Err(Fault::InvalidKemKey),
        };
        let mut rng = Once(Some([1; 32]));
        let encapsulated = kem::encapsulate(&vector.ek.0, &mut rng);
        assert_eq!(encapsulated.map(|_| ()), wanted, "{}", vector.reason);
    }
}

#[test]
fn each_implementation_opens_what_the_other_made() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for _ in 0..20 {
        let seed = kem::generate(&mut rng);
        let key = EncapsulationKey::new(&ML_KEM_768, &*kem::encapsulation_key(&seed)).unwrap();
        let (ciphertext, shared) = key.encapsulate().unwrap();
        let ciphertext = ciphertext.as_ref().try_into().unwrap();
        let ours = kem::decapsulate(&seed, ciphertext);
        assert_eq!(ours.expose(), shared.as_ref());

        let decapsulation = DecapsulationKey::generate(&ML_KEM_768).unwrap();
        let key = decapsulation.encapsulation_key().unwrap();
        let key = key.key_bytes().unwrap();
        let key = key.as_ref().try_into().unwrap();
        let (ciphertext, ours) = kem::encapsulate(key, &mut rng).unwrap();
        let shared = decapsulation.decapsulate((&ciphertext[..]).into()).unwrap();
        assert_eq!(ours.expose(), shared.as_ref());
    }
}
