
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
            cand -p 'Peer to stay connected to; repeatable'
            cand --peer 'Peer to stay connected to; repeatable'
            cand --port 'Port to listen on [default: 9000]'
            cand --listen 'Address to listen on [default: all]'
            cand --advertise 'Address at which others can dial you'
            cand --proxy 'Dial only through this SOCKS5 proxy'
            cand --onion 'Be reachable at an onion service of Tor'
            cand --phrase-fd 'Read the passphrase from a file descriptor'
            cand --phrase-file 'Read the passphrase from a file''s first line'
            cand --phrase 'The passphrase itself; shell history keeps it'
            cand --display-name 'Your visible name; a chat saves it for later runs'
            cand --min-peers 'Hold messages until N peers are up'
            cand --require 'Peers that must acknowledge [default: all]'
            cand --stay 'Keep running after input ends and peers leave'
            cand --cover 'Milliseconds between cells [default: 100]'
            cand --timeout 'Seconds that messages may wait [default: 30]'
            cand --inactivity-timeout 'Seconds until a silent link is dead [default: 30]'
            cand --give-up 'Seconds that one peer may delay others [default: 60]'
            cand --away 'Seconds to wait for a vanished peer [default: 1800]'
            cand --on-panic 'Restart or quit after a panic [default: restart]'
            cand --config 'Configuration file, which has @SECTION''s options'
            cand --no-listen 'Do not listen, only dial'
            cand --forwarded 'Treat local connections as forwarded ones'
            cand --map 'Ask the router to forward the port'
            cand --lan 'Find peers in the local network'
            cand --no-carry 'Carry nothing between peers that cannot reach each other'
            cand --decoy 'Use a decoy passphrase, for a separate mesh'
            cand --json 'Input and output as JSON, one object per line'
            cand --ack 'With --json: let the reader acknowledge messages'
            cand --literal 'Piped input: no line is a command'
            cand --null 'Piped input: split at NUL instead of newline'
            cand --whole 'Piped input: all of it is one message'
            cand --timestamps 'Piped output: begin each line with the time'
            cand -v 'Diagnostics on stderr; repeat for more'
            cand --verbose 'Diagnostics on stderr; repeat for more'
            cand -q 'No notices and no warnings on stderr'
            cand --quiet 'No notices and no warnings on stderr'
            cand --no-title 'Chat: do not change the window''s title'
            cand --require-mlock 'Exit if keys cannot be locked in memory'
            cand --no-config 'Take no options from a file'
            cand -h 'Print this help'
            cand --help 'Print this help'
            cand -V 'Print the version'
            cand --version 'Print the version'
            cand phrase 'Print a random passphrase of easy words'
            cand completions 'Print a shell''s completion script'
            cand man 'Show the manual page'
            cand schema 'Print the JSON Schema of --json'
            cand help 'Explain all options, or a command'
            cand version 'Print the version'
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
        &'sesame;help'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
        &'sesame;version'= {
            cand -h 'Print this help'
            cand --help 'Print this help'
        }
    ]
    $completions[$command]
}
