#!/usr/bin/env python3
"""Computes the worked example of PROTOCOL.md anew, and compares each value with the page."""

import hashlib
import re
import sys
from pathlib import Path

import cpace
import handshake
import phrase
import schedule
from cpace import Binding
from delivery import Inbox, Outbox
from frames import EPOCHS_BIT, Ack, Address, Hello, Kem, parse
from primitives import kem_decapsulate
from ratchet import FRAMES, Ratchet, chain_step
from words import six_words

PAGE = Path(__file__).parents[2] / "src" / "proto" / "PROTOCOL.md"
VALUE = re.compile(r"^(\S.*?) *= (.+)$")
TICK = re.compile(
    r"^\| ([\d,]+) ms \| \d+.*? \| 12:00:([\d.]+) \| 12:00:([\d.]+) \|$", re.MULTILINE
)
# The time of day in the table of section 12. Every interval there divides an hour.
NOON = 12 * 3600 * schedule.SECOND


def read_values(page: str) -> dict[str, bytes]:
    """The values of section 15 by their names."""
    section = page[page.index("\n## 15 ") :]
    values: dict[str, bytes] = {}
    for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL):
        name = ""
        for line in block.splitlines():
            if match := VALUE.match(line):
                name, text = match.groups()
                values[name] = b""
            else:
                text = line.strip()
            values[name] += read_value(text)
    return values


def read_value(text: str) -> bytes:
    if text.startswith('"'):
        return text.strip('"').encode()
    if zeros := re.fullmatch(r"zero\((\d+)\)", text):
        return bytes(int(zeros[1]))
    return bytes.fromhex(text)


class Example:
    """Gives the inputs of the example, and notes which other values were compared."""

    def __init__(self, values: dict[str, bytes]):
        self.values = values
        self.unused = set(values)
        self.wrong: list[str] = []

    def given(self, name: str) -> bytes:
        self.unused.discard(name)
        return self.values[name]

    def compare(self, name: str, computed: bytes) -> None:
        if self.given(name) != computed:
            self.wrong.append(name)

    def both(self, name: str, dialler: bytes, listener: bytes) -> None:
        self.compare(name, dialler)
        self.compare(name, listener)


def check_handshake(page: Example) -> tuple[handshake.Session, handshake.Session]:
    given = page.given
    text = phrase.normalised(given("phrase given"))
    page.compare("phrase", text)
    prs = phrase.prs(text)
    page.compare("PRS", prs)

    id_d = handshake.Identity(given("idD secret"))
    id_l = handshake.Identity(given("idL secret"))
    page.compare("idD", id_d.public)
    page.compare("idL", id_l.public)
    page.compare("PeerIdD", id_d.peer_id)
    page.compare("PeerIdL", id_l.peer_id)

    binding = Binding(given("exporter"), given("fpD"), given("fpL"))
    page.compare("CI", cpace.channel_identifier(binding))
    page.compare("gen_str", cpace.generator_string(prs, binding))
    page.compare("g", cpace.generator(prs, binding))

    draws_d = handshake.Draws(given("draw yD"), given("eD secret"), given("nonceD"))
    draws_l = handshake.Draws(given("draw yL"), given("eL secret"), given("nonceL"), given("blind"))
    dialler = handshake.Dialler(prs, binding, id_d, draws_d)
    listener = handshake.Listener(prs, binding, id_l, draws_l)
    page.compare("yD", dialler.scalar)
    page.compare("yL", listener.scalar)
    page.compare("Ya", dialler.share)
    page.compare("Yb", listener.share)
    page.compare("eD", dialler.e_public)
    page.compare("eL", listener.e_public)
    page.compare("Ya cell", dialler.ya_cell)
    yb_cell = listener.answer_ya(page.values["Ya cell"])
    page.compare("Yb cell", yb_cell)
    page.compare("commitD", listener.commit_d)
    ta_cell = dialler.answer_yb(page.values["Yb cell"])
    page.compare("commitL", dialler.commit_l)
    page.both("K", dialler.k, listener.k)
    page.both("ISK", dialler.isk, listener.isk)
    page.both("mac_key", dialler.mac_key, listener.mac_key)
    page.both("tagD", dialler.tag_d, listener.tag_d)
    page.both("tagL", dialler.tag_l, listener.tag_l)
    page.both("prk", dialler.prk, listener.prk)
    page.both("keyD", dialler.key_d, listener.key_d)
    page.both("keyL", dialler.key_l, listener.key_l)
    page.compare("Ta cell", ta_cell)
    tb_cell, session_l = listener.answer_ta(page.values["Ta cell"])
    page.compare("Tb cell", tb_cell)
    session_d = dialler.accept_tb(page.values["Tb cell"])

    products = ("X25519 eD eL", "X25519 idD eL", "X25519 idL eD")
    for name, of_d, of_l in zip(products, dialler.products, listener.products, strict=True):
        page.both(name, of_d, of_l)
    page.both("th", session_d.th, session_l.th)
    page.both("RK", session_d.root_key, session_l.root_key)
    page.both("CKD", session_d.chain_d, session_l.chain_d)
    page.both("CKL", session_d.chain_l, session_l.chain_l)
    number = session_d.words_number
    page.both(
        "words number", number.to_bytes(16, "big"), session_l.words_number.to_bytes(16, "big")
    )
    page.compare("words", six_words(number).encode())
    return session_d, session_l


def check_cells(page: Example, session_d: handshake.Session, session_l: handshake.Session) -> None:
    alice = Ratchet(session_d, None, established=0.0)
    bob = Ratchet(session_l, page.values["eL secret"], established=0.0)

    def cell(number: int, sender: Ratchet, frames: bytes) -> None:
        """Compares a cell that is not the first one of a later chain."""
        page.compare(f"frames {number}", frames.ljust(FRAMES, b"\0"))
        page.compare(f"MK {number}", chain_step(sender.sending_chain)[1])
        # Less than a second has passed, so the sender takes no turn.
        page.compare(f"cell {number}", sender.seal(frames, sender.turn_taken))

    def arrives(number: int, receiver: Ratchet) -> None:
        page.compare(f"frames {number}", receiver.open(page.values[f"cell {number}"]))

    session_id_d = int.from_bytes(page.given("session_id D"), "big")
    session_id_l = int.from_bytes(page.given("session_id L"), "big")
    cell(1, alice, b"")
    cell(2, bob, b"")
    arrives(1, bob)
    arrives(2, alice)

    hello_d = Hello(100, 1, 1, session_id_d, 0, 0, 9000, b"Alice", EPOCHS_BIT)
    cell(3, alice, hello_d.encode())
    arrives(3, bob)
    home = Address("home.example", 9001)
    hello = Hello(250, 1, 1, session_id_l, session_id_d, 0, home, "Zoë".encode(), EPOCHS_BIT)
    cell(4, bob, hello.encode() + Ack(0).encode())
    arrives(4, alice)
    if next(parse(page.values["frames 4"])) != hello:
        page.wrong.append("HELLO in frames 4, as parsed")

    outbox, inbox = Outbox(), Inbox()
    text = "Hello, Zoë!"
    outbox.queue(page.given("message id"), text.encode())
    ack = Ack(0).encode()
    alice.take_turn(page.given("step D"), now=1.0)
    page.compare("key D", alice.own_public)
    page.compare("RK after D", alice.root_key)
    page.compare("CKD new", alice.sending_chain)
    cell(5, alice, ack + outbox.next_fragment(FRAMES - len(ack)))

    cell(6, bob, b"")
    arrives(5, bob)
    _ack, fragment = parse(page.values["frames 5"])
    message = inbox.take(fragment)
    if message is None or message.text.decode() != text:
        page.wrong.append("the message in frames 5")

    bob.take_turn(page.given("step L"), now=1.0)
    page.compare("key L", bob.own_public)
    page.compare("RK after L", bob.root_key)
    page.compare("CKL new", bob.sending_chain)
    cell(7, bob, Ack(inbox.received).encode())
    arrives(6, alice)
    arrives(7, alice)
    page.both("RK after L", alice.root_key, bob.root_key)

    alice.start_epochs()
    bob.start_epochs()
    of_alice, of_bob = alice.exchange, bob.exchange
    of_bob.begin(page.given("seed"))
    page.compare("ek", of_bob.own)
    of_alice.encapsulate = lambda ek: encapsulation(page, ek)
    for number in (8, 9):
        cell(number, bob, of_bob.next_fragment(FRAMES))
        arrives(number, alice)
        of_alice.take(only_frame(page, number))
    for number in (10, 11):
        cell(number, alice, of_alice.next_fragment(FRAMES))
        arrives(number, bob)
        of_bob.take(only_frame(page, number))
    page.both("ss", of_alice.secret, of_bob.secret)
    page.both("exchange", of_alice.hash(), of_bob.hash())

    alice.take_turn(page.given("step D 2"), now=2.0)
    page.compare("key D 2", alice.own_public)
    page.compare("RK after D 2", alice.root_key)
    page.compare("CKD new 2", alice.sending_chain)
    cell(12, alice, b"")
    arrives(12, bob)
    page.compare("RK after D 2", bob.root_key)

    bob.take_turn(page.given("step L 2"), now=2.0)
    page.compare("key L 2", bob.own_public)
    page.compare("RK after L 2", bob.root_key)
    page.compare("CKL new 2", bob.sending_chain)
    cell(13, bob, b"")
    arrives(13, alice)
    page.compare("RK after L 2", alice.root_key)
    if (alice.epoch, bob.epoch) != (1, 1):
        page.wrong.append("the epoch after cell 13")


def only_frame(page: Example, number: int) -> Kem:
    (fragment,) = parse(page.values[f"frames {number}"])
    return fragment


def encapsulation(page: Example, ek: bytes) -> tuple[bytes, bytes]:
    """The shared secret from m, and the ciphertext from the page.

    The library draws its own m, so the ciphertext cannot be computed here. But Decaps of FIPS 203
    encrypts again what it has decrypted, and gives a secret made from z if the two ciphertexts
    differ. So the ciphertext is right if Decaps gives the secret that m gives.
    """
    ek_hash = hashlib.sha3_256(ek).digest()
    secret = hashlib.sha3_512(page.given("m") + ek_hash).digest()[:32]
    ciphertext = page.given("ct")
    if kem_decapsulate(page.values["seed"], ciphertext) != secret:
        page.wrong.append("ct")
    return secret, ciphertext


def check_ticks(text: str) -> list[str]:
    """The rows of the table of section 12 that this implementation gets wrong."""
    rows = TICK.findall(text)
    if not rows:
        return ["the table of ticks in section 12"]
    wrong = []
    for interval, sealed, expected in rows:
        sealed_at = NOON + round(float(sealed) * schedule.SECOND)
        tick = schedule.first_tick(int(interval.replace(",", "")), sealed_at) - NOON
        if f"{tick / schedule.SECOND:07.4f}" != expected:
            wrong.append(f"the first tick of {interval} ms, sealed at {sealed}")
    return wrong


def main() -> int:
    if len(sys.argv) > 2:
        print("usage: example.py [PROTOCOL.md]", file=sys.stderr)
        return 2
    path = Path(sys.argv[1]) if len(sys.argv) == 2 else PAGE
    text = path.read_text()
    page = Example(read_values(text))
    check_cells(page, *check_handshake(page))
    wrong = page.wrong + check_ticks(text)
    for name in wrong:
        print(f"differs: {name}", file=sys.stderr)
    for name in sorted(page.unused):
        print(f"not computed: {name}", file=sys.stderr)
    if wrong or page.unused:
        return 1
    print(f"{len(page.values)} values of section 15 are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
