//! What a process says, line by line, collected by a thread of its own.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::PATIENCE;

/// The lines of one stream, each parsed once.
pub struct Log<T> {
    state: Mutex<State<T>>,
    grew: Condvar,
}

struct State<T> {
    items: Vec<T>,
    taken: BTreeSet<usize>,
    ended: bool,
}

impl<T: Clone + Debug + Send + 'static> Log<T> {
    /// Reads a stream to its end.
    pub fn read(stream: impl Read + Send + 'static, parse: fn(String) -> T) -> Arc<Self> {
        let log = Arc::new(Self {
            state: Mutex::new(State {
                items: Vec::new(),
                taken: BTreeSet::new(),
                ended: false,
            }),
            grew: Condvar::new(),
        });
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                let item = parse(text.strip_suffix('\n').unwrap_or(&text).to_owned());
                line.clear();
                writer.state.lock().unwrap().items.push(item);
                writer.grew.notify_all();
            }
            writer.state.lock().unwrap().ended = true;
            writer.grew.notify_all();
        });
        log
    }

    /// Takes the first item that fits and was not taken before; waits for it. `None` where none
    /// came before the stream's end, or within reason.
    pub fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.state.lock().unwrap();
        let mut looked_at = 0;
        let until = Instant::now() + PATIENCE;
        loop {
            let found = (looked_at..state.items.len())
                .find(|at| !state.taken.contains(at) && fits(&state.items[*at]));
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
        self.state.lock().unwrap().items.clone()
    }

    /// Waits for the end of the stream; whether it came within reason.
    pub fn ends(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap();
        while !state.ended {
            match self.wait(state, until) {
                Some(next) => state = next,
                None => return false,
            }
        }
        true
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        until: Instant,
    ) -> Option<MutexGuard<'a, State<T>>> {
        let left = until.checked_duration_since(Instant::now())?;
        Some(self.grew.wait_timeout(state, left).unwrap().0)
    }

    /// The last items, for the message of a failed test.
    pub fn tail(&self) -> String {
        let state = self.state.lock().unwrap();
        let from = state.items.len().saturating_sub(40);
        state.items[from..]
            .iter()
            .map(|item| format!("    {item:?}\n"))
            .collect()
    }
}
