# Completion of sesame for bash 4 and later.

_sesame_sections() {
    sed -n 's/^[[:space:]]*\[\([^]]*\)][[:space:]]*$/@\1/p' \
        "${XDG_CONFIG_HOME:-$HOME/.config}/sesame/config" 2>/dev/null
}

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
            phrase)
                ((COMP_CWORD == 2)) && words="--help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
            completions)
                ((COMP_CWORD == 2)) && words="bash elvish fish powershell zsh --help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
            man)
                ((COMP_CWORD == 2)) && words="--help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
            schema)
                ((COMP_CWORD == 2)) && words="--help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
            help)
                ((COMP_CWORD == 2)) && words="phrase completions man schema help version --help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
            version)
                ((COMP_CWORD == 2)) && words="--help -h"
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
                return
                ;;
        esac
    fi
    case "$option$equals" in
        --peer | -p | --peer= | -p=)
            COMPREPLY=($(compgen -A hostname -- "$cur"))
            return
            ;;
        --port | --port=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --listen | --listen=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --advertise | --advertise=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --proxy | --proxy=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --onion | --onion=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --phrase-fd | --phrase-fd=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --phrase-file | --phrase-file=)
            compopt -o default
            return
            ;;
        --phrase | --phrase=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --display-name | --display-name=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --min-peers | --min-peers=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --require | --require=)
            COMPREPLY=($(compgen -W "all any" -- "$cur"))
            return
            ;;
        --stay=)
            COMPREPLY=($(compgen -W "input" -- "$cur"))
            return
            ;;
        --cover | --cover=)
            COMPREPLY=($(compgen -W "off" -- "$cur"))
            return
            ;;
        --timeout | --timeout=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --inactivity-timeout | --inactivity-timeout=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --give-up | --give-up=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --away | --away=)
            COMPREPLY=($(compgen -W "" -- "$cur"))
            return
            ;;
        --on-panic | --on-panic=)
            COMPREPLY=($(compgen -W "restart quit" -- "$cur"))
            return
            ;;
        --config | --config=)
            compopt -o default
            return
            ;;
    esac
    words="--peer -p --port --listen --no-listen --advertise --proxy --onion --forwarded --map --lan --no-carry --phrase-fd --phrase-file --phrase --decoy --display-name --min-peers --require --stay --cover --timeout --inactivity-timeout --give-up --away --json --ack --literal --null --whole --timestamps --verbose -v --quiet -q --no-title --on-panic --require-mlock --config --no-config --help -h --version -V"
    if ((COMP_CWORD == 1)); then
        words+=" phrase completions man schema help version"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _sesame sesame
