"""One connection with a peer, from TLS to its end."""

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

from errors import Fault, Refused, WrongPhrase
from frames import EPOCHS_BIT, Goodbye, Hello, Kem, parse
from handshake import CELL, Dialler, Listener, Session
from ratchet import FRAMES, Ratchet
from schedule import SECOND, first_tick
from tls import TlsChannel

if TYPE_CHECKING:
    from mesh import Member, Mesh

HANDSHAKE_SECONDS = 10
HELLO_SECONDS = 30
SILENCE_SECONDS = 30
ANSWER_SECONDS = 0.020
FINISH_SECONDS = 3
PADDING_SECONDS = 1
# As part of the longest wait between epochs.
SHORTEST_WAIT = 0.75


class Connection:
    def __init__(
        self,
        mesh: "Mesh",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        dialled: bool,
        begun: float,
    ):
        self.mesh = mesh
        self.begun = begun
        self.channel = TlsChannel(reader, writer, dialled)
        self.dialled = dialled
        self.remote_host, self.remote_port = writer.get_extra_info("peername")[:2]
        self.member: Member | None = None
        self.session: Session | None = None
        # Both are None until the HELLO is there.
        self.own_hello: Hello | None = None
        self.hello: Hello | None = None
        self.hello_arrived = asyncio.Event()
        # Why this end closed the connection, once it has.
        self.closed_for: str | None = None
        # What the next cells have to contain.
        self.owes_ack = False
        self.owed_entries: set[bytes] = set()
        self.owes_name = False
        self.owes_goodbye = False
        # When this end begins the next exchange of section 6, if that is its task.
        self.exchange_due = 0.0
        # Set when there is something to send, for links without ticks.
        self.wake = asyncio.Event()
        self.cells_sent = 0
        self.cells_received = 0
        self.ticks_skipped = 0

    def close(self, reason: str) -> None:
        if self.closed_for is None:
            self.closed_for = reason
            self.channel.abort()

    async def run(self) -> str:
        """Returns how the connection ended, or raises one of errors.py."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(self.begun + HANDSHAKE_SECONDS) as limit:
            binding = await self.channel.handshake()
            if self.dialled:
                limit.reschedule(loop.time() + HANDSHAKE_SECONDS)
                await self.authenticate(Dialler(self.mesh.prs, binding, self.mesh.identity))
            else:
                await self.answer(Listener(self.mesh.prs, binding, self.mesh.identity))
        hello_limit = loop.time() + HELLO_SECONDS
        # The proof of section 5: a cell of padding.
        self.send(b"")
        async with asyncio.timeout_at(hello_limit):
            if any(self.ratchet.open(await self.channel.read_cell())):
                raise Fault("the first cell is not padding")
        self.cells_received += 1
        if not self.mesh.admit(self):
            raise Refused
        self.own_hello = self.mesh.new_hello(self)
        self.send(self.own_hello.encode())
        return await self.talk(hello_limit)

    async def authenticate(self, dialler: Dialler) -> None:
        self.channel.write_cell(dialler.ya_cell)
        yb_cell = await self.channel.read_cell()
        self.channel.write_cell(dialler.answer_yb(yb_cell))
        session = dialler.accept_tb(await self.channel.read_cell())
        self.establish(session, None, asyncio.get_running_loop().time())

    async def answer(self, listener: Listener) -> None:
        ya_cell = await self.channel.read_cell()
        self.channel.write_cell(listener.answer_ya(ya_cell))
        ta_cell = await self.channel.read_cell()
        begun = asyncio.get_running_loop().time()
        try:
            tb_cell, session = listener.answer_ta(ta_cell)
        except (Fault, WrongPhrase):
            # The cell and its time look like those of a right phrase.
            await sleep_until(begun + ANSWER_SECONDS)
            self.channel.write_cell(os.urandom(CELL))
            raise
        accepted = asyncio.get_running_loop().time()
        await sleep_until(begun + ANSWER_SECONDS)
        self.channel.write_cell(tb_cell)
        self.establish(session, listener.draws.e, accepted)

    def establish(self, session: Session, listener_secret: bytes | None, accepted: float) -> None:
        self.session = session
        self.ratchet = Ratchet(session, listener_secret, accepted)

    def send(self, frames: bytes) -> None:
        now = asyncio.get_running_loop().time()
        epoch = self.ratchet.epoch
        self.channel.write_cell(self.ratchet.seal(frames, now))
        self.cells_sent += 1
        # The end whose turn begins an epoch also begins the exchange for the one after it.
        if self.ratchet.epoch != epoch:
            longest = self.mesh.epoch_period
            self.exchange_due = now + random.uniform(SHORTEST_WAIT * longest, longest)

    async def talk(self, hello_limit: float) -> str:
        reading = asyncio.create_task(self.read_cells(hello_limit))
        pacing = asyncio.create_task(self.pace())
        try:
            await asyncio.wait({reading, pacing}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            pacing.result()
            if self.closed_for:
                return self.closed_for
            # Both may not read the stream at once.
            reading.cancel()
            await asyncio.wait({reading})
            await self.channel.finish(FINISH_SECONDS)
            return "local"
        finally:
            reading.cancel()
            pacing.cancel()

    async def read_cells(self, deadline: float) -> str:
        """Reads until GOODBYE, or until this end has closed the connection."""
        loop = asyncio.get_running_loop()
        while True:
            async with asyncio.timeout_at(deadline):
                cell = await self.channel.read_cell()
            frames = self.ratchet.open(cell)
            self.cells_received += 1
            for frame in parse(frames):
                if isinstance(frame, Hello):
                    self.take_hello(frame)
                elif self.hello is None:
                    raise Fault("a frame came before HELLO")
                elif isinstance(frame, Goodbye):
                    self.mesh.take_goodbye(self, frame)
                    return "goodbye"
                elif isinstance(frame, Kem):
                    self.take_kem(frame)
                else:
                    self.mesh.take(self, frame)
                if self.closed_for:
                    return self.closed_for
            if self.hello:
                deadline = loop.time() + self.longest_silence()

    def take_hello(self, hello: Hello) -> None:
        if self.hello:
            raise Fault("a second HELLO")
        self.hello = hello
        self.mesh.take_hello(self)
        if hello.features & self.own_hello.features & EPOCHS_BIT:
            self.ratchet.start_epochs()
        self.owes_ack = True
        self.hello_arrived.set()

    def take_kem(self, fragment: Kem) -> None:
        if not self.hello.features & EPOCHS_BIT:
            raise Fault("KEM came from an end that did not set bit 2 of features")
        # Without epochs, this frame is one of an extension that this end does not have.
        if self.ratchet.exchange:
            self.ratchet.exchange.take(fragment)

    def next_kem(self, room: int) -> bytes:
        """The next KEM frame, if there is something to send. May be empty."""
        exchange = self.ratchet.exchange
        if exchange is None:
            return b""
        is_due = asyncio.get_running_loop().time() >= self.exchange_due
        if exchange.begins and not exchange.is_begun() and is_due:
            exchange.begin()
        return exchange.next_fragment(room)

    def longest_silence(self) -> float:
        interval = self.hello.interval or self.mesh.interval
        return max(SILENCE_SECONDS, 3 * interval / 1000)

    async def pace(self) -> None:
        """Sends cells, and returns after the one with GOODBYE, or once the connection is closed."""
        interval = self.mesh.interval
        if interval == 0:
            await self.hello_arrived.wait()
            interval = self.hello.interval
        if interval == 0:
            await self.send_without_ticks()
        else:
            await self.send_at_ticks(interval)

    async def send_at_ticks(self, interval_ms: int) -> None:
        loop = asyncio.get_running_loop()
        now, wall = loop.time(), time.time_ns() // 1000
        first = now + (first_tick(interval_ms, wall) - wall) / SECOND
        interval = interval_ms / 1000
        number = 0
        while not self.closed_for:
            tick = first + number * interval
            number += 1
            await sleep_until(tick)
            if loop.time() - tick > interval / 4 or self.channel.is_sending():
                self.ticks_skipped += 1
            elif self.send_next():
                return

    async def send_without_ticks(self) -> None:
        while not self.closed_for:
            try:
                async with asyncio.timeout(PADDING_SECONDS):
                    await self.wake.wait()
            except TimeoutError:
                pass
            self.wake.clear()
            if self.send_next():
                return
            await self.channel.writer.drain()
            # One cell may not have had room for all.
            if self.mesh.has_frames(self):
                self.wake.set()

    def send_next(self) -> bool:
        """Sends the next cell, and returns whether it had a GOODBYE."""
        if self.hello is None:
            self.send(b"")
            return False
        frames, last = self.mesh.next_frames(self, FRAMES)
        self.send(frames)
        return last


async def sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
