"""The programs that are compared, each on loopback and with files of its own."""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

SESAME, LINKS = os.environ.get("SESAME"), os.environ.get("LINKS")
PHRASE = "correct horse battery staple bench"
LIMIT = 30  # s for anything that is waited for


def dies_with_us():
    """No program outlives a measurement that was broken off."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(command, **pipes):
    return subprocess.Popen([str(word) for word in command], preexec_fn=dies_with_us, **pipes)


def until(what, look, pause=0.002):
    """Waits for a result."""
    end = time.monotonic() + LIMIT
    while not (found := look()):
        if time.monotonic() > end:
            raise RuntimeError(f"no {what} after {LIMIT} s")
        time.sleep(pause)
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """A sesame that listens on loopback; its events are in a file."""

    count = 0

    def __init__(self, place, *options, mode="--json", **pipes):
        Node.count += 1
        self.events = place / f"events{Node.count}"
        phrase = place / "phrase"
        if not phrase.exists():
            phrase.write_text(PHRASE)
            phrase.chmod(0o600)
        command = [SESAME, mode, "--no-config", "--listen", "127.0.0.1", "--port", "0",
                   "--phrase-file", phrase, *options]
        pipes.setdefault("stdin", subprocess.DEVNULL)
        if mode == "--json":
            pipes.setdefault("stdout", open(self.events, "wb"))
            pipes.setdefault("stderr", subprocess.DEVNULL)
        else:
            pipes.setdefault("stderr", open(self.events, "wb"))
        self.process = start(command, **pipes)

    def has(self, kind):
        """How many events of a kind there were."""
        return self.events.read_bytes().count(f'{{"type":"{kind}"'.encode())

    def address(self):
        """Where it listens."""
        def look():
            for line in self.events.read_text().splitlines():
                if line.startswith('{"type":"ready"'):
                    return json.loads(line)["listen"][0]
                if line.startswith("* listening on "):
                    return line.split()[-1]
        return until("address", look)

    def cpu(self):
        return cpu(self.process.pid)

    def memory(self, field):
        """A field of its memory in KiB: VmRSS is everything resident, RssAnon what it shares with no
        other process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1])

    def end(self):
        end(self.process)


def cpu(pid):
    """Seconds of processor time so far. The kernel's older figures count ticks, which processes that
    wake up by a timer can miss."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def end(process):
    process.kill()
    process.wait()


class Sesame:
    """Lines from one sesame to another, without cover."""

    name, needs = "sesame", []
    lead = "bench: "  # what it prints before each line

    def __init__(self, place, **output):
        self.receiver = Node(place, "--stay", "--cover", "off", mode="--literal", **output)
        self.place, self.address = place, self.receiver.address()

    def sender(self, **pipes):
        node = Node(self.place, "--cover", "off", "-p", self.address, "--display-name", "bench",
                    mode="--literal", **pipes)
        return node.process

    def end(self):
        self.receiver.end()


class Ssh:
    """The same through ssh, with a server of its own."""

    lead = ""
    name, needs = "ssh", ["ssh", "/usr/sbin/sshd", "ssh-keygen"]

    def __init__(self, place, **output):
        keys = [place / "host", place / "user"]
        for key in keys:
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.place, self.port = place, free_port()
        os.makedirs("/run/sshd", exist_ok=True)
        allowed = place / "allowed"
        allowed.write_text((place / "user.pub").read_text())
        allowed.chmod(0o600)
        options = ["ListenAddress=127.0.0.1", f"Port={self.port}", f"HostKey={keys[0]}", "UsePAM=no",
                   f"AuthorizedKeysFile={allowed}", "StrictModes=no", "PidFile=none",
                   "PermitRootLogin=yes"]
        self.target = output["stdout"].name
        words = [word for option in options for word in ("-o", option)]
        self.server = start(["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *words],
                            stderr=subprocess.DEVNULL)
        until("sshd", lambda: is_listening(self.port))

    def sender(self, **pipes):
        command = f"cat >>'{self.target}'"
        return start(["ssh", "-F", "/dev/null", "-i", self.place / "user", "-p", self.port,
                      "-c", "chacha20-poly1305@openssh.com", "-o", "StrictHostKeyChecking=no",
                      "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "127.0.0.1",
                      command], **pipes)

    def end(self):
        end(self.server)


class Socat:
    """The same through socat, with TLS 1.3 and a certificate at both ends."""

    lead = ""
    name, needs = "socat", ["socat", "openssl"]

    def __init__(self, place, **output):
        self.pem, self.port = place / "socat.pem", free_port()
        if not self.pem.exists():
            made = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=127.0.0.1",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"],
                check=True, capture_output=True)
            self.pem.write_bytes(made.stdout)
        self.server = start(["socat", "-u", f"OPENSSL-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork,"
                             f"cert={self.pem},cafile={self.pem},verify=1", "-"], **output)
        until("socat", lambda: is_listening(self.port))

    def sender(self, **pipes):
        return start(["socat", "-u", "-", f"OPENSSL:127.0.0.1:{self.port},cert={self.pem},"
                      f"cafile={self.pem},verify=1"], **pipes)

    def end(self):
        end(self.server)


def is_listening(port):
    """Without connecting to it."""
    table = pathlib.Path("/proc/net/tcp").read_text()
    return f"0100007F:{port:04X} 00000000:0000 0A" in table


class Links:
    """The C program of tests/bench/links.c: a full mesh of plain TCP."""

    def __init__(self, count, ms):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [listener.getsockname()[1] for listener in listeners]
        self.processes = []
        for number, listener in enumerate(listeners):
            command = [LINKS, listener.fileno(), count - 1 - number, ms, *ports[:number]]
            self.processes.append(start(command, pass_fds=[listener.fileno()],
                                        stdout=subprocess.PIPE))
        for process in self.processes:
            process.stdout.readline()
        for listener in listeners:
            listener.close()

    def end(self):
        for process in self.processes:
            end(process)


def missing(program):
    """What a baseline needs and is not there."""
    return [name for name in program.needs if not shutil.which(name)]
