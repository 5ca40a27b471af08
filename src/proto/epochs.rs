//! Post-quantum epochs of one link: when an exchange of the KEM begins, and whose turn it is in it
//! (PROTOCOL.md, section 6).

use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::frame::{KemFragment, KemPart, Payload};
use super::kem::{self, KeyBytes};
use super::ratchet::{Direction, EpochSecret};
use super::{Fault, kdf};
use crate::secret::Secret;

/// How long an end waits after an epoch has begun, at most, before it begins the exchange for the
/// next one.
pub const PERIOD: Duration = Duration::from_secs(60);

/// The exchanges of a link, at one end.
pub struct Epochs {
    direction: Direction,
    /// How long to wait between two exchanges, at most.
    period: Duration,
    /// The present epoch: how many exchanges the root key holds.
    present: u64,
    since: Instant,
    exchange: Exchange,
}

/// The exchange for the next epoch. An end that begins it goes through the states whose names begin
/// with `Key`, and the other end through the others.
enum Exchange {
    /// It has not begun. For the end that begins it: how long after the present epoch began.
    Waiting(Option<Duration>),
    /// This end sends its encapsulation key.
    KeyLeaves {
        seed: Secret<{ kem::SEED }>,
        key: Box<KeyBytes>,
        sent: usize,
    },
    /// The key has left, and the ciphertext arrives.
    KeyLeft {
        seed: Secret<{ kem::SEED }>,
        key: Box<KeyBytes>,
        ciphertext: Vec<u8>,
    },
    /// The other end's encapsulation key arrives.
    Arrives(Vec<u8>),
    /// This end sends the ciphertext.
    Answers {
        secret: EpochSecret,
        ciphertext: Box<kem::CiphertextBytes>,
        sent: usize,
    },
    /// Both parts have been sent. The ratchet has the secret, and the epoch begins with a step of the
    /// end that has answered.
    Finished,
}

impl Epochs {
    /// The state right after the handshake. The first exchange begins at once; after that, an
    /// exchange begins at a random time between three quarters of the period and the whole of it.
    pub fn new(now: Instant, direction: Direction, period: Duration) -> Self {
        Self {
            direction,
            period,
            present: 0,
            since: now,
            exchange: Exchange::Waiting(Some(Duration::ZERO)),
        }
    }

    /// The present epoch, and when it began at this end.
    pub fn present(&self) -> (u64, Instant) {
        (self.present, self.since)
    }

    /// The ratchet is in this epoch now.
    pub fn enter(&mut self, now: Instant, epoch: u64) {
        if epoch != self.present {
            self.present = epoch;
            self.since = now;
            self.exchange = Exchange::Waiting(None);
        }
    }

    /// The epoch to which the exchange leads, modulo 256.
    fn next(&self) -> u8 {
        (self.present + 1) as u8
    }

    /// Whether this end begins the exchange: the dialler begins those for even epochs.
    fn begins(&self) -> bool {
        (self.direction == Direction::Dialler) == (self.present + 1).is_multiple_of(2)
    }

    /// Begins the exchange if that is due and is this end's turn. The caller does this when a cell has
    /// arrived: what the KEM computes must not delay the cells that leave at a tick.
    pub fn begin_if_due(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        let begins = self.begins();
        let Exchange::Waiting(wait) = &mut self.exchange else {
            return;
        };
        if !begins || now < self.since + *wait.get_or_insert_with(|| draw(self.period, rng)) {
            return;
        }
        let seed = kem::generate(rng);
        let key = kem::encapsulation_key(&seed);
        let sent = 0;
        self.exchange = Exchange::KeyLeaves { seed, key, sent };
    }

    /// Puts what is due into a payload, in a frame of at most `most` bytes.
    pub fn fill(&mut self, payload: &mut Payload, most: usize) {
        let next = self.next();
        match &mut self.exchange {
            Exchange::KeyLeaves { key, sent, .. } => {
                *sent += payload.kem(next, KemPart::Key, &key[*sent..], most);
            }
            Exchange::Answers {
                ciphertext, sent, ..
            } => {
                *sent += payload.kem(next, KemPart::Ciphertext, &ciphertext[*sent..], most);
            }
            _ => {}
        }
    }

    /// The payload of the last [`Self::fill`] is sealed. If it completed the ciphertext, returns the
    /// secret that this end's next step has to mix in.
    pub fn sealed(&mut self) -> Option<EpochSecret> {
        match std::mem::replace(&mut self.exchange, Exchange::Finished) {
            Exchange::KeyLeaves { seed, key, sent } if sent == kem::KEY => {
                let ciphertext = Vec::new();
                self.exchange = Exchange::KeyLeft {
                    seed,
                    key,
                    ciphertext,
                };
                None
            }
            Exchange::Answers { secret, sent, .. } if sent == kem::CIPHERTEXT => Some(secret),
            unfinished => {
                self.exchange = unfinished;
                None
            }
        }
    }

    /// Takes a fragment that has arrived. If it completes the other end's key, the answer is made. If
    /// it completes the ciphertext, returns the secret that the other end's next step mixes in.
    ///
    /// # Errors
    /// It is not the next fragment of the exchange, or completes a key that is invalid.
    pub fn take(
        &mut self,
        rng: &mut dyn CryptoRng,
        fragment: &KemFragment<'_>,
    ) -> Result<Option<EpochSecret>, Fault> {
        let begins = self.begins();
        if fragment.epoch != self.next() {
            return Err(Fault::KemOutOfTurn);
        }
        if let (Exchange::Waiting(_), false) = (&self.exchange, begins) {
            self.exchange = Exchange::Arrives(Vec::new());
        }
        match (&mut self.exchange, fragment.part) {
            (Exchange::Arrives(received), KemPart::Key) => {
                if let Some(key) = join::<{ kem::KEY }>(received, fragment)? {
                    let (ciphertext, shared) = kem::encapsulate(&key, rng)?;
                    self.exchange = Exchange::Answers {
                        secret: secret(shared, &key, &ciphertext),
                        ciphertext,
                        sent: 0,
                    };
                }
                Ok(None)
            }
            (
                Exchange::KeyLeft {
                    seed,
                    key,
                    ciphertext,
                },
                KemPart::Ciphertext,
            ) => {
                let Some(whole) = join::<{ kem::CIPHERTEXT }>(ciphertext, fragment)? else {
                    return Ok(None);
                };
                let secret = secret(kem::decapsulate(seed, &whole), key, &whole);
                self.exchange = Exchange::Finished;
                Ok(Some(secret))
            }
            _ => Err(Fault::KemOutOfTurn),
        }
    }
}

/// Adds a fragment to the bytes before it; returns the part once it is whole.
fn join<const N: usize>(
    received: &mut Vec<u8>,
    fragment: &KemFragment<'_>,
) -> Result<Option<Box<[u8; N]>>, Fault> {
    if usize::from(fragment.offset) != received.len() {
        return Err(Fault::KemOutOfTurn);
    }
    received.reserve_exact(N - received.len());
    received.extend_from_slice(fragment.bytes);
    if received.len() < N {
        return Ok(None);
    }
    let whole = std::mem::take(received).into_boxed_slice();
    whole.try_into().map(Some).map_err(|_| Fault::KemOutOfTurn)
}

fn secret(shared: Secret<32>, key: &KeyBytes, ciphertext: &kem::CiphertextBytes) -> EpochSecret {
    EpochSecret {
        shared,
        exchange: kdf::sha256(kdf::EPOCH, &[key, ciphertext]),
    }
}

/// A random time between three quarters of the period and the whole of it, so that after their first
/// exchange the links of a mesh do not all compute at the same tick.
fn draw(period: Duration, rng: &mut dyn CryptoRng) -> Duration {
    let quarter = period / 4;
    period - quarter.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
