//! Certificates, as the verifier sees them: what it accepts is one that PROTOCOL.md, section 3, allows,
//! by a reading of its own and with another Ed25519; and with one bit changed it is refused.

use std::sync::LazyLock;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use sesame::net::certificate;
use sha2::{Digest, Sha512};

use super::choices::Choices;

/// The secret key of the certificates that are signed here, and its public half.
static KEY: LazyLock<(Scalar, [u8; 32])> = LazyLock::new(|| {
    let secret = Scalar::from_bytes_mod_order([7; 32]);
    (
        secret,
        EdwardsPoint::mul_base(&secret).compress().to_bytes(),
    )
});
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);

const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The critical extensions that are allowed: all have an identifier that begins like this, and end with
/// one of these bytes.
const EXTENSION: [u8; 2] = [0x55, 0x1d];
const CRITICAL: [u8; 6] = [15, 17, 19, 30, 31, 37];

/// Takes a kind, the place of a bit, and either a certificate or what it signs.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    let place = usize::from(choices.u16());
    let der = match kind & 1 {
        0 => choices.rest().to_vec(),
        _ => signed(choices.rest()),
    };
    if !accepts(&der, &[]) {
        return;
    }
    assert!(der.len() < 65_536);
    assert!(is_allowed(&der).is_some(), "{der:02x?}");
    let mut bent = der.clone();
    let at = place % (8 * der.len());
    bent[at / 8] ^= 1 << (at % 8);
    assert!(!accepts(&bent, &[]), "with bit {at} changed");
    for longer in [[&der[..], &[0]].concat(), der[..der.len() - 1].to_vec()] {
        assert!(!accepts(&longer, &[]));
    }
    assert!(!accepts(&der, &[der.clone().into()]), "two are too many");
}

fn accepts(der: &[u8], others: &[CertificateDer<'_>]) -> bool {
    let certificate = CertificateDer::from_slice(der);
    certificate::check(&certificate, others, &ALGORITHMS).is_ok()
}

/// An element of DER with this tag.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match length {
        0..=0x7f => der.push(length as u8),
        0x80..=0xff => der.extend([0x81, length as u8]),
        _ => {
            der.push(0x82);
            der.extend((length as u16).to_be_bytes());
        }
    }
    der.extend(content);
    der
}

/// `SHA-512(R || A || M)` as a scalar (RFC 8032).
fn challenge(r: &[u8], key: &[u8], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(key)
        .chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// A certificate whose signed part has this content.
fn signed(content: &[u8]) -> Vec<u8> {
    let content = &content[..content.len().min(60_000)];
    let part = element(0x30, content);
    let (secret, public) = &*KEY;
    let once = challenge(&[], &[9], &part);
    let r = EdwardsPoint::mul_base(&once).compress();
    let s = once + challenge(r.as_bytes(), public, &part) * secret;
    let signature = [&[0][..], r.as_bytes(), s.as_bytes()].concat();
    element(
        0x30,
        &[&part[..], ED25519, &element(3, &signature)].concat(),
    )
}

/// Reads an element: its tag, its content, and what follows it.
fn read(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, header) = match *der {
        [_, length @ ..=0x7f, ..] => (usize::from(length), 2),
        [_, 0x81, length, ..] => (usize::from(length), 3),
        [_, 0x82, high, low, ..] => (usize::from(high) << 8 | usize::from(low), 4),
        _ => return None,
    };
    let content = der.get(header..header + length)?;
    Some((der[0], content, &der[header + length..]))
}

/// Whether a certificate is of the form that section 3 describes, and signed by its own key.
fn is_allowed(der: &[u8]) -> Option<()> {
    let (0x30, content, []) = read(der)? else {
        return None;
    };
    let (0x30, fields, after) = read(content)? else {
        return None;
    };
    let part = &content[..content.len() - after.len()];
    let signature = after.strip_prefix(ED25519)?.strip_prefix(&[3, 0x41, 0])?;
    let (r, s) = signature.split_at_checked(32)?;

    // Version 3, and the number; the algorithm, the issuer, the time and the subject; the key.
    let (0xa0, [2, 1, 2], rest) = read(fields)? else {
        return None;
    };
    let (2, _, mut rest) = read(rest)? else {
        return None;
    };
    for _ in 0..4 {
        let (0x30, _, after) = read(rest)? else {
            return None;
        };
        rest = after;
    }
    let key = rest.strip_prefix(SPKI)?;
    let (key, rest) = key.split_at_checked(32)?;
    if !rest.is_empty() {
        // No unique identifiers: the extensions come next.
        let (0xa3, list, []) = read(rest)? else {
            return None;
        };
        extensions(list)?;
    }

    let point = |bytes: &[u8]| CompressedEdwardsY::from_slice(bytes).ok()?.decompress();
    let s: Scalar = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    let k = challenge(r, key, part);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-point(key)?, &s);
    (expected.compress().as_bytes() == r).then_some(())
}

fn extensions(list: &[u8]) -> Option<()> {
    let (0x30, mut rest, []) = read(list)? else {
        return None;
    };
    while !rest.is_empty() {
        let (0x30, extension, after) = read(rest)? else {
            return None;
        };
        let (6, id, value) = read(extension)? else {
            return None;
        };
        if let (1, [0xff], _) = read(value)? {
            let [begin @ .., last] = id else {
                return None;
            };
            if *begin != EXTENSION || !CRITICAL.contains(last) {
                return None;
            }
        }
        rest = after;
    }
    Some(())
}

/// What a certificate like ours signs, with these extensions.
fn content(extensions: &[u8]) -> Vec<u8> {
    let mut content = vec![0xa0, 3, 2, 1, 2];
    let serial = [0x4a; 16];
    content.extend(element(2, &serial));
    content.extend(ED25519);
    content.extend([0x30, 0]);
    let from = element(0x17, b"750101000000Z");
    let to = element(0x18, b"40960101000000Z");
    content.extend(element(0x30, &[from, to].concat()));
    content.extend([0x30, 0]);
    content.extend(SPKI);
    content.extend(KEY.1);
    if !extensions.is_empty() {
        content.extend(element(0xa3, &element(0x30, extensions)));
    }
    content
}

/// An extension with an identifier that ends like this.
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    let id = [6, 3, EXTENSION[0], EXTENSION[1], last];
    element(0x30, &[&id[..], critical, &element(4, value)].concat())
}

/// What certificates sign that are accepted.
fn right_contents() -> [Vec<u8>; 3] {
    let usual = extension(19, true, &[0x30, 0]);
    let named = extension(17, false, b"\x30\x03\x82\x01x");
    let both = [usual.clone(), named].concat();
    [content(&[]), content(&usual), content(&both)]
}

/// A certificate like ours, some with extensions, and what these sign.
pub fn seeds() -> Vec<Vec<u8>> {
    let right = right_contents();
    let unknown = content(&extension(99, true, &[5, 0]));
    let mut seeds: Vec<_> = right
        .iter()
        .chain([&unknown])
        .map(|content| [&[1, 1, 99][..], content].concat())
        .collect();
    seeds.push([&[0, 3, 1][..], &signed(&right[0])].concat());
    seeds.push([&[0, 0, 40][..], &signed(&right[2])].concat());
    seeds
}

/// Whether right ones are accepted, so that the property is not an empty one.
pub fn accepts_right_ones() -> bool {
    right_contents()
        .iter()
        .all(|content| accepts(&signed(content), &[]))
}
