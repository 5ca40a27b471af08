"""Section 9: messages to and from one peer, whatever connection carries them."""

from collections import deque
from dataclasses import dataclass, field

from errors import Fault
from frames import DIRECT, FIRST, FRAME_HEADER, LAST, MESSAGE_HEADER, MESSAGE_ID, Message

LONGEST_TEXT = 65_536
WINDOW_MESSAGES = 8_192
WINDOW_BYTES = 1_048_576
NO_NUMBER = 2**64 - 1


@dataclass
class Outgoing:
    number: int
    message_id: bytes
    text: bytes = field(repr=False)


class Outbox:
    """The messages that this end owes the peer."""

    def __init__(self) -> None:
        self.unacknowledged: deque[Outgoing] = deque()
        self.bytes = 0
        self.last_number = 0
        self.last_ack = 0
        # The number of the message that is being sent, how much of it has been sent, and the
        # highest number of which anything has been sent.
        self.current = 1
        self.offset = 0
        self.highest_begun = 0

    def has_room(self, text: bytes) -> bool:
        return len(self.unacknowledged) < WINDOW_MESSAGES and self.bytes + len(text) <= WINDOW_BYTES

    def queue(self, message_id: bytes, text: bytes) -> None:
        self.last_number += 1
        self.unacknowledged.append(Outgoing(self.last_number, message_id, text))
        self.bytes += len(text)

    def waits(self) -> bool:
        return self.current <= self.last_number

    def next_fragment(self, room: int) -> bytes | None:
        """The next MESSAGE frame, if one with some text fits into the room."""
        if not self.waits():
            return None
        message = self.unacknowledged[self.current - self.unacknowledged[0].number]
        first = self.offset == 0
        room -= FRAME_HEADER + MESSAGE_HEADER + (MESSAGE_ID if first else 0)
        left = len(message.text) - self.offset
        if room < 0 or (room == 0 and left > 0):
            return None
        part = message.text[self.offset : self.offset + room]
        last = len(part) == left
        flags = (FIRST if first else 0) | (LAST if last else 0)
        fragment = Message(message.number, flags, part, message.message_id if first else b"")
        self.highest_begun = max(self.highest_begun, message.number)
        self.offset += len(part)
        if last:
            self.current, self.offset = self.current + 1, 0
        return fragment.encode()

    def acknowledge(self, number: int) -> list[Outgoing]:
        """Takes an ACK, and returns the messages that it covers."""
        if number > self.highest_begun:
            raise Fault("ACK names a message that was never sent")
        if number <= self.last_ack:
            return []
        self.last_ack = number
        covered = []
        while self.unacknowledged and self.unacknowledged[0].number <= number:
            covered.append(self.unacknowledged.popleft())
            self.bytes -= len(covered[-1].text)
        if self.current <= number:
            self.current, self.offset = number + 1, 0
        return covered

    def resume(self, heard: int) -> None:
        """Goes on over a new connection, with whole messages."""
        self.current, self.offset = max(heard, self.last_ack) + 1, 0

    def restart(self) -> list[Outgoing]:
        """The peer has forgotten this end. Returns the messages that are undelivered."""
        begun = [m for m in self.unacknowledged if m.number <= self.highest_begun]
        rest = [m for m in self.unacknowledged if m.number > self.highest_begun]
        self.__init__()
        for message in rest:
            self.queue(message.message_id, message.text)
        return begun


@dataclass
class Incoming:
    number: int
    message_id: bytes
    direct: bool
    text: bytes = field(repr=False)


class Inbox:
    """The messages that the peer owes this end. A whole one goes to the user at once."""

    def __init__(self) -> None:
        self.received = 0
        self.partial: Incoming | None = None

    def drop_partial(self) -> None:
        self.partial = None

    def take(self, fragment: Message) -> Incoming | None:
        """Takes a fragment, and returns the message if it is whole."""
        if fragment.number <= self.received:
            return None
        if fragment.number > self.received + 1:
            raise Fault("a message has a number out of order")
        direct = bool(fragment.flags & DIRECT)
        if fragment.flags & FIRST:
            if self.partial:
                raise Fault("a message has two first fragments")
            self.partial = Incoming(fragment.number, fragment.message_id, direct, b"")
        elif not self.partial:
            raise Fault("a message has no first fragment")
        message = self.partial
        if message.direct != direct:
            raise Fault("the fragments of a message differ in direct")
        message.text += fragment.text
        if len(message.text) > LONGEST_TEXT:
            raise Fault("a text is too long")
        if not fragment.flags & LAST:
            return None
        try:
            message.text.decode()
        except UnicodeDecodeError:
            raise Fault("a text is not UTF-8") from None
        self.partial = None
        self.received = fragment.number
        return message

    def withdraw(self, number: int) -> None:
        if number == NO_NUMBER or number < self.received:
            raise Fault("WITHDRAW has a number out of range")
        self.partial = None
        self.received = number
