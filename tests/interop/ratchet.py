"""Sections 6 and 7: the Double Ratchet, and the cells that it seals."""

import os
import struct

from epochs import Exchange
from errors import Fault
from handshake import Session
from primitives import expand, extract, seal, unseal, x25519, x25519_public

FRAMES = 960
HEADER = 48
TURN_SECONDS = 1.0
LONGEST_CHAIN = 2**32 - 1


def root_step(root_key: bytes, product: bytes) -> tuple[bytes, bytes]:
    """The next root key, and the chain key of the new chain."""
    keys = expand(extract(root_key, product), b"sesame-v1 ratchet", 64)
    return keys[:32], keys[32:]


def epoch_step(root_key: bytes, product: bytes, exchange: Exchange) -> tuple[bytes, bytes]:
    """As `root_step`, with the secret of an exchange. The new root key has the next epoch."""
    info = b"sesame-v1 epoch root" + exchange.hash()
    keys = expand(extract(root_key, product + exchange.secret), info, 64)
    return keys[:32], keys[32:]


def chain_step(chain_key: bytes) -> tuple[bytes, bytes]:
    """The next chain key, and the message key of this cell."""
    keys = expand(chain_key, b"sesame-v1 chain", 64)
    return keys[:32], keys[32:]


class Ratchet:
    """One end of a link. `listener_secret` is the secret of eL, at the listener only."""

    def __init__(self, session: Session, listener_secret: bytes | None, established: float):
        dialler = listener_secret is None
        self.th = session.th
        self.root_key = session.root_key
        self.direction = 0 if dialler else 1
        self.sending_chain = session.chain_d if dialler else session.chain_l
        self.receiving_chain = session.chain_l if dialler else session.chain_d
        self.own_public = session.e_d if dialler else session.e_l
        self.own_secret = listener_secret
        self.remote = session.e_l if dialler else session.e_d
        self.has_turn = dialler
        self.turn_taken = established
        self.sent = 0
        self.previous_sent = 0
        self.received = 0
        self.shown_pn = 0
        self.steps = 0
        # The epoch of the root key, and those of the root keys that the two chains come from.
        self.epoch = 0
        self.sending_epoch = 0
        self.receiving_epoch = 0
        # The one that leads to the next epoch, once both HELLOs show that both ends know epochs.
        self.exchange: Exchange | None = None

    def start_epochs(self) -> None:
        self.expect_epoch(self.epoch + 1)

    def expect_epoch(self, epoch: int) -> None:
        beginner = 0 if epoch % 2 == 0 else 1
        self.exchange = Exchange(epoch, begins=self.direction == beginner)

    def begins_epoch(self, sends: bool) -> bool:
        """Whether a new key begins the next epoch. That is up to the answerer."""
        exchange = self.exchange
        return exchange is not None and exchange.is_due and exchange.begins != sends

    def step(self, product: bytes, sends: bool) -> tuple[bytes, bytes]:
        """The next root key, and the chain key of a chain that shows a new key."""
        if self.begins_epoch(sends):
            return epoch_step(self.root_key, product, self.exchange)
        return root_step(self.root_key, product)

    def finish_step(self, sends: bool) -> None:
        self.steps += 1
        if self.begins_epoch(sends):
            self.epoch += 1
            self.expect_epoch(self.epoch + 1)

    def take_turn(self, secret: bytes, now: float) -> None:
        self.own_secret = secret
        self.own_public = x25519_public(secret)
        self.root_key, self.sending_chain = self.step(x25519(secret, self.remote), sends=True)
        self.finish_step(sends=True)
        self.sending_epoch = self.epoch
        self.previous_sent, self.sent = self.sent, 0
        self.has_turn = False
        self.turn_taken = now

    def seal(self, frames: bytes, now: float) -> bytes:
        if self.has_turn and now - self.turn_taken >= TURN_SECONDS:
            self.take_turn(os.urandom(32), now)
        if self.sent == LONGEST_CHAIN:
            raise Fault("the sending chain is used up")
        header = self.own_public + struct.pack(
            ">IIB7x", self.previous_sent, self.sent, self.sending_epoch % 256
        )
        self.sending_chain, key = chain_step(self.sending_chain)
        self.sent += 1
        if self.exchange:
            self.exchange.cell_is_sealed()
        aad = self.th + bytes([self.direction]) + header
        return header + seal(key, aad, frames.ljust(FRAMES, b"\0"))

    def open(self, cell: bytes) -> bytes:
        """The frames of a cell. The state changes only if the tag verifies."""
        header = cell[:HEADER]
        key, (pn, n, epoch) = header[:32], struct.unpack(">IIB", header[32:41])
        if any(header[41:]):
            raise Fault("a header has bytes that are not zero")
        new_key = key != self.remote
        root_key, chain, received = self.root_key, self.receiving_chain, self.received
        if new_key:
            if self.has_turn:
                raise Fault("a header shows a new key out of turn")
            if key == self.own_public:
                raise Fault("a header shows the receiver's own key")
            if n != 0 or pn != received:
                raise Fault("the first header of a chain has wrong numbers")
            if epoch != (self.epoch + self.begins_epoch(sends=False)) % 256:
                raise Fault("the first header of a chain has a wrong epoch")
            root_key, chain = self.step(x25519(self.own_secret, key), sends=False)
            received = 0
        elif n != received or pn != self.shown_pn:
            raise Fault("a header has wrong numbers")
        elif epoch != self.receiving_epoch % 256:
            raise Fault("a header has another epoch than its chain")
        chain, message_key = chain_step(chain)
        aad = self.th + bytes([1 - self.direction]) + header
        frames = unseal(message_key, aad, cell[HEADER:])
        self.root_key, self.receiving_chain = root_key, chain
        self.remote, self.received, self.shown_pn = key, received + 1, pn
        if new_key:
            self.has_turn = True
            self.finish_step(sends=False)
            self.receiving_epoch = self.epoch
        return frames
