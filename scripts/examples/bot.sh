#!/usr/bin/env bash
# A bot: answers "!uptime" with this computer's uptime, to the peer that asked only.
#
#     bot.sh -p home.example --phrase-file phrase
#
# Its arguments are options of sesame. Needs sesame and jq in PATH, and bash 5.
set -euo pipefail

# With --stay=input, sesame outlasts its peers, and ends when the bot does.
coproc sesame { exec sesame --json --stay=input --display-name uptime "$@"; }
input=${sesame[1]}

while read -r peer; do
    jq -cn --arg peer "$peer" --arg text "$(uptime)" '{type: "send", to: [$peer], $text}'
done >&"$input" < <(
    # jq must not keep sesame's input open when the bot has ended.
    jq --unbuffered -r 'select(.type == "message" and .text == "!uptime").peer' \
        <&"${sesame[0]}" {input}>&-
)
