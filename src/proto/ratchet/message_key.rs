//! Message keys (`mk`): each seals or opens one cell and is gone.

use zeroize::Zeroizing;

use crate::proto::kdf::{self, TAG};
use crate::proto::{CELL, Fault, cell};

/// The bytes that every header's associated data begins with: the transcript hash and the direction.
pub(super) const CONTEXT: usize = 33;

/// The key of one cell. It lives on the stack for the length of one call, and is wiped there.
pub struct MessageKey(Zeroizing<[u8; 32]>);

impl MessageKey {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(bytes);
        Self(key)
    }

    /// Encrypts the payload of a cell whose header is in place, and sets its tag.
    pub fn seal(self, context: &[u8; CONTEXT], cell: &mut [u8; CELL]) {
        let aad = aad(context, cell);
        let (text, tag) = cell[cell::HEADER..].split_at_mut(cell::PAYLOAD);
        tag.copy_from_slice(&kdf::seal(&self.0, &aad, text));
    }

    /// Decrypts the payload of a cell in place.
    ///
    /// # Errors
    /// The tag does not verify.
    pub fn open(self, context: &[u8; CONTEXT], cell: &mut [u8; CELL]) -> Result<(), Fault> {
        let aad = aad(context, cell);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&cell[CELL - TAG..]);
        kdf::open(&self.0, &aad, &mut cell[cell::HEADER..CELL - TAG], &tag)
    }
}

/// The context, then the whole header.
fn aad(context: &[u8; CONTEXT], cell: &[u8; CELL]) -> [u8; CONTEXT + cell::HEADER] {
    let mut aad = [0; CONTEXT + cell::HEADER];
    aad[..CONTEXT].copy_from_slice(context);
    aad[CONTEXT..].copy_from_slice(&cell[..cell::HEADER]);
    aad
}
