//! The committed manual page and completions are what the program prints.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

fn printed(args: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_sesame"))
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "sesame {args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "sesame {args:?}: {output:?}");
    output.stdout
}

fn assert_current(file: &str, args: &[&str]) {
    let committed =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    assert!(
        committed == printed(args),
        "{file} is stale: run scripts/generate and commit what it writes"
    );
}

#[test]
fn the_manual_page_is_current() {
    assert_current("man/sesame.1", &["man"]);
}

#[test]
fn the_manual_page_has_its_sections_and_a_date() {
    let page = String::from_utf8(printed(&["man"])).unwrap();
    let date = page
        .lines()
        .find_map(|line| line.strip_prefix(".TH SESAME 1 \""));
    let (date, _) = date.unwrap().split_once('"').unwrap();
    let digits = |text: &str| text.len() == 10 && text.split('-').all(|n| n.parse::<u16>().is_ok());
    assert!(digits(date), "{date}");
    for section in [
        "EXAMPLES",
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "SEE ALSO",
        "KEYS",
    ] {
        let heading = format!(".SH {section}");
        assert!(page.lines().any(|line| line == heading), "{section}");
    }
    // Each option has an explanation.
    let lines: Vec<_> = page.lines().collect();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == ".TP") {
        assert!(!lines[at + 2].starts_with('.'), "{}", lines[at + 1]);
    }
}

#[test]
fn the_completions_are_current() {
    for (file, shell) in [
        ("completions/sesame.bash", "bash"),
        ("completions/_sesame", "zsh"),
        ("completions/sesame.fish", "fish"),
        ("completions/sesame.elv", "elvish"),
        ("completions/_sesame.ps1", "powershell"),
    ] {
        assert_current(file, &["completions", shell]);
    }
}

/// Each long option of `--help`.
fn options() -> Vec<String> {
    let help = String::from_utf8(printed(&["--help"])).unwrap();
    let words = help
        .split_whitespace()
        .map(|word| word.split_once(['[', '=']).map_or(word, |(name, _)| name))
        .map(|word| word.trim_end_matches([',', ':', '.', ';', ')']));
    let mut options: Vec<_> = words
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(String::from)
        .collect();
    options.sort();
    options.dedup();
    options
}

#[test]
fn help_manual_and_completions_tell_of_the_same_options() {
    let options = options();
    assert!(options.len() > 25, "{options:?}");
    let manual = String::from_utf8(printed(&["man"]))
        .unwrap()
        .replace("\\-", "-");
    for option in &options {
        assert!(
            manual.contains(option),
            "{option} is not in the manual page"
        );
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(printed(&["completions", shell])).unwrap();
        for option in &options {
            let name = option.trim_start_matches('-');
            assert!(
                script.contains(name),
                "{option} is not completed in {shell}"
            );
        }
    }
}

#[test]
fn a_colon_in_a_value_name_is_escaped_for_zsh() {
    let script = String::from_utf8(printed(&["completions", "zsh"])).unwrap();
    assert!(
        script.contains(r":HOST[\:PORT]:_hosts") && script.contains(r":HOST\:PORT:"),
        "{script}"
    );
}
