//! Words that people can read to each other: for phrases that sesame makes up, and for the
//! verification words of a link.
//!
//! `words.txt` is the EFF's large word list (Electronic Frontier Foundation, CC BY 3.0 US): only
//! the words, in its order, one per line. No word is the beginning of another.

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// How many words there are: 6^5, five throws of a die.
pub const COUNT: usize = 7776;

/// How many words [`verification_words`] gives.
pub const VERIFICATION_WORDS: usize = 6;

/// The most words of [`random_phrase`]; this many still fit into the longest phrase.
pub const MAX_PHRASE_WORDS: usize = 100;

/// The longest word, in bytes.
const LONGEST: usize = 9;

/// 13 bits: the fewest that can number all words.
const MASK: u16 = 0x1fff;

const LIST: &str = include_str!("words.txt");

/// Where each word begins in [`LIST`], and where one after the last would. The compiler computes
/// it, and checks that there are [`COUNT`] words.
static STARTS: [u16; COUNT + 1] = {
    let bytes = LIST.as_bytes();
    assert!(bytes.len() <= u16::MAX as usize);
    let mut starts = [0; COUNT + 1];
    let (mut word, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            word += 1;
            starts[word] = (at + 1) as u16;
        }
        at += 1;
    }
    assert!(word == COUNT && starts[COUNT] as usize == bytes.len());
    starts
};

/// The word with this number, from 0; there are [`COUNT`].
pub fn word(number: usize) -> Option<&'static str> {
    let (start, next) = (*STARTS.get(number)?, *STARTS.get(number + 1)?);
    LIST.get(start as usize..next as usize - 1)
}

/// Six words for these bytes, with single spaces between them.
///
/// The bytes are one big-endian number n. Six times: the next word is number n mod 7776, and n
/// becomes n div 7776. So the first word is the least significant digit. From random bytes, all
/// sequences of six words are equally likely to within 2^-50.
pub fn verification_words(bytes: &[u8; 16]) -> String {
    let mut n = u128::from_be_bytes(*bytes);
    let words: [&str; VERIFICATION_WORDS] = std::array::from_fn(|_| {
        let number = (n % COUNT as u128) as usize;
        n /= COUNT as u128;
        word(number).unwrap_or_default()
    });
    words.join(" ")
}

/// A phrase of `count` random words (clamped to 1..=[`MAX_PHRASE_WORDS`]), and its strength in
/// bits.
pub fn random_phrase(count: usize, rng: &mut dyn CryptoRng) -> (Zeroizing<String>, f64) {
    let count = count.clamp(1, MAX_PHRASE_WORDS);
    // Reserves everything at once, because a string that grows leaves its earlier copy in memory.
    let mut phrase = Zeroizing::new(String::with_capacity(count * (LONGEST + 1)));
    for nth in 0..count {
        if nth > 0 {
            phrase.push(' ');
        }
        phrase.push_str(random_word(rng));
    }
    (phrase, count as f64 * (COUNT as f64).log2())
}

/// Draws until a number fits, so that every word is equally likely; 19 of 20 do.
fn random_word(rng: &mut dyn CryptoRng) -> &'static str {
    let mut bytes = Zeroizing::new([0; 2]);
    loop {
        rng.fill_bytes(&mut *bytes);
        let mut number = u16::from_le_bytes(*bytes) & MASK;
        let found = word(number as usize);
        number.zeroize();
        if let Some(found) = found {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn all() -> Vec<&'static str> {
        (0..COUNT).map_while(word).collect()
    }

    #[test]
    fn the_list_is_whole() {
        let words = all();
        assert_eq!(words, LIST.lines().collect::<Vec<_>>());
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), COUNT);
        assert_eq!(words.iter().map(|word| word.len()).max(), Some(LONGEST));
        assert!(
            words
                .iter()
                .all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        assert_eq!(
            (words[0], words[COUNT - 1], word(COUNT)),
            ("abacus", "zoom", None)
        );
    }

    #[test]
    fn no_word_begins_another() {
        // In sorted order, a word that begins another is directly before it, or before another such
        // word.
        let mut words = all();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| !pair[1].starts_with(pair[0])));
    }

    #[test]
    fn verification_words_are_the_digits_of_the_number() {
        let first = "abacus abacus abacus abacus abacus abacus";
        let counting = std::array::from_fn(|at| at as u8);
        assert_eq!(
            verification_words(&counting),
            "fastness dock ladylike postbox goes grimace"
        );
        assert_eq!(
            verification_words(&[0xff; 16]),
            "crewmate proving patience scroll recipient rebate"
        );
        assert_eq!(verification_words(&[0; 16]), first);
        assert_eq!(verification_words(&7776u128.pow(6).to_be_bytes()), first);
        assert_eq!(
            verification_words(&1u128.to_be_bytes()),
            "abdomen abacus abacus abacus abacus abacus"
        );
        assert_eq!(
            verification_words(&(2 * 7776 + 7775u128).to_be_bytes()),
            "zoom abdominal abacus abacus abacus abacus"
        );
    }

    #[test]
    fn random_phrases_have_their_words_and_strength() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (asked, given) in [(0, 1), (1, 1), (6, 6), (100, 100), (usize::MAX, 100)] {
            let (phrase, bits) = random_phrase(asked, &mut rng);
            assert_eq!(phrase.split(' ').count(), given);
            assert!(
                phrase
                    .split(' ')
                    .all(|word| LIST.lines().any(|known| known == word))
            );
            assert!((bits - given as f64 * 12.925).abs() < 0.05);
            assert!(phrase.len() <= super::super::phrase::MAX_BYTES);
        }
    }

    #[test]
    fn every_word_is_drawn_about_equally_often() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut times = vec![0u32; COUNT];
        let words = all();
        for _ in 0..COUNT * 50 {
            times[words.binary_search(&random_word(&mut rng)).unwrap()] += 1;
        }
        // Chi-squared with 7,775 degrees of freedom: its standard deviation is 125.
        let chi: f64 = times
            .iter()
            .map(|n| (f64::from(*n) - 50.0).powi(2) / 50.0)
            .sum();
        assert!((chi - 7775.0).abs() < 5.0 * 125.0, "{chi}");
    }
}
