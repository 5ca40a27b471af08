#!/usr/bin/env python3
"""A bot: answers "!roll" with a throw of a die.

    bot.py -p home.example --phrase-file phrase

Its arguments are options of sesame. Needs sesame in PATH.
"""

import json
import random
import signal
import subprocess
import sys

# With --stay=input, sesame outlasts its peers, and ends when the bot does.
sesame = subprocess.Popen(
    ["sesame", "--json", "--stay=input", "--display-name", "bot", *sys.argv[1:]],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    encoding="utf-8",
)
# Ctrl-C goes to sesame too, which says goodbye; then its events end.
signal.signal(signal.SIGINT, signal.SIG_IGN)

for line in sesame.stdout:
    event = json.loads(line)
    if event["type"] == "message" and event["text"] == "!roll":
        who = event["name"] or event["peer"][:16]
        answer = {"type": "send", "text": f"{who} rolls a {random.randint(1, 6)}"}
        if event["direct"]:
            # Names may be ambiguous, so a program names a peer by its id.
            answer["to"] = [event["peer"]]
        print(json.dumps(answer), file=sesame.stdin, flush=True)
    elif event["type"] == "error":
        print(f"bot: {event['message']}", file=sys.stderr)

status = sesame.wait()
sys.exit(status if status >= 0 else 128 - status)
