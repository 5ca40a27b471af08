//! Chain keys (`CKs`, `CKr`): replaced with every cell.

use super::MessageKey;
use crate::proto::kdf;
use crate::secret::Secret;

/// The key that makes a chain's message keys, one after the other.
pub struct ChainKey(Secret<32>);

impl ChainKey {
    /// A chain's first key.
    pub fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// `KDF_CK`: the next chain key and this cell's message key.
    pub fn step(&self) -> (ChainKey, MessageKey) {
        let keys = kdf::expand::<64>(self.0.expose(), kdf::CHAIN);
        let next = Secret::fill_with(|bytes| bytes.copy_from_slice(&keys[..32]));
        (ChainKey(next), MessageKey::new(&keys[32..]))
    }
}
