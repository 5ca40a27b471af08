//! SECURITY.md names the tests that show its claims: each file and each test that it names has to
//! exist.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../SECURITY.md");

/// The texts between backticks.
fn quoted() -> impl Iterator<Item = &'static str> {
    PAGE.split('`').skip(1).step_by(2)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of all source files below a folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let text = |path: &Path| match path.is_dir() {
        true => sources(path),
        false if path.extension().is_some_and(|it| it == "rs") => fs::read_to_string(path).unwrap(),
        false => String::new(),
    };
    entries.map(|entry| text(&entry.path())).collect()
}

#[test]
fn files_that_security_names_exist() {
    let is_path = |word: &&str| ["src/", "tests/", "scripts/"].map(|it| word.starts_with(it));
    let paths: Vec<_> = quoted()
        .filter(|word| is_path(word).contains(&true))
        .collect();
    assert!(paths.len() > 50, "they are found");
    for path in paths {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn tests_that_security_names_exist() {
    let is_part = |c: char| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_test = |word: &&str| word.chars().all(is_part) && word.matches('_').count() > 2;
    let names: Vec<_> = quoted().filter(is_test).collect();
    assert!(names.len() > 50, "they are found");
    let code = sources(&root().join("src")) + &sources(&root().join("tests"));
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "{name}");
    }
}
