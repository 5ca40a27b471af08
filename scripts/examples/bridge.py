#!/usr/bin/env python3
"""A bridge: passes each message to everybody in one mesh on to everybody in another, and back.

    bridge.py "-p a.example --phrase-file phrase-a" "-p b.example --phrase-file phrase-b"

Each argument holds the options of sesame for one mesh. Needs sesame in PATH. Tell the members of
both meshes about the bridge: its computer reads everything. Start one only: two bridges between
the same meshes would pass on each other's messages forever.
"""

import json
import shlex
import signal
import subprocess
import sys
import threading


def join(options):
    # With --stay=input, sesame outlasts its peers, and ends when the bridge does.
    command = ["sesame", "--json", "--stay=input", "--display-name", "bridge"]
    return subprocess.Popen(
        command + shlex.split(options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def carry(here, there):
    for line in here.stdout:
        event = json.loads(line)
        # A direct message was meant for the bridge only.
        if event["type"] == "message" and not event["direct"]:
            who = event["name"] or event["peer"][:16]
            message = {"type": "send", "text": f"{who}: {event['text']}"}
            try:
                print(json.dumps(message), file=there.stdin, flush=True)
            except (BrokenPipeError, ValueError):
                break  # It has ended, or is about to.
        elif event["type"] == "error":
            print(f"bridge: {event['message']}", file=sys.stderr)
    # Without one mesh there is no bridge. At the end of its input, the other end says goodbye.
    there.stdin.close()


if len(sys.argv) != 3:
    sys.exit(f"usage: {sys.argv[0]} OPTIONS-FOR-ONE-MESH OPTIONS-FOR-THE-OTHER")
one, other = join(sys.argv[1]), join(sys.argv[2])
# Ctrl-C goes to both of them too, which say goodbye; then their events end.
signal.signal(signal.SIGINT, signal.SIG_IGN)
threading.Thread(target=carry, args=(one, other)).start()
carry(other, one)
