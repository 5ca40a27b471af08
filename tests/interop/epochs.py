"""Section 6, Epochs: the exchanges that mix secrets of ML-KEM-768 into the root key."""

import os

from errors import Fault
from frames import CIPHERTEXT, ENCAPSULATION_KEY, KEM_HEADER, Kem
from primitives import kem_decapsulate, kem_encapsulate, kem_public, labelled_hash

SEED = 64
LENGTHS = {ENCAPSULATION_KEY: 1184, CIPHERTEXT: 1088}


class Exchange:
    """What leads one end from an epoch to the next one. It ends with the connection."""

    def __init__(self, epoch: int, begins: bool):
        # The next epoch. A frame and a header have it modulo 256.
        self.epoch = epoch
        self.begins = begins
        self.own_part, self.other_part = ENCAPSULATION_KEY, CIPHERTEXT
        if not begins:
            self.own_part, self.other_part = self.other_part, self.own_part
        self.seed: bytes | None = None
        # This end's part, once it has it, and how much of it is in cells. Then the other end's.
        self.own = b""
        self.offset = 0
        self.arrived = b""
        self.secret: bytes | None = None
        # The example of section 15 has an answer of its own.
        self.encapsulate = kem_encapsulate
        # Whether the answerer's next new key begins the epoch.
        self.is_due = False

    def begin(self, seed: bytes | None = None) -> None:
        self.seed = seed or os.urandom(SEED)
        self.own = kem_public(self.seed)

    def is_begun(self) -> bool:
        return bool(self.own)

    def is_sent(self) -> bool:
        return self.is_begun() and self.offset == len(self.own)

    def next_fragment(self, room: int) -> bytes:
        """The next KEM frame, if one with some bytes fits into the room. May be empty."""
        part = self.own[self.offset :][: max(0, room - KEM_HEADER)]
        if not part:
            return b""
        fragment = Kem(self.epoch % 256, self.own_part, self.offset, part)
        self.offset += len(part)
        return fragment.encode()

    def take(self, fragment: Kem) -> None:
        if fragment.epoch != self.epoch % 256:
            raise Fault("KEM is of another epoch than the next")
        if fragment.part != self.other_part:
            raise Fault("KEM has a part that its receiver has to send")
        # The other end cannot make a ciphertext before it has the whole key.
        if self.begins and not self.is_sent():
            raise Fault("KEM has a part that is not due")
        whole = LENGTHS[self.other_part]
        if len(self.arrived) == whole:
            raise Fault("KEM has a part that is not due")
        if fragment.offset != len(self.arrived):
            raise Fault("KEM has another offset than the next")
        if len(self.arrived) + len(fragment.data) > whole:
            raise Fault("KEM runs past the end of its part")
        self.arrived += fragment.data
        if len(self.arrived) < whole:
            return
        if self.begins:
            self.secret = kem_decapsulate(self.seed, self.arrived)
            self.is_due = True
        else:
            self.secret, self.own = self.encapsulate(self.arrived)

    def cell_is_sealed(self) -> None:
        """The epoch begins behind the cell with the end of the ciphertext, and not in it."""
        self.is_due |= not self.begins and self.is_sent()

    def hash(self) -> bytes:
        """The page's `exchange`."""
        parts = (self.own, self.arrived) if self.begins else (self.arrived, self.own)
        return labelled_hash(b"sesame-v1 epoch", *parts)
