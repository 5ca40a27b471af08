"""Section 5: four cells, and the keys of the link."""

import hmac
import os
from dataclasses import dataclass, field

import cpace
import ristretto
from cpace import Binding
from errors import Fault, WrongPhrase
from primitives import expand, extract, labelled_hash, seal, unseal, x25519, x25519_public

CELL = 1024
TAG = 64
CLOSED_PADDING = bytes(880)


@dataclass(frozen=True)
class Identity:
    """Section 4."""

    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    @property
    def public(self) -> bytes:
        return x25519_public(self.secret)

    @property
    def peer_id(self) -> bytes:
        return peer_id(self.public)


def peer_id(public: bytes) -> bytes:
    return labelled_hash(b"sesame-v1 peer id", public)


def random32() -> bytes:
    return os.urandom(32)


@dataclass(frozen=True)
class Draws:
    """The random values of one end for one connection. `blind` is the listener's only."""

    y: bytes = field(default_factory=random32, repr=False)
    e: bytes = field(default_factory=random32, repr=False)
    nonce: bytes = field(default_factory=random32, repr=False)
    blind: bytes = field(default_factory=random32, repr=False)


@dataclass(frozen=True)
class Session:
    """What both ends have when the handshake ends."""

    peer_id: bytes
    th: bytes
    root_key: bytes = field(repr=False)
    chain_d: bytes = field(repr=False)
    chain_l: bytes = field(repr=False)
    e_d: bytes = field(repr=False)
    e_l: bytes = field(repr=False)
    words_number: int = field(repr=False)


class Handshake:
    """What dialler and listener do in the same way, once both shares are known."""

    def __init__(self, prs: bytes, binding: Binding, identity: Identity, draws: Draws):
        self.binding = binding
        self.identity = identity
        self.draws = draws
        self.scalar = cpace.scalar(draws.y)
        self.share = ristretto.multiply(self.scalar, cpace.generator(prs, binding))
        self.e_public = x25519_public(draws.e)
        self.ya_cell = b""
        self.yb_cell = b""

    def derive_keys(self, other_share: bytes) -> None:
        self.k = ristretto.multiply(self.scalar, other_share)
        self.ya, self.ad_a = split_share(self.ya_cell)
        self.yb, self.ad_b = split_share(self.yb_cell)
        sid, salt = self.binding.sid, self.binding.salt
        self.isk = cpace.intermediate_key(sid, self.k, self.ya, self.ad_a, self.yb, self.ad_b)
        self.mac_key = cpace.mac_key(sid, self.isk)
        self.tag_d = cpace.confirmation(self.mac_key, self.ya, self.ad_a)
        self.tag_l = cpace.confirmation(self.mac_key, self.yb, self.ad_b)
        self.prk = extract(salt, self.isk)
        self.key_d = expand(self.prk, b"sesame-v1 confirm dialler", 32)
        self.key_l = expand(self.prk, b"sesame-v1 confirm listener", 32)

    def open_proof(self, cell: bytes, tag: bytes, key: bytes) -> tuple[bytes, bytes]:
        """The identity key and the 32 bytes behind it, from a Ta or Tb."""
        if not hmac.compare_digest(cell[:TAG], tag):
            raise WrongPhrase
        opened = unseal(key, tag, cell[TAG:])
        return opened[:32], opened[32:64]

    def check_identity(self, public: bytes) -> bytes:
        other = peer_id(public)
        if other == self.identity.peer_id:
            raise Fault("the other end is this end")
        return other

    def session(
        self,
        other: bytes,
        ids: tuple[bytes, bytes],
        nonces: tuple[bytes, bytes],
        e_keys: tuple[bytes, bytes],
        products: tuple[bytes, bytes, bytes],
        proofs: tuple[bytes, bytes],
    ) -> Session:
        """Each pair has the dialler's value first."""
        self.products = products
        cells = (self.ya_cell, self.yb_cell, *proofs)
        th = labelled_hash(b"sesame-v1 transcript", self.binding.fp_d, self.binding.fp_l, *cells)
        prk = extract(self.binding.salt, self.isk + b"".join(products))
        keys = expand(prk, b"sesame-v1 root" + th, 96)
        seed = b"".join((*ids, *nonces)) + self.ad_a + self.ad_b
        number = expand(extract(b"sesame-v1 words", seed), b"sesame-v1 words", 16)
        return Session(
            peer_id=other,
            th=th,
            root_key=keys[:32],
            chain_d=keys[32:64],
            chain_l=keys[64:],
            e_d=e_keys[0],
            e_l=e_keys[1],
            words_number=int.from_bytes(number, "big"),
        )


class Dialler(Handshake):
    def __init__(
        self, prs: bytes, binding: Binding, identity: Identity, draws: Draws | None = None
    ):
        super().__init__(prs, binding, identity, draws or Draws())
        commit = labelled_hash(b"sesame-v1 commit dialler", self.draws.nonce, identity.public)
        self.ya_cell = share_cell(self.share, self.e_public, commit)

    def answer_yb(self, cell: bytes) -> bytes:
        """Takes Yb, and returns Ta."""
        self.yb_cell = cell
        share = check_share_cell(cell, self.share)
        self.e_l = cell[34:66]
        self.nonce_l = cell[66:98]
        self.commit_l = cell[98:130]
        if self.e_l == self.e_public:
            raise Fault("Yb has the dialler's own key")
        self.derive_keys(share)
        proof = self.identity.public + self.draws.nonce + CLOSED_PADDING
        self.ta_cell = self.tag_d + seal(self.key_d, self.tag_d, proof)
        return self.ta_cell

    def accept_tb(self, cell: bytes) -> Session:
        id_l, blind = self.open_proof(cell, self.tag_l, self.key_l)
        if labelled_hash(b"sesame-v1 commit listener", blind, id_l) != self.commit_l:
            raise Fault("Tb does not give commitL")
        other = self.check_identity(id_l)
        products = (
            x25519(self.draws.e, self.e_l),
            x25519(self.identity.secret, self.e_l),
            x25519(self.draws.e, id_l),
        )
        return self.session(
            other,
            (self.identity.peer_id, other),
            (self.draws.nonce, self.nonce_l),
            (self.e_public, self.e_l),
            products,
            (self.ta_cell, cell),
        )


class Listener(Handshake):
    def __init__(
        self, prs: bytes, binding: Binding, identity: Identity, draws: Draws | None = None
    ):
        super().__init__(prs, binding, identity, draws or Draws())

    def answer_ya(self, cell: bytes) -> bytes:
        """Takes Ya, and returns Yb."""
        self.ya_cell = cell
        share = check_share_cell(cell, self.share)
        self.e_d = cell[34:66]
        self.commit_d = cell[66:98]
        commit = labelled_hash(b"sesame-v1 commit listener", self.draws.blind, self.identity.public)
        self.yb_cell = share_cell(self.share, self.e_public, self.draws.nonce + commit)
        self.derive_keys(share)
        return self.yb_cell

    def answer_ta(self, cell: bytes) -> tuple[bytes, Session]:
        """Takes Ta, and returns Tb."""
        id_d, nonce_d = self.open_proof(cell, self.tag_d, self.key_d)
        if labelled_hash(b"sesame-v1 commit dialler", nonce_d, id_d) != self.commit_d:
            raise Fault("Ta does not give commitD")
        other = self.check_identity(id_d)
        products = (
            x25519(self.draws.e, self.e_d),
            x25519(self.draws.e, id_d),
            x25519(self.identity.secret, self.e_d),
        )
        proof = self.identity.public + self.draws.blind + CLOSED_PADDING
        tb_cell = self.tag_l + seal(self.key_l, self.tag_l, proof)
        session = self.session(
            other,
            (other, self.identity.peer_id),
            (nonce_d, self.draws.nonce),
            (self.e_d, self.e_public),
            products,
            (cell, tb_cell),
        )
        return tb_cell, session


def share_cell(share: bytes, e_public: bytes, rest: bytes) -> bytes:
    return (cpace.VERSION + share + e_public + rest).ljust(CELL, b"\0")


def split_share(cell: bytes) -> tuple[bytes, bytes]:
    """The CPace share of a Ya or Yb, and its associated data."""
    return cell[2:34], cell[:2] + cell[34:]


def check_share_cell(cell: bytes, own_share: bytes) -> bytes:
    if cell[:2] != cpace.VERSION:
        raise Fault("the other end has another version of the protocol")
    share, _ = split_share(cell)
    if share == own_share:
        raise Fault("the other end sent this end's own CPace share")
    return share
