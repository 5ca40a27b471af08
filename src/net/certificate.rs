//! Certificates for one connection: how they are made and checked.
//!
//! A certificate here vouches for no identity. It gives TLS a key to sign the handshake with, and
//! its fingerprint ties the handshake above TLS to this very connection. So both sides make a new
//! one for each connection, and all look the same: one length, an empty name, constant dates.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm, alg_id,
};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error};

/// `AlgorithmIdentifier` of Ed25519 (RFC 8410, section 3), with its DER header.
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// The bytes before the 32 bytes of the key in a `SubjectPublicKeyInfo` of Ed25519 (RFC 8410,
/// section 4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The bytes before the 64 bytes of a signature in a `BIT STRING`.
const SIGNATURE: [u8; 3] = [0x03, 0x41, 0x00];

/// Makes a key and a certificate for one connection.
///
/// # Errors
/// The system has no randomness, or the library refuses.
pub fn throwaway() -> Result<Arc<CertifiedKey>, Error> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| Error::FailedToGetRandomBytes)?;
    // Positive and without a leading zero byte, so that its DER form always has 16 bytes.
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = rcgen::date_time_ymd(1975, 1, 1);
    params.not_after = rcgen::date_time_ymd(4096, 1, 1);
    let made = |_| Error::General("cannot make a certificate".into());
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(made)?;
    let certificate = params.self_signed(&key).map_err(made)?;
    let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(key.serialized_der()))?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.into()],
        signing,
    )))
}

/// Checks that the other end has shown exactly one certificate of the kind that sesame makes:
/// well-formed X.509 with an Ed25519 key, signed by itself. Names and dates are ignored.
///
/// # Errors
/// The error with which TLS refuses any other certificate.
pub fn check(
    certificate: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
    if !others.is_empty() {
        return Err(encoding());
    }
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = spki
        .strip_prefix(&SPKI)
        .filter(|key| key.len() == 32)
        .ok_or_else(encoding)?;
    let (signed, signature) = parts(certificate).ok_or_else(encoding)?;
    ed25519(algorithms)
        .ok_or_else(encoding)?
        .verify_signature(key, signed, signature)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))
}

fn ed25519(
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    algorithms
        .all
        .iter()
        .copied()
        .find(|one| one.signature_alg_id() == alg_id::ED25519)
}

/// The signed part of a certificate with its DER header, and the Ed25519 signature over it.
fn parts(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, inside, rest) = sequence(certificate)?;
    let (signed, _, after) = sequence(inside)?;
    let signature = after.strip_prefix(&ED25519)?.strip_prefix(&SIGNATURE)?;
    (rest.is_empty() && signature.len() == 64).then_some((signed, signature))
}

/// A DER `SEQUENCE` at the start of these bytes: the whole of it, its content, and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (header, length) = match *der {
        [0x30, short @ 0..=0x7f, ..] => (2, usize::from(short)),
        [0x30, 0x81, long, ..] if long > 0x7f => (3, usize::from(long)),
        [0x30, 0x82, high, low, ..] if high > 0 => {
            (4, usize::from(u16::from_be_bytes([high, low])))
        }
        _ => return None,
    };
    let (whole, rest) = der.split_at_checked(header + length)?;
    Some((whole, &whole[header..], rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn algorithms() -> WebPkiSupportedAlgorithms {
        aws_lc_rs::default_provider().signature_verification_algorithms
    }

    fn made_with(
        algorithm: &'static rcgen::SignatureAlgorithm,
        signer: Option<&KeyPair>,
    ) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::default();
        match signer {
            None => params.self_signed(&key).unwrap().into(),
            Some(other) => {
                let issuer = rcgen::Issuer::from_params(&params, other);
                params.signed_by(&key, &issuer).unwrap().into()
            }
        }
    }

    #[test]
    fn all_have_one_length_and_no_two_are_alike() {
        let made: Vec<_> = (0..200)
            .map(|_| throwaway().unwrap().cert[0].clone())
            .collect();
        let lengths: BTreeSet<_> = made.iter().map(|one| one.len()).collect();
        let distinct: BTreeSet<_> = made.iter().map(|one| one.to_vec()).collect();
        assert_eq!(lengths.len(), 1, "{lengths:?}");
        assert_eq!(distinct.len(), 200);
    }

    #[test]
    fn own_certificate_is_accepted_and_reveals_nothing() {
        let der = throwaway().unwrap().cert[0].clone();
        assert_eq!(check(&der, &[], &algorithms()), Ok(()));
        let text = String::from_utf8_lossy(&der);
        assert!(!text.contains("rcgen") && !text.contains("sesame"));
    }

    #[test]
    fn another_sesames_certificate_may_look_different() {
        assert_eq!(
            check(&made_with(&PKCS_ED25519, None), &[], &algorithms()),
            Ok(())
        );
    }

    #[test]
    fn other_than_one_self_signed_ed25519_is_refused() {
        let good = throwaway().unwrap().cert[0].clone();
        let ours = algorithms();
        assert!(check(&made_with(&rcgen::PKCS_ECDSA_P256_SHA256, None), &[], &ours).is_err());
        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        assert!(check(&made_with(&PKCS_ED25519, Some(&other)), &[], &ours).is_err());
        assert!(check(&good, std::slice::from_ref(&good), &ours).is_err());
        for at in 0..good.len() {
            let mut bent = good.to_vec();
            bent[at] ^= 1;
            assert!(check(&bent.into(), &[], &ours).is_err(), "byte {at}");
            assert!(
                check(&good[..at].into(), &[], &ours).is_err(),
                "cut at {at}"
            );
        }
        let longer = [&good[..], &[0]].concat();
        assert!(check(&longer.into(), &[], &ours).is_err());
    }
}
