"""Watches the wire as a stranger would, and says whether he can tell who talks.

Pairs of peers are up at once. In each spell of a round one half of the pairs is idle and the other
half is not; in the next spell they change parts, so that what is peculiar to a pair cancels out
(--fixed: they don't). A round has four spells and its own pairs.
"""

import argparse
import heapq
import itertools
import math
import os
import pathlib
import signal
import sys
import tempfile
import time

SPELLS = 4
EDGE = 1  # s at either end of a spell that are not looked at
ENOUGH = 1800  # windows of a class, for a standard error of 0.01
SETTLE = 2  # s
PATIENCE = 120  # s, and 10 for each pair: what a round may take beyond its seconds


def options():
    parser = argparse.ArgumentParser(
        prog="scripts/observe", description=__doc__.split("\n")[0],
        epilog="The default takes about ten minutes. The picture goes to scripts/observe.svg when chat "
               "and off are both watched. Ends with 1 if a claim does not hold; with too few windows "
               "none is judged.")
    modes = ["chat", "bursts", "commands", "gossip", "loaded", "circuit", "off", "handshakes", "cost"]
    parser.add_argument("--mode", action="append", choices=modes,
                        help="what to look at; repeatable; off is the control, without cover "
                             "[default: chat, off, cost]")
    parser.add_argument("--pairs", type=int, default=40, help="how many pairs at once, an even number [default: 40]")
    parser.add_argument("--seconds", type=int, default=80, help="how long a round is [default: 80]")
    parser.add_argument("--rounds", type=int, help=f"how many rounds [default: enough for {ENOUGH} windows a class]")
    parser.add_argument("--fixed", action="store_true", help="the same pairs talk all the time")
    parser.add_argument("--handshakes", type=int, default=300, help="how many of each kind [default: 300]")
    parser.add_argument("--full", action="store_true",
                        help="every mode, with three idle and three busy pairs at once: takes about three hours")
    parser.add_argument("--keep", type=pathlib.Path, help="a directory for all figures, as numpy files")
    chosen = parser.parse_args()
    if chosen.full:
        chosen.mode, chosen.pairs = modes, 6
    chosen.mode = chosen.mode or ["chat", "off", "cost"]
    # A classifier is tested on others than it is trained on.
    if chosen.pairs < 4 or chosen.pairs % 2:
        parser.error("--pairs: an even number, 4 at least")
    if chosen.handshakes < 40:
        parser.error("--handshakes: 40 at least")
    if chosen.seconds < SPELLS * (2 * EDGE + 2):
        parser.error(f"--seconds: {SPELLS * (2 * EDGE + 2)} at least")
    return chosen


def note(text):
    print(f"observe: {text}", file=sys.stderr, flush=True)


def watch_round(mode, chosen, place):
    """One round. Gives the packets, and of each pair its listener's port and spells: (begin, end,
    whether it was busy)."""
    from modes import MODES
    from peers import Capture, Load, Pair, Trio

    running = []
    signal.alarm(chosen.seconds + PATIENCE + 10 * chosen.pairs)
    try:
        capture = Capture(place)
        running.append(capture)
        pairs = []
        for _ in range(chosen.pairs):
            cover = "off" if mode == "off" else "100"
            pairs.append(Trio(place) if mode == "circuit" else Pair(place, cover, mode == "gossip"))
            running.append(pairs[-1])
        for pair in pairs:
            pair.await_link()
        if mode == "loaded":
            running.append(Load())
        time.sleep(SETTLE)
        spells = {pair.first.port: [] for pair in pairs}
        begin, lasts = time.time(), chosen.seconds / SPELLS
        order, due = itertools.count(), []
        for spell, (index, pair) in itertools.product(range(SPELLS), enumerate(pairs)):
            busy = (index + (0 if chosen.fixed else spell)) % 2 == 1
            at = begin + spell * lasts
            spells[pair.first.port].append((at, at + lasts, busy))
            if busy:
                due += [(at + after, next(order), act) for after, act in MODES[mode](pair, lasts)]
        heapq.heapify(due)
        while due:
            at, _, act = heapq.heappop(due)
            time.sleep(max(0, at - time.time()))
            act()
        time.sleep(max(0, begin + chosen.seconds - time.time()))
        for pair in pairs:
            pair.second.tell("/quit")
        time.sleep(1)
        running.remove(capture)
        capture.end()
        import wire
        return wire.read(capture.file), spells
    finally:
        signal.alarm(0)
        for one in reversed(running):
            one.end()


def watch(mode, chosen):
    """All rounds of a mode: its claims, and one round's packets for the picture."""
    import numpy as np
    import judge
    import wire

    each = chosen.pairs // 2 * SPELLS * int((chosen.seconds / SPELLS - 2 * EDGE) / wire.WINDOW)
    rounds = chosen.rounds or (1 if mode == "off" else math.ceil(ENOUGH / each))
    figures, raw, labels, pairs, sets = [], [], [], [], []
    other_sizes, broken = 0, 0
    for number in range(rounds):
        note(f"{mode}: round {number + 1} of {rounds}, {chosen.pairs} pairs")
        with tempfile.TemporaryDirectory(prefix="sesame-observe-") as place:
            packets, spells = watch_round(mode, chosen, place)
        seen = {}
        for listener, _, link in wire.links(packets):
            # Whoever came first is the pair's other end; others come to the same port by gossip.
            seen.setdefault(listener, link)
        for index, (listener, parts) in enumerate(spells.items()):
            link = seen[listener]
            other_sizes += int((wire.sizes(link) != wire.RECORD).sum())
            if link["time"][-1] < parts[-1][1]:
                broken += 1
                note(f"{mode}: a link broke {link['time'][-1] - parts[0][0]:.1f} s after the beginning")
                continue
            for begin, end, busy in parts:
                for figure, gaps in wire.windows(link, listener, begin + EDGE, end - EDGE):
                    figures.append(figure)
                    raw.append(gaps)
                    labels.append(int(busy))
                    pairs.append(number * chosen.pairs + index)
                    sets.append(number * chosen.pairs + index // 2)
    figures, raw, labels, pairs, sets = map(np.array, (figures, raw, labels, pairs, sets))
    if chosen.keep:
        np.savez_compressed(chosen.keep / f"{mode}.npz", figures=figures, raw=raw, labels=labels,
                            pairs=pairs, sets=sets)
    windows = min(int(labels.sum()), int((1 - labels).sum()))
    note(f"{mode}: {windows} windows a class of {len(np.unique(pairs))} pairs; classifying")
    enough = windows >= ENOUGH or mode == "off"
    single, learnt = judge.blindness(mode, figures, wire.NAMES, raw, labels, pairs, sets, enough, mode != "off")
    claims = [judge.Claim(f"{mode}: windows a class", windows, form="{:.0f}"),
              judge.Claim(f"{mode}: links that broke", broken, most=0, form="{:.0f}")]
    if mode != "off":
        claims.append(judge.Claim(f"{mode}: data segments of another size", other_sizes, most=0, form="{:.0f}"))
    claims += judge.notable(single)
    return claims + learnt, (packets, spells)


def main():
    chosen = options()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(2))
    if os.geteuid() != 0 or "SESAME" not in os.environ:
        sys.exit("observe: to be started by scripts/observe")
    import judge

    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    claims, rounds = [], {}
    for mode in dict.fromkeys(chosen.mode):
        if mode == "handshakes":
            import handshakes
            claims += handshakes.claims(chosen.handshakes, chosen.keep, note)
        elif mode == "cost":
            import cost
            claims += cost.claims(note)
        else:
            found, rounds[mode] = watch(mode, chosen)
            claims += found
    if {"chat", "off"} <= rounds.keys():
        import picture
        picture.draw(rounds, pathlib.Path(__file__).resolve().parent.parent / "observe.svg")
    print(f"\n{judge.HEADING}")
    for claim in claims:
        print(claim.row())
    return any(claim.fails for claim in claims)


if __name__ == "__main__":
    sys.exit(main())
