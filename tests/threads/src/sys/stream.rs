//! Streams of which a model knows all bytes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that a model put in, or takes out.
#[derive(Clone, Default)]
pub struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    /// All of them.
    pub fn all(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for stdout. Takes at most two bytes at once.
#[derive(Clone, Default)]
pub struct Output {
    /// What was written.
    pub written: Bytes,
}

impl Output {
    /// There is always room.
    pub fn wait(&self, _: Duration) -> bool {
        true
    }

    /// No write is under way once [`Self::write`] has returned.
    pub fn is_writing(&self) -> bool {
        false
    }

    /// Takes the first two bytes.
    ///
    /// # Errors
    /// None.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(2);
        self.written.all().extend(&bytes[..taken]);
        Ok(taken)
    }
}

/// Stands for stdin. Gives at most two bytes at once.
#[derive(Clone, Default)]
pub struct Input {
    /// What was not read yet.
    pub left: Bytes,
}

impl Input {
    /// There is always something to read, or the end.
    pub fn wait(&self, _: Option<Duration>) -> bool {
        true
    }

    /// Gives the next two bytes.
    ///
    /// # Errors
    /// None.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut left = self.left.all();
        let given = left.len().min(2);
        bytes[..given].copy_from_slice(&left[..given]);
        left.drain(..given);
        Ok(given)
    }
}
