//! The root key (`RK` in Signal's specification): made by the handshake, replaced at each
//! Diffie-Hellman step of either end.

use zeroize::Zeroizing;

use super::{ChainKey, EpochSecret, RatchetKey, RemoteRatchetKey};
use crate::proto::{Fault, kdf};
use crate::secret::Secret;

/// The key from which each Diffie-Hellman step makes the next root key and a chain key.
pub struct RootKey(Secret<32>);

impl RootKey {
    /// The first root key, from the handshake.
    pub fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// `KDF_RK`: the next root key and the new chain's key. With the secret of an epoch, both also
    /// depend on that. The present root key is unchanged until the caller replaces it.
    ///
    /// # Errors
    /// The Diffie-Hellman result is zero.
    pub fn step(
        &self,
        own: &RatchetKey,
        remote: &RemoteRatchetKey,
        epoch: Option<&EpochSecret>,
    ) -> Result<(RootKey, ChainKey), Fault> {
        let shared = own.diffie_hellman(remote)?;
        let keys = match epoch {
            None => kdf::derive::<64>(self.0.expose(), shared.expose(), kdf::RATCHET, &[]),
            Some(epoch) => {
                let mut both = Zeroizing::new([0; 64]);
                both[..32].copy_from_slice(shared.expose());
                both[32..].copy_from_slice(epoch.shared.expose());
                kdf::derive::<64>(self.0.expose(), &*both, kdf::EPOCH_ROOT, &epoch.exchange)
            }
        };
        let root = Secret::fill_with(|bytes| bytes.copy_from_slice(&keys[..32]));
        let chain = Secret::fill_with(|bytes| bytes.copy_from_slice(&keys[32..]));
        Ok((RootKey(root), ChainKey::new(chain)))
    }
}
