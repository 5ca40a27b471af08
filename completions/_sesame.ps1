
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
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'A peer to keep connected to; repeatable')
            [CompletionResult]::new('--peer', '--peer', [CompletionResultType]::ParameterName, 'A peer to keep connected to; repeatable')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'Port to listen on [default: 9000]')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Address to listen on [default: all]')
            [CompletionResult]::new('--advertise', '--advertise', [CompletionResultType]::ParameterName, 'The address that others are told for this peer')
            [CompletionResult]::new('--phrase-fd', '--phrase-fd', [CompletionResultType]::ParameterName, 'Read the passphrase from a file descriptor')
            [CompletionResult]::new('--phrase-file', '--phrase-file', [CompletionResultType]::ParameterName, 'Read it from the first line of a file')
            [CompletionResult]::new('--phrase', '--phrase', [CompletionResultType]::ParameterName, 'The passphrase itself; shell history keeps it')
            [CompletionResult]::new('--display-name', '--display-name', [CompletionResultType]::ParameterName, 'Your visible name; saved for the next run')
            [CompletionResult]::new('--min-peers', '--min-peers', [CompletionResultType]::ParameterName, 'Hold messages until N peers are up')
            [CompletionResult]::new('--require', '--require', [CompletionResultType]::ParameterName, 'Acknowledged by all, any or N peers [default: all]')
            [CompletionResult]::new('--stay', '--stay', [CompletionResultType]::ParameterName, 'Keep running after the last goodbye and end of input')
            [CompletionResult]::new('--cover', '--cover', [CompletionResultType]::ParameterName, 'Milliseconds between cells [default: 100]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long messages may wait [default: 30]')
            [CompletionResult]::new('--inactivity-timeout', '--inactivity-timeout', [CompletionResultType]::ParameterName, 'A silent link is dead after [default: 30]')
            [CompletionResult]::new('--give-up', '--give-up', [CompletionResultType]::ParameterName, 'How long one peer delays others [default: 60]')
            [CompletionResult]::new('--away', '--away', [CompletionResultType]::ParameterName, 'How long a vanished peer is waited for [default: 1800]')
            [CompletionResult]::new('--on-panic', '--on-panic', [CompletionResultType]::ParameterName, 'What a panic does after the wipe [default: restart]')
            [CompletionResult]::new('--no-listen', '--no-listen', [CompletionResultType]::ParameterName, 'Do not listen: only dial')
            [CompletionResult]::new('--forwarded', '--forwarded', [CompletionResultType]::ParameterName, 'Links from this computer may come from afar')
            [CompletionResult]::new('--decoy', '--decoy', [CompletionResultType]::ParameterName, 'The passphrase is a decoy: a mesh of its own')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object per line, both ways')
            [CompletionResult]::new('--ack', '--ack', [CompletionResultType]::ParameterName, 'With --json: delivered when the program says so')
            [CompletionResult]::new('--literal', '--literal', [CompletionResultType]::ParameterName, 'Piped input: no line is a command')
            [CompletionResult]::new('--null', '--null', [CompletionResultType]::ParameterName, 'Piped input: cut at NUL, not at newline')
            [CompletionResult]::new('--whole', '--whole', [CompletionResultType]::ParameterName, 'Piped input: all of it is one message')
            [CompletionResult]::new('--timestamps', '--timestamps', [CompletionResultType]::ParameterName, 'Piped output: begin each line with the time')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Diagnostics on stderr; repeat for more')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Diagnostics on stderr; repeat for more')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No notices on stderr')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No notices on stderr')
            [CompletionResult]::new('--require-mlock', '--require-mlock', [CompletionResultType]::ParameterName, 'Refuse to run with swappable secrets')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print this help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('phrase', 'phrase', [CompletionResultType]::ParameterValue, 'Print a random passphrase of easy words')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script for a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page')
            [CompletionResult]::new('schema', 'schema', [CompletionResultType]::ParameterValue, 'Print the JSON Schema of --json')
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
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
