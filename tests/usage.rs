//! Wrong usage: exit 2, one line on stderr that says what is wrong, at most one that says what to do,
//! nothing on stdout, and nothing changed.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A place of its own for everything that a run might write.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sesame"));
        command
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("SESAME_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// The lines that explain the refusal.
    fn refused(&self, args: &[&str]) -> String {
        let line = refusal(&self.run(args), args);
        assert!(
            !self.path("config").exists(),
            "{args:?} left something behind"
        );
        line
    }
}

fn refusal(output: &Output, args: &[&str]) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    let lines: Vec<_> = stderr.lines().collect();
    assert!(
        matches!(lines.len(), 1 | 2) && lines.iter().all(|line| line.starts_with("sesame: ")),
        "{args:?}: {stderr}"
    );
    lines.join("\n")
}

#[test]
fn a_value_out_of_range_names_the_range() {
    let place = Place::new();
    for (args, expected) in [
        (&["--cover", "9"][..], "from 10 to 10000"),
        (&["--cover", "10001"], "10 to 10000"),
        (&["--cover", "on"], "off"),
        (&["--port", "65536"], "0 to 65535"),
        (&["--timeout", "0"], "1 or more"),
        (&["--give-up", "-1"], "see sesame --help"),
        (&["--inactivity-timeout", "1.5"], "whole number of seconds"),
        (&["--min-peers", "0"], "from 1"),
        (&["--require", "most"], "expected all, any or a number"),
        (&["--phrase-fd", "x"], "number"),
        (&["--phrase-fd", "1"], "output"),
        (&["--listen", "localhost"], "IP address"),
        (&["--listen", "127.0.0.1:9000"], "--port"),
        (&["-p", ""], "host"),
        (&["-p", "host:0"], "port"),
        (&["-p", "x.onion"], "--proxy"),
        (&["--advertise", "0.0.0.0:1"], "no peer can dial"),
        (&["--display-name", "a:b"], "name"),
        (&["--display-name", ""], "1 to 32"),
        (&["phrase", "0"], "from 1"),
        (&["phrase", "six"], "number"),
        (&["completions", "tcsh"], "zsh"),
    ] {
        let line = place.refused(args);
        assert!(line.contains(expected), "{args:?}: {line}");
    }
}

#[test]
fn run_that_can_never_meet_anybody_is_wrong_usage() {
    let place = Place::new();
    for args in [["--no-listen", "--literal"], ["--no-listen", "--whole"]] {
        let told = place.refused(&args);
        assert!(told.contains(args[0]) && told.contains(args[1]), "{told}");
        assert!(told.contains("-p HOST"), "{told}");
    }
}

#[test]
fn options_that_exclude_each_other_are_both_named() {
    let place = Place::new();
    for [one, other] in [
        [&["--phrase-fd", "0"][..], &["--phrase-file", "x"][..]],
        [&["--phrase", "x"], &["--phrase-fd", "0"]],
        [&["--phrase", "x"], &["--phrase-file", "x"]],
        [&["--json"], &["--literal"]],
        [&["--json"], &["--null"]],
        [&["--json"], &["--whole"]],
        [&["--json"], &["--timestamps"]],
        [&["--null"], &["--whole"]],
        [&["--no-listen"], &["--listen", "::1"]],
        [&["--no-listen"], &["--port", "1"]],
        [&["-q"], &["-v"]],
    ] {
        let args = [one, other].concat();
        let line = place.refused(&args);
        let long = |option: &str| match option {
            "-q" => "--quiet".to_string(),
            "-v" => "--verbose".to_string(),
            option => option.to_string(),
        };
        assert!(
            line.contains(&long(one[0])) && line.contains(&long(other[0])),
            "{args:?}: {line}"
        );
    }
    assert!(
        place
            .refused(&["--ack", "--phrase", "x"])
            .contains("--json")
    );
}

#[test]
fn mistyped_option_or_command_is_named_with_advice() {
    let place = Place::new();
    assert!(place.refused(&["--prot", "1"]).contains("--port"));
    assert!(place.refused(&["home.example"]).contains("-p"));
    assert!(place.refused(&["completions"]).contains("SHELL"));
    assert!(place.refused(&["help", "nonsense"]).contains("completions"));
    assert!(place.refused(&["--json", "schema"]).contains("schema"));
}

#[test]
fn word_that_is_unexpected_gets_advice_that_fits() {
    let place = Place::new();
    for (args, expected) in [
        (
            &["-p", "a", "b"][..],
            "sesame: unexpected argument 'b'\nsesame: did you mean '-p b'? see sesame --help",
        ),
        (
            &["192.168.1.42"],
            "sesame: unexpected argument '192.168.1.42'\nsesame: did you mean '-p 192.168.1.42'?",
        ),
        (&["phrse"], "did you mean 'sesame phrase'"),
        (&["--json", "schema"], "did you mean 'sesame schema'?"),
        (&["hello there"], "echo TEXT | sesame -p HOST; see"),
        (&["-p", "a", "hello there"], "echo TEXT | sesame -p HOST"),
        (&["phrase", "3", "4"], "see sesame phrase --help"),
    ] {
        let line = place.refused(args);
        assert!(line.contains(expected), "{args:?}: {line}");
    }
}

#[test]
fn a_passphrase_that_cannot_be_meant_is_refused() {
    let place = Place::new();
    let long = "x".repeat(1025);
    let file = |name: &str, content: &[u8]| place.file(name, content);
    for (path, expected) in [
        (file("empty", b""), "empty"),
        (file("blank", b"\r\nsecond line\n"), "empty"),
        (file("binary", b"\xff\xfe\n"), "UTF-8"),
        (file("long", long.as_bytes()), "longer"),
        (
            place
                .path("missing")
                .into_os_string()
                .into_string()
                .unwrap(),
            "missing",
        ),
        (
            place.path(".").into_os_string().into_string().unwrap(),
            "cannot read",
        ),
    ] {
        let args = ["-q", "--phrase-file", &path];
        let line = place.refused(&args);
        assert!(
            line.contains("--phrase-file") && line.contains(expected),
            "{path}: {line}"
        );
    }
    assert!(place.refused(&["-q", "--phrase", ""]).contains("empty"));
    assert!(place.refused(&["-q", "--phrase="]).contains("empty"));
    assert!(place.refused(&["-q", "--phrase", "a\nb"]).contains("line"));
    assert!(place.refused(&["-q", "--phrase", &long]).contains("longer"));
}

#[test]
fn a_descriptor_that_is_not_open_is_named() {
    let line = Place::new().refused(&["--phrase-fd", "77"]);
    assert!(
        line.contains("--phrase-fd 77") && line.contains("77<FILE"),
        "{line}"
    );
    let place = Place::new();
    let args = ["--phrase-fd", "0"];
    assert!(refusal(&place.run_with_input(&args, b""), &args).contains("empty"));
    assert!(refusal(&place.run_with_input(&args, b"\nhello\n"), &args).contains("empty"));
}

/// Without a controlling terminal sesame cannot ask.
#[cfg(target_os = "linux")]
#[test]
fn without_a_terminal_the_three_options_are_named() {
    let place = Place::new();
    let mut command = Command::new("setsid");
    command
        .args(["--wait", env!("CARGO_BIN_EXE_sesame")])
        .env("XDG_CONFIG_HOME", place.path("config"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let line = refusal(&output, &[]);
    for option in ["--phrase-fd", "--phrase-file", "--phrase"] {
        assert!(line.contains(option), "{line}");
    }
}

#[test]
fn no_refusal_repeats_a_passphrase() {
    let place = Place::new();
    for args in [
        &["--phrase", "correct horse", "--nonsense"][..],
        &["--phrase=correct horse", "--port", "x"],
        &["--phrase", "correct", "horse"],
        &["--phrase", "correct horse", "--phrase", "correct horse"],
        &["-q", "--phrase", "correct\nhorse"],
    ] {
        let line = place.refused(args);
        assert!(
            !line.contains("correct") && !line.contains("horse"),
            "{args:?}: {line}"
        );
    }
}

#[test]
fn a_run_that_is_refused_saves_no_name() {
    let place = Place::new();
    place.refused(&["--display-name", "alice", "--phrase-file", "/nonexistent"]);
}

#[test]
fn requested_text_is_printed_on_stdout() {
    let place = Place::new();
    for (args, expected) in [
        (&["--help"][..], "Usage: sesame"),
        (&["-h"], "--phrase-fd"),
        (&["help"], "Usage: sesame"),
        (&["help", "phrase"], "Usage: sesame phrase [WORDS]"),
        (&["version"], concat!("sesame ", env!("CARGO_PKG_VERSION"))),
        (
            &["--version"],
            concat!("sesame ", env!("CARGO_PKG_VERSION")),
        ),
        (&["-V"], env!("CARGO_PKG_VERSION")),
        (&["phrase", "--help"], "WORDS"),
        (&["schema"], "https://json-schema.org/draft/2020-12/schema"),
        (&["man"], ".SH EXIT STATUS"),
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
        assert!(
            String::from_utf8(output.stdout).unwrap().contains(expected),
            "{args:?}"
        );
    }
    let help = String::from_utf8(place.run(&["--help"]).stdout).unwrap();
    assert!(help.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn help_short_fits_one_screen_and_long_explains() {
    let place = Place::new();
    let printed = |args: &[&str]| String::from_utf8(place.run(args).stdout).unwrap();
    let (brief, full) = (printed(&["-h"]), printed(&["--help"]));
    assert!(brief.lines().count() <= 24, "{brief}");
    assert!(
        brief.lines().all(|line| line.chars().count() <= 80),
        "{brief}"
    );
    for part in [
        "Examples:",
        "Standard input:",
        "echo \"backup finished\" |",
        "--give-up",
    ] {
        assert!(full.contains(part) && !brief.contains(part), "{part}");
    }
    assert_eq!(printed(&["help"]), full);
    assert_eq!(printed(&["version"]), printed(&["--version"]));
    assert_eq!(printed(&["help", "phrase"]), printed(&["phrase", "--help"]));
}

#[test]
fn phrase_is_on_stdout_and_its_strength_on_stderr() {
    let place = Place::new();
    for (args, words, bits) in [
        (&["phrase"][..], 6, "78 bits"),
        (&["phrase", "8"], 8, "103 bits"),
        (&["phrase", "2"], 2, "26 bits"),
        (&["phrase", "1"], 1, "1 word, 13 bits"),
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(0));
        let (stdout, stderr) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert_eq!(
            (stdout.lines().count(), stdout.split_whitespace().count()),
            (1, words),
            "{stdout}"
        );
        assert!(stderr.contains(bits), "{stderr}");
        assert_eq!(stderr.contains("guess"), words < 5, "{stderr}");
    }
    assert_ne!(place.run(&["phrase"]).stdout, place.run(&["phrase"]).stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn closed_output_ends_the_run_quietly() {
    let place = Place::new();
    for args in ["man", "schema", "--help", "phrase"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command().arg(args).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}");
        assert!(
            args == "phrase" || output.stderr.is_empty(),
            "{args}: {output:?}"
        );
    }
    // A full disk, unlike a reader that has closed the pipe, is a failure.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = place.command().arg("man").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot write to stdout")
    );
}
