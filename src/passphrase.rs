//! Passphrases that sesame makes, and the strength of those that people make up.

use getrandom::SysRng;
use rand_core::{TryRng, UnwrapErr};
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use crate::exit::Failure;
use crate::proto::words;
use crate::secret::wiping_stack;

/// How many words a passphrase should have.
pub const WORDS: usize = 6;

/// A random phrase of this many words cannot be guessed at the rate that a listener allows
/// (SECURITY.md, "The passphrase").
const STRONG_WORDS: usize = 5;

/// Below this, in bits, a phrase that somebody made up is weak: less than three random words have.
/// The limit for random phrases is higher because their strength is known, and an estimate counts
/// low: ten guesses for each character in which it finds no pattern.
const WEAK: f64 = 38.0;

/// The most characters of a phrase that are looked at: the time grows with the third power, and
/// more characters make a phrase only stronger.
const EXAMINED: usize = 24;

/// Guesses per second and address that a listener allows (SECURITY.md, "The passphrase").
const GUESSES: f64 = 5.0;

/// What the estimate may leave on the stack, in words: 64 KiB.
const ESTIMATE_STACK: usize = 8 * 1024;

/// A random phrase of this many words, and its strength in bits.
///
/// # Errors
/// The system has no random numbers.
pub fn random(words: usize) -> Result<(Zeroizing<String>, f64), Failure> {
    SysRng.try_next_u32().map_err(|error| {
        Failure::runtime(
            format!("cannot get random numbers from the system: {error}"),
            "",
        )
    })?;
    Ok(words::random_phrase(words, &mut UnwrapErr(SysRng)))
}

/// Whether a random phrase of this many words is strong enough.
pub fn is_strong(words: usize) -> bool {
    words >= STRONG_WORDS
}

/// A remark about a phrase that can be guessed in time, with its strength. It says nothing else of
/// the phrase.
pub fn remark(phrase: &str) -> Option<String> {
    let bits = bits(phrase);
    (bits < WEAK).then(|| {
        // On average half of all phrases are tried.
        let seconds = (bits - 1.0).exp2() / GUESSES;
        format!(
            "this passphrase is weak, about {bits:.0} bits: {GUESSES} guesses per second find it \
             within {}; sesame phrase makes one of 78 bits",
            duration(seconds)
        )
    })
}

fn bits(phrase: &str) -> f64 {
    let end = phrase.char_indices().nth(EXAMINED);
    let end = end.map_or(phrase.len(), |(at, _)| at);
    // On the heap, the global allocator wipes what is freed, and nothing of a phrase outlives the
    // result.
    wiping_stack::<ESTIMATE_STACK, _>(|| {
        zxcvbn(&phrase[..end], &[]).guesses_log10() * std::f64::consts::LOG2_10
    })
}

/// In the largest unit of which there is at least one.
fn duration(seconds: f64) -> String {
    let units = [
        ("year", 365.25 * 86_400.0),
        ("day", 86_400.0),
        ("hour", 3_600.0),
        ("minute", 60.0),
    ];
    match units.iter().find(|(_, length)| seconds >= *length) {
        None => "a minute".to_owned(),
        Some((unit, length)) => {
            let count = (seconds / length).ceil();
            let plural = if count == 1.0 { "" } else { "s" };
            format!("{count:.0} {unit}{plural}")
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn phrase_that_people_make_up_is_weak() {
        for weak in [
            "a",
            "password",
            "P4ssw0rd!",
            "letmein2024",
            "qwertyuiop",
            "hunter2",
            "alice1987",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "12345678901234567890",
            "kaffee",
        ] {
            assert!(remark(weak).is_some(), "{weak}: {}", bits(weak));
        }
    }

    #[test]
    fn phrase_of_random_words_or_characters_is_not_weak() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for words in [4, 6] {
            for _ in 0..200 {
                let (phrase, _) = words::random_phrase(words, &mut rng);
                assert_eq!(remark(&phrase), None, "{}", *phrase);
            }
        }
        for strong in ["vT9#kQz!m2Lx", "zoë's café in løkken, 3 o'clock"] {
            assert_eq!(remark(strong), None, "{strong}: {}", bits(strong));
        }
    }

    #[test]
    fn any_text_has_an_estimate() {
        let worst = [
            "4@8({[<36(9)1!|0$5+7%2",
            "zxcvbnm,./';lkjhgfdsapoi",
            "1397531973579513",
        ];
        let odd = [
            "\u{130}\u{130}",
            "ẞß",
            "日本語のパスワード",
            "👩‍🚀👩‍🚀",
            " ",
            "\t",
            "\u{1d160}",
        ];
        for text in worst.iter().chain(&odd) {
            assert!(bits(&text.repeat(30)) > 0.0, "{text}");
            assert!(bits(text) >= 0.0, "{text}");
        }
    }

    #[test]
    fn remark_has_strength_and_time_and_no_part_of_the_phrase() {
        let remark = remark("hunter2").unwrap();
        assert!(remark.contains(" bits: 5 guesses per second find it within "));
        assert!(!remark.contains("hunter"));
        let times = [0.0, 60.0, 61.0, 3_600.0, 172_800.0, 1e9].map(duration);
        assert_eq!(
            times,
            [
                "a minute",
                "1 minute",
                "2 minutes",
                "1 hour",
                "2 days",
                "32 years"
            ]
        );
    }
}
