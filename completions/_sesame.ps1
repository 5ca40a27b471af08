
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'sesame' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'sesame'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'sesame' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'Peer to stay connected to; repeatable')
            [CompletionResult]::new('--peer', '--peer', [CompletionResultType]::ParameterName, 'Peer to stay connected to; repeatable')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'Port to listen on [default: 9000]')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Address to listen on [default: all]')
            [CompletionResult]::new('--advertise', '--advertise', [CompletionResultType]::ParameterName, 'Address at which others can dial you')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Dial only through this SOCKS5 proxy')
            [CompletionResult]::new('--onion', '--onion', [CompletionResultType]::ParameterName, 'Be reachable at an onion service of Tor')
            [CompletionResult]::new('--phrase-fd', '--phrase-fd', [CompletionResultType]::ParameterName, 'Read the passphrase from a file descriptor')
            [CompletionResult]::new('--phrase-file', '--phrase-file', [CompletionResultType]::ParameterName, 'Read the passphrase from a file''s first line')
            [CompletionResult]::new('--phrase', '--phrase', [CompletionResultType]::ParameterName, 'The passphrase itself; shell history keeps it')
            [CompletionResult]::new('--display-name', '--display-name', [CompletionResultType]::ParameterName, 'Your visible name; a chat saves it for later runs')
            [CompletionResult]::new('--min-peers', '--min-peers', [CompletionResultType]::ParameterName, 'Hold messages until N peers are up')
            [CompletionResult]::new('--require', '--require', [CompletionResultType]::ParameterName, 'Peers that must acknowledge [default: all]')
            [CompletionResult]::new('--stay', '--stay', [CompletionResultType]::ParameterName, 'Keep running after input ends and peers leave')
            [CompletionResult]::new('--cover', '--cover', [CompletionResultType]::ParameterName, 'Milliseconds between cells [default: 100]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'Seconds that messages may wait [default: 30]')
            [CompletionResult]::new('--inactivity-timeout', '--inactivity-timeout', [CompletionResultType]::ParameterName, 'Seconds until a silent link is dead [default: 30]')
            [CompletionResult]::new('--give-up', '--give-up', [CompletionResultType]::ParameterName, 'Seconds that one peer may delay others [default: 60]')
            [CompletionResult]::new('--away', '--away', [CompletionResultType]::ParameterName, 'Seconds to wait for a vanished peer [default: 1800]')
            [CompletionResult]::new('--on-panic', '--on-panic', [CompletionResultType]::ParameterName, 'Restart or quit after a panic [default: restart]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file, which has @SECTION''s options')
            [CompletionResult]::new('--no-listen', '--no-listen', [CompletionResultType]::ParameterName, 'Do not listen, only dial')
            [CompletionResult]::new('--forwarded', '--forwarded', [CompletionResultType]::ParameterName, 'Treat local connections as forwarded ones')
            [CompletionResult]::new('--map', '--map', [CompletionResultType]::ParameterName, 'Ask the router to forward the port')
            [CompletionResult]::new('--lan', '--lan', [CompletionResultType]::ParameterName, 'Find peers in the local network')
            [CompletionResult]::new('--no-carry', '--no-carry', [CompletionResultType]::ParameterName, 'Carry nothing between peers that cannot reach each other')
            [CompletionResult]::new('--decoy', '--decoy', [CompletionResultType]::ParameterName, 'Use a decoy passphrase, for a separate mesh')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Input and output as JSON, one object per line')
            [CompletionResult]::new('--ack', '--ack', [CompletionResultType]::ParameterName, 'With --json: let the reader acknowledge messages')
            [CompletionResult]::new('--literal', '--literal', [CompletionResultType]::ParameterName, 'Piped input: no line is a command')
            [CompletionResult]::new('--null', '--null', [CompletionResultType]::ParameterName, 'Piped input: split at NUL instead of newline')
            [CompletionResult]::new('--whole', '--whole', [CompletionResultType]::ParameterName, 'Piped input: all of it is one message')
            [CompletionResult]::new('--timestamps', '--timestamps', [CompletionResultType]::ParameterName, 'Piped output: begin each line with the time')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Diagnostics on stderr; repeat for more')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Diagnostics on stderr; repeat for more')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No notices and no warnings on stderr')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No notices and no warnings on stderr')
            [CompletionResult]::new('--no-title', '--no-title', [CompletionResultType]::ParameterName, 'Chat: do not change the window''s title')
            [CompletionResult]::new('--require-mlock', '--require-mlock', [CompletionResultType]::ParameterName, 'Exit if keys cannot be locked in memory')
            [CompletionResult]::new('--no-config', '--no-config', [CompletionResultType]::ParameterName, 'Take no options from a file')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('phrase', 'phrase', [CompletionResultType]::ParameterValue, 'Print a random passphrase of easy words')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print a shell''s completion script')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Show the manual page')
            [CompletionResult]::new('schema', 'schema', [CompletionResultType]::ParameterValue, 'Print the JSON Schema of --json')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Explain all options, or a command')
            [CompletionResult]::new('version', 'version', [CompletionResultType]::ParameterValue, 'Print the version')
            break
        }
        'sesame;phrase' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
        'sesame;completions' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
        'sesame;man' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
        'sesame;schema' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
        'sesame;help' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
        'sesame;version' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
