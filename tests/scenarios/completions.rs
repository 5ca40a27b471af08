//! Tab in the shells themselves, with the scripts that the program prints.

use std::fs;
use std::process::Command;

use super::helper::{Run, Screen, has, skip};

/// Typed after Tab. A shell shows it once it has handled the Tab.
const MARK: &str = "#END";

/// A shell at a terminal, in a folder with files to complete.
struct Shell {
    screen: Screen,
    name: &'static str,
}

impl Shell {
    /// If the shell is not installed, prints that and returns `None`.
    fn start(name: &'static str) -> Option<Self> {
        if !has(name, "--version") {
            skip(&format!("completion in {name} needs the package {name}"));
            return None;
        }
        let run = Run::new();
        let script = Command::new(env!("CARGO_BIN_EXE_sesame"))
            .args(["completions", name])
            .output()
            .unwrap();
        assert!(script.status.success() && script.stderr.is_empty());
        let work = |file: &str| run.place.path("work").join(file);
        fs::write(work("only one.txt"), "").unwrap();
        fs::create_dir(work("folder")).unwrap();
        fs::write(work("folder/inside"), "").unwrap();
        fs::create_dir(run.place.path("config/sesame")).unwrap();
        run.place
            .file("config/sesame/config", b"stay\n[work]\n-p work.example\n");
        let folder = run.place.path("scripts");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("_sesame");
        fs::write(&file, script.stdout).unwrap();
        let file = file.display();
        let start = match name {
            "bash" => format!("PS1='$ '; bind 'set bell-style none'; source '{file}'"),
            "zsh" => format!(
                "PS1='$ '; unsetopt beep; fpath=('{}' $fpath); autoload -U compinit; compinit -u -D",
                folder.display()
            ),
            _ => format!(
                "function fish_prompt; echo -n '$ '; end; set fish_greeting; \
                 set -g fish_autosuggestion_enabled 0; source '{file}'"
            ),
        };
        let words: &[&str] = match name {
            "bash" => &["bash", "--norc", "--noprofile", "-i"],
            "zsh" => &["zsh", "-f", "-i"],
            _ => &["fish", "--no-config", "-i"],
        };
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let screen = Screen::open(&run, &[], &words)?;
        // Only the script's own output is at the beginning of a line; what is typed is not.
        screen.enters(&format!("{start}; printf '%s\\n' ready\"\"now"));
        screen.shows("the script is read", |lines| {
            lines.iter().any(|line| line == "readynow")
        });
        Some(Self { screen, name })
    }

    /// Everything that the terminal shows after this was typed and Tab pressed.
    fn tab(&self, typed: &str) -> Vec<String> {
        // An empty line and an empty screen. Ctrl-C would throw away what is typed after it.
        self.screen.press(&["C-e", "C-u", "C-l"]);
        self.screen.shows("an empty screen", |lines| lines == ["$"]);
        self.screen.types(typed);
        self.screen.press(&["Tab"]);
        self.screen.types(MARK);
        self.screen
            .shows(MARK, |lines| lines.iter().any(|line| line.contains(MARK)))
    }

    /// Tab completes the text to this line.
    fn completes(&self, typed: &str, line: &str) {
        let shown = self.tab(typed);
        let expected = format!("$ {line}{MARK}");
        assert_eq!(shown, [expected], "{}: {typed}", self.name);
    }

    /// Tab offers no file, although there is one that begins so.
    fn offers_no_file(&self, typed: &str) {
        let shown = self.tab(typed).join("\n");
        assert!(
            !shown.contains("only one"),
            "{}: {typed}: {shown}",
            self.name
        );
    }
}

/// Completions that are the same in each shell.
fn completes_what_each_option_takes(shell: &Shell) {
    shell.completes(
        "sesame --phrase-file onl",
        r"sesame --phrase-file only\ one.txt ",
    );
    shell.completes("sesame --phrase-file fol", "sesame --phrase-file folder/");
    shell.completes(
        "sesame --phrase-file folder/",
        "sesame --phrase-file folder/inside ",
    );
    shell.completes("sesame --cover o", "sesame --cover off ");
    shell.completes("sesame --require an", "sesame --require any ");
    shell.completes("sesame --stay=i", "sesame --stay=input ");
    shell.completes("sesame completions fi", "sesame completions fish ");
    shell.completes("sesame compl", "sesame completions ");
    shell.completes("sesame @", "sesame @work ");
    shell.completes("sesame @wo", "sesame @work ");
    shell.completes("sesame @work --jso", "sesame @work --json ");
    shell.completes("sesame --config fol", "sesame --config folder/");
    for option in [
        "--port",
        "--listen",
        "--advertise",
        "--phrase-fd",
        "--phrase",
        "--display-name",
        "--min-peers",
        "--require",
        "--cover",
        "--timeout",
        "--inactivity-timeout",
        "--give-up",
        "--away",
        "--on-panic",
        "-p",
        "--peer",
        "--stay",
        "--json",
    ] {
        shell.offers_no_file(&format!("sesame {option} on"));
    }
    for start in ["phrase", "completions", "completions bash", "man", "schema"] {
        shell.offers_no_file(&format!("sesame {start} on"));
    }
    shell.offers_no_file("sesame --cover=");
    shell.offers_no_file("sesame -p host:");
}

#[test]
fn tab_in_bash_completes_what_each_option_takes() {
    let Some(shell) = Shell::start("bash") else {
        return;
    };
    completes_what_each_option_takes(&shell);
    shell.completes("sesame --phrase-fi", "sesame --phrase-file ");
    // In quotes, and after a part that is quoted already.
    shell.completes(
        r#"sesame --phrase-file "onl"#,
        r#"sesame --phrase-file "only one.txt" "#,
    );
    shell.completes(
        r"sesame --phrase-file only\ o",
        r"sesame --phrase-file only\ one.txt ",
    );
    shell.completes(
        "sesame --phrase-file=onl",
        r"sesame --phrase-file=only\ one.txt ",
    );
    shell.completes("sesame --cover=o", "sesame --cover=off ");
}

#[test]
fn tab_in_zsh_completes_what_each_option_takes() {
    let Some(shell) = Shell::start("zsh") else {
        return;
    };
    completes_what_each_option_takes(&shell);
    shell.completes("sesame --phrase-fi", "sesame --phrase-file=");
    shell.completes(
        "sesame --phrase-file=onl",
        r"sesame --phrase-file=only\ one.txt ",
    );
    shell.completes("sesame --cover=o", "sesame --cover=off ");
}

#[test]
fn tab_in_fish_completes_what_each_option_takes() {
    let Some(shell) = Shell::start("fish") else {
        return;
    };
    completes_what_each_option_takes(&shell);
    shell.completes("sesame --phrase-fi", "sesame --phrase-file ");
    shell.completes(
        "sesame --phrase-file=onl",
        r"sesame --phrase-file=only\ one.txt ",
    );
    shell.completes("sesame --cover=o", "sesame --cover=off ");
}
