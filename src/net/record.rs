//! TLS records, sealed and opened by hand, so that a cell's record can be ready before its moment
//! and leave in one write.

use std::io::{Read, Write};

use rustls::Connection;

use crate::proto::CELL;

/// What TLS 1.3 with ChaCha20-Poly1305 adds to a record: header, type and tag (RFC 8446, section
/// 5.2).
pub const OVERHEAD: usize = 5 + 1 + 16;

/// Why a connection cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The other end sent an invalid record, or a close_notify, which sesame never sends.
    #[error("the other end sent an invalid TLS record or closed TLS")]
    Theirs,
    /// The library wants to send a record of a different shape, because the other end asked for a
    /// key update, which sesame never does.
    #[error("the other end asked for a TLS key update")]
    Shape,
}

/// The TLS state of one connection after its handshake.
pub struct Records {
    tls: Connection,
}

impl Records {
    /// Takes over the TLS state after the handshake.
    pub fn new(tls: Connection) -> Self {
        Self { tls }
    }

    /// Seals whole cells, each into a record of its own, one after the other.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn seal(&mut self, cells: &[u8]) -> Result<Vec<u8>, Broken> {
        let wanted = cells.len() / CELL * (CELL + OVERHEAD);
        let mut sealed = Vec::with_capacity(wanted);
        for cell in cells.chunks(CELL) {
            self.tls
                .writer()
                .write_all(cell)
                .map_err(|_| Broken::Shape)?;
            while self.tls.wants_write() {
                self.tls.write_tls(&mut sealed).map_err(|_| Broken::Shape)?;
            }
        }
        if sealed.len() == wanted {
            Ok(sealed)
        } else {
            Err(Broken::Shape)
        }
    }

    /// Returns what the handshake read beyond its own end.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn leftover(&mut self) -> Result<Vec<u8>, Broken> {
        let mut plain = Vec::new();
        self.collect(&mut plain)?;
        Ok(plain)
    }

    /// Opens what came from the socket, in portions of any size. Returns the content, which is
    /// empty while a record is incomplete.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub fn open(&mut self, mut wire: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut plain = Vec::with_capacity(wire.len());
        while !wire.is_empty() {
            // The library takes nothing after a close_notify.
            if !self.tls.read_tls(&mut wire).is_ok_and(|taken| taken > 0) {
                return Err(Broken::Theirs);
            }
            self.collect(&mut plain)?;
        }
        Ok(plain)
    }

    /// A key update, which sesame never sends, and a byte of data.
    #[cfg(test)]
    pub fn key_update(&mut self) -> Vec<u8> {
        self.tls.refresh_traffic_keys().unwrap();
        let mut sealed = Vec::new();
        self.tls.writer().write_all(&[1]).unwrap();
        self.tls.write_tls(&mut sealed).unwrap();
        sealed
    }

    fn collect(&mut self, plain: &mut Vec<u8>) -> Result<(), Broken> {
        let state = self.tls.process_new_packets().map_err(|_| Broken::Theirs)?;
        let start = plain.len();
        plain.resize(start + state.plaintext_bytes_to_read(), 0);
        self.tls
            .reader()
            .read_exact(&mut plain[start..])
            .map_err(|_| Broken::Theirs)
    }
}
