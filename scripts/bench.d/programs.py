"""The programs that are compared, each on loopback and with files of its own."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

from processes import end, start, until

SESAME = os.environ.get("SESAME")
PHRASE = "correct horse battery staple bench"


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

    def memory(self, field):
        """A field of its memory in KiB: VmRSS is everything resident, RssAnon what it shares with no
        other process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1])

    def end(self):
        end(self.process)


class Sesame:
    """Lines from one sesame to another, without cover."""

    name, needs = "sesame", []
    mode = "--literal"
    lead = "bench: "  # what it prints before each line

    def __init__(self, place, **output):
        self.receiver = Node(place, "--stay", "--cover", "off", mode=self.mode, **output)
        self.place, self.address = place, self.receiver.address()

    def sender(self, **pipes):
        node = Node(self.place, "--cover", "off", "-p", self.address, "--display-name", "bench",
                    mode=self.mode, **pipes)
        return node.process

    def end(self):
        self.receiver.end()


class SesameJson(Sesame):
    """The same in JSON mode, with every event."""

    mode = "--json"


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


class Argon2:
    """Only the key of a passphrase, by the reference implementation: Argon2id with the parameters of
    sesame, each lane in a thread of its own."""

    name, needs = "Argon2id", ["argon2"]

    @staticmethod
    def run():
        subprocess.run(["argon2", "saltsalt", "-id", "-t", "3", "-k", "65536", "-p", "4", "-l", "32", "-r"],
                       input=PHRASE.encode(), stdout=subprocess.DEVNULL, check=True)


def is_listening(port):
    """Without connecting to it."""
    table = pathlib.Path("/proc/net/tcp").read_text()
    return f"0100007F:{port:04X} 00000000:0000 0A" in table


def missing(program):
    """What a baseline needs and is not there."""
    return [name for name in program.needs if not shutil.which(name)]
