
use builtin;
use str;

set edit:completion:arg-completer[sesame] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'sesame'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'sesame'= {
            cand -p 'A peer to keep connected to; repeatable'
            cand --peer 'A peer to keep connected to; repeatable'
            cand --port 'Port to listen on [default: 9000]'
            cand --listen 'Address to listen on [default: all]'
            cand --advertise 'The address that others are told for this peer'
            cand --phrase-fd 'Read the passphrase from a file descriptor'
            cand --phrase-file 'Read it from the first line of a file'
            cand --phrase 'The passphrase itself; shell history keeps it'
            cand --display-name 'Your visible name; saved for the next run'
            cand --min-peers 'Hold messages until N peers are up'
            cand --require 'Acknowledged by all, any or N peers [default: all]'
            cand --stay 'Keep running after the last goodbye and end of input'
            cand --cover 'Milliseconds between cells [default: 100]'
            cand --timeout 'How long messages may wait [default: 30]'
            cand --inactivity-timeout 'A silent link is dead after [default: 30]'
            cand --give-up 'How long one peer delays others [default: 60]'
            cand --away 'How long a vanished peer is waited for [default: 1800]'
            cand --on-panic 'What a panic does after the wipe [default: restart]'
            cand --no-listen 'Do not listen: only dial'
            cand --forwarded 'Links from this computer may come from afar'
            cand --decoy 'The passphrase is a decoy: a mesh of its own'
            cand --json 'One JSON object per line, both ways'
            cand --ack 'With --json: delivered when the program says so'
            cand --literal 'Piped input: no line is a command'
            cand --null 'Piped input: cut at NUL, not at newline'
            cand --whole 'Piped input: all of it is one message'
            cand --timestamps 'Piped output: begin each line with the time'
            cand -v 'Diagnostics on stderr; repeat for more'
            cand --verbose 'Diagnostics on stderr; repeat for more'
            cand -q 'No notices on stderr'
            cand --quiet 'No notices on stderr'
            cand --require-mlock 'Refuse to run with swappable secrets'
            cand -h 'Print this help'
            cand --help 'Print this help'
            cand -V 'Print the version'
            cand --version 'Print the version'
            cand phrase 'Print a random passphrase of easy words'
            cand completions 'Print the completion script for a shell'
            cand man 'Print the manual page'
            cand schema 'Print the JSON Schema of --json'
        }
        &'sesame;phrase'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
        &'sesame;completions'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
        &'sesame;man'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
        &'sesame;schema'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
    ]
    $completions[$command]
}
