//! SAFECOOKIE: each end proves that it knows the content of tor's cookie file, without showing it
//! (`control-spec`, section 3.24).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// The keys of the two proofs.
const OF_TOR: &[u8] = b"Tor safe cookie authentication server-to-controller hash";
const OF_CONTROLLER: &[u8] = b"Tor safe cookie authentication controller-to-server hash";

/// The content of the file, and a nonce of each end.
pub(super) struct SafeCookie<'a> {
    pub cookie: &'a Secret<32>,
    pub own_nonce: &'a [u8; 32],
    pub tor_nonce: &'a [u8; 32],
}

impl SafeCookie<'_> {
    fn proof(&self, key: &[u8]) -> [u8; 32] {
        // A key of any length is right for HMAC; the array of zeros is never used.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
            return [0; 32];
        };
        mac.update(self.cookie.expose());
        mac.update(self.own_nonce);
        mac.update(self.tor_nonce);
        mac.finalize().into_bytes().into()
    }

    /// Whether this is what only a program that knows the cookie could send.
    pub(super) fn proves_tor(&self, proof: &[u8; 32]) -> bool {
        self.proof(OF_TOR).ct_eq(proof).into()
    }

    /// The proof of this end.
    pub(super) fn own_proof(&self) -> [u8; 32] {
        self.proof(OF_CONTROLLER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_those_of_another_implementation() {
        // Python: hmac.digest(KEY, bytes([1]) * 32 + bytes([2]) * 32 + bytes([3]) * 32, "sha256")
        let cookie = Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1));
        let of = SafeCookie {
            cookie: &cookie,
            own_nonce: &[2; 32],
            tor_nonce: &[3; 32],
        };
        let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(
            hex(of.own_proof()),
            "8d81b806c8314911da68057896783b1f28f640a588c9a2cfe902d371806bbf1a"
        );
        let tors = of.proof(OF_TOR);
        assert_eq!(
            hex(tors),
            "1830d2de6e061e60adfa2c0c2a9257b7126e51b074f39bd4519d89229df08827"
        );
        assert!(of.proves_tor(&tors));
        assert!(!of.proves_tor(&of.own_proof()));
        for bit in 0..256 {
            let mut other = tors;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!of.proves_tor(&other));
        }
    }
}
