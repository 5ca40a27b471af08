//! The handshake: CPace over the phrase, bound to the TLS channel, then both identities
//! (PROTOCOL.md, section 5).
//!
//! Four cells. Each state is consumed by the message that it waits for, and returns the next:
//! [`Dialler`] → [`DiallerConfirming`] → [`Established`], and [`Listener`] → [`Established`].

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::cpace::{Isk, Share, lv_cat};
use super::kdf::{self, TAG};
use super::ratchet::{ChainKey, Direction, Own, RatchetKey, RemoteRatchetKey, RootKey, Seeds};
use super::{CELL, Fault, Identity, PeerId, VERSION, words};
use crate::secret::Secret;

/// One message of the handshake.
pub type Message = Box<[u8; CELL]>;

/// What binds the handshake to the TLS connection under it (section 3).
pub struct Channel {
    /// TLS exporter, label [`kdf::EXPORTER`], no context.
    pub exporter: Secret<64>,
    /// SHA-256 of the DER certificates of the dialler and of the listener, in this order.
    pub fingerprints: [[u8; 32]; 2],
}

/// Why a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The other end has another phrase, or an attacker sits in the middle.
    #[error("the other end has another passphrase")]
    OtherPhrase,
    /// The other end is this process.
    #[error("the other end is this process")]
    Own,
    /// The other end speaks this version of the protocol.
    #[error("the other end speaks version {0} of the protocol, and this end version {VERSION}")]
    OtherVersion(u16),
    /// The other end violated the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The result of a handshake.
pub struct Established {
    /// The identity key's PeerId, proven once a first cell of the other end has opened.
    pub peer: PeerId,
    /// The six verification words.
    pub words: String,
    /// The keys that the ratchet starts from.
    pub seeds: Seeds,
}

// Offsets in Ya and Yb.
const SHARE: usize = 2;
const KEY: usize = 34;
const THIRD: usize = 66;
const FOURTH: usize = 98;
// Offsets in Ta and Tb.
const SEALED: usize = 64;
const CONFIRMED: usize = CELL - SEALED - TAG;

fn field(cell: &[u8; CELL], at: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&cell[at..at + 32]);
    bytes
}

/// Everything in a Ya or Yb except the share: CPace's associated data.
fn associated(cell: &[u8; CELL]) -> Vec<u8> {
    [&cell[..SHARE], &cell[KEY..]].concat()
}

fn opening(share: &Share, key: &RatchetKey, third: &[u8; 32]) -> Message {
    let mut cell = Box::new([0; CELL]);
    cell[..SHARE].copy_from_slice(&VERSION.to_be_bytes());
    cell[SHARE..KEY].copy_from_slice(share.public());
    cell[KEY..THIRD].copy_from_slice(key.public());
    cell[THIRD..FOURTH].copy_from_slice(third);
    cell
}

fn check_version(cell: &[u8; CELL]) -> Result<(), HandshakeError> {
    match u16::from_be_bytes([cell[0], cell[1]]) {
        VERSION => Ok(()),
        other => Err(HandshakeError::OtherVersion(other)),
    }
}

fn share(channel: &Channel, prs: &Secret<32>, rng: &mut dyn CryptoRng) -> Share {
    let [dialler, listener] = &channel.fingerprints;
    let ci = lv_cat(&[kdf::CHANNEL, &VERSION.to_be_bytes(), dialler, listener]);
    Share::new(prs.expose(), &ci, sid(channel), rng)
}

fn sid(channel: &Channel) -> &[u8] {
    &channel.exporter.expose()[..32]
}

fn salt(channel: &Channel) -> &[u8] {
    &channel.exporter.expose()[32..]
}

fn random(rng: &mut dyn CryptoRng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The keys and tags of both confirmations.
struct Confirmations {
    tags: super::cpace::Tags,
    dialler: Zeroizing<[u8; 32]>,
    listener: Zeroizing<[u8; 32]>,
}

impl Confirmations {
    fn new(channel: &Channel, isk: &Isk, ya: &[u8; CELL], yb: &[u8; CELL]) -> Self {
        let key = |label| kdf::derive(salt(channel), isk.expose(), label, &[]);
        Self {
            tags: isk.tags(
                sid(channel),
                &field(ya, SHARE),
                &associated(ya),
                &field(yb, SHARE),
                &associated(yb),
            ),
            dialler: key(kdf::CONFIRM_DIALLER),
            listener: key(kdf::CONFIRM_LISTENER),
        }
    }
}

fn confirm(key: &[u8; 32], tag: &[u8; 64], identity: &[u8; 32], opens: &[u8; 32]) -> Message {
    let mut cell = Box::new([0; CELL]);
    let (head, sealed) = cell.split_at_mut(SEALED);
    head.copy_from_slice(tag);
    let (text, aead_tag) = sealed.split_at_mut(CONFIRMED);
    text[..32].copy_from_slice(identity);
    text[32..64].copy_from_slice(opens);
    aead_tag.copy_from_slice(&kdf::seal(key, tag, text));
    cell
}

/// The identity key and the value that opens its commitment, from a cell whose tag was right.
fn confirmed(key: &[u8; 32], cell: &[u8; CELL]) -> Result<([u8; 32], [u8; 32]), Fault> {
    let mut text = Zeroizing::new([0; CONFIRMED]);
    text.copy_from_slice(&cell[SEALED..SEALED + CONFIRMED]);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&cell[CELL - TAG..]);
    kdf::open(key, &cell[..SEALED], text.as_mut_slice(), &tag)?;
    let (mut identity, mut opens) = ([0; 32], [0; 32]);
    identity.copy_from_slice(&text[..32]);
    opens.copy_from_slice(&text[32..64]);
    Ok((identity, opens))
}

fn tag_of(cell: &[u8; CELL]) -> [u8; 64] {
    let mut tag = [0; 64];
    tag.copy_from_slice(&cell[..SEALED]);
    tag
}

/// All four cells and the two nonces.
struct Transcript<'a> {
    channel: &'a Channel,
    cells: [&'a [u8; CELL]; 4],
    ids: [PeerId; 2],
    nonces: [[u8; 32]; 2],
}

impl Transcript<'_> {
    fn hash(&self) -> [u8; 32] {
        let [dialler, listener] = &self.channel.fingerprints;
        let [ya, yb, ta, tb] = self.cells;
        kdf::sha256(kdf::TRANSCRIPT, &[dialler, listener, ya, yb, ta, tb])
    }

    fn words(&self) -> String {
        let [[d, l], [nd, nl]] = [self.ids.map(|id| id.0), self.nonces];
        let ikm = [
            &d[..],
            &l,
            &nd,
            &nl,
            &associated(self.cells[0]),
            &associated(self.cells[1]),
        ]
        .concat();
        words::verification_words(&kdf::derive(kdf::WORDS, &ikm, kdf::WORDS, &[]))
    }

    /// Root key and first chains from ISK and the three Diffie-Hellman results, in the order of
    /// section 5.
    fn seeds(
        &self,
        isk: &Isk,
        shared: [Secret<32>; 3],
        own: Own,
        remote: RemoteRatchetKey,
    ) -> Seeds {
        let mut ikm = Zeroizing::new([0; 64 + 3 * 32]);
        ikm[..64].copy_from_slice(isk.expose());
        for (place, secret) in ikm[64..].chunks_exact_mut(32).zip(&shared) {
            place.copy_from_slice(secret.expose());
        }
        let transcript = self.hash();
        let keys = kdf::derive::<96>(salt(self.channel), ikm.as_slice(), kdf::ROOT, &transcript);
        let key = |at: usize| {
            Secret::fill_with(|bytes: &mut [u8; 32]| bytes.copy_from_slice(&keys[at..at + 32]))
        };
        Seeds {
            root: RootKey::new(key(0)),
            dialler_chain: ChainKey::new(key(32)),
            listener_chain: ChainKey::new(key(64)),
            transcript,
            own,
            remote,
        }
    }
}

/// The dialler, waiting for Yb.
pub struct Dialler {
    channel: Channel,
    share: Share,
    key: RatchetKey,
    nonce: [u8; 32],
    ya: Message,
}

impl Dialler {
    /// Begins a handshake: the state, and Ya to send.
    pub fn start(
        channel: Channel,
        prs: &Secret<32>,
        identity: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> (Self, Message) {
        let share = share(&channel, prs, rng);
        let key = RatchetKey::generate(rng);
        let nonce = random(rng);
        let commitment = kdf::sha256(kdf::COMMIT_DIALLER, &[&nonce, identity.public()]);
        let ya = opening(&share, &key, &commitment);
        (
            Self {
                channel,
                share,
                key,
                nonce,
                ya: ya.clone(),
            },
            ya,
        )
    }

    /// Takes Yb. Returns the next state, and Ta to send.
    ///
    /// # Errors
    /// Yb is malformed, of another version, or an echo of Ya.
    pub fn receive(
        self,
        yb: &[u8; CELL],
        identity: &Identity,
    ) -> Result<(DiallerConfirming, Message), HandshakeError> {
        check_version(yb)?;
        if field(yb, KEY) == *self.key.public() {
            return Err(Fault::Echoed.into());
        }
        let isk = self
            .share
            .finish_initiator(&field(yb, SHARE), &associated(&self.ya), &associated(yb))
            .map_err(|_| Fault::InvalidShare)?;
        let confirmations = Confirmations::new(&self.channel, &isk, &self.ya, yb);
        let ta = confirm(
            &confirmations.dialler,
            &confirmations.tags.a,
            identity.public(),
            &self.nonce,
        );
        let state = DiallerConfirming {
            channel: self.channel,
            key: self.key,
            nonce: self.nonce,
            isk,
            confirmations,
            ya: self.ya,
            yb: Box::new(*yb),
            ta: ta.clone(),
        };
        Ok((state, ta))
    }
}

/// The dialler, waiting for Tb.
pub struct DiallerConfirming {
    channel: Channel,
    key: RatchetKey,
    nonce: [u8; 32],
    isk: Isk,
    confirmations: Confirmations,
    ya: Message,
    yb: Message,
    ta: Message,
}

impl DiallerConfirming {
    /// This end's X25519 key of the connection. If this process has dialled its own listener, the
    /// listener finds the key here.
    pub fn key(&self) -> &[u8; 32] {
        self.key.public()
    }

    /// Takes Tb.
    ///
    /// # Errors
    /// [`HandshakeError::OtherPhrase`] if the tag is wrong; otherwise what is wrong with the rest.
    pub fn receive(
        self,
        tb: &[u8; CELL],
        identity: &Identity,
    ) -> Result<Established, HandshakeError> {
        if !self.confirmations.tags.verify_b(&tag_of(tb)) {
            return Err(HandshakeError::OtherPhrase);
        }
        let (theirs, blind) = confirmed(&self.confirmations.listener, tb)?;
        if !kdf::same(
            &kdf::sha256(kdf::COMMIT_LISTENER, &[&blind, &theirs]),
            &field(&self.yb, FOURTH),
        ) {
            return Err(Fault::OtherOpening.into());
        }
        let peer = PeerId::of(&theirs);
        if peer == identity.id() {
            return Err(HandshakeError::Own);
        }
        let remote = field(&self.yb, KEY);
        let shared = [
            kdf::x25519(self.key.secret(), &remote)?,
            kdf::x25519(identity.secret(), &remote)?,
            kdf::x25519(self.key.secret(), &theirs)?,
        ];
        let transcript = Transcript {
            channel: &self.channel,
            cells: [&self.ya, &self.yb, &self.ta, tb],
            ids: [identity.id(), peer],
            nonces: [self.nonce, field(&self.yb, THIRD)],
        };
        let own = Own::Spent(*self.key.public());
        let seeds = transcript.seeds(&self.isk, shared, own, RemoteRatchetKey(remote));
        Ok(Established {
            peer,
            words: transcript.words(),
            seeds,
        })
    }
}

/// The listener, waiting for Ta.
pub struct Listener {
    channel: Channel,
    key: RatchetKey,
    blind: [u8; 32],
    isk: Isk,
    confirmations: Confirmations,
    ya: Message,
    yb: Message,
}

impl Listener {
    /// Takes Ya. Returns the state, and Yb to send.
    ///
    /// # Errors
    /// Ya is malformed or of another version.
    pub fn answer(
        channel: Channel,
        prs: &Secret<32>,
        identity: &Identity,
        rng: &mut dyn CryptoRng,
        ya: &[u8; CELL],
    ) -> Result<(Self, Message), HandshakeError> {
        check_version(ya)?;
        let share = share(&channel, prs, rng);
        let key = RatchetKey::generate(rng);
        let (nonce, blind) = (random(rng), random(rng));
        let mut yb = opening(&share, &key, &nonce);
        yb[FOURTH..FOURTH + 32].copy_from_slice(&kdf::sha256(
            kdf::COMMIT_LISTENER,
            &[&blind, identity.public()],
        ));
        let isk = share
            .finish_responder(&field(ya, SHARE), &associated(ya), &associated(&yb))
            .map_err(|_| Fault::InvalidShare)?;
        let confirmations = Confirmations::new(&channel, &isk, ya, &yb);
        let state = Self {
            channel,
            key,
            blind,
            isk,
            confirmations,
            ya: Box::new(*ya),
            yb: yb.clone(),
        };
        Ok((state, yb))
    }

    /// The dialler's X25519 key of the connection, by which a process recognises its own dial.
    pub fn dialler_key(&self) -> [u8; 32] {
        field(&self.ya, KEY)
    }

    /// Takes Ta. The second part of the result is the cell to send in any case: Tb, or random bytes
    /// in its place.
    pub fn receive(
        self,
        ta: &[u8; CELL],
        identity: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> (Result<Established, HandshakeError>, Message) {
        match self.verify(ta, identity) {
            Ok((established, tb)) => (Ok(established), tb),
            Err(error) => {
                let mut cell = Box::new([0; CELL]);
                rng.fill_bytes(cell.as_mut_slice());
                (Err(error), cell)
            }
        }
    }

    fn verify(
        self,
        ta: &[u8; CELL],
        identity: &Identity,
    ) -> Result<(Established, Message), HandshakeError> {
        if !self.confirmations.tags.verify_a(&tag_of(ta)) {
            return Err(HandshakeError::OtherPhrase);
        }
        let (theirs, nonce) = confirmed(&self.confirmations.dialler, ta)?;
        if !kdf::same(
            &kdf::sha256(kdf::COMMIT_DIALLER, &[&nonce, &theirs]),
            &field(&self.ya, THIRD),
        ) {
            return Err(Fault::OtherOpening.into());
        }
        let peer = PeerId::of(&theirs);
        if peer == identity.id() {
            return Err(HandshakeError::Own);
        }
        let remote = field(&self.ya, KEY);
        let shared = [
            kdf::x25519(self.key.secret(), &remote)?,
            kdf::x25519(self.key.secret(), &theirs)?,
            kdf::x25519(identity.secret(), &remote)?,
        ];
        let tb = confirm(
            &self.confirmations.listener,
            &self.confirmations.tags.b,
            identity.public(),
            &self.blind,
        );
        let transcript = Transcript {
            channel: &self.channel,
            cells: [&self.ya, &self.yb, ta, &tb],
            ids: [peer, identity.id()],
            nonces: [nonce, field(&self.yb, THIRD)],
        };
        let words = transcript.words();
        let seeds = transcript.seeds(
            &self.isk,
            shared,
            Own::Key(self.key),
            RemoteRatchetKey(remote),
        );
        Ok((Established { peer, words, seeds }, tb))
    }
}

impl Established {
    /// The ratchet of this link.
    pub fn ratchet(
        self,
        now: std::time::Instant,
        direction: Direction,
    ) -> super::ratchet::DoubleRatchet {
        super::ratchet::DoubleRatchet::new(now, direction, self.seeds)
    }
}

#[cfg(test)]
mod tests;
