//! Cells: the 1,024-byte units in which everything travels (PROTOCOL.md, section 7).

use super::{CELL, Fault};
use crate::proto::kdf::TAG;

/// The bytes of a cell's header.
pub const HEADER: usize = 48;
/// The bytes of frames in a cell.
pub const PAYLOAD: usize = CELL - HEADER - TAG;

/// The header of a cell: in the clear inside TLS, and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's present ratchet public key.
    pub key: [u8; 32],
    /// The length of the sender's previous sending chain.
    pub pn: u32,
    /// The cell's number in its chain, from 0.
    pub n: u32,
    /// The post-quantum epoch of the root key from which the sender's chain was made, modulo 256.
    pub epoch: u8,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..32].copy_from_slice(&self.key);
        bytes[32..36].copy_from_slice(&self.pn.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.n.to_be_bytes());
        bytes[40] = self.epoch;
        bytes
    }

    /// Reads a cell's header.
    ///
    /// # Errors
    /// The reserved bytes are not zero.
    pub fn decode(cell: &[u8; CELL]) -> Result<Self, Fault> {
        if cell[41..HEADER] != [0; 7] {
            return Err(Fault::ReservedBytesSet);
        }
        let mut reader = super::wire::Reader::new(&cell[..41]);
        Ok(Self {
            key: reader.array()?,
            pn: reader.u32()?,
            n: reader.u32()?,
            epoch: reader.u8()?,
        })
    }
}

/// Assembles cells from a stream that arrives in any portions.
#[derive(Default)]
pub struct Assembler {
    partial: Vec<u8>,
}

impl Assembler {
    /// The next whole cell from the bytes kept so far and `input`, which is advanced past what was
    /// used. It never keeps more than one cell.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Box<[u8; CELL]>> {
        let missing = CELL - self.partial.len();
        let take = missing.min(input.len());
        let (head, tail) = input.split_at(take);
        *input = tail;
        if self.partial.capacity() == 0 {
            self.partial.reserve_exact(CELL);
        }
        self.partial.extend_from_slice(head);
        if self.partial.len() < CELL {
            return None;
        }
        std::mem::take(&mut self.partial)
            .into_boxed_slice()
            .try_into()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_whole_out_of_any_portions() {
        let stream: Vec<u8> = (0..CELL * 3 + 7).map(|i| (i % 251) as u8).collect();
        for portion in [1, 7, 1023, 1024, 1025, 5000] {
            let mut assembler = Assembler::default();
            let mut out = Vec::new();
            for mut chunk in stream.chunks(portion) {
                while let Some(cell) = assembler.next(&mut chunk) {
                    out.extend_from_slice(&cell[..]);
                }
            }
            assert_eq!(out, stream[..CELL * 3], "portions of {portion}");
        }
    }

    #[test]
    fn a_header_comes_back_and_reserved_bytes_are_refused() {
        let header = Header {
            key: [7; 32],
            pn: 3,
            n: 0x0102_0304,
            epoch: 5,
        };
        let mut cell = [0; CELL];
        cell[..HEADER].copy_from_slice(&header.encode());
        assert_eq!(Header::decode(&cell), Ok(header));
        for reserved in 41..HEADER {
            let mut cell = cell;
            cell[reserved] = 1;
            assert!(Header::decode(&cell).is_err());
        }
    }
}
