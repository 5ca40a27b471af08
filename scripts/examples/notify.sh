#!/usr/bin/env bash
# Shows each message as a notification on the desktop.
#
#     notify.sh -p home.example --phrase-file phrase
#
# Its arguments are options of sesame. Needs sesame, jq and notify-send (libnotify) in PATH. NOTIFY
# names another program to run with two arguments: the sender and the text.
set -euo pipefail

# Senders choose the text: it becomes one line, and none of it is markup to the desktop.
sesame -q --json --stay --display-name notifier "$@" </dev/null |
    jq --unbuffered -r 'select(.type == "message")
        | "\(.name // .peer[:16])\t\(.text | gsub("[[:cntrl:]]"; " ") | @html)"' |
    while IFS=$'\t' read -r name text; do
        "${NOTIFY:-notify-send}" -- "$name" "$text"
    done
