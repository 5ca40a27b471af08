"""Measures sesame beside programs that do less, and prints a Markdown table.

In each round every program of a row runs once, one after another. A figure is the median of all
rounds, with the smallest and the largest behind it; a ratio compares the medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import programs
from processes import Links, silence, until
from programs import Argon2, Node, Sesame, SesameJson, Socat, Ssh

SPELL = 30  # s of silence


class Row:
    """What is measured, in which unit, and the figures of each program."""

    def __init__(self, what, unit, form="{:.2f}"):
        self.what, self.unit, self.form = what, unit, form
        self.figures = {}

    def add(self, name, figure):
        self.figures.setdefault(name, []).append(figure)

    def cell(self, name):
        if not (figures := self.figures.get(name)):
            return ""
        middle, *rest = (self.form.format(it) for it in (statistics.median(figures), min(figures), max(figures)))
        return f"{middle} {self.unit}" + (f" ({rest[0]} to {rest[1]})" if len(figures) > 1 else "")

    def ratio(self, name):
        if name not in self.figures or "sesame" not in self.figures:
            return ""
        middle = statistics.median(self.figures[name])
        return f"{statistics.median(self.figures['sesame']) / middle:.2f}" if middle else ""


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def available(classes):
    """Those of the baselines whose programs are there."""
    found = []
    for one in classes:
        if lacks := programs.missing(one):
            note(f"no {one.name}: {', '.join(lacks)} missing")
        else:
            found.append(one)
    return found


def place():
    return tempfile.TemporaryDirectory(prefix="sesame-bench-")


def sending(program, given, stdout):
    """Seconds from the start of the sender to its end, which is after the last acknowledgement."""
    with open(given, "rb") as stdin:
        begin = time.monotonic()
        status = program.sender(stdin=stdin, stdout=stdout).wait()
        took = time.monotonic() - begin
    if status:
        raise RuntimeError(f"{program.name}: status {status}")
    return took


def bulk(rounds, lines, size):
    """Lines of one size through each program, which must all arrive."""
    row = Row(f"{lines:,} lines of {size} bytes, --cover off", "s")
    text = ("x" * (size - 1) + "\n").encode()
    classes = available([Sesame, Ssh, Socat])
    for number in range(rounds):
        for one in classes:
            with place() as folder:
                folder = pathlib.Path(folder)
                given, received = folder / "given", folder / "received"
                given.write_bytes(text * lines)
                with open(received, "ab") as stdout:
                    program = one(folder, stdout=stdout)
                    took = sending(program, given, subprocess.DEVNULL)
                    expected = (len(one.lead) + len(text)) * lines
                    until("last byte", lambda: received.stat().st_size >= expected)
                    program.end()
                if received.stat().st_size != expected:
                    raise RuntimeError(f"{one.name}: {received.stat().st_size} bytes, not {expected}")
                row.add(one.name, took)
                note(f"{row.what}, round {number + 1}: {one.name} {took:.2f} s")
    return [row]


def objects(rounds, lines=500_000, size=96):
    """The same from JSON to JSON, where each message has a `queued`, a `delivered` and a `done` at
    the sender, and a `message` at the receiver. The baseline is plain mode."""
    row = Row(f"{lines:,} messages of {size - 1} bytes, JSON mode, --cover off", "s")
    text = "x" * (size - 1)
    inputs = {SesameJson: json.dumps({"type": "send", "text": text}), Sesame: text}
    for number in range(rounds):
        for one, line in inputs.items():
            with place() as folder:
                folder = pathlib.Path(folder)
                given, received, events = folder / "given", folder / "received", folder / "events"
                given.write_text((line + "\n") * lines)
                with open(received, "ab") as stdout, open(events, "wb") as told:
                    # In JSON mode the program's own file has the address.
                    program = one(folder, **{} if one is SesameJson else {"stdout": stdout})
                    took = sending(program, given, told)
                    program.end()
                if one is SesameJson and (done := events.read_bytes().count(b'{"type":"done"')) != lines:
                    raise RuntimeError(f"{done} of {lines} messages are done")
                row.add("sesame" if one is SesameJson else "plain mode", took)
            note(f"{row.what}, round {number + 1}: {took:.2f} s")
    return [row]


def latency(rounds, lines=1000, pause=0.01):
    """From before a line is written to after it is read at the other end."""
    rows = [Row(f"line in to line out, 100 lines per second, {name}", "ms") for name in ("p50", "p99")]
    for number in range(rounds):
        for one in available([Sesame, Socat]):
            with place() as folder:
                program = one(pathlib.Path(folder), stdout=subprocess.PIPE)
                receiver = program.receiver.process if one is Sesame else program.server
                sender = program.sender(stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
                # The first line waits for the link.
                sender.stdin.write(b"begin\n")
                sender.stdin.flush()
                receiver.stdout.readline()
                times = []
                for count in range(lines):
                    time.sleep(pause)
                    begin = time.perf_counter()
                    sender.stdin.write(b"%d\n" % count)
                    sender.stdin.flush()
                    receiver.stdout.readline()
                    times.append(1000 * (time.perf_counter() - begin))
                sender.stdin.close()
                sender.wait()
                program.end()
            times.sort()
            for row, part in zip(rows, (0.5, 0.99)):
                row.add(one.name, times[int(part * len(times))])
            note(f"latency, round {number + 1}: {one.name} {times[len(times) // 2]:.2f} ms")
    return rows


class Mesh:
    """A full mesh of sesames; each learns of the others from the first. `together` start at once;
    each needs 64 MiB for a moment."""

    def __init__(self, folder, count, cover, together=64):
        self.folder, self.count, self.cover = pathlib.Path(folder), count, cover
        first = Node(self.folder, "--stay", "--cover", cover)
        self.address, self.nodes = first.address(), [first]
        while missing := min(together, count - len(self.nodes)):
            some = [self.another() for _ in range(missing)]
            until("start of all", lambda: all(node.has("ready") for node in some))
            self.nodes += some
        begin = time.monotonic()
        until("full mesh", lambda: all(map(self.has_all, self.nodes)), 0.02)
        self.took = time.monotonic() - begin
        self.memory = statistics.mean(node.memory("RssAnon") for node in self.nodes)

    def another(self):
        return Node(self.folder, "--stay", "--cover", self.cover, "-p", self.address)

    def has_all(self, node):
        return node.has("peer_up") >= self.count - 1

    def restart(self):
        """Kills one and starts another in its place; the time from its `ready` to its last link."""
        self.nodes.pop().end()
        node = self.another()
        self.nodes.append(node)
        until("start", lambda: node.has("ready"))
        begin = time.monotonic()
        until("its last link", lambda: self.has_all(node))
        return time.monotonic() - begin

    def end(self):
        for node in self.nodes:
            node.end()


def idle(rounds):
    """Processor time of 11 processes with ten links each."""
    row = Row("10 idle links at 100 ms, CPU of each of 11 processes", "%", "{:.3f}")
    resident = Row("resident memory after ready", "KiB", "{:.0f}")
    private = Row("of that, shared with no other process", "KiB", "{:.0f}")
    for number in range(rounds):
        with place() as folder:
            lone = Node(pathlib.Path(folder), "--stay")
            lone.address()
            resident.add("sesame", lone.memory("VmRSS"))
            private.add("sesame", lone.memory("RssAnon"))
            lone.end()
            mesh = Mesh(folder, 11, "100")
            row.add("sesame", silence([node.process.pid for node in mesh.nodes], SPELL))
            mesh.end()
        with place() as folder:
            links = Links(folder, 11, 100)
            row.add("C program", silence([process.pid for process in links.processes], SPELL))
            links.end()
        note(f"idle, round {number + 1}: {row.figures['sesame'][-1]:.3f} %")
    return [row, resident, private]


def meshes(rounds):
    """From the last ready to the last link."""
    rows = [Row("11 nodes: full mesh after the last ready", "s"),
            Row("64 nodes at 1,000 ms: full mesh after the last ready", "s")]
    link = Row("memory of each further link, from 10 to 63", "KiB", "{:.1f}")
    for number in range(rounds):
        memory = []
        for row, count, cover in zip(rows, (11, 64), ("100", "1000")):
            with place() as folder:
                mesh = Mesh(folder, count, cover)
                mesh.end()
            row.add("sesame", mesh.took)
            memory.append(mesh.memory)
            note(f"mesh of {count}, round {number + 1}: {mesh.took:.2f} s")
        link.add("sesame", (memory[1] - memory[0]) / (64 - 11))
    return [*rows, link]


def scale(_):
    """What a node of a large mesh costs. The intervals grow with the mesh, since all nodes share this
    computer. It takes minutes, and is not part of the default."""
    print("| peers | interval | % of a core | memory | full mesh after the last ready | restarted node |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count, cover in ((16, 1000), (64, 1000), (128, 5000)):
        with place() as folder:
            mesh = Mesh(folder, count, cover, together=8)
            spent = silence([node.process.pid for node in mesh.nodes], SPELL)
            again = mesh.restart()
            mesh.end()
        print(f"| {count - 1} | {cover} ms | {spent:.2f} | {mesh.memory / 1024:.1f} MiB | {mesh.took:.1f} s "
              f"| {again:.1f} s |", flush=True)
    print(flush=True)
    # More links than processes fit here: the engine only, on a simulated network.
    subprocess.run(["cargo", "bench", "--quiet", "--locked", "--bench", "engine"], check=True)
    print(flush=True)
    return []


def begin(rounds):
    """Most of a start is the passphrase's key, so the baseline computes nothing else."""
    row = Row("start to ready", "s", "{:.3f}")
    for _ in range(rounds):
        with place() as folder:
            started = time.monotonic()
            node = Node(pathlib.Path(folder), "--stay")
            until("start", lambda: node.has("ready"))
            row.add("sesame", time.monotonic() - started)
            node.end()
        for one in available([Argon2]):
            started = time.monotonic()
            one.run()
            row.add(one.name, time.monotonic() - started)
    return [row]


def micro(_):
    """The parts of a link; these are built anew for it, with what they are compared with."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "micro"
    subprocess.run(["cargo", "run", "--quiet", "--release", "--locked", "--target-dir", target,
                    "--manifest-path", "tests/bench/micro/Cargo.toml"], check=True)
    print(flush=True)
    return []


ROWS = {
    "bulk": lambda rounds: bulk(rounds, 1_000_000, 96) + bulk(rounds, 2_000_000, 40),
    "json": objects,
    "latency": latency,
    "idle": idle,
    "mesh": meshes,
    "start": begin,
    "micro": micro,
    "scale": scale,
}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs [default: 5]")
    parser.add_argument("row", nargs="*", help=f"what to measure, of {', '.join(ROWS)} [default: all but scale]")
    chosen = parser.parse_args()
    if unknown := set(chosen.row) - set(ROWS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not programs.SESAME:
        parser.error("start it as scripts/bench")
    names = chosen.row or [name for name in ROWS if name != "scale"]
    rows = [row for name in names for row in ROWS[name](chosen.rounds)]
    baselines = ["ssh", "socat", "C program", "plain mode", "Argon2id"]
    if not rows:
        return
    print("| what | sesame | " + " | ".join(f"{name} | ratio" for name in baselines) + " |")
    print("| --- " * (2 + 2 * len(baselines)) + "|")
    for row in rows:
        cells = [row.cell("sesame")]
        for name in baselines:
            cells += [row.cell(name), row.ratio(name)]
        print(f"| {row.what} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
