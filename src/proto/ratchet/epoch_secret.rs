//! What an exchange of the KEM adds to the root key.

use crate::secret::Secret;

/// The secret of one finished exchange, until a step of the ratchet mixes it into the root key.
pub struct EpochSecret {
    /// The KEM's shared secret.
    pub shared: Secret<32>,
    /// The hash of the encapsulation key and the ciphertext.
    pub exchange: [u8; 32],
}
