//! Ratchet keys: an end's own key pair (`DHs`), and the other end's public half (`DHr`). Two types,
//! so that they cannot be swapped.

use rand_core::CryptoRng;

use crate::proto::{Fault, kdf};
use crate::secret::Secret;

/// A key pair of the Diffie-Hellman ratchet: made when an end takes its turn, or in the handshake.
pub struct RatchetKey {
    secret: Secret<32>,
    public: [u8; 32],
}

/// The other end's present public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RemoteRatchetKey(pub [u8; 32]);

impl RatchetKey {
    /// A new random key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let secret = Secret::fill_with(|bytes| rng.fill_bytes(bytes));
        Self {
            public: kdf::x25519_public(&secret),
            secret,
        }
    }

    /// The public half, as in headers.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// X25519 with the other end's key.
    ///
    /// # Errors
    /// The result is zero.
    pub fn diffie_hellman(&self, remote: &RemoteRatchetKey) -> Result<Secret<32>, Fault> {
        kdf::x25519(&self.secret, &remote.0)
    }

    /// The secret half, for the handshake's own Diffie-Hellman.
    pub(in crate::proto) fn secret(&self) -> &Secret<32> {
        &self.secret
    }
}
