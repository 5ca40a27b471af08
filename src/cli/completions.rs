//! The completion scripts, which `sesame completions` prints. `tests/generated.rs` keeps the files
//! under `completions/` equal to them; `tests/scenarios/completions.rs` presses Tab in real shells.
//!
//! The generator's script for bash splits words at spaces and offers file names everywhere. Its script
//! for fish does not recognise an option while the user types its value. So this module writes these
//! two itself, and corrects a few lines of the script for zsh.

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::options::Cli;

/// The completion script for a shell.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(&generated(shell)),
        Shell::Fish => fish(),
        _ => generated(shell),
    }
}

fn generated(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sesame", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The words that an argument is known to take.
fn words_of(arg: &Arg) -> Vec<String> {
    let values = arg.get_possible_values();
    values
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect()
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Whether the value, if there is one, stands behind an equals sign.
fn is_optional(arg: &Arg) -> bool {
    takes_value(arg) && arg.is_require_equals_set()
}

/// `--long` and `-s`.
fn names_of(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    long.into_iter().chain(short).collect()
}

fn options_of(command: &Command) -> String {
    let names: Vec<_> = command.get_arguments().flat_map(names_of).collect();
    names.join(" ")
}

/// Prints the sections of the configuration file, each behind an @, in bash and zsh.
const SECTIONS: &str = r#"_sesame_sections() {
    sed -n 's/^[[:space:]]*\[\([^]]*\)][[:space:]]*$/@\1/p' \
        "${XDG_CONFIG_HOME:-$HOME/.config}/sesame/config" 2>/dev/null
}
"#;

/// Before the options.
const BASH_BEGIN: &str = r#"
_sesame() {
    # What the user has set must not change how words are split here.
    local IFS=$' \t\n'
    local cur="${COMP_WORDS[COMP_CWORD]}" option="${COMP_WORDS[COMP_CWORD - 1]}" equals="" words=""
    COMPREPLY=()
    # Readline makes words of = and : too.
    if [[ $cur == "=" ]]; then
        equals="=" cur=""
    elif [[ $option == "=" ]]; then
        equals="=" option="${COMP_WORDS[COMP_CWORD - 2]}"
    elif [[ $cur == ":" || $option == ":" ]]; then
        return
    fi
    # And of @, unless the user has changed that; but it replaces the word with the @.
    if ((COMP_CWORD == 2)) && [[ $option == "@" ]]; then
        COMPREPLY=($(compgen -W "$(_sesame_sections)" -- "@$cur"))
        return
    elif ((COMP_CWORD == 1)) && [[ $cur == "@"* ]]; then
        COMPREPLY=($(compgen -W "$(_sesame_sections)" -- "$cur"))
        return
    fi
    if ((COMP_CWORD > 1)); then
        case "${COMP_WORDS[1]}" in
"#;

/// After the options.
const BASH_END: &str = r#"    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _sesame sesame
"#;

fn bash() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = format!("# Completion of sesame for bash 4 and later.\n\n{SECTIONS}{BASH_BEGIN}");
    for side in command.get_subcommands() {
        let arguments = side.get_positionals().flat_map(words_of);
        let words: Vec<_> = arguments.chain([options_of(side)]).collect();
        out += &format!(
            "            {})
                ((COMP_CWORD == 2)) && words=\"{}\"
                COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))
                return
                ;;\n",
            side.get_name(),
            words.join(" ")
        );
    }
    out += "        esac
    fi
    case \"$option$equals\" in\n";
    for arg in command.get_opts() {
        let names = names_of(arg);
        let bare = names.iter().filter(|_| !is_optional(arg)).cloned();
        let with_equals = names.iter().map(|name| format!("{name}="));
        let pattern: Vec<_> = bare.chain(with_equals).collect();
        let action = match arg.get_value_hint() {
            // Readline's own completion knows how to quote, and what is a folder.
            ValueHint::AnyPath | ValueHint::FilePath => "compopt -o default".to_owned(),
            ValueHint::Hostname => "COMPREPLY=($(compgen -A hostname -- \"$cur\"))".to_owned(),
            _ => format!(
                "COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"))",
                words_of(arg).join(" ")
            ),
        };
        out += &format!(
            "        {})
            {action}
            return
            ;;\n",
            pattern.join(" | ")
        );
    }
    let sides: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    out += &format!(
        "    esac
    words=\"{}\"
    if ((COMP_CWORD == 1)); then
        words+=\" {}\"\n",
        options_of(&command),
        sides.join(" ")
    );
    out + BASH_END
}

fn zsh(script: &str) -> String {
    let command = Cli::command();
    let mut script = script.to_owned();
    // After a section, the rest is completed as if it were not there, but for the commands.
    script = script.replacen(
        "_sesame() {\n",
        &format!("{SECTIONS}\n_sesame() {{\n{ZSH_SECTION}"),
        1,
    );
    script = script.replacen(
        "_sesame_commands() {\n",
        &format!("_sesame_commands() {{\n{ZSH_SECTIONS}"),
        1,
    );
    for arg in command.get_arguments().filter(|arg| takes_value(arg)) {
        // A colon ends the name of a value, and what follows is run as a command; the generator
        // does not escape those in the names.
        for name in arg.get_value_names().unwrap_or_default() {
            if name.contains(':') {
                let escaped = name.replace(':', "\\:");
                script = script.replace(&format!(":{name}:"), &format!(":{escaped}:"));
            }
        }
        // The value of such an option is never the next word.
        if let Some(long) = arg.get_long().filter(|_| is_optional(arg)) {
            script = script.replace(&format!("'--{long}=["), &format!("'--{long}=-["));
        }
    }
    script
}

/// At the beginning of zsh's function.
const ZSH_SECTION: &str = r#"    local sesame_section=
    if (( CURRENT > 2 )) && [[ ${words[2]} == @* ]]; then
        sesame_section=${words[2]}
        words=("${words[1]}" "${(@)words[3,-1]}")
        (( CURRENT -= 1 ))
    fi
"#;

/// At the beginning of zsh's function for the first word.
const ZSH_SECTIONS: &str = r#"    [[ -n $sesame_section ]] && return 1
    local -a sections
    sections=(${(f)"$(_sesame_sections)"})
    (( $#sections )) && compadd -a sections
"#;

/// Before the options.
const FISH_BEGIN: &str = r#"# Completion of sesame for fish.

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
"#;

fn fish() -> String {
    let mut command = Cli::command();
    command.build();
    let sides: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    let mut out = FISH_BEGIN.to_owned();
    for arg in command.get_opts().chain(flags_of(&command)) {
        let value = match (takes_value(arg), arg.get_value_hint()) {
            (false, _) => String::new(),
            (true, ValueHint::AnyPath | ValueHint::FilePath) => " -r -F".to_owned(),
            (true, ValueHint::Hostname) => " -x -a '(__fish_print_hostnames)'".to_owned(),
            // With -x the value could be the next word too.
            (true, _) if is_optional(arg) => format!(" -a '{}'", words_of(arg).join(" ")),
            (true, _) => format!(" -x -a '{}'", words_of(arg).join(" ")),
        };
        out += &format!(
            "complete -c sesame -n 'not __fish_sesame_begins_with {}'{}{value}\n",
            sides.join(" "),
            fish_option(arg)
        );
    }
    for side in command.get_subcommands() {
        let name = side.get_name();
        let about = side.get_about().map(ToString::to_string);
        out += &format!(
            "complete -c sesame -n '__fish_sesame_at_word 1' -a {name} -d {}\n",
            fish_quoted(&about.unwrap_or_default())
        );
        let words: Vec<_> = side.get_positionals().flat_map(words_of).collect();
        if !words.is_empty() {
            out += &format!(
                "complete -c sesame -n '__fish_sesame_begins_with {name}; and __fish_sesame_at_word 2' -a '{}'\n",
                words.join(" ")
            );
        }
        for arg in flags_of(side) {
            out += &format!(
                "complete -c sesame -n '__fish_sesame_begins_with {name}'{}\n",
                fish_option(arg)
            );
        }
    }
    out
}

/// The options without a value.
fn flags_of(command: &Command) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(|arg| !arg.is_positional() && !takes_value(arg))
}

/// How an option is written, and what it does.
fn fish_option(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!(" -s {short}"));
    let long = arg.get_long().map(|long| format!(" -l {long}"));
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    [
        short.unwrap_or_default(),
        long.unwrap_or_default(),
        format!(" -d {}", fish_quoted(&help)),
    ]
    .concat()
}

fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_with_a_value_lists_its_words() {
        let command = Cli::command();
        let sides = command.get_subcommands().flat_map(Command::get_arguments);
        for arg in command
            .get_arguments()
            .chain(sides)
            .filter(|arg| takes_value(arg))
        {
            let known = !words_of(arg).is_empty() || arg.get_value_hint() != ValueHint::Unknown;
            assert!(known, "{}", arg.get_id());
        }
    }
}
