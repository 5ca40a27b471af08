//! The identity of a peer: one X25519 key per run, replaced at a panic (PROTOCOL.md, section 4).

use std::fmt;

use rand_core::CryptoRng;

use super::kdf;
use crate::secret::Secret;

/// The SHA-256 of a label and an identity key's public half (PROTOCOL.md, "Identity").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// The id that belongs to an identity key.
    pub fn of(key: &[u8; 32]) -> Self {
        Self(kdf::sha256(kdf::PEER_ID, &[key]))
    }

    /// An id from its 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(id))
    }

    /// The first `n` hex digits, in lower case; `n` is at most 64.
    pub fn hex_prefix(&self, n: usize) -> String {
        let mut text = self.to_string();
        text.truncate(n);
        text
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({}…)", self.hex_prefix(16))
    }
}

/// The random id of one message, the same for all recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// This process's own identity key.
pub struct Identity {
    secret: Secret<32>,
    public: [u8; 32],
    id: PeerId,
}

impl Identity {
    /// A new identity.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let secret = Secret::fill_with(|bytes| rng.fill_bytes(bytes));
        let public = kdf::x25519_public(&secret);
        Self {
            id: PeerId::of(&public),
            secret,
            public,
        }
    }

    /// The key's public half. It is shown only to a peer that has proven the phrase.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The key's secret half.
    pub(super) fn secret(&self) -> &Secret<32> {
        &self.secret
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn an_id_comes_back_from_its_digits() {
        let id = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1)).id();
        let digits = id.to_string();
        assert_eq!(PeerId::from_hex(&digits), Some(id));
        assert_eq!(id.hex_prefix(8), digits[..8]);
        for bad in [
            &digits[1..],
            &digits.to_uppercase(),
            &format!("{digits}0"),
            &format!("g{}", &digits[1..]),
            "",
        ] {
            assert_eq!(PeerId::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_identity_is_new_and_its_id_is_that_of_its_key() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let [one, other] = [(); 2].map(|()| Identity::generate(&mut rng));
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id(), PeerId::of(one.public()));
        assert_ne!(one.id().0, *one.public());
    }
}
