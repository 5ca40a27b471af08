"""What the program prints: events on stdout, and lines for people on stderr."""

import json
import sys


def emit(event: str, **fields: object) -> None:
    # json escapes what is not ASCII, so a text cannot control a terminal.
    print(json.dumps({"type": event, **fields}), flush=True)


def report(line: str) -> None:
    print(f"peer.py: {line}", file=sys.stderr, flush=True)
