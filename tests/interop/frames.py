"""Section 8: the frames in a cell."""

import ipaddress
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from errors import Fault

VERSION = 1
CIRCUITS_BIT, EPOCHS_BIT = 1, 4
CARRIES, HOLDS_CIRCUIT = 1, 2
FIRST, LAST, DIRECT = 1, 2, 4
FRAME_HEADER = 3
KEM_HEADER = FRAME_HEADER + 4
MESSAGE_HEADER = 9
MESSAGE_ID = 16
ENTRY_STATES = (0, 1, 2)
LEAVING, THIS_LINK_ONLY = 0, 1
ENCAPSULATION_KEY, CIPHERTEXT = 0, 1
NAME_BYTES = 128
HELLO, MESSAGE, ACK, WITHDRAW, PEERS, NAME, GOODBYE = range(1, 8)
OBSERVED, LOCAL, KEM = 14, 15, 16

LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
HOST_NAME = re.compile(rf"(?:{LABEL}\.)*(?![0-9]+\Z){LABEL}")


@dataclass(frozen=True)
class Address:
    """A host is a name or an IP address, as text."""

    host: str
    port: int

    def encode(self) -> bytes:
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            host = self.host.encode()
            return bytes([1, len(host)]) + host + struct.pack(">H", self.port)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return bytes([ip.version]) + ip.packed + struct.pack(">H", self.port)


@dataclass(frozen=True)
class Hello:
    interval: int
    link_seq: int
    oldest_live: int
    session_id: int
    heard_session_id: int
    heard: int
    # None: the sender does not listen. A number: a port of the address that the receiver sees.
    listening: int | Address | None
    name: bytes
    features: int = 0
    circuits: int = 0

    def encode(self) -> bytes:
        content = struct.pack(
            ">HIIIIQQQ",
            VERSION,
            self.features,
            self.interval,
            self.link_seq,
            self.oldest_live,
            self.session_id,
            self.heard_session_id,
            self.heard,
        )
        if self.listening is None:
            content += b"\0"
        elif isinstance(self.listening, int):
            content += struct.pack(">BH", 1, self.listening)
        else:
            content += b"\x02" + self.listening.encode()
        content += bytes([len(self.name)]) + self.name
        if self.features & CIRCUITS_BIT:
            content += bytes([self.circuits])
        return frame(HELLO, content)


@dataclass(frozen=True)
class Message:
    number: int
    flags: int
    text: bytes = field(repr=False)
    message_id: bytes = b""

    def encode(self) -> bytes:
        content = struct.pack(">QB", self.number, self.flags)
        return frame(MESSAGE, content + self.message_id + self.text)


@dataclass(frozen=True)
class Ack:
    number: int

    def encode(self) -> bytes:
        return frame(ACK, struct.pack(">Q", self.number))


@dataclass(frozen=True)
class Withdraw:
    number: int


@dataclass(frozen=True)
class Entry:
    peer_id: bytes
    state: int
    address: Address | None

    def encode(self) -> bytes:
        address = self.address.encode() if self.address else b"\0"
        return self.peer_id + bytes([self.state]) + address


@dataclass(frozen=True)
class Peers:
    entries: list[Entry]

    def encode(self) -> bytes:
        return frame(PEERS, b"".join(entry.encode() for entry in self.entries))


@dataclass(frozen=True)
class Name:
    name: bytes

    def encode(self) -> bytes:
        return frame(NAME, self.name)


@dataclass(frozen=True)
class Goodbye:
    reason: int

    def encode(self) -> bytes:
        return frame(GOODBYE, bytes([self.reason]))


@dataclass(frozen=True)
class Kem:
    epoch: int
    part: int
    offset: int
    data: bytes = field(repr=False)

    def encode(self) -> bytes:
        return frame(KEM, struct.pack(">BBH", self.epoch, self.part, self.offset) + self.data)


Frame = Hello | Message | Ack | Withdraw | Peers | Name | Goodbye | Kem


def frame(kind: int, content: bytes) -> bytes:
    return struct.pack(">BH", kind, len(content)) + content


class Reader:
    """Reads fields, and cannot run past the end."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, length: int) -> bytes:
        if length > self.left():
            raise Fault("a frame or a field runs past its end")
        self.at += length
        return self.data[self.at - length : self.at]

    def rest(self) -> bytes:
        return self.take(self.left())

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def end(self) -> None:
        if self.left():
            raise Fault("a frame has bytes behind its content")


def parse(cell_frames: bytes) -> Iterator[Frame]:
    """Yields the frames before a fault, too: they keep their effect."""
    cell = Reader(cell_frames)
    while cell.left():
        kind = cell.number(1)
        if kind == 0:
            if any(cell.rest()):
                raise Fault("a padding is not zero")
            return
        content = Reader(cell.take(cell.number(2)))
        read = READERS.get(kind)
        # Circuits (8 to 13) are an extension that this peer does not have.
        if read is None:
            continue
        yield read(content)
        content.end()


def read_hello(content: Reader) -> Hello:
    if content.number(2) != VERSION:
        raise Fault("HELLO has another version")
    features = content.number(4)
    interval, link_seq, oldest_live = (content.number(4) for _ in range(3))
    session_id, heard_session_id, heard = (content.number(8) for _ in range(3))
    listening = read_listening(content)
    name = content.take(content.number(1))
    circuits = content.number(1) if features & CIRCUITS_BIT else 0
    # Later extensions add fields here.
    content.rest()
    if interval != 0 and not 10 <= interval <= 10_000:
        raise Fault("HELLO has an interval out of range")
    if not 1 <= oldest_live <= link_seq:
        raise Fault("HELLO has link numbers out of range")
    if session_id == 0 or (heard_session_id == 0 and heard != 0):
        raise Fault("HELLO has a session number that is not allowed")
    if circuits not in (0, CARRIES, HOLDS_CIRCUIT):
        raise Fault("HELLO has flags of circuits that are not allowed")
    if circuits == HOLDS_CIRCUIT and interval == 0:
        raise Fault("HELLO has no interval over a circuit")
    return Hello(
        interval,
        link_seq,
        oldest_live,
        session_id,
        heard_session_id,
        heard,
        listening,
        check_name(name),
        features,
        circuits,
    )


def read_listening(content: Reader) -> int | Address | None:
    match content.number(1):
        case 0:
            return None
        case 1:
            return read_port(content)
        case 2:
            address = read_address(content)
            if address is None:
                raise Fault("HELLO listens at an address of kind 0")
            return address
    raise Fault("HELLO has an unknown value of listening")


def read_message(content: Reader) -> Message:
    number, flags = content.number(8), content.number(1)
    if number == 0:
        raise Fault("a message has number 0")
    if flags & ~(FIRST | LAST | DIRECT):
        raise Fault("MESSAGE has an unknown flag")
    message_id = content.take(MESSAGE_ID) if flags & FIRST else b""
    text = content.rest()
    if not text and not flags & LAST:
        raise Fault("a fragment without text is not the last one")
    return Message(number, flags, text, message_id)


def read_ack(content: Reader) -> Ack:
    return Ack(content.number(8))


def read_withdraw(content: Reader) -> Withdraw:
    return Withdraw(content.number(8))


def read_peers(content: Reader) -> Peers:
    entries = []
    while content.left():
        peer_id, state = content.take(32), content.number(1)
        if state not in ENTRY_STATES:
            raise Fault("PEERS has an unknown value")
        entries.append(Entry(peer_id, state, read_address(content)))
    return Peers(entries)


def read_name(content: Reader) -> Name:
    return Name(check_name(content.rest()))


def read_goodbye(content: Reader) -> Goodbye:
    reason = content.number(1)
    if reason not in (LEAVING, THIS_LINK_ONLY):
        raise Fault("GOODBYE has an unknown value")
    return Goodbye(reason)


def read_kem(content: Reader) -> Kem:
    epoch, part, offset = content.number(1), content.number(1), content.number(2)
    if part not in (ENCAPSULATION_KEY, CIPHERTEXT):
        raise Fault("KEM has an unknown part")
    data = content.rest()
    if not data:
        raise Fault("KEM has no bytes of its part")
    return Kem(epoch, part, offset, data)


def read_unasked(_content: Reader) -> Frame:
    raise Fault("OBSERVED or LOCAL came to an end that did not set bit 1 of features")


READERS = {
    HELLO: read_hello,
    MESSAGE: read_message,
    ACK: read_ack,
    WITHDRAW: read_withdraw,
    PEERS: read_peers,
    NAME: read_name,
    GOODBYE: read_goodbye,
    OBSERVED: read_unasked,
    LOCAL: read_unasked,
    KEM: read_kem,
}


def check_name(name: bytes) -> bytes:
    if len(name) > NAME_BYTES:
        raise Fault("a name is longer than 128 bytes")
    return name


def read_port(content: Reader) -> int:
    port = content.number(2)
    if port == 0:
        raise Fault("an address has port 0")
    return port


def read_address(content: Reader) -> Address | None:
    match content.number(1):
        case 0:
            return None
        case 1:
            host = content.take(content.number(1)).decode("latin-1")
            if len(host) > 253 or not HOST_NAME.fullmatch(host):
                raise Fault("an address has an invalid host name")
        case 4:
            host = str(ipaddress.IPv4Address(content.take(4)))
        case 6:
            ip = ipaddress.IPv6Address(content.take(16))
            host = str(ip.ipv4_mapped or ip)
        case _:
            raise Fault("an address has an unknown kind")
    return Address(host, read_port(content))
