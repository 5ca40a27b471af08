"""Section 10: the peers that this end knows, and which connection is the link with each."""

import asyncio
import os
from collections.abc import Iterable
from ipaddress import ip_address

from connection import Connection
from delivery import Outgoing
from errors import Fault, Lost, Refused, WrongPhrase
from frames import (
    EPOCHS_BIT,
    LEAVING,
    MESSAGE_ID,
    Ack,
    Address,
    Entry,
    Frame,
    Goodbye,
    Hello,
    Message,
    Name,
    Peers,
    Withdraw,
)
from handshake import Identity
from member import Member, link_among
from output import emit, report
from words import six_words

MOST_MEMBERS = 16
MOST_CONNECTIONS = 64
LEAVE_SECONDS = 30


class Mesh:
    def __init__(self, prs: bytes, name: bytes, interval: int, epoch_period: float | None):
        self.prs = prs
        self.identity = Identity()
        self.name = name
        self.interval = interval
        # The longest time from one epoch to the next exchange. None: no epochs.
        self.epoch_period = epoch_period
        # The port, once this end listens.
        self.listening: int | None = None
        self.members: dict[bytes, Member] = {}
        self.link_seq = 0
        # How often a link has come up.
        self.links = 0
        self.leaving = False
        self.connections: dict[Connection, asyncio.Task] = {}
        self.first_link = asyncio.Event()
        self.progress = asyncio.Event()
        # Set when a peer has broken the page on a link.
        self.faulty = asyncio.Event()

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        dialled: bool,
        begun: float,
    ) -> str:
        """Runs one connection, and returns how it ended. `begun`: the dial, or TCP's accept."""
        connection = Connection(self, reader, writer, dialled, begun)
        if self.leaving or len(self.connections) >= MOST_CONNECTIONS:
            connection.close("refused")
            return "refused"
        self.connections[connection] = asyncio.current_task()
        reason = "local"
        try:
            reason = await connection.run()
        except WrongPhrase:
            reason = "wrong passphrase"
            emit("wrong_passphrase", inbound=not dialled)
            report(f"wrong passphrase: {where(connection)} has another one")
        except Fault as fault:
            reason = "fault"
            report(f"fault: {where(connection)}: {fault}")
        except Refused:
            reason = "refused"
        except TimeoutError:
            reason = "timeout"
        except (Lost, OSError):
            reason = connection.closed_for or "lost"
        finally:
            connection.channel.abort()
            del self.connections[connection]
            self.take_end(connection, reason)
            if reason == "fault" and connection.own_hello:
                self.faulty.set()
        return reason

    def admit(self, connection: Connection) -> bool:
        """Whether this end wants a link with the peer that has proven itself."""
        peer_id = connection.session.peer_id
        if self.leaving:
            return False
        member = self.members.get(peer_id)
        if member is None:
            if len(self.members) >= MOST_MEMBERS and not self.give_one_up():
                return False
            member = self.members[peer_id] = Member(peer_id)
        member.connections.append(connection)
        connection.member = member
        return True

    def give_one_up(self) -> bool:
        for member in self.members.values():
            if not member.connections:
                self.forget(member, "away")
                return True
        return False

    def new_hello(self, connection: Connection) -> Hello:
        member = connection.member
        self.link_seq += 1
        living = [c.own_hello.link_seq for c in member.connections if c.own_hello]
        return Hello(
            interval=self.interval,
            link_seq=self.link_seq,
            oldest_live=min([*living, self.link_seq]),
            session_id=member.session_id,
            heard_session_id=member.other_session_id,
            heard=member.inbox.received,
            listening=self.listening,
            name=self.name,
            features=0 if self.epoch_period is None else EPOCHS_BIT,
        )

    def take_hello(self, connection: Connection) -> None:
        member, hello = connection.member, connection.hello
        candidates = [c for c in member.connections if c.hello]
        own_is_lesser = self.identity.peer_id < member.peer_id
        stays = link_among(candidates, own_is_lesser)
        # A fault costs this connection only, so it comes before the others are closed.
        if stays is connection:
            member.check_hello(hello)
        for other in candidates:
            if other is not stays:
                other.close("replaced")
        if stays is connection:
            self.become_link(connection)

    def become_link(self, connection: Connection) -> None:
        member, hello = connection.member, connection.hello
        before = member.link
        if before:
            emit("down", peer=member.label, reason="replaced")
        resumed = member.other_session_id == hello.session_id
        self.report_undelivered(member, member.take_hello(hello), "restarted")
        member.link, member.name = connection, hello.name
        connection.owed_entries = {m.peer_id for m in self.linked() if m is not member}
        if not before:
            self.announce(member)
        emit(
            "up",
            peer=member.label,
            name=text_or_none(member.name),
            words=six_words(connection.session.words_number),
            inbound=not connection.dialled,
            resumed=resumed,
            interval=hello.interval,
        )
        self.links += 1
        self.first_link.set()

    def take_end(self, connection: Connection, reason: str) -> None:
        member = connection.member
        if member is None:
            return
        if connection in member.connections:
            member.connections.remove(connection)
        if member.link is connection:
            member.link = None
            emit("down", peer=member.label, reason=reason)
            if reason == "local":
                self.forget(member, "goodbye")
            else:
                self.announce(member)
        self.progress.set()

    def take_goodbye(self, connection: Connection, goodbye: Goodbye) -> None:
        member = connection.member
        emit("left", peer=member.label, leaving=goodbye.reason == LEAVING)
        self.forget(member, "goodbye")

    def forget(self, member: Member, reason: str) -> None:
        del self.members[member.peer_id]
        member.link = None
        for connection in member.connections:
            connection.close("forgotten")
        self.report_undelivered(member, member.outbox.unacknowledged, reason)
        self.announce(member)
        self.progress.set()

    def linked(self) -> list[Member]:
        return [member for member in self.members.values() if member.link]

    def announce(self, member: Member) -> None:
        """Has all other peers learn of a new or an ended link."""
        for other in self.linked():
            if other is not member:
                other.link.owed_entries.add(member.peer_id)
                other.link.wake.set()

    def take(self, connection: Connection, frame: Frame) -> None:
        member = connection.member
        match frame:
            case Message():
                message = member.inbox.take(frame)
                if message:
                    emit(
                        "message",
                        peer=member.label,
                        name=text_or_none(member.name),
                        text=message.text.decode(),
                        mid=message.message_id.hex(),
                        number=message.number,
                        direct=message.direct,
                    )
                    connection.owes_ack = True
            case Ack(number):
                for message in member.outbox.acknowledge(number):
                    emit("delivered", peer=member.label, mid=message.message_id.hex())
                self.progress.set()
            case Withdraw(number):
                before = member.inbox.received
                member.inbox.withdraw(number)
                connection.owes_ack |= number > before
            case Peers(entries):
                for entry in entries:
                    emit(
                        "gossip",
                        peer=member.label,
                        about=entry.peer_id.hex(),
                        linked=entry.state,
                        host=entry.address.host if entry.address else None,
                        port=entry.address.port if entry.address else None,
                    )
            case Name(name):
                member.name = name
                emit("name", peer=member.label, name=text_or_none(name))
        if connection.owes_ack:
            connection.wake.set()

    def has_frames(self, connection: Connection) -> bool:
        return bool(
            connection.owes_ack
            or connection.owed_entries
            or connection.owes_name
            or connection.owes_goodbye
            or connection.member.outbox.waits()
        )

    def next_frames(self, connection: Connection, room: int) -> tuple[bytes, bool]:
        """What goes into the next cell of a link, and whether GOODBYE is in it."""
        member = connection.member
        frames = b""
        if connection.owes_ack:
            frames += Ack(member.inbox.received).encode()
            connection.owes_ack = False
        if connection.owes_name:
            frames += Name(self.name).encode()
            connection.owes_name = False
        if connection.owed_entries or member.outbox.waits():
            frames += connection.next_kem(min(room // 3, room - len(frames)))
        else:
            frames += connection.next_kem(room - len(frames))
        for peer_id in sorted(connection.owed_entries):
            entry = Peers([self.entry(peer_id)]).encode()
            if len(frames) + len(entry) > room:
                return frames, False
            frames += entry
            connection.owed_entries.remove(peer_id)
        while fragment := member.outbox.next_fragment(room - len(frames)):
            frames += fragment
        goodbye = Goodbye(LEAVING).encode()
        if not connection.owes_goodbye or len(frames) + len(goodbye) > room:
            return frames, False
        return frames + goodbye, True

    def entry(self, peer_id: bytes) -> Entry:
        member = self.members.get(peer_id)
        if member is None or member.link is None:
            return Entry(peer_id, 0, None)
        return Entry(peer_id, 1, address_of(member.link))

    async def say(self, text: bytes) -> None:
        await self.first_link.wait()
        message_id = os.urandom(MESSAGE_ID)
        queued = []
        for member in list(self.members.values()):
            while member.link and not member.outbox.has_room(text):
                self.progress.clear()
                await self.progress.wait()
            if self.members.get(member.peer_id) is not member:
                continue
            if not member.outbox.has_room(text):
                # The peer was lost, and owes acknowledgements for a whole window.
                emit("undelivered", peer=member.label, mid=message_id.hex(), reason="away")
                continue
            member.outbox.queue(message_id, text)
            queued.append(member.label)
            if member.link:
                member.link.wake.set()
        emit("queued", mid=message_id.hex(), peers=queued)

    def rename(self, name: bytes) -> None:
        self.name = name
        for member in self.linked():
            member.link.owes_name = True
            member.link.wake.set()

    def drop(self) -> None:
        """Closes all links without GOODBYE, as a broken network does."""
        for member in self.linked():
            member.link.close("lost")

    def stats(self) -> None:
        for member in self.linked():
            link = member.link
            emit(
                "stats",
                peer=member.label,
                cells_sent=link.cells_sent,
                cells_received=link.cells_received,
                ticks_skipped=link.ticks_skipped,
                ratchet_steps=link.ratchet.steps,
                epoch=link.ratchet.epoch,
            )

    async def leave(self) -> None:
        """Waits for acknowledgements, and says GOODBYE on all links."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                while any(m.outbox.unacknowledged for m in self.members.values()):
                    self.progress.clear()
                    await self.progress.wait()
        except TimeoutError:
            pass
        self.leaving = True
        for connection in list(self.connections):
            member = connection.member
            if member and member.link is connection:
                connection.owes_goodbye = True
                connection.wake.set()
            else:
                connection.close("leaving")
        if self.connections:
            await asyncio.wait(list(self.connections.values()))
        for member in list(self.members.values()):
            self.forget(member, "timeout")

    def report_undelivered(self, member: Member, messages: Iterable[Outgoing], reason: str) -> None:
        for message in messages:
            emit(
                "undelivered",
                peer=member.label,
                mid=message.message_id.hex(),
                reason=reason,
            )


def address_of(link: Connection) -> Address | None:
    """The address of a linked peer for the entries that other peers get."""
    listening = link.hello.listening
    # This peer never dials an advertised address, so it cannot vouch for one. A link-local
    # address has a zone, which other peers do not share.
    if not isinstance(listening, int) or ip_address(link.remote_host).is_link_local:
        return None
    return Address(link.remote_host, link.remote_port if link.dialled else listening)


def text_or_none(name: bytes) -> str | None:
    try:
        return name.decode() or None
    except UnicodeDecodeError:
        return None


def where(connection: Connection) -> str:
    host = connection.remote_host
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{connection.remote_port}"
