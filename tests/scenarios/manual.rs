//! The manual page: what `mandoc` says about it, and how a terminal shows it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::helper::{Run, Screen, has, seen, skip};

/// `mandoc` has no option that prints its version.
fn has_mandoc() -> bool {
    has("mandoc", "-Tascii")
}

#[test]
fn manual_passes_the_checks_of_mandoc() {
    if !has_mandoc() {
        return skip("checking the manual page needs the package mandoc");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/sesame.1");
    let mut command = Command::new("mandoc");
    let output = command.args(["-T", "lint"]).arg(page).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// What a pager shows, without the characters that make others bold or underlined.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\u{8}' => _ = shown.pop(),
            c => shown.push(c),
        }
    }
    shown
}

/// A terminal in which a shell runs this, with the program as `$SESAME`.
fn shell(run: &Run, script: String) -> Option<Screen> {
    let words = ["/bin/sh".to_owned(), "-c".to_owned(), script];
    Screen::open(run, &[("SESAME", env!("CARGO_BIN_EXE_sesame"))], &words)
}

#[test]
fn manual_at_a_terminal_is_formatted_for_the_pager() {
    if !has_mandoc() && !has("man", "--version") {
        return skip("a page for a pager needs the package mandoc or man-db");
    }
    for variable in ["MANPAGER", "PAGER"] {
        let run = Run::new();
        let file = run.place.path("page");
        // Some programs give their pager a file, others its input.
        let script = format!("cat \"$@\" >'{}'\n", file.display());
        let pager = run.place.file("pager", script.as_bytes());
        let pager = format!("sh {}", pager.display());
        let environment = [
            ("PAGER", "false"),
            (variable, pager.as_str()),
            // Bold by writing a letter twice, by whatever program.
            ("GROFF_NO_SGR", "1"),
        ];
        let unset = if variable == "PAGER" { "MANPAGER" } else { "-" };
        let words = ["env", "-u", unset, env!("CARGO_BIN_EXE_sesame"), "man"];
        let words = words.map(str::to_owned);
        let Some(_screen) = Screen::open(&run, &environment, &words) else {
            return;
        };
        let page = seen("the end of the page", || {
            let page = plain(&fs::read_to_string(&file).ok()?);
            page.contains("jq(1), nc(1), ssh(1)").then_some(page)
        });
        assert!(
            page.contains("EXIT STATUS") && !page.contains(".SH"),
            "{page}"
        );
    }
}

#[test]
fn manual_is_shown_by_more_where_there_is_no_other_pager() {
    if !has_mandoc() {
        return skip("a page for more needs the package mandoc");
    }
    let run = Run::new();
    let programs = run.place.path("programs");
    fs::create_dir(&programs).unwrap();
    for program in ["mandoc", "more", "sh"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
        let Some(found) = found.iter().find(|path| path.exists()) else {
            return skip(&format!("a page for more needs {program}"));
        };
        std::os::unix::fs::symlink(found, programs.join(program)).unwrap();
    }
    let script = format!(
        "unset PAGER MANPAGER; PATH='{}'; export PATH; \"$SESAME\" man; echo ended; read -r _",
        programs.display()
    );
    let Some(screen) = shell(&run, script) else {
        return;
    };
    screen.shows("the first screen", |lines| {
        lines.iter().any(|line| line.contains("--More--"))
            && lines.iter().any(|line| line.starts_with("NAME"))
    });
    screen.press(&["q"]);
    screen.shows_line("ended");
}

#[test]
fn manual_in_a_pipe_is_roff_without_a_pager() {
    let run = Run::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sesame"));
    run.dress(&mut command);
    command
        .arg("man")
        .env("MANPAGER", "touch pager")
        .env("PAGER", "touch pager");
    let output = command.output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(".SH EXIT STATUS")
    );
    assert_eq!(run.place.written(), Vec::<String>::new());
}

#[test]
fn manual_without_a_formatter_is_printed_as_roff() {
    let run = Run::new();
    let nowhere = run.place.path("work");
    // The terminal stays when the program has ended.
    let script = format!(
        "PATH='{}'; export PATH; \"$SESAME\" man; read -r _",
        nowhere.display()
    );
    let Some(screen) = shell(&run, script) else {
        return;
    };
    screen.shows_line(".SH SEE ALSO");
}
