//! The sending half of a connection: unpaced cells, and the parts of paced cells that the kernel
//! did not take at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::record::Broken;
use super::socket;
use super::tls_channel::{Cell, TlsChannel};

/// Records to write.
struct Piece {
    records: Vec<u8>,
    /// For the rest of a paced cell: how late it was.
    rest: Option<Duration>,
}

/// The state of writing on a [`TlsChannel`].
pub struct Sender {
    channel: Arc<TlsChannel>,
    piece: Option<Piece>,
    /// How many bytes of the piece are written.
    written: usize,
    /// The engine wants to know when the last paced cell has been sent.
    watching: bool,
    /// That cell is written; how late it was.
    draining: Option<Duration>,
    /// Writing has failed; earlier data from the other end may still be read.
    deaf: bool,
}

impl Sender {
    /// A sender with nothing to write.
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

    /// Waits until there is something to do about sending, and does it; for ever if there is
    /// nothing to send. When everything ordered has left and that was to be reported, returns how
    /// late the last paced cell was, or zero without one. Dropping the future loses nothing.
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

    /// Waits until a write is possible, or the last cell has been sent.
    async fn ready(&self) -> io::Result<()> {
        match (self.piece.is_none(), self.draining) {
            (false, _) => self.channel.stream().writable().await,
            (true, Some(_)) => socket::wholly_sent(self.channel.stream()).await,
            (true, None) => std::future::pending().await,
        }
    }

    /// Whether nothing is left to write, paced or not.
    pub fn is_done(&self) -> bool {
        self.piece.is_none() && self.channel.is_done()
    }

    /// From now on [`Self::step`] reports when the last paced cell has been sent.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn watch(&mut self) -> Result<(), Broken> {
        self.watching = true;
        self.channel.watch(true);
        self.look()
    }

    /// Handles the last paced cell, and what follows it.
    fn look(&mut self) -> Result<(), Broken> {
        match self.channel.outcome() {
            Cell::None | Cell::Waits(_) | Cell::Resumed => {}
            Cell::Written(lateness) => {
                if std::mem::take(&mut self.watching) {
                    self.draining = Some(lateness);
                    // Otherwise each further cell would wake the driver.
                    self.channel.watch(false);
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

    /// Does what [`Self::ready`] has waited for: writes once, or returns that all is sent.
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
