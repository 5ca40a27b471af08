# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sesame_global_optspecs
    string join \n p/peer= port= listen= no-listen advertise= forwarded phrase-fd= phrase-file= phrase= decoy display-name= min-peers= require= stay= cover= timeout= inactivity-timeout= give-up= away= json ack literal null whole timestamps v/verbose q/quiet on-panic= require-mlock h/help V/version
end

function __fish_sesame_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sesame_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sesame_using_subcommand
    set -l cmd (__fish_sesame_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sesame -n "__fish_sesame_needs_command" -s p -l peer -d 'A peer to keep connected to; repeatable' -r -f -a "(__fish_print_hostnames)"
complete -c sesame -n "__fish_sesame_needs_command" -l port -d 'Port to listen on [default: 9000]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l listen -d 'Address to listen on [default: all]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l advertise -d 'The address that others are told for this peer' -r
complete -c sesame -n "__fish_sesame_needs_command" -l phrase-fd -d 'Read the passphrase from a file descriptor' -r
complete -c sesame -n "__fish_sesame_needs_command" -l phrase-file -d 'Read it from the first line of a file' -r -F
complete -c sesame -n "__fish_sesame_needs_command" -l phrase -d 'The passphrase itself; shell history keeps it' -r
complete -c sesame -n "__fish_sesame_needs_command" -l display-name -d 'Your visible name; saved for the next run' -r
complete -c sesame -n "__fish_sesame_needs_command" -l min-peers -d 'Hold messages until N peers are up' -r
complete -c sesame -n "__fish_sesame_needs_command" -l require -d 'Acknowledged by all, any or N peers [default: all]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l stay -d 'Keep running after the last goodbye and end of input' -r
complete -c sesame -n "__fish_sesame_needs_command" -l cover -d 'Milliseconds between cells [default: 100]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l timeout -d 'How long messages may wait [default: 30]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l inactivity-timeout -d 'A silent link is dead after [default: 30]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l give-up -d 'How long one peer delays others [default: 60]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l away -d 'How long a vanished peer is waited for [default: 1800]' -r
complete -c sesame -n "__fish_sesame_needs_command" -l on-panic -d 'What a panic does after the wipe [default: restart]' -r -f -a "restart\t'The run goes on under a new identity'
quit\t'The run ends'"
complete -c sesame -n "__fish_sesame_needs_command" -l no-listen -d 'Do not listen: only dial'
complete -c sesame -n "__fish_sesame_needs_command" -l forwarded -d 'Links from this computer may come from afar'
complete -c sesame -n "__fish_sesame_needs_command" -l decoy -d 'The passphrase is a decoy: a mesh of its own'
complete -c sesame -n "__fish_sesame_needs_command" -l json -d 'One JSON object a line, both ways'
complete -c sesame -n "__fish_sesame_needs_command" -l ack -d 'With --json: delivered when the program says so'
complete -c sesame -n "__fish_sesame_needs_command" -l literal -d 'Piped input: no line is a command'
complete -c sesame -n "__fish_sesame_needs_command" -l null -d 'Piped input: cut at NUL, not at newline'
complete -c sesame -n "__fish_sesame_needs_command" -l whole -d 'Piped input: all of it is one message'
complete -c sesame -n "__fish_sesame_needs_command" -l timestamps -d 'Piped output: begin each line with the time'
complete -c sesame -n "__fish_sesame_needs_command" -s v -l verbose -d 'Diagnostics on stderr; repeat for more'
complete -c sesame -n "__fish_sesame_needs_command" -s q -l quiet -d 'No notices on stderr'
complete -c sesame -n "__fish_sesame_needs_command" -l require-mlock -d 'Refuse to run with swappable secrets'
complete -c sesame -n "__fish_sesame_needs_command" -s h -l help -d 'Print this help'
complete -c sesame -n "__fish_sesame_needs_command" -s V -l version -d 'Print the version'
complete -c sesame -n "__fish_sesame_needs_command" -f -a "phrase" -d 'Print a random passphrase of easy words'
complete -c sesame -n "__fish_sesame_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c sesame -n "__fish_sesame_needs_command" -f -a "man" -d 'Print the manual page'
complete -c sesame -n "__fish_sesame_needs_command" -f -a "schema" -d 'Print the JSON Schema of --json'
complete -c sesame -n "__fish_sesame_using_subcommand phrase" -s h -l help -d 'Print this help'
complete -c sesame -n "__fish_sesame_using_subcommand completions" -s h -l help -d 'Print this help'
complete -c sesame -n "__fish_sesame_using_subcommand man" -s h -l help -d 'Print this help'
complete -c sesame -n "__fish_sesame_using_subcommand schema" -s h -l help -d 'Print this help'
