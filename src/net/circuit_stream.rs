//! What takes the place of a socket where a circuit carries a connection: a bounded buffer of what
//! has arrived, and reports to the engine's task of what has to be sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::report::Report;
use super::tls::Transport;
use crate::mesh::ConnId;

/// Bytes that arrived over a circuit and wait to be processed.
#[derive(Default)]
pub struct ReceiveBuffer {
    state: Mutex<BufferState>,
    /// Wakes the driver when something has arrived.
    arrived: Notify,
}

#[derive(Default)]
struct BufferState {
    bytes: Vec<u8>,
    /// Too much has arrived: everything from then on is dropped.
    overflowed: bool,
    /// Nothing more arrives.
    ended: bool,
}

impl ReceiveBuffer {
    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes, if no more than `most` wait then. Otherwise drops all of them and all that
    /// follow; the first call for which that is so returns false.
    pub fn put(&self, bytes: &[u8], most: usize) -> bool {
        let mut state = self.state();
        if state.overflowed {
            return true;
        }
        if bytes.len() > most.saturating_sub(state.bytes.len()) {
            state.bytes = Vec::new();
            state.overflowed = true;
            return false;
        }
        state.bytes.extend_from_slice(bytes);
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Nothing more arrives.
    pub fn end(&self) {
        self.state().ended = true;
        self.arrived.notify_one();
    }

    /// Whether everything that will arrive was taken.
    fn is_over(&self) -> bool {
        let state = self.state();
        state.ended && state.bytes.is_empty()
    }

    /// Takes up to `most` bytes, first ones first.
    fn take(&self, most: usize) -> Vec<u8> {
        let mut state = self.state();
        match state.bytes.len() <= most {
            true => std::mem::take(&mut state.bytes),
            false => state.bytes.drain(..most).collect(),
        }
    }

    /// Waits until there is something to take, or nothing more will be.
    async fn readable(&self) {
        while self.is_waiting() {
            self.arrived.notified().await;
        }
    }

    fn is_waiting(&self) -> bool {
        let state = self.state();
        state.bytes.is_empty() && !state.ended
    }
}

/// The end of a circuit, as TLS sees it.
pub struct CircuitStream {
    conn: ConnId,
    received: Arc<ReceiveBuffer>,
    reports: mpsc::Sender<(ConnId, Report)>,
}

impl CircuitStream {
    /// The stream of this connection: what arrives is in the buffer, and what is to be sent is
    /// reported.
    pub fn new(
        conn: ConnId,
        received: Arc<ReceiveBuffer>,
        reports: mpsc::Sender<(ConnId, Report)>,
    ) -> Self {
        Self {
            conn,
            received,
            reports,
        }
    }

    /// Whether everything that will arrive was taken.
    pub fn is_over(&self) -> bool {
        self.received.is_over()
    }

    /// Waits until something has arrived, or nothing more will.
    pub async fn readable(&self) {
        self.received.readable().await;
    }

    /// Takes up to `most` bytes of what has arrived.
    pub fn take(&self, most: usize) -> Vec<u8> {
        self.received.take(most)
    }
}

impl Transport for CircuitStream {
    async fn readable(&self) -> io::Result<()> {
        self.received.readable().await;
        Ok(())
    }

    fn receive(&self, wire: &mut [u8]) -> io::Result<usize> {
        let taken = self.received.take(wire.len());
        if taken.is_empty() && self.is_over() {
            return Ok(0);
        }
        if taken.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let report = (self.conn, Report::Records(bytes.to_vec()));
        let sent = self.reports.send(report).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_taken_in_portions_and_in_order() {
        let buffer = ReceiveBuffer::default();
        assert!(buffer.put(&[1, 2, 3], 4));
        assert!(buffer.put(&[4], 4));
        assert_eq!(buffer.take(3), [1, 2, 3]);
        assert!(buffer.put(&[5], 4));
        assert_eq!(buffer.take(3), [4, 5]);
        assert!(buffer.take(3).is_empty());
    }

    #[tokio::test]
    async fn what_arrived_before_the_end_is_still_taken() {
        let buffer = ReceiveBuffer::default();
        assert!(buffer.put(&[1], 4));
        buffer.end();
        buffer.readable().await;
        assert!(!buffer.is_over());
        assert_eq!(buffer.take(3), [1]);
        buffer.readable().await;
        assert!(buffer.is_over());
    }

    #[test]
    fn overflow_is_reported_once_and_empties_the_buffer() {
        let buffer = ReceiveBuffer::default();
        assert!(buffer.put(&[1; 4], 4));
        assert!(!buffer.put(&[2], 4));
        assert!(buffer.take(4).is_empty());
        assert!(buffer.put(&[3], 4));
        assert!(buffer.take(4).is_empty());
    }
}
