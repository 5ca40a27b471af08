# Completion of sesame for fish.

# Whether the first word is one of these: nothing else can be a command.
function __fish_sesame_begins_with
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] $argv
end

function __fish_sesame_at_word
    test (count (commandline -opc)) -eq $argv[1]
end

# The sections of the configuration file.
function __fish_sesame_sections
    set -l folder $XDG_CONFIG_HOME
    test -n "$folder"; or set folder ~/.config
    test -r $folder/sesame/config; or return
    string replace -rf '^\s*\[([^\]]*)\]\s*$' '@$1' <$folder/sesame/config
end

# Without this, fish offers file names everywhere.
complete -c sesame -f
complete -c sesame -n '__fish_sesame_at_word 1' -a '(__fish_sesame_sections)'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -s p -l peer -d 'Peer to stay connected to; repeatable' -x -a '(__fish_print_hostnames)'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l port -d 'Port to listen on [default: 9000]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l listen -d 'Address to listen on [default: all]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l advertise -d 'Address at which others can dial you' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l proxy -d 'Dial only through this SOCKS5 proxy' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l onion -d 'Be reachable at an onion service of Tor' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l phrase-fd -d 'Read the passphrase from a file descriptor' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l phrase-file -d 'Read the passphrase from a file\'s first line' -r -F
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l phrase -d 'The passphrase itself; shell history keeps it' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l display-name -d 'Your visible name; a chat saves it for later runs' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l min-peers -d 'Hold messages until N peers are up' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l require -d 'Peers that must acknowledge [default: all]' -x -a 'all any'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l stay -d 'Keep running after input ends and peers leave' -a 'input'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l cover -d 'Milliseconds between cells [default: 100]' -x -a 'off'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l timeout -d 'Seconds that messages may wait [default: 30]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l inactivity-timeout -d 'Seconds until a silent link is dead [default: 30]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l give-up -d 'Seconds that one peer may delay others [default: 60]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l away -d 'Seconds to wait for a vanished peer [default: 1800]' -x -a ''
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l on-panic -d 'Restart or quit after a panic [default: restart]' -x -a 'restart quit'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l config -d 'Configuration file, which has @SECTION\'s options' -r -F
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l no-listen -d 'Do not listen, only dial'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l forwarded -d 'Treat local connections as forwarded ones'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l map -d 'Ask the router to forward the port'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l lan -d 'Find peers in the local network'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l no-carry -d 'Carry nothing between peers that cannot reach each other'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l decoy -d 'Use a decoy passphrase, for a separate mesh'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l json -d 'Input and output as JSON, one object per line'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l ack -d 'With --json: let the reader acknowledge messages'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l literal -d 'Piped input: no line is a command'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l null -d 'Piped input: split at NUL instead of newline'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l whole -d 'Piped input: all of it is one message'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l timestamps -d 'Piped output: begin each line with the time'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -s v -l verbose -d 'Diagnostics on stderr; repeat for more'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -s q -l quiet -d 'No notices and no warnings on stderr'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l no-title -d 'Chat: do not change the window\'s title'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l require-mlock -d 'Exit if keys cannot be locked in memory'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -l no-config -d 'Take no options from a file'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -s h -l help -d 'Print this help'
complete -c sesame -n 'not __fish_sesame_begins_with phrase completions man schema help version' -s V -l version -d 'Print the version'
complete -c sesame -n '__fish_sesame_at_word 1' -a phrase -d 'Print a random passphrase of easy words'
complete -c sesame -n '__fish_sesame_begins_with phrase' -s h -l help -d 'Print this help'
complete -c sesame -n '__fish_sesame_at_word 1' -a completions -d 'Print a shell\'s completion script'
complete -c sesame -n '__fish_sesame_begins_with completions; and __fish_sesame_at_word 2' -a 'bash elvish fish powershell zsh'
complete -c sesame -n '__fish_sesame_begins_with completions' -s h -l help -d 'Print this help'
complete -c sesame -n '__fish_sesame_at_word 1' -a man -d 'Show the manual page'
complete -c sesame -n '__fish_sesame_begins_with man' -s h -l help -d 'Print this help'
complete -c sesame -n '__fish_sesame_at_word 1' -a schema -d 'Print the JSON Schema of --json'
complete -c sesame -n '__fish_sesame_begins_with schema' -s h -l help -d 'Print this help'
complete -c sesame -n '__fish_sesame_at_word 1' -a help -d 'Explain all options, or a command'
complete -c sesame -n '__fish_sesame_begins_with help; and __fish_sesame_at_word 2' -a 'phrase completions man schema help version'
complete -c sesame -n '__fish_sesame_begins_with help' -s h -l help -d 'Print this help'
complete -c sesame -n '__fish_sesame_at_word 1' -a version -d 'Print the version'
complete -c sesame -n '__fish_sesame_begins_with version' -s h -l help -d 'Print this help'
