//! The Double Ratchet of one link.

use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::message_key::CONTEXT;
use super::{ChainKey, EpochSecret, RatchetKey, RemoteRatchetKey, RootKey};
use crate::proto::cell::{HEADER, Header};
use crate::proto::{CELL, Fault};

/// The least time between two Diffie-Hellman steps of one end.
pub(super) const TURN_DELAY: Duration = Duration::from_secs(1);

/// Which end of the connection an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// This end dialled.
    Dialler,
    /// This end listened.
    Listener,
}

impl Direction {
    /// The direction of the other end.
    pub fn other(self) -> Self {
        match self {
            Direction::Dialler => Direction::Listener,
            Direction::Listener => Direction::Dialler,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Direction::Dialler => 0,
            Direction::Listener => 1,
        }
    }
}

/// What the handshake gives the ratchet.
pub struct Seeds {
    /// The first root key.
    pub root: RootKey,
    /// The first chain from the dialler to the listener.
    pub dialler_chain: ChainKey,
    /// The first chain from the listener to the dialler.
    pub listener_chain: ChainKey,
    /// The transcript hash, bound into every cell.
    pub transcript: [u8; 32],
    /// This end's key from the handshake: the listener's secret is its first ratchet key; the
    /// dialler's is gone.
    pub own: Own,
    /// The other end's key from the handshake.
    pub remote: RemoteRatchetKey,
}

/// This end's own ratchet key.
pub enum Own {
    /// The dialler's eD, whose public half is in the headers until the first step.
    Spent([u8; 32]),
    /// A key with its secret half.
    Key(RatchetKey),
}

impl Own {
    fn public(&self) -> &[u8; 32] {
        match self {
            Own::Spent(public) => public,
            Own::Key(key) => key.public(),
        }
    }
}

/// The state of one end. Cells must be given to it in the order of the stream. After a fault it
/// must not be used any more.
pub struct DoubleRatchet {
    direction: Direction,
    transcript: [u8; 32],
    root: RootKey,
    own: Own,
    remote: RemoteRatchetKey,
    sending: ChainKey,
    receiving: ChainKey,
    sent: u32,
    sent_before: u32,
    received: u32,
    /// `pn` of the present receiving chain.
    received_before: u32,
    has_turn: bool,
    stepped_at: Instant,
    steps: u64,
    /// The number of epochs' secrets that the root key holds.
    epoch: u64,
    /// The epochs of the root keys from which the two chains were made.
    sending_epoch: u64,
    receiving_epoch: u64,
    /// The secret of the next epoch, and the end whose next step mixes it.
    next_epoch: Option<(Direction, EpochSecret)>,
}

impl DoubleRatchet {
    /// The state right after the handshake.
    pub fn new(now: Instant, direction: Direction, seeds: Seeds) -> Self {
        let (sending, receiving) = match direction {
            Direction::Dialler => (seeds.dialler_chain, seeds.listener_chain),
            Direction::Listener => (seeds.listener_chain, seeds.dialler_chain),
        };
        Self {
            direction,
            transcript: seeds.transcript,
            root: seeds.root,
            own: seeds.own,
            remote: seeds.remote,
            sending,
            receiving,
            sent: 0,
            sent_before: 0,
            received: 0,
            received_before: 0,
            has_turn: direction == Direction::Dialler,
            stepped_at: now,
            steps: 0,
            epoch: 0,
            sending_epoch: 0,
            receiving_epoch: 0,
            next_epoch: None,
        }
    }

    /// Seals the frames in `cell[48..1008]`, and takes the turn if it is due.
    ///
    /// # Errors
    /// The chain is used up, or the other end's key is of low order: the link is over.
    pub fn seal(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        cell: &mut [u8; CELL],
    ) -> Result<(), Fault> {
        if self.has_turn && now >= self.stepped_at + TURN_DELAY {
            self.step(now, rng)?;
        }
        let sent = self.sent.checked_add(1).ok_or(Fault::UsedUpChain)?;
        let header = Header {
            key: *self.own.public(),
            pn: self.sent_before,
            n: self.sent,
            epoch: self.sending_epoch as u8, // headers count modulo 256
        };
        cell[..HEADER].copy_from_slice(&header.encode());
        let (next, key) = self.sending.step();
        key.seal(&self.context(self.direction), cell);
        self.sending = next;
        self.sent = sent;
        Ok(())
    }

    /// Opens a received cell in place; its frames are then in `cell[48..1008]`.
    ///
    /// # Errors
    /// The header is not one of the two that are allowed now, or the tag does not verify. The state
    /// is unchanged then.
    pub fn open(&mut self, cell: &mut [u8; CELL]) -> Result<(), Fault> {
        let header = Header::decode(cell)?;
        let context = self.context(self.direction.other());
        if header.key == self.remote.0 {
            if header.n != self.received || header.pn != self.received_before {
                return Err(Fault::CellOutOfOrder);
            }
            if header.epoch != self.receiving_epoch as u8 {
                return Err(Fault::WrongEpoch);
            }
            let received = self.received.checked_add(1).ok_or(Fault::UsedUpChain)?;
            let (next, key) = self.receiving.step();
            key.open(&context, cell)?;
            self.receiving = next;
            self.received = received;
            return Ok(());
        }
        if self.has_turn {
            return Err(Fault::StepOutOfTurn);
        }
        if header.n != 0 || header.pn != self.received || header.key == *self.own.public() {
            return Err(Fault::StepWithWrongHeader);
        }
        let Own::Key(own) = &self.own else {
            return Err(Fault::StepTooEarly);
        };
        let mixed = self.mixed_by(self.direction.other());
        let epoch = self.epoch + u64::from(mixed.is_some());
        if header.epoch != epoch as u8 {
            return Err(Fault::WrongEpoch);
        }
        let remote = RemoteRatchetKey(header.key);
        let (root, chain) = self.root.step(own, &remote, mixed)?;
        let (next, key) = chain.step();
        key.open(&context, cell)?;
        self.enter(epoch);
        self.receiving_epoch = epoch;
        self.root = root;
        self.remote = remote;
        self.receiving = next;
        self.received_before = header.pn;
        self.received = 1;
        self.has_turn = true;
        self.steps += 1;
        Ok(())
    }

    /// A KEM exchange is finished: this end's next step mixes its secret into the root key if
    /// `mixer` is this end, otherwise the other end's next step. To be called once the cell with the
    /// last part of the exchange was sealed or opened, and not again before [`Self::epoch`] has
    /// grown.
    pub fn mix(&mut self, mixer: Direction, secret: EpochSecret) {
        self.next_epoch = Some((mixer, secret));
    }

    /// How many secrets of [`Self::mix`] the root key holds.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Diffie-Hellman steps at both ends so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// When this end last stepped, or the handshake ended.
    pub fn stepped_at(&self) -> Instant {
        self.stepped_at
    }

    fn step(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Result<(), Fault> {
        let own = RatchetKey::generate(rng);
        let mixed = self.mixed_by(self.direction);
        let epoch = self.epoch + u64::from(mixed.is_some());
        let (root, chain) = self.root.step(&own, &self.remote, mixed)?;
        self.enter(epoch);
        self.sending_epoch = epoch;
        self.root = root;
        self.own = Own::Key(own);
        self.sending = chain;
        self.sent_before = self.sent;
        self.sent = 0;
        self.has_turn = false;
        self.stepped_at = now;
        self.steps += 1;
        Ok(())
    }

    /// The secret that this end's next step mixes in.
    fn mixed_by(&self, end: Direction) -> Option<&EpochSecret> {
        let (mixer, secret) = self.next_epoch.as_ref()?;
        (*mixer == end).then_some(secret)
    }

    /// The root key holds the secrets up to this epoch, which is the present one or the next.
    fn enter(&mut self, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.next_epoch = None;
        }
    }

    fn context(&self, sender: Direction) -> [u8; CONTEXT] {
        let mut context = [0; CONTEXT];
        context[..32].copy_from_slice(&self.transcript);
        context[32] = sender.byte();
        context
    }
}

#[cfg(test)]
mod tests;
