"""A peer that has proven itself, and which connection with it is the link (section 10)."""

import secrets
from typing import TYPE_CHECKING

from delivery import Inbox, Outbox, Outgoing
from errors import Fault
from frames import HOLDS_CIRCUIT, Hello

if TYPE_CHECKING:
    from connection import Connection


class Member:
    """A peer that has proven that it knows the phrase, until one of the two forgets the other."""

    def __init__(self, peer_id: bytes):
        self.peer_id = peer_id
        # This end's number for the peer, and the peer's for this end.
        self.session_id = secrets.randbelow(2**64 - 1) + 1
        self.other_session_id = 0
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.name = b""
        self.connections: list[Connection] = []
        self.link: Connection | None = None

    @property
    def label(self) -> str:
        return self.peer_id.hex()

    def check_hello(self, hello: Hello) -> None:
        if hello.heard_session_id != self.session_id:
            return
        forgotten = self.is_forgotten_by(hello)
        if hello.heard > (0 if forgotten else self.outbox.highest_begun):
            raise Fault("HELLO has heard a message that was never sent")

    def is_forgotten_by(self, hello: Hello) -> bool:
        return self.other_session_id not in (0, hello.session_id)

    def take_hello(self, hello: Hello) -> list[Outgoing]:
        """Delivery over a new link. Returns the messages that are undelivered."""
        undelivered = []
        if self.is_forgotten_by(hello):
            undelivered = self.outbox.restart()
            self.inbox = Inbox()
        self.inbox.drop_partial()
        self.outbox.resume(hello.heard if hello.heard_session_id == self.session_id else 0)
        self.other_session_id = hello.session_id
        return undelivered


def link_among(connections: "list[Connection]", own_is_lesser: bool) -> "Connection":
    """The connection that stays. Each has both HELLOs."""
    newest = max(connections, key=lambda c: c.hello.link_seq).hello
    living = [c for c in connections if c.hello.link_seq >= newest.oldest_live]
    direct = [c for c in living if not is_for_circuit(c)] or living
    preferred = [c for c in direct if c.dialled == own_is_lesser] or direct
    return max(preferred, key=lambda c: (c.own_hello if c.dialled else c.hello).link_seq)


def is_for_circuit(connection: "Connection") -> bool:
    return bool(connection.hello.circuits & HOLDS_CIRCUIT)
