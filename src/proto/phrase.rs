//! The shared phrase: from the user's text to the key that CPace works with.
//!
//! Both ends must get the same key from the same phrase, whatever keyboard, system or file it comes
//! from, so [`normalise`] fixes its bytes. Guessing must be expensive, so [`derive()`] is Argon2id.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use thiserror::Error;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use zeroize::Zeroizing;

use super::text_line::{self, TextLineError};
use crate::secret::{Secret, wiping_stack};

/// The longest phrase, in bytes of UTF-8 as given, without byte order mark and line end.
pub const MAX_BYTES: usize = 1024;

/// The longest first line that can hold a phrase: with byte order mark and carriage return.
pub const LONGEST_LINE: usize = MAX_BYTES + 3 + 1;

/// How much longer NFC may make its input, at worst (Unicode Standard Annex 15, section 14, "NFC"
/// in UTF-8).
const NFC_GROWTH: usize = 3;

/// Argon2's memory in blocks of 1 KiB, or its `m`: 64 MiB. This many blocks are what [`derive()`] works
/// on.
pub const WORK_BLOCKS: usize = 64 * 1024;

/// Argon2's passes, `t`.
const PASSES: u32 = 3;

/// Argon2's lanes, `p`.
const LANES: u32 = 4;

/// How much of the stack Argon2 uses at most, in words: 64 KiB. Its inner hash leaves two copies of
/// the key there.
const ARGON2_STACK: usize = 8 * 1024;

/// The salt of a real phrase. It cannot be random, because the two ends share only the phrase.
const SALT: &[u8] = b"sesame-v1 phrase";

/// The salt of a decoy phrase, so that a decoy never meets a real mesh, even with the same phrase.
const DECOY_SALT: &[u8] = b"sesame-v1 decoy phrase";

/// Why no key can be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PhraseError {
    /// Empty, or only a line end.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not one line of text.
    #[error("it {0}")]
    NoLine(TextLineError),
    /// The work space has fewer than [`WORK_BLOCKS`] blocks: a mistake of ours, not the user's.
    #[error("{0}")]
    Work(argon2::Error),
}

/// The phrase that these bytes mean: UTF-8 in NFC, without a byte order mark before it or the line
/// end after it (`\n`, `\r\n`, or a `\r` whose newline the reader has taken).
///
/// Only the returned copy stays in memory; the caller wipes `bytes`.
///
/// # Errors
/// All except [`PhraseError::Work`].
pub fn normalise(bytes: &[u8]) -> Result<Zeroizing<String>, PhraseError> {
    // Checked first: a reader may have cut a text that is too long in the middle of a character.
    if text_line::trim(bytes).len() > MAX_BYTES && !text_line::is_utf16(bytes) {
        return Err(PhraseError::TooLong);
    }
    let text = text_line::read(bytes).map_err(PhraseError::NoLine)?;
    if text.is_empty() {
        return Err(PhraseError::Empty);
    }
    // Reserves the worst case at once, because a string that grows leaves its earlier copy in
    // memory.
    let mut phrase = Zeroizing::new(String::with_capacity(NFC_GROWTH * text.len()));
    if is_nfc(text) {
        phrase.push_str(text);
    } else {
        phrase.extend(text.nfc());
    }
    Ok(phrase)
}

/// The key of a phrase: Argon2id version 1.3 (RFC 9106) with 64 MiB, 3 passes, 4 lanes, 32 bytes
/// out, no secret, no associated data, and a fixed string as salt.
///
/// `work` needs at least [`WORK_BLOCKS`] blocks. It still holds data from which the key can be
/// computed, so its owner must wipe it. This takes about an eighth of a second on one core, and 64
/// KiB of stack.
///
/// # Errors
/// [`PhraseError::Work`].
pub fn derive(
    phrase: &str,
    decoy: bool,
    work: impl AsMut<[Block]>,
) -> Result<Secret<32>, PhraseError> {
    let salt = if decoy { DECOY_SALT } else { SALT };
    wiping_stack::<ARGON2_STACK, _>(|| hash(phrase, salt, work)).map_err(PhraseError::Work)
}

fn hash(phrase: &str, salt: &[u8], work: impl AsMut<[Block]>) -> argon2::Result<Secret<32>> {
    let params = Params::new(WORK_BLOCKS as u32, PASSES, LANES, Some(32))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut outcome = Ok(());
    let key = Secret::fill_with(|out| {
        outcome = argon2.hash_password_into_with_memory(phrase.as_bytes(), salt, out, work);
    });
    outcome.map(|()| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, PhraseError> {
        normalise(bytes).map(|phrase| phrase.to_string())
    }

    #[test]
    fn the_same_phrase_from_anywhere_is_the_same() {
        for given in [
            "Zoë's café",
            "Zoe\u{308}'s cafe\u{301}",
            "\u{feff}Zoë's café",
            "Zoë's café\n",
            "Zoë's café\r\n",
            "Zoë's café\r",
            "\u{feff}Zoe\u{308}'s café\r\n",
        ] {
            assert_eq!(
                text(given.as_bytes()),
                Ok("Zo\u{eb}'s caf\u{e9}".into()),
                "{given:?}"
            );
        }
    }

    #[test]
    fn other_characters_of_the_phrase_stay() {
        for kept in [" a b ", "a\tb", "A", "a\u{feff}", "\u{212b}ngstrom\u{a0}"] {
            let expected: String = kept.replace('\u{212b}', "\u{c5}");
            assert_eq!(text(kept.as_bytes()), Ok(expected), "{kept:?}");
        }
    }

    #[test]
    fn invalid_phrase_is_refused() {
        for empty in ["", "\n", "\r\n", "\u{feff}", "\u{feff}\r\n"] {
            assert_eq!(text(empty.as_bytes()), Err(PhraseError::Empty), "{empty:?}");
        }
        for (bytes, why) in [
            (b"\xff\xfea\0".as_slice(), TextLineError::Utf16),
            (b"a\xff", TextLineError::NotUtf8),
            (b"a\0b", TextLineError::Nul),
            (b"a\rb", TextLineError::CarriageReturn),
            (b"a\nb", TextLineError::SeveralLines),
        ] {
            assert_eq!(text(bytes), Err(PhraseError::NoLine(why)));
        }
        assert_eq!(text(&[b'x'; MAX_BYTES + 1]), Err(PhraseError::TooLong));
        assert_eq!(text(&[0xc3; MAX_BYTES + 1]), Err(PhraseError::TooLong));
        assert!(text(&[&[b'x'; MAX_BYTES][..], b"\r\n"].concat()).is_ok());
    }

    #[test]
    fn the_worst_growth_fits_the_room() {
        // U+1D160 grows from 4 bytes to 12, U+FB2C from 3 to 6, U+0390 stays.
        for worst in ["\u{1d160}", "\u{fb2c}", "\u{390}", "\u{958}"] {
            let given = worst.repeat(MAX_BYTES / worst.len());
            let phrase = normalise(given.as_bytes()).unwrap();
            assert_eq!(*phrase, given.nfc().collect::<String>());
            assert_eq!(phrase.capacity(), NFC_GROWTH * given.len());
        }
    }

    // Computed with the reference implementation in C, through argon2-cffi 25.1 for Python.
    #[test]
    fn keys_are_those_of_the_reference_implementation() {
        let known = [
            (
                "correct horse battery staple",
                false,
                "f34b5e7146b81cb2e069c7046ecfd4eeb86e04f85e943fb00c4e6334bb0f6da1",
            ),
            (
                "correct horse battery staple",
                true,
                "b8282b5a22b10801f82e5b043afac2c219efcd87e7eb82fa12ac08f91b8f47b7",
            ),
            (
                "Zo\u{eb}'s caf\u{e9}",
                false,
                "12fd43accfd2640ae9917e91c6e1169ad7379005068957ddb28671469d3972e4",
            ),
            (
                "Zo\u{eb}'s caf\u{e9}",
                true,
                "d1bf7b5ef893df7aa55a7c2c915c48a4a17b2aaee7d3e7719441f090583882e6",
            ),
        ];
        let mut work = vec![Block::new(); WORK_BLOCKS];
        for (phrase, decoy, expected) in known {
            let key = derive(phrase, decoy, &mut work[..]).unwrap();
            let hex: String = key
                .expose()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(hex, expected, "{phrase} {decoy}");
        }
    }

    #[test]
    fn too_little_room_is_an_error() {
        let mut work = vec![Block::new(); 16];
        assert_eq!(
            derive("x", false, &mut work[..]).err(),
            Some(PhraseError::Work(argon2::Error::MemoryTooLittle))
        );
    }
}
