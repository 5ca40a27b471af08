#!/usr/bin/env python3
"""A peer of the sesame protocol, written from PROTOCOL.md. README.md says how to run it."""

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import socket
import sys
import threading
from pathlib import Path

import phrase
from delivery import LONGEST_TEXT
from frames import NAME_BYTES
from mesh import Mesh
from output import emit, report

OK, FAILED, USAGE = 0, 1, 2
LONGEST_LINE = 512 * 1024
MOST_DIALS = 6
CONNECT_SECONDS = 10
# Ways in which a connection ends after which the dialler may dial again.
LOST = ("lost", "timeout")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passphrase-file", type=Path, required=True, metavar="FILE")
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--dial", type=host_and_port, metavar="HOST:PORT")
    network.add_argument(
        "--listen", type=port, metavar="PORT", help="a port of 127.0.0.1; 0: any free one"
    )
    parser.add_argument("--name", type=display_name, default=b"", help="the display name")
    parser.add_argument(
        "--cover",
        type=cover,
        default=100,
        metavar="MS",
        help="milliseconds between cells, or off (default: 100)",
    )
    parser.add_argument(
        "--epochs", choices=("on", "off"), default="on", help="post-quantum epochs (default: on)"
    )
    parser.add_argument(
        "--epoch-period",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="longest time from an epoch to the next exchange (default: 60); the shortest is 3/4",
    )
    return parser.parse_args()


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError
    return number


def host_and_port(text: str) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or port(number) == 0:
        raise argparse.ArgumentTypeError(f"invalid address '{text}': expected HOST:PORT")
    return host, port(number)


def display_name(text: str) -> bytes:
    name = text.encode()
    if len(name) > NAME_BYTES:
        raise argparse.ArgumentTypeError(f"expected a name of at most {NAME_BYTES} bytes")
    return name


def cover(text: str) -> int:
    if text == "off":
        return 0
    if not 10 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("expected a number from 10 to 10000, or off")
    return int(text)


def seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("expected a number of seconds, 0 or more")
    return number


async def open_stdin() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio cannot wait for a file. So a thread copies stdin to a socket, which can be full."""
    inner, outer = socket.socketpair()

    def copy() -> None:
        with outer, contextlib.suppress(OSError):
            while data := os.read(sys.stdin.fileno(), 65_536):
                outer.sendall(data)

    threading.Thread(target=copy, daemon=True).start()
    return await asyncio.open_connection(sock=inner, limit=LONGEST_LINE)


async def execute(mesh: Mesh, line: bytes) -> bool:
    """Carries out one command, and returns whether it is the last one."""
    command = json.loads(line)
    if not isinstance(command, dict):
        raise ValueError("expected an object")
    match command.get("type"):
        case "say":
            text = text_of(command, "text").encode()
            if len(text) > LONGEST_TEXT:
                raise ValueError(f"expected a text of at most {LONGEST_TEXT} bytes")
            await mesh.say(text)
        case "name":
            mesh.rename(display_name(text_of(command, "name")))
        case "drop":
            mesh.drop()
        case "stats":
            mesh.stats()
        case "leave":
            return True
        case _:
            raise ValueError("expected say, name, drop, stats or leave")
    return False


def text_of(command: dict, field: str) -> str:
    text = command.get(field)
    if not isinstance(text, str):
        raise ValueError(f"expected a text in '{field}'")
    return text


async def follow_commands(mesh: Mesh) -> int:
    """Carries out the commands on stdin, and leaves at the last one or at the end of input."""
    stdin, _writer = await open_stdin()
    while not stdin.at_eof():
        try:
            line = await stdin.readline()
            if line.strip() and await execute(mesh, line):
                break
        except (ValueError, argparse.ArgumentTypeError) as error:
            emit("error", message=f"invalid command: {error}")
    await mesh.leave()
    return OK


async def dial(mesh: Mesh, host: str, number: int) -> int:
    """Keeps a link with an address. Returns the exit status when there is nothing to keep."""
    failed = 0
    while True:
        begun = asyncio.get_running_loop().time()
        links_before = mesh.links
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, number)
        except TimeoutError:
            report(f"cannot connect to {host}:{number}: timed out")
        except OSError as error:
            report(f"cannot connect to {host}:{number}: {reason_of(error)}")
        else:
            reason = await mesh.serve(reader, writer, True, begun)
            if reason in ("goodbye", "local"):
                return OK
            if reason not in LOST:
                return FAILED
            if mesh.links == links_before:
                report(f"{host}:{number}: the connection ended before a link was up: {reason}")
        failed = 1 if mesh.links > links_before else failed + 1
        if mesh.links == 0 or failed == MOST_DIALS:
            return FAILED
        await asyncio.sleep(random.uniform(0, 0.5 * 2 ** (failed - 1)))


def reason_of(error: OSError) -> str:
    """asyncio replaces the system's text with its own, and adds the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


async def run(options: argparse.Namespace, prs: bytes) -> int:
    epoch_period = options.epoch_period if options.epochs == "on" else None
    mesh = Mesh(prs, options.name, options.cover, epoch_period)
    endings = {asyncio.create_task(mesh.faulty.wait())}
    if options.dial:
        endings.add(asyncio.create_task(dial(mesh, *options.dial)))
    else:
        await listen(mesh, options.listen)
    emit("ready", id=mesh.identity.peer_id.hex(), port=mesh.listening)
    commands = asyncio.create_task(follow_commands(mesh))
    done, _ = await asyncio.wait({commands, *endings}, return_when=asyncio.FIRST_COMPLETED)
    if mesh.faulty.is_set():
        return FAILED
    # The dialler's link ends before this end has reported what stayed undelivered.
    if mesh.leaving:
        return await commands
    return done.pop().result()


async def listen(mesh: Mesh, number: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await mesh.serve(reader, writer, False, asyncio.get_running_loop().time())

    # This computer only: this peer does not limit how often a stranger may guess the phrase.
    server = await asyncio.start_server(serve, "127.0.0.1", number)
    mesh.listening = server.sockets[0].getsockname()[1]


def main() -> int:
    options = parse_arguments()
    try:
        prs = phrase.prs(phrase.normalised(read_first_line(options.passphrase_file)))
    except OSError as error:
        report(f"cannot read '{options.passphrase_file}': {error.strerror}")
        return USAGE
    except ValueError as error:
        report(str(error))
        return USAGE
    try:
        return asyncio.run(run(options, prs))
    except OSError as error:
        report(reason_of(error))
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def read_first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(2 * phrase.LONGEST)


if __name__ == "__main__":
    sys.exit(main())
