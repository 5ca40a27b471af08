"""What silence costs: processor time and bytes."""

import tempfile
import time

import numpy as np

import judge
import wire
from peers import Capture, Peer
from processes import Links, silence

LINKS = 10
SECONDS = 60
CAPTURED = 20
TICKS = 10  # a second
RATIO = 4  # at most this many times what a C program takes
HEADERS = 20 + 32  # bytes of IP, and of TCP with time stamps


def plain_links(place):
    """% of a core that each process of a mesh of plain TCP links takes."""
    links = Links(place, LINKS + 1, 1000 // TICKS)
    try:
        return silence([process.pid for process in links.processes], SECONDS / 2)
    finally:
        links.end()


def claims(note):
    """A mesh in which everybody has ten idle links."""
    note(f"cost: {LINKS} idle links each, {SECONDS + CAPTURED} s")
    with tempfile.TemporaryDirectory(prefix="sesame-observe-") as place:
        running = []
        try:
            peers = []
            for _ in range(LINKS + 1):
                known = [option for peer in peers[:1] for option in ("--peer", peer.address)]
                peers.append(Peer(place, *known))
                running.append(peers[-1])
                peers[-1].await_events("ready")
            capture = Capture(place)
            running.append(capture)
            for peer in peers:
                peer.await_events("peer_up", LINKS)
            time.sleep(2)
            before = [peer.cpu() for peer in peers]
            start = time.monotonic()
            time.sleep(SECONDS)
            elapsed = time.monotonic() - start
            spent = [100 * (peer.cpu() - was) / elapsed for peer, was in zip(peers, before)]
            end = time.time()
            running.remove(capture)
            capture.end()
        finally:
            for one in running:
                one.end()
        packets = wire.read(capture.file)
        plain = plain_links(place)
    data, acks = [], []
    for listener, _, link in wire.links(packets):
        link = link[(link["time"] >= end - CAPTURED) & (link["time"] < end)]
        for way in (link["target"] == listener, link["source"] == listener):
            full = link["payload"] > 0
            data.append(link["bytes"][way & full].sum() / CAPTURED)
            acks.append(link["bytes"][way & ~full].sum() / CAPTURED)
    computed = TICKS * (wire.RECORD + HEADERS)
    return [
        judge.Claim(f"cost: % of a core for {LINKS} idle links, mean of {len(spent)}", np.mean(spent)),
        judge.Claim("cost: the same, of a C program that writes as much to plain TCP", plain),
        judge.Claim("cost: ratio of the two", np.mean(spent) / plain, most=RATIO),
        judge.Claim("cost: the same, dearest process", np.max(spent) / plain, most=1.25 * RATIO),
        judge.Claim(f"cost: cells in bytes a second each way (computed {computed})", np.median(data),
                    0.99 * computed, 1.01 * computed, form="{:.0f}"),
        judge.Claim(f"cost: ACKs in bytes a second each way (at most {TICKS * HEADERS})", np.median(acks),
                    most=TICKS * HEADERS, form="{:.0f}"),
    ]
