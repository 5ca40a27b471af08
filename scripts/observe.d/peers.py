"""Real peers, the capture of what they send, and load beside them."""

import functools
import itertools
import json
import os
import pathlib
import subprocess
import time

from processes import cpu, start

PROGRAM = os.environ.get("SESAME", "")
PHRASE = "lantern crisp orbit maple"
START = 60  # s, for one peer to be ready
FLUSH = 2  # s until the kernel has passed on what it holds back for tcpdump

ports = itertools.count(10000)


class Peer:
    """One process, told what to do by lines on its stdin. What it says goes to a file, which nobody
    has to read while the wire is watched."""

    def __init__(self, place, *options, phrase=PHRASE, cover="100", listens=True):
        self.port, self.phrase = next(ports), phrase
        self.out = pathlib.Path(place) / f"{self.port}.out"
        secret = pathlib.Path(place) / f"{self.port}.phrase"
        secret.touch(mode=0o600)
        secret.write_text(phrase + "\n")
        command = [PROGRAM, "--json", "--stay", "--phrase-file", str(secret), "--cover", cover,
                   *options]
        command += ["--listen", "127.0.0.1", "--port", str(self.port)] if listens else ["--no-listen"]
        with self.out.open("wb") as out:
            self.process = start(
                command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL,
                env={**os.environ, "XDG_CONFIG_HOME": str(place)})

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def tell(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()

    @functools.cached_property
    def id(self):
        self.await_events("ready")
        return json.loads(self.out.read_text().splitlines()[0])["id"]

    def await_events(self, kind, count=1, limit=START):
        """Waits until it has told of so many events of a kind."""
        wanted, until = f'{{"type":"{kind}"'.encode(), time.monotonic() + limit
        while self.out.read_bytes().count(wanted) < count:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"a peer told of fewer than {count} times {kind}")
            time.sleep(0.05)

    def cpu(self):
        """Seconds of processor time so far."""
        return cpu(self.process.pid)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Pair:
    """Two peers, of which the second dials the first; with somebody who may join them, or not."""

    def __init__(self, place, cover, joined):
        self.first = Peer(place, cover=cover)
        self.first.await_events("ready")
        self.second = Peer(place, "--peer", self.first.address, cover=cover)
        self.second.await_events("ready")
        self.third = Peer(place, cover=cover) if joined else None
        self.ends = [self.first, self.second]

    def await_link(self):
        for end in self.ends:
            end.await_events("peer_up")

    def end(self):
        for end in filter(None, [*self.ends, self.third]):
            end.end()


class Trio:
    """A relay, and two peers that listen nowhere and so have a circuit over it. The link that is
    watched is the first one's with the relay; the other's is like it."""

    def __init__(self, place):
        self.first = Peer(place)
        self.first.await_events("ready")
        self.ends = [Peer(place, "--peer", self.first.address, listens=False) for _ in range(2)]
        self.second = self.ends[0]

    def await_link(self):
        for end in self.ends:
            end.await_events("peer_up", 2)

    def end(self):
        for end in [self.first, *self.ends]:
            end.end()


class Capture:
    """tcpdump on the loopback interface of this namespace: headers alone, times in nanoseconds."""

    def __init__(self, place):
        self.file = pathlib.Path(place) / "wire.pcap"
        self.process = start(
            ["tcpdump", "-i", "lo", "-n", "-s", "80", "-B", "16384", "--time-stamp-precision=nano",
             "-w", str(self.file), "tcp"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "listening on" not in (line := self.process.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump does not start")

    def end(self):
        """Stops capturing.

        Raises RuntimeError if packets were dropped: figures without them would mean nothing."""
        time.sleep(FLUSH)
        self.process.terminate()
        said = self.process.stderr.read()
        self.process.wait()
        if "\n0 packets dropped by kernel" not in "\n" + said:
            raise RuntimeError(f"tcpdump: {said.strip()}")


class Load:
    """Every core kept busy by somebody else."""

    def __init__(self):
        self.processes = [
            start(["bash", "-c", "while :; do :; done"])
            for _ in range(os.cpu_count())]

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
