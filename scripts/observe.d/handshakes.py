"""Whether a right phrase can be told from a wrong one by the handshake's messages."""

import random
import tempfile
import time

import numpy as np

import judge
import wire
from peers import PHRASE, Capture, Peer

LISTENERS = 20
ENOUGH = 250  # of each kind: below, chance alone takes the figures out of bounds
PAUSE = 0.3  # s for a handshake; what comes later waited for the processor or the door
# TLS: ClientHello; ServerHello to Finished; the dialler's Finished. Then the four cells.
MESSAGES = ["ClientHello", "ServerHello", "Finished", "Ya", "Yb", "Ta", "Tb"]


def claims(wanted, keep, note):
    """Diallers with the right and with a wrong phrase call the same listeners in turn; what is
    compared is all up to Ta, the dialler's proof, and all up to Tb, the answer to it."""
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
            if called and (figure := describe(link, port)) is not None:
                yield figure, is_right


def describe(link, listener):
    """The sizes of the messages, and the times between them; none if they did not all come, one by
    one. TLS may cut what precedes the cells as it likes: its last segments count."""
    data = link[link["payload"] > 0]
    cells = np.flatnonzero(data["payload"] == wire.RECORD)
    before = len(MESSAGES) - 4
    if not len(cells) or cells[0] < before:
        return None
    turns = data[cells[0] - before:cells[0] + 4]
    answers = turns["source"][-4:] == listener
    if answers.tolist() != [False, True, False, True]:
        return None
    return np.concatenate([turns["payload"], np.diff(turns["time"])])


def judged(figures, labels, visits):
    names = [f"size of {message}" for message in MESSAGES]
    names += [f"time from {before} to {after}" for before, after in zip(MESSAGES, MESSAGES[1:])]
    before_last = [column for column, name in enumerate(names) if "Tb" not in name]
    few = min(labels.sum(), (1 - labels).sum())
    found = [judge.Claim("handshakes: of each kind", few, form="{:.0f}")]
    for what, columns in [("to Ta", before_last), ("to Tb", range(len(names)))]:
        given = figures[:, list(columns)]
        single, learnt = judge.blindness(f"handshakes {what}", given, [names[column] for column in columns], given,
                                         labels, visits, visits, few >= ENOUGH)
        found += judge.notable(single) + learnt[:1]
    return found
