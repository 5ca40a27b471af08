"""What people do on a link while it is watched.

Each mode says for one pair and one spell of so many seconds what is to be done when: it yields
times from the spell's beginning, each with a function to be called then.
"""

import json
import random

CELL_PAYLOAD = 960  # bytes of a long message that one cell carries, about
TICK = 0.1  # s between two cells
BURST = 60_000  # bytes


def chat(pair, seconds):
    """Both say something about once a second."""
    for end in pair.ends:
        at = random.expovariate(1)
        while at < seconds:
            yield at, lambda end=end, length=random.randint(1, 300): end.tell(message(length))
            at += random.expovariate(1)


def bursts(pair, seconds):
    """Messages of 60 KB, so many that there is always one on its way, and none at the end."""
    lasts = BURST / CELL_PAYLOAD * TICK
    for end in pair.ends:
        for count in range(int((seconds - 1) / lasts)):
            yield count * lasts, lambda end=end: end.tell(message(BURST))


def commands(pair, seconds):
    """/peers and /stats, two hundred a second at each end."""
    for end in pair.ends:
        at = random.uniform(0, 0.05)
        while at < seconds:
            yield at, lambda end=end: end.tell(*["/peers", "/stats"] * 5)
            at += 0.05


def gossip(pair, seconds):
    """A third calls one end, is passed on to the other, leaves both and comes back as somebody new,
    again and again."""
    third = pair.third
    goodbyes = [json.dumps({"type": "disconnect", "peer": end.id}) for end in pair.ends]
    at = random.uniform(0, 1)
    while at < seconds - 2.5:
        yield at, lambda: third.tell(f"/connect {pair.first.address}")
        yield at + 1.5, lambda: third.tell(*goodbyes)
        yield at + 1.8, lambda: third.tell("/panic")
        at += 2.5


def circuit(trio, seconds):
    """The ends of a circuit say something to each other about once a second, and nothing to the
    relay."""
    for end, other in zip(trio.ends, reversed(trio.ends)):
        at = random.expovariate(1)
        while at < seconds:
            line = json.dumps({"type": "send", "text": "x" * random.randint(1, 300), "to": [other.id]})
            yield at, lambda end=end, line=line: end.tell(line)
            at += random.expovariate(1)


def message(length):
    return json.dumps({"type": "send", "text": "x" * length})


MODES = {"chat": chat, "bursts": bursts, "commands": commands, "gossip": gossip,
         "loaded": chat, "circuit": circuit, "off": chat}
