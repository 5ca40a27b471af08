"""Processes that are measured, and what they cost."""

import ctypes
import pathlib
import signal
import socket
import subprocess
import time

LIMIT = 300  # s for anything that is waited for
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "tests/bench/links.c"


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


def cpu(pid):
    """Seconds of processor time so far. The kernel's older figures count ticks, which processes that
    wake up by a timer can miss."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def silence(pids, seconds):
    """Per cent of a core that each of these takes."""
    time.sleep(2)
    before, begin = sum(map(cpu, pids)), time.monotonic()
    time.sleep(seconds)
    return 100 * (sum(map(cpu, pids)) - before) / (time.monotonic() - begin) / len(pids)


def end(process):
    process.kill()
    process.wait()


class Links:
    """The C program of tests/bench/links.c: a full mesh of plain TCP."""

    def __init__(self, place, count, ms):
        program = pathlib.Path(place) / "links"
        subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True)
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [listener.getsockname()[1] for listener in listeners]
        self.processes = []
        for number, listener in enumerate(listeners):
            command = [program, listener.fileno(), count - 1 - number, ms, *ports[:number]]
            self.processes.append(start(command, pass_fds=[listener.fileno()],
                                        stdout=subprocess.PIPE))
        for process in self.processes:
            process.stdout.readline()
        for listener in listeners:
            listener.close()

    def end(self):
        for process in self.processes:
            end(process)
