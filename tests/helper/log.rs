//! The lines that a process writes, collected by a thread of its own.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, schema};

/// A line, in the form that a test uses.
pub trait Item: Clone + Debug + Send + 'static {
    /// Parses a line. Returns also what is wrong with it, if anything is.
    fn read(line: &str) -> (Self, Option<String>);
}

/// A line as it was written.
impl Item for String {
    fn read(line: &str) -> (Self, Option<String>) {
        (line.to_owned(), None)
    }
}

/// An event of `--json`, which must be valid under the schema.
impl Item for Value {
    fn read(line: &str) -> (Self, Option<String>) {
        match schema::event(line) {
            Ok(event) => (event, None),
            Err(fault) => (json!({"type": "no event", "line": line}), Some(fault)),
        }
    }
}

/// The lines of one stream, each read once. A line with a fault fails every test that looks at the
/// lines.
pub struct Log<T> {
    state: Mutex<State<T>>,
    grew: Condvar,
}

struct State<T> {
    items: Vec<(Instant, T)>,
    taken: BTreeSet<usize>,
    ended: bool,
    fault: Option<String>,
}

impl<T: Item> Log<T> {
    /// Reads a stream to its end.
    pub fn read(stream: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self {
            state: Mutex::new(State {
                items: Vec::new(),
                taken: BTreeSet::new(),
                ended: false,
                fault: None,
            }),
            grew: Condvar::new(),
        });
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                let whole = text.strip_suffix('\n');
                let (item, fault) = T::read(whole.unwrap_or(&text));
                let mut state = writer.state.lock().unwrap();
                state.items.push((Instant::now(), item));
                // A process that is killed may leave a line that has no end.
                if let Some(fault) = fault.filter(|_| whole.is_some()) {
                    state.fault.get_or_insert(format!("{fault}\n  in {text}"));
                }
                drop(state);
                writer.grew.notify_all();
                line.clear();
            }
            writer.state.lock().unwrap().ended = true;
            writer.grew.notify_all();
        });
        log
    }

    /// Takes the first item that fits and was not taken before, and waits for it. `None` if none
    /// came before the stream's end or within reason.
    pub fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.take_dated(|_, item| fits(item)).map(|(_, item)| item)
    }

    /// The same, with the moment at which each line was read.
    pub fn take_dated(&self, fits: impl Fn(Instant, &T) -> bool) -> Option<(Instant, T)> {
        let mut state = self.lock();
        let mut looked_at = 0;
        let until = Instant::now() + PATIENCE;
        loop {
            let found = (looked_at..state.items.len()).find(|at| {
                let (moment, item) = &state.items[*at];
                !state.taken.contains(at) && fits(*moment, item)
            });
            if let Some(at) = found {
                state.taken.insert(at);
                return Some(state.items[at].clone());
            }
            looked_at = state.items.len();
            if state.ended {
                return None;
            }
            state = self.wait(state, until)?;
        }
    }

    /// Everything so far, taken or not.
    pub fn all(&self) -> Vec<T> {
        let state = self.lock();
        state.items.iter().map(|(_, item)| item.clone()).collect()
    }

    /// Waits for the end of the stream. Returns whether it came within reason.
    pub fn ends(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !state.ended {
            match self.wait(state, until) {
                Some(next) => state = next,
                None => return false,
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        Self::sound(self.state.lock().unwrap())
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        until: Instant,
    ) -> Option<MutexGuard<'a, State<T>>> {
        let left = until.checked_duration_since(Instant::now())?;
        Some(Self::sound(self.grew.wait_timeout(state, left).unwrap().0))
    }

    /// Fails the test if a line had a fault.
    fn sound(state: MutexGuard<'_, State<T>>) -> MutexGuard<'_, State<T>> {
        if let Some(fault) = state.fault.clone() {
            drop(state);
            panic!("{fault}");
        }
        state
    }

    /// The last items, for the message of a failed test.
    pub fn tail(&self) -> String {
        let state = self.state.lock().unwrap();
        let from = state.items.len().saturating_sub(40);
        state.items[from..]
            .iter()
            .map(|(_, item)| format!("    {item:?}\n"))
            .collect()
    }
}
