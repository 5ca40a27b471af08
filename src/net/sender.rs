//! The sending half of a connection: cells that are not paced, and what the kernel did not take of
//! those that are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::record::Broken;
use super::socket;
use super::tls_channel::{Cell, TlsChannel};

/// Records to be written.
struct Piece {
    records: Vec<u8>,
    /// The rest of a paced cell, which was so late.
    rest: Option<Duration>,
}

/// What is being written on a [`TlsChannel`].
pub struct Sender {
    channel: Arc<TlsChannel>,
    piece: Option<Piece>,
    /// How much of the piece is written.
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
    pub fn new(channel: Arc<TlsChannel>) -> Self {
        Self {
            channel,
            piece: None,
            written: 0,
            watching: false,
            draining: None,
            deaf: false,
        }
    }

    /// Waits until something can be done about sending, and does it; for ever where there is nothing
    /// to send. Gives how late the last paced cell was, or zero where it had no moment, when all
    /// that was ordered has left and that was to be said. Nothing is lost where the wait is dropped.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub async fn step(&mut self) -> Result<Option<Duration>, Broken> {
        tokio::select! {
            biased;
            () = self.channel.changed() => self.look().map(|()| None),
            ready = self.ready() => self.send(ready),
        }
    }

    /// Waits until a write can be done, or the last cell has been sent.
    async fn ready(&self) -> io::Result<()> {
        match (self.piece.is_none(), self.draining) {
            (false, _) => self.channel.stream().writable().await,
            (true, Some(_)) => socket::wholly_sent(self.channel.stream()).await,
            (true, None) => std::future::pending().await,
        }
    }

    /// Whether nothing waits to be written, now or at a moment.
    pub fn is_done(&self) -> bool {
        self.piece.is_none() && self.channel.is_done()
    }

    /// From now on [`Self::step`] says when the last paced cell has been sent.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn watch(&mut self) -> Result<(), Broken> {
        self.watching = true;
        self.channel.watch();
        self.look()
    }

    /// Sees to the last paced cell, and to what comes behind it.
    fn look(&mut self) -> Result<(), Broken> {
        match self.channel.outcome() {
            Cell::None | Cell::Waits(_) | Cell::Resumed => {}
            Cell::Written(lateness) => {
                if std::mem::take(&mut self.watching) {
                    self.draining = Some(lateness);
                }
            }
            Cell::Cut(lateness, records) => {
                self.piece = Some(Piece {
                    records,
                    rest: Some(lateness),
                });
            }
            Cell::Failed => self.fail(),
        }
        if self.piece.is_none() && !self.deaf {
            let records = self.channel.next_records()?;
            self.piece = records.map(|records| Piece {
                records,
                rest: None,
            });
        }
        Ok(())
    }

    fn fail(&mut self) {
        self.deaf = true;
        self.piece = None;
        self.channel.has_failed();
    }

    /// Does what was waited for: one write, or word that all is sent.
    fn send(&mut self, ready: io::Result<()>) -> Result<Option<Duration>, Broken> {
        let Some(piece) = &self.piece else {
            return Ok(self.draining.take());
        };
        let rest = &piece.records[self.written..];
        match ready.and_then(|()| self.channel.stream().try_write(rest)) {
            Ok(n) => self.written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => {
                self.fail();
                return Ok(None);
            }
        }
        if self.written < piece.records.len() {
            return Ok(None);
        }
        let rest = piece.rest;
        (self.piece, self.written) = (None, 0);
        if let Some(lateness) = rest {
            self.channel.is_written(lateness);
        }
        self.look()?;
        let is_said = rest.is_none() && self.is_done();
        Ok(is_said.then_some(Duration::ZERO))
    }
}
