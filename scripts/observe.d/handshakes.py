"""Whether a right phrase can be told from a wrong one by the handshake's messages."""

import random
import tempfile
import time

import numpy as np

import judge
import wire
from peers import PHRASE, Capture, Peer

LISTENERS = 20
PAUSE = 0.3  # s for a handshake; what comes later waited for the processor or the door
# TLS: ClientHello; ServerHello to Finished; the dialler's Finished. Then the four cells.
MESSAGES = ["ClientHello", "ServerHello", "Finished", "Ya", "Yb", "Ta", "Tb"]


def claims(wanted, keep, note):
    """Diallers with the right and with a wrong phrase call the same listeners in turn; what is
    compared is all up to Tb, the listener's answer to the first proof."""
    figures, labels, rounds = [], [], []
    visits = -(-wanted // LISTENERS)
    with tempfile.TemporaryDirectory(prefix="sesame-observe-") as place:
        running = []
        try:
            listeners = []
            for _ in range(LISTENERS):
                listeners.append(Peer(place))
                running.append(listeners[-1])
            for listener in listeners:
                listener.await_events("ready")
            for visit in range(visits):
                note(f"handshakes: visit {visit + 1} of {visits}")
                for figure, right in call_all(place, listeners):
                    figures.append(figure)
                    labels.append(int(right))
                    rounds.append(visit)
        finally:
            for one in running:
                one.end()
    figures, labels, rounds = map(np.array, (figures, labels, rounds))
    if keep:
        np.savez_compressed(keep / "handshakes.npz", figures=figures, labels=labels, sets=rounds)
    return judged(figures, labels, rounds)


def call_all(place, listeners):
    """Diallers of both kinds, each used once so that none has a past, call one listener each.
    Yields the figures of each handshake, and whether the phrase was right."""
    running, calls = [], []
    try:
        for phrase in [PHRASE, "another " + PHRASE] * len(listeners):
            running.append(Peer(place, listens=False, phrase=phrase))
            running[-1].await_events("ready")
        turns = random.sample(list(zip(running, sorted(listeners * 2, key=id))), len(running))
        running.append(capture := Capture(place))
        for dialler, listener in turns:
            calls.append((time.time(), listener, dialler.phrase == PHRASE))
            dialler.tell(f"/connect {listener.address}")
            time.sleep(PAUSE)
            dialler.end()
        running.remove(capture)
        capture.end()
    finally:
        for one in running:
            one.end()
    links = list(wire.links(wire.read(capture.file)))
    for at, listener, is_right in calls:
        for port, _, link in links:
            called = port == listener.port and 0 <= link["time"][0] - at < PAUSE
            if called and (figure := describe(link)) is not None:
                yield figure, is_right


def describe(link):
    """The sizes of the messages, and the times between them, up to Tb; none if it didn't come."""
    data = link[link["payload"] > 0]
    begun = np.flatnonzero(data["payload"] == wire.RECORD)
    if not len(begun) or len(data) < begun[0] + 4:
        return None
    turns = data[:begun[0] + 4]
    return np.concatenate([pick(turns["payload"]), pick(np.diff(turns["time"]), 1)])


def pick(values, less=0):
    """The last so many as there are messages: TLS may cut what comes before the cells."""
    return values[-(len(MESSAGES) - less):]


def judged(figures, labels, visits):
    names = [f"size of {message}" for message in MESSAGES]
    names += [f"time from {before} to {after}" for before, after in zip(MESSAGES, MESSAGES[1:])]
    few = min(labels.sum(), (1 - labels).sum())
    single, learnt = judge.blindness("handshakes", figures, names, figures, labels, visits, visits)
    for claim in single:
        print(claim.row())
    worst = sorted(single, key=lambda claim: -abs(claim.figure - 0.5))
    return [judge.Claim("handshakes: of each kind", few, form="{:.0f}"),
            *([claim for claim in worst if claim.fails] or worst[:2]), learnt[0]]
