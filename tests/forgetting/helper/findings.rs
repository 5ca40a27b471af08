//! The findings of a test.

use sesame::proto::phrase;
use sesame::secret::arena::Work;

use super::memory::{Found, Memory, list};
use super::needle::Needle;

/// Everything that should not be. The test continues, and fails at its end with all of it.
#[derive(Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// There should be no occurrence.
    pub fn none(&mut self, when: &str, found: &[Found]) {
        if !found.is_empty() {
            self.0.push(format!("{when}: {}", list(found)));
        }
    }

    /// This should hold.
    pub fn check(&mut self, what: impl Into<String>, holds: bool) {
        if !holds {
            self.0.push(what.into());
        }
    }

    /// The phrase's key should be in the arena and nowhere else.
    pub fn only_locked(&mut self, when: &str, memory: &Memory, key: &Needle) {
        let key = [key.clone()];
        let found = memory.holds(&key);
        self.check(
            format!("{when}: the key is not in the arena"),
            found.iter().any(|one| one.locked),
        );
        self.none(when, &memory.remains(&key));
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

/// The key of a phrase, as the program computes it.
pub fn key(given: &str, decoy: bool) -> Needle {
    let work = Work::new(phrase::WORK_BLOCKS).unwrap();
    let key = phrase::derive(given, decoy, work).unwrap();
    Needle::bytes("the phrase's key", key.expose())
}
