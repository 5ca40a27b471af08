"""What an observer has: the packets of each link, cut into windows, and figures of each window."""

import struct

import numpy as np

WINDOW = 2.0  # s
RECORD = 1046  # bytes of the TLS record around a cell: what a data segment carries
ETHERNET = 14
SYN, ACK = 2, 16
RAW = 24  # gaps of one direction in a window that a classifier is given raw
RAW_BOTH = 72  # the same of both directions together, with pure acknowledgements

PACKET = np.dtype([("time", "f8"), ("source", "u2"), ("target", "u2"), ("bytes", "u2"),
                   ("payload", "u2"), ("flags", "u1"), ("room", "u2")])

FIGURES = ["packets", "bytes", "mean gap", "gap deviation", "least gap", "greatest gap"]
WAYS = ["dialler's", "listener's"]
NAMES = ([f"{way} {figure}" for way in WAYS for figure in FIGURES]
         + [f"{way} {figure} with ACKs" for way in WAYS for figure in FIGURES]
         + [f"{way} receive window" for way in WAYS])


def read(file):
    """All packets of a capture: times in seconds since 1970, ports, IP length, TCP payload, flags
    and advertised window."""
    data = file.read_bytes()
    if data[:4] != b"\x4d\x3c\xb2\xa1":
        raise RuntimeError("no little-endian capture with nanoseconds")
    packets, at = [], 24
    while at + 16 <= len(data):
        seconds, nanos, kept, _ = struct.unpack_from("<IIII", data, at)
        ip = at + 16 + ETHERNET
        tcp = ip + (data[ip] & 15) * 4
        length, = struct.unpack_from(">H", data, ip + 2)
        source, target, offset, flags, room = struct.unpack_from(">HH8xBBH", data, tcp)
        payload = length - (tcp - ip) - (offset >> 4) * 4
        packets.append((seconds + nanos * 1e-9, source, target, length, payload, flags, room))
        at += 16 + kept
    return np.array(packets, PACKET)


def links(packets):
    """The connections, in the order in which they were dialled: (port of the listener, port of the
    dialler, packets)."""
    opened = packets[(packets["flags"] & (SYN | ACK)) == SYN]
    for listener, dialler in zip(opened["target"], opened["source"]):
        there = (packets["source"] == dialler) & (packets["target"] == listener)
        back = (packets["source"] == listener) & (packets["target"] == dialler)
        yield int(listener), int(dialler), packets[there | back]


def sizes(link):
    """The sizes of a link's data segments from its first cell on."""
    payload = link["payload"][link["payload"] > 0]
    first = np.flatnonzero(payload == RECORD)
    return payload[first[0]:] if len(first) else payload


def windows(link, listener, begin, end):
    """Cuts a time into windows: for each the figures named in NAMES, and the raw gaps."""
    for start in np.arange(begin, end - WINDOW + 1e-6, WINDOW):
        window = link[(link["time"] >= start) & (link["time"] < start + WINDOW)]
        ways = [window[window["target"] == listener], window[window["source"] == listener]]
        segments = [way[way["payload"] > 0] for way in ways]
        figures = [figure for way in segments + ways for figure in describe(way)]
        figures += [np.mean(way["room"]) if len(way) else 0 for way in ways]
        raw = [pad(np.diff(way["time"]), RAW) for way in segments]
        raw.append(pad(np.diff(window["time"]), RAW_BOTH))
        yield figures, np.concatenate(raw)


def describe(packets):
    gaps = np.diff(packets["time"])
    if not len(gaps):
        gaps = np.array([WINDOW])
    return [len(packets), packets["bytes"].sum(), gaps.mean(), gaps.std(), gaps.min(), gaps.max()]


def pad(gaps, length):
    return np.concatenate([gaps[:length], np.full(max(0, length - len(gaps)), -1.0)])
