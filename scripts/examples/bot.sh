#!/usr/bin/env bash
# A bot: answers "!uptime" with this computer's uptime, to the peer that asked only.
#
#     bot.sh -p home.example --phrase-file phrase
#
# Its arguments are options of sesame. Needs sesame and jq in PATH, and bash 4.
set -euo pipefail

# With --stay=input, sesame outlasts its peers, and ends when the bot does.
coproc sesame { exec sesame --json --stay=input --display-name uptime "$@"; }

# A peer's id has no character that could mean anything to the shell.
jq --unbuffered -r 'select(.type == "message" and .text == "!uptime").peer' <&"${sesame[0]}" |
    while read -r peer; do
        jq -cn --arg peer "$peer" --arg text "$(uptime)" '{type: "send", to: [$peer], $text}'
    done >&"${sesame[1]}"
