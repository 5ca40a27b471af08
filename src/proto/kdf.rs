//! Every label, HKDF, X25519 and AEAD call of the protocol in one place (PROTOCOL.md, section 1).

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Fault;
use crate::secret::{Secret, wiping_stack};

/// The TLS exporter's label (section 3).
pub const EXPORTER: &[u8] = b"EXPORTER-sesame-v1";
/// The first part of CPace's channel identifier (section 5).
pub const CHANNEL: &[u8] = b"sesame-v1";
/// Of an identity key to a PeerId (section 4).
pub const PEER_ID: &[u8] = b"sesame-v1 peer id";
/// The dialler's commitment (section 5).
pub const COMMIT_DIALLER: &[u8] = b"sesame-v1 commit dialler";
/// The listener's commitment (section 5).
pub const COMMIT_LISTENER: &[u8] = b"sesame-v1 commit listener";
/// The dialler's confirmation key (section 5).
pub const CONFIRM_DIALLER: &[u8] = b"sesame-v1 confirm dialler";
/// The listener's confirmation key (section 5).
pub const CONFIRM_LISTENER: &[u8] = b"sesame-v1 confirm listener";
/// The transcript hash (section 5).
pub const TRANSCRIPT: &[u8] = b"sesame-v1 transcript";
/// The root key and first chains (section 5).
pub const ROOT: &[u8] = b"sesame-v1 root";
/// The verification words (section 5).
pub const WORDS: &[u8] = b"sesame-v1 words";
/// A step of the Diffie-Hellman ratchet (section 6).
pub const RATCHET: &[u8] = b"sesame-v1 ratchet";
/// A step of a chain (section 6).
pub const CHAIN: &[u8] = b"sesame-v1 chain";
/// The hash of a post-quantum exchange (section 6).
pub const EPOCH: &[u8] = b"sesame-v1 epoch";
/// A step of the Diffie-Hellman ratchet that begins an epoch (section 6).
pub const EPOCH_ROOT: &[u8] = b"sesame-v1 epoch root";

/// How much of the stack a derivation or an agreement uses at most, in words: 4 KiB, of which 2.8 were
/// measured on x86-64. It leaves copies of keys there.
const STACK: usize = 512;

/// The same of the cipher, which also leaves parts of the text: 8 KiB, of which 5.8 were measured, in a
/// build for tests with AVX-512. In a release build it stays below 4 KiB.
const CIPHER_STACK: usize = 1024;

/// The bytes that [`seal`] adds.
pub const TAG: usize = 16;

/// `hash(label, parts…)` of section 1.
pub fn sha256(label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every label is shorter than 256 bytes.
    hash.update([label.len() as u8]);
    hash.update(label);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `Expand(Extract(salt, ikm), label || context, N)`.
pub fn derive<const N: usize>(
    salt: &[u8],
    ikm: &[u8],
    label: &[u8],
    context: &[u8],
) -> Zeroizing<[u8; N]> {
    wiping_stack::<STACK, _>(|| expand_with(&Hkdf::<Sha256>::new(Some(salt), ikm), label, context))
}

/// `Expand(prk, label, N)`, where `prk` is a key already.
pub fn expand<const N: usize>(prk: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; N]> {
    wiping_stack::<STACK, _>(|| match Hkdf::<Sha256>::from_prk(prk) {
        Ok(hkdf) => expand_with(&hkdf, label, &[]),
        // 32 bytes are always long enough for SHA-256. If not, no key at all is the safe answer.
        Err(_) => unreachable_key(),
    })
}

fn expand_with<const N: usize>(
    hkdf: &Hkdf<Sha256>,
    label: &[u8],
    context: &[u8],
) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "the limit of RFC 5869") };
    let mut out = Zeroizing::new([0; N]);
    match hkdf.expand_multi_info(&[label, context], out.as_mut_slice()) {
        Ok(()) => out,
        Err(_) => unreachable_key(),
    }
}

/// The lengths are constants, so a derivation cannot fail, but its type says that it could. Then a
/// known key would be the one unforgivable result.
fn unreachable_key<const N: usize>() -> Zeroizing<[u8; N]> {
    std::process::abort()
}

/// The public half of an X25519 key.
pub fn x25519_public(secret: &Secret<32>) -> [u8; 32] {
    wiping_stack::<STACK, _>(|| PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes())
}

/// X25519 of RFC 7748.
///
/// # Errors
/// The result is zero: the other side sent a point of low order.
pub fn x25519(secret: &Secret<32>, public: &[u8; 32]) -> Result<Secret<32>, Fault> {
    wiping_stack::<STACK, _>(|| {
        let shared = StaticSecret::from(*secret.expose()).diffie_hellman(&PublicKey::from(*public));
        if !shared.was_contributory() {
            return Err(Fault::ZeroSecret);
        }
        Ok(Secret::fill_with(|bytes| {
            bytes.copy_from_slice(shared.as_bytes())
        }))
    })
}

/// Encrypts `text` in place and returns the tag. Each key seals only one text.
pub fn seal(key: &[u8; 32], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
    wiping_stack::<CIPHER_STACK, _>(|| {
        let cipher = ChaCha20Poly1305::new(&Key::from(*key));
        match cipher.encrypt_inout_detached(&Nonce::default(), aad, text.into()) {
            Ok(tag) => tag.into(),
            // Only a text of 256 GiB fails; cells are 1,024 bytes.
            Err(_) => std::process::abort(),
        }
    })
}

/// Decrypts `text` in place. After a failure its content must not be used.
///
/// # Errors
/// The tag does not verify.
pub fn open(key: &[u8; 32], aad: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> Result<(), Fault> {
    wiping_stack::<CIPHER_STACK, _>(|| {
        ChaCha20Poly1305::new(&Key::from(*key))
            .decrypt_inout_detached(&Nonce::default(), aad, text.into(), &Tag::from(*tag))
            .map_err(|_| Fault::WrongTag)
    })
}

/// Compares in constant time.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn secret(text: &str) -> Secret<32> {
        Secret::fill_with(|bytes| bytes.copy_from_slice(&hex(text)))
    }

    // RFC 5869, appendix A.1.
    #[test]
    fn derivation_is_hkdf_with_sha_256() {
        let okm = hex(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        );
        let (salt, info) = (
            hex("000102030405060708090a0b0c"),
            hex("f0f1f2f3f4f5f6f7f8f9"),
        );
        assert_eq!(derive::<42>(&salt, &[0x0b; 22], &info, &[])[..], okm);
        assert_eq!(
            derive::<42>(&salt, &[0x0b; 22], &info[..3], &info[3..])[..],
            okm,
            "label || context"
        );
        let prk = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        assert_eq!(expand::<42>(&prk.try_into().unwrap(), &info)[..], okm);
    }

    // RFC 7748, section 5.2; in the second one a bit is set that has to be ignored.
    #[test]
    fn diffie_hellman_is_x25519() {
        for (scalar, u, product) in [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ] {
            let shared = x25519(&secret(scalar), &hex(u).try_into().unwrap()).unwrap();
            assert_eq!(shared.expose()[..], hex(product));
        }
        let mut base = [0; 32];
        base[0] = 9;
        let one = secret("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        assert_eq!(*x25519(&one, &base).unwrap().expose(), x25519_public(&one));
        assert!(x25519(&one, &[0; 32]).is_err());
    }

    // RFC 8439, section 2.8.2, has another nonce; the zero nonce is checked by the worked example.
    #[test]
    fn sealed_text_opens_only_with_its_key_and_data() {
        let mut sealed = *b"some text";
        let tag = seal(&[1; 32], b"data", &mut sealed);
        assert_ne!(sealed, *b"some text");
        for (key, data, bend) in [
            (2, &b"data"[..], 0),
            (1, b"date", 0),
            (1, b"", 0),
            (1, b"data", 1),
        ] {
            let (mut copy, mut bent) = (sealed, tag);
            copy[8] ^= bend;
            assert!(open(&[key; 32], data, &mut copy, &tag).is_err());
            bent[15] ^= 1;
            assert!(open(&[1; 32], b"data", &mut sealed.clone(), &bent).is_err());
        }
        assert_eq!(open(&[1; 32], b"data", &mut sealed, &tag), Ok(()));
        assert_eq!(sealed, *b"some text");
    }

    #[test]
    fn a_label_is_apart_from_what_follows() {
        assert_eq!(
            sha256(b"ab", &[b"c", b"d"])[..],
            Sha256::digest(b"\x02abcd")[..]
        );
        assert_ne!(sha256(b"ab", &[b"c"]), sha256(b"a", &[b"bc"]));
    }

    #[test]
    fn no_two_labels_are_alike() {
        let labels = [
            CHANNEL,
            PEER_ID,
            COMMIT_DIALLER,
            COMMIT_LISTENER,
            CONFIRM_DIALLER,
            CONFIRM_LISTENER,
            TRANSCRIPT,
            ROOT,
            WORDS,
            RATCHET,
            CHAIN,
            EPOCH,
            EPOCH_ROOT,
        ];
        let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len());
        assert!(labels.iter().all(|label| label.starts_with(b"sesame-v1")));
    }
}
