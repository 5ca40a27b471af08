//! CPace over ristretto255 with SHA-512, initiator and responder: the arithmetic and the hashing.
//!
//! Everything here follows draft-irtf-cfrg-cpace-21 and uses its letters (Y, K, ISK, CI, sid, AD).
//! `tests/cpace_vectors.rs` checks each function against the draft's vectors. The handshake decides
//! which end sends what, and when: [`Share`] goes in, [`Isk`] and its [`Tags`] come out.
//!
//! Secrets are multiplied and compared in constant time, and every intermediate value is wiped.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::secret::Secret;

/// G_Ristretto255.DSI: keeps this suite's hashes apart from all others.
pub const DSI: &[u8] = b"CPaceRistretto255";

/// G.DSI || "_ISK".
pub const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";

/// H.s_in_bytes: the input block of SHA-512, in bytes.
pub const HASH_BLOCK: usize = 128;

/// Prefix of the key of the confirmation tags.
const MAC_LABEL: &[u8] = b"CPaceMac";

/// The bits above G.group_size_bits (252) in the last byte of a scalar.
const ABOVE_GROUP_SIZE: u8 = 0xf0;

/// Why a run of CPace has to be aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CpaceError {
    /// The share is not the encoding of a group element, or is the neutral one.
    #[error("the other end's CPace share is not a valid group element")]
    BadShare,
    /// The other end sent this end's own share back: by chance it would never draw the same.
    #[error("the other end returned this end's own CPace share")]
    Reflected,
}

/// lv_cat: each part with its length before it.
///
/// Parts may be secret, so the result is wiped, and is allocated once at its full size: growing
/// would leave copies behind.
pub fn lv_cat(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts
        .iter()
        .map(|part| leb128_len(part.len()) + part.len())
        .sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        push_leb128(&mut out, part.len());
        out.extend_from_slice(part);
    }
    out
}

/// prepend_len: the data with its length before it, in LEB128.
pub fn prepend_len(data: &[u8]) -> Zeroizing<Vec<u8>> {
    lv_cat(&[data])
}

fn push_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn leb128_len(value: usize) -> usize {
    (value.checked_ilog2().unwrap_or(0) / 7 + 1) as usize
}

/// generator_string: DSI and PRS, padded to one block of the hash so that the time of hashing does
/// not depend on the length of a short PRS, then CI and sid.
pub fn generator_string(prs: &[u8], ci: &[u8], sid: &[u8]) -> Zeroizing<Vec<u8>> {
    let with_len = |part: &[u8]| leb128_len(part.len()) + part.len();
    let padding = HASH_BLOCK.saturating_sub(1 + with_len(prs) + with_len(DSI));
    lv_cat(&[DSI, prs, &[0; HASH_BLOCK][..padding], ci, sid])
}

/// A group element, wiped after use: the generator is as secret as the phrase.
pub struct Element(Zeroizing<RistrettoPoint>);

impl Element {
    /// The element that these bytes encode.
    ///
    /// # Errors
    /// [`CpaceError::BadShare`] if they are no canonical encoding.
    pub fn decode(bytes: &[u8; 32]) -> Result<Self, CpaceError> {
        let point = CompressedRistretto(*bytes)
            .decompress()
            .ok_or(CpaceError::BadShare)?;
        Ok(Self(Zeroizing::new(point)))
    }

    /// The element's one encoding.
    pub fn encode(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.compress().to_bytes())
    }

    /// y times this.
    fn times(&self, y: &[u8; 32]) -> Self {
        let y = Zeroizing::new(Scalar::from_bytes_mod_order(*y));
        Self(Zeroizing::new(*y * *self.0))
    }
}

/// calculate_generator: a group element from the hash of the [`generator_string`].
pub fn calculate_generator(prs: &[u8], ci: &[u8], sid: &[u8]) -> Element {
    let mut hash = Zeroizing::new([0; 64]);
    sha512(&mut hash, &[&generator_string(prs, ci, sid)]);
    Element(Zeroizing::new(RistrettoPoint::from_uniform_bytes(&hash)))
}

/// sample_scalar: 32 random bytes, the bits above the group's size cleared; little endian, and
/// less than the group's order.
pub fn sample_scalar(rng: &mut dyn CryptoRng) -> Secret<32> {
    Secret::fill_with(|bytes| {
        rng.fill_bytes(bytes);
        bytes[31] &= !ABOVE_GROUP_SIZE;
    })
}

/// scalar_mult: y times the generator, encoded. This is the share that is sent.
pub fn scalar_mult(y: &[u8; 32], g: &Element) -> [u8; 32] {
    *g.times(y).encode()
}

/// scalar_mult_vfy: y times what the other end sent, encoded: K.
///
/// # Errors
/// [`CpaceError::BadShare`] where the draft says G.I: `share` decodes to nothing, or the product is
/// the neutral element.
pub fn scalar_mult_vfy(y: &[u8; 32], share: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, CpaceError> {
    let product = Element::decode(share)?.times(y);
    if product.0.is_identity() {
        return Err(CpaceError::BadShare);
    }
    Ok(product.encode())
}

/// transcript_ir: what the initiator (a) sent, then what the responder (b) sent.
pub fn transcript_ir(ya: &[u8], ada: &[u8], yb: &[u8], adb: &[u8]) -> Zeroizing<Vec<u8>> {
    lv_cat(&[ya, ada, yb, adb])
}

/// One end's part of a run: its secret scalar and its public share.
pub struct Share {
    scalar: Secret<32>,
    public: [u8; 32],
    sid: Vec<u8>,
}

impl Share {
    /// Draws a scalar and computes the share for these inputs.
    ///
    /// `prs` is what the phrase became, `ci` names the channel and its ends, `sid` is unique to
    /// this run.
    pub fn new(prs: &[u8], ci: &[u8], sid: &[u8], rng: &mut dyn CryptoRng) -> Self {
        let scalar = sample_scalar(rng);
        let public = scalar_mult(scalar.expose(), &calculate_generator(prs, ci, sid));
        Self {
            scalar,
            public,
            sid: sid.to_vec(),
        }
    }

    /// Y, which is sent.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Ends the initiator's run: `peer_y` is Yb, `ada` what this end sent with its share, `adb`
    /// what came with Yb.
    ///
    /// The key is right only if the other end had the same inputs: check [`Tags`] before use.
    ///
    /// # Errors
    /// See [`CpaceError`]; the run must end.
    pub fn finish_initiator(
        self,
        peer_y: &[u8; 32],
        ada: &[u8],
        adb: &[u8],
    ) -> Result<Isk, CpaceError> {
        let k = self.agree(peer_y)?;
        Ok(Isk::derive(
            &self.sid,
            &k,
            &transcript_ir(&self.public, ada, peer_y, adb),
        ))
    }

    /// Ends the responder's run: `peer_y` is Ya, `ada` what came with it, `adb` what this end sends
    /// with its share.
    ///
    /// The key is right only if the other end had the same inputs: check [`Tags`] before use.
    ///
    /// # Errors
    /// See [`CpaceError`]; the run must end.
    pub fn finish_responder(
        self,
        peer_y: &[u8; 32],
        ada: &[u8],
        adb: &[u8],
    ) -> Result<Isk, CpaceError> {
        let k = self.agree(peer_y)?;
        Ok(Isk::derive(
            &self.sid,
            &k,
            &transcript_ir(peer_y, ada, &self.public, adb),
        ))
    }

    // With a reflected share, the two tags are the same if ADa and ADb are, and prove nothing.
    fn agree(&self, peer_y: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, CpaceError> {
        if *peer_y == self.public {
            return Err(CpaceError::Reflected);
        }
        scalar_mult_vfy(self.scalar.expose(), peer_y)
    }
}

/// The intermediate session key, to be fed to a key derivation. The same at both ends exactly if
/// PRS, CI, sid and both messages were.
pub struct Isk(Secret<64>);

impl Isk {
    /// H(lv_cat(DSI_ISK, sid, K) || transcript).
    pub fn derive(sid: &[u8], k: &[u8; 32], transcript: &[u8]) -> Self {
        Self(Secret::fill_with(|out| {
            sha512(out, &[&lv_cat(&[DSI_ISK, sid, k]), transcript])
        }))
    }

    /// The key's bytes.
    pub fn expose(&self) -> &[u8; 64] {
        self.0.expose()
    }

    /// The confirmation tags of the initiator's message (a) and of the responder's (b): HMAC-SHA-512
    /// under H("CPaceMac" || sid || ISK), in full.
    pub fn tags(&self, sid: &[u8], ya: &[u8; 32], ada: &[u8], yb: &[u8; 32], adb: &[u8]) -> Tags {
        let key: Secret<64> =
            Secret::fill_with(|out| sha512(out, &[MAC_LABEL, sid, self.expose()]));
        let mut tags = Tags {
            a: [0; 64],
            b: [0; 64],
        };
        hmac_sha512(&mut tags.a, key.expose(), &lv_cat(&[ya, ada]));
        hmac_sha512(&mut tags.b, key.expose(), &lv_cat(&[yb, adb]));
        tags
    }
}

/// What each end sends to prove that it has the key. The other end's tag is secret until it
/// arrives.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Tags {
    /// Ta, the initiator's.
    pub a: [u8; 64],
    /// Tb, the responder's.
    pub b: [u8; 64],
}

impl Tags {
    /// Whether what the responder got is Ta, in constant time.
    pub fn verify_a(&self, received: &[u8; 64]) -> bool {
        self.a.ct_eq(received).into()
    }

    /// Whether what the initiator got is Tb, in constant time.
    pub fn verify_b(&self, received: &[u8; 64]) -> bool {
        self.b.ct_eq(received).into()
    }
}

/// H, written straight to where it stays.
fn sha512(out: &mut [u8; 64], parts: &[&[u8]]) {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Digest::finalize_into(hash, out.into());
}

fn hmac_sha512(out: &mut [u8; 64], key: &[u8; 64], message: &[u8]) {
    // Keys up to the hash's block are padded with zeros (RFC 2104 section 2), and a whole block
    // cannot be of a wrong length.
    let mut block = Zeroizing::new([0; HASH_BLOCK]);
    block[..key.len()].copy_from_slice(key);
    let mut mac = <Hmac<Sha512> as KeyInit>::new((&*block).into());
    mac.update(message);
    mac.finalize_into(out.into());
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const PRS: &[u8] = b"what the phrase became";
    const CI: &[u8] = b"channel";
    const SID: &[u8] = b"session";

    fn pair(prs_b: &[u8], ci_b: &[u8], sid_b: &[u8]) -> (Share, Share) {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        (
            Share::new(PRS, CI, SID, &mut rng),
            Share::new(prs_b, ci_b, sid_b, &mut rng),
        )
    }

    fn finish((a, b): (Share, Share), ad_seen_by_b: &[u8]) -> (Isk, Isk, [[u8; 32]; 2]) {
        let (ya, yb) = (*a.public(), *b.public());
        let at_a = a.finish_initiator(&yb, b"ADa", b"ADb").unwrap();
        let at_b = b.finish_responder(&ya, ad_seen_by_b, b"ADb").unwrap();
        (at_a, at_b, [ya, yb])
    }

    #[test]
    fn both_ends_agree_and_prove_it() {
        let (at_a, at_b, [ya, yb]) = finish(pair(PRS, CI, SID), b"ADa");
        assert_eq!(at_a.expose(), at_b.expose());
        let sent = at_a.tags(SID, &ya, b"ADa", &yb, b"ADb");
        let expected = at_b.tags(SID, &ya, b"ADa", &yb, b"ADb");
        assert!(expected.verify_a(&sent.a) && sent.verify_b(&expected.b));
        assert!(!expected.verify_a(&sent.b) && !sent.verify_b(&expected.a));
        let mut bent = sent.a;
        bent[63] ^= 1;
        assert!(!expected.verify_a(&bent));
    }

    #[test]
    fn any_difference_gives_another_key() {
        for (b, ad_seen_by_b) in [
            (pair(b"another phrase", CI, SID), b"ADa"),
            (pair(PRS, b"another channel", SID), b"ADa"),
            (pair(PRS, CI, b"another session"), b"ADa"),
            (pair(PRS, CI, SID), b"Ada"),
        ] {
            let (at_a, at_b, [ya, yb]) = finish(b, ad_seen_by_b);
            assert_ne!(at_a.expose(), at_b.expose());
            let sent = at_a.tags(SID, &ya, b"ADa", &yb, b"ADb");
            assert!(!at_b.tags(SID, &ya, b"ADa", &yb, b"ADb").verify_a(&sent.a));
        }
    }

    #[test]
    fn a_share_that_comes_back_ends_the_run() {
        let (a, b) = pair(PRS, CI, SID);
        let (ya, yb) = (*a.public(), *b.public());
        assert_eq!(
            a.finish_initiator(&ya, b"", b"").err(),
            Some(CpaceError::Reflected)
        );
        assert_eq!(
            b.finish_responder(&yb, b"", b"").err(),
            Some(CpaceError::Reflected)
        );
    }

    #[test]
    fn a_bad_share_ends_the_run() {
        for bad in [[0; 32], [0xff; 32]] {
            let (a, b) = pair(PRS, CI, SID);
            assert_eq!(
                a.finish_initiator(&bad, b"", b"").err(),
                Some(CpaceError::BadShare)
            );
            assert_eq!(
                b.finish_responder(&bad, b"", b"").err(),
                Some(CpaceError::BadShare)
            );
        }
    }

    #[test]
    fn the_padding_ends_where_there_is_no_room() {
        // One length byte and 17 for DSI, one and 109 for PRS, none for the padding's length.
        for (length, padding) in [(0, 108), (107, 1), (108, 0), (109, 0), (500, 0)] {
            let zeros = [0; HASH_BLOCK];
            let expected = lv_cat(&[DSI, &vec![7; length], &zeros[..padding], CI, SID]);
            assert_eq!(
                generator_string(&vec![7; length], CI, SID),
                expected,
                "{length}"
            );
        }
    }

    #[test]
    fn nothing_is_allocated_twice() {
        for length in [0, 127, 128, 16_383, 16_384, 2_097_152] {
            let bytes = prepend_len(&vec![1; length]);
            assert_eq!(bytes.len(), bytes.capacity(), "{length}");
        }
    }
}
