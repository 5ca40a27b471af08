//! The sending half of a connection: cells that are not paced, and what the kernel did not take of
//! those that are.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::line::{Cell, Line};
use super::record::Broken;
use super::socket;
use crate::proto::CELL;

/// How much is written at once where cells are not paced, in bytes of cells.
const PORTION: usize = 128 * CELL;

/// Records to be written.
struct Piece {
    records: Vec<u8>,
    /// The rest of a paced cell, which was so late.
    rest: Option<Duration>,
}

/// What waits to be written on a [`Line`], in order.
pub struct Sender {
    line: Arc<Line>,
    queue: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    /// It is to be said when the last paced cell has been sent.
    watching: bool,
    /// That is written; how late.
    draining: Option<Duration>,
    /// Writing has failed: what came before may still be read.
    deaf: bool,
}

impl Sender {
    /// Nothing waits.
    pub fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            queue: VecDeque::new(),
            written: 0,
            watching: false,
            draining: None,
            deaf: false,
        }
    }

    /// Waits until something can be done about sending, and does it; for ever where there is nothing
    /// to send. Gives how late the last paced cell was, or zero where it had no moment, when all
    /// that was ordered has left and that was to be said. Nothing is lost where the wait is dropped.
    pub async fn step(&mut self) -> Option<Duration> {
        tokio::select! {
            biased;
            () = self.line.changed() => {
                self.look();
                None
            }
            ready = self.ready() => self.send(ready),
        }
    }

    /// Waits until a write can be done, or the last cell has been sent.
    async fn ready(&self) -> io::Result<()> {
        match (self.queue.is_empty(), self.draining) {
            (false, _) => self.line.stream().writable().await,
            (true, Some(_)) => socket::wholly_sent(self.line.stream()).await,
            (true, None) => std::future::pending().await,
        }
    }

    /// Whether nothing waits to be written, now or at a moment.
    pub fn is_done(&self) -> bool {
        self.queue.is_empty() && self.line.waits_until().is_none()
    }

    /// From now on [`Self::step`] says when the last paced cell has been sent.
    pub fn watch(&mut self) {
        self.watching = true;
        self.line.watch();
        self.look();
    }

    /// Seals whole cells, to be written as soon as the kernel takes them.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.deaf {
            return Ok(());
        }
        self.line.pace(false);
        self.line.set_backlog(true);
        for portion in bytes.chunks(PORTION) {
            let records = self.line.records().seal(portion)?;
            self.queue.push_back(Piece {
                records,
                rest: None,
            });
        }
        Ok(())
    }

    /// Sees to the last paced cell.
    fn look(&mut self) {
        match self.line.outcome() {
            Cell::None | Cell::Waits(_) => {}
            Cell::Written(lateness) => {
                if std::mem::take(&mut self.watching) {
                    self.draining = Some(lateness);
                }
            }
            Cell::Cut(lateness, records) => self.queue.push_back(Piece {
                records,
                rest: Some(lateness),
            }),
            Cell::Failed => self.fail(),
        }
    }

    fn fail(&mut self) {
        self.deaf = true;
        self.queue.clear();
        self.line.has_failed();
    }

    /// Does what was waited for: one write, or word that all is sent.
    fn send(&mut self, ready: io::Result<()>) -> Option<Duration> {
        let Some(piece) = self.queue.front() else {
            return self.draining.take();
        };
        let rest = &piece.records[self.written..];
        match ready.and_then(|()| self.line.stream().try_write(rest)) {
            Ok(n) => self.written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => {
                self.fail();
                return None;
            }
        }
        if self.written < piece.records.len() {
            return None;
        }
        self.written = 0;
        let rest = piece.rest;
        self.queue.pop_front();
        if self.queue.is_empty() {
            self.line.set_backlog(false);
        }
        match rest {
            Some(lateness) => {
                self.line.is_written(lateness);
                self.look();
                None
            }
            None => self.queue.is_empty().then_some(Duration::ZERO),
        }
    }
}
