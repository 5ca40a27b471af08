"""Sections 6 and 7: the Double Ratchet, and the cells that it seals."""

import os
import struct

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

    def take_turn(self, secret: bytes, now: float) -> None:
        self.own_secret = secret
        self.own_public = x25519_public(secret)
        self.root_key, self.sending_chain = root_step(self.root_key, x25519(secret, self.remote))
        self.previous_sent, self.sent = self.sent, 0
        self.has_turn = False
        self.turn_taken = now
        self.steps += 1

    def seal(self, frames: bytes, now: float) -> bytes:
        if self.has_turn and now - self.turn_taken >= TURN_SECONDS:
            self.take_turn(os.urandom(32), now)
        if self.sent == LONGEST_CHAIN:
            raise Fault("the sending chain is used up")
        header = self.own_public + struct.pack(">II8x", self.previous_sent, self.sent)
        self.sending_chain, key = chain_step(self.sending_chain)
        self.sent += 1
        aad = self.th + bytes([self.direction]) + header
        return header + seal(key, aad, frames.ljust(FRAMES, b"\0"))

    def open(self, cell: bytes) -> bytes:
        """The frames of a cell. The state changes only if the tag verifies."""
        header = cell[:HEADER]
        key, (pn, n) = header[:32], struct.unpack(">II", header[32:40])
        if any(header[40:]):
            raise Fault("a header has an epoch, or bytes that are not zero")
        new_key = key != self.remote
        root_key, chain, received = self.root_key, self.receiving_chain, self.received
        if new_key:
            if self.has_turn:
                raise Fault("a header shows a new key out of turn")
            if key == self.own_public:
                raise Fault("a header shows the receiver's own key")
            if n != 0 or pn != received:
                raise Fault("the first header of a chain has wrong numbers")
            root_key, chain = root_step(root_key, x25519(self.own_secret, key))
            received = 0
        elif n != received or pn != self.shown_pn:
            raise Fault("a header has wrong numbers")
        chain, message_key = chain_step(chain)
        aad = self.th + bytes([1 - self.direction]) + header
        frames = unseal(message_key, aad, cell[HEADER:])
        self.root_key, self.receiving_chain = root_key, chain
        self.remote, self.received, self.shown_pn = key, received + 1, pn
        if new_key:
            self.has_turn = True
            self.steps += 1
        return frames
