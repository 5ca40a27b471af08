//! Dependencies between the layers point down only (the list in `src/lib.rs`), code that differs by
//! operating system is in `sys`, and unsafe code in `sys` and `secret`. No crate boundary enforces
//! this, so these tests read every file, its tests too.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/pieces.rs"]
mod pieces;
#[path = "layers/sources.rs"]
mod sources;

use sources::tokens;

/// The layers that each layer may use, besides itself.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("sys", &[][..]),
        ("secret", &["sys"]),
        ("proto", &["secret"]),
        ("mesh", &["proto", "secret"]),
        ("channels", &["exit", "mesh", "proto"]),
        ("exit", &["mesh", "sys"]),
        ("net", &["mesh", "channels", "proto", "secret", "sys"]),
        ("front", &["exit", "mesh", "channels", "proto", "sys"]),
        ("passphrase", &["exit", "proto", "secret"]),
        (
            "cli",
            &[
                "exit",
                "front",
                "mesh",
                "passphrase",
                "proto",
                "config",
                "sys",
            ],
        ),
        (
            "config",
            &[
                "cli",
                "exit",
                "front",
                "mesh",
                "passphrase",
                "proto",
                "secret",
                "sys",
            ],
        ),
        (
            "node",
            &[
                "cli", "config", "exit", "front", "mesh", "net", "channels", "proto", "secret",
                "sys",
            ],
        ),
    ])
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// One file of the crate.
struct Source {
    /// The path below `src`.
    path: PathBuf,
    layer: String,
    tokens: Vec<String>,
}

fn all_sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    assert!(paths.len() > 30);
    let source = |path: PathBuf| {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        Source {
            layer: first.trim_end_matches(".rs").to_owned(),
            tokens: tokens(&fs::read_to_string(&path).unwrap()),
            path: inside.to_owned(),
        }
    };
    paths.into_iter().map(source).collect()
}

/// The first segments of the `crate::…` paths, those in braces too.
fn known(tokens: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        if pair != ["crate", "::"] {
            continue;
        }
        // A name begins a branch if it is in no further braces and follows no `::`.
        let (mut depth, mut begins) = (0, true);
        for token in &tokens[at + 2..] {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," => begins = depth == 1,
                name if begins => {
                    found.push(name);
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn paths_in_braces_are_read() {
    let of = |text: &str| {
        let tokens = tokens(text);
        known(&tokens).join(" ")
    };
    assert_eq!(of("use crate::net::{self, dial}; let front = 1;"), "net");
    let nested = "use crate::{mesh::{Engine, net::x}, front, sys::clock as net};";
    assert_eq!(of(nested), "mesh front sys");
    assert_eq!(
        of("use crate::{\n    node,\n    proto::*,\n};"),
        "node proto"
    );
    assert_eq!(of("crate::exit::say(crate::net::x)"), "exit net");
    assert_eq!(of("// crate::net\n\"crate::net\""), "");
}

#[test]
fn every_arrow_points_down() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for source in all_sources() {
        let (layer, path) = (&source.layer, source.path.display());
        let Some(may_know) = allowed.get(layer.as_str()) else {
            assert!(
                layer == "lib" || layer == "main",
                "{path} belongs to no layer"
            );
            continue;
        };
        for name in known(&source.tokens) {
            if allowed.contains_key(name) && name != layer && !may_know.contains(&name) {
                wrong.push(format!("{path}: {layer} knows {name}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point up:\n{}",
        wrong.join("\n")
    );
}

/// Crates that are for one kind of operating system.
const OF_ONE_SYSTEM: [&str; 7] = [
    "nix",
    "libc",
    "rustix",
    "signal_hook",
    "landlock",
    "seccompiler",
    "windows_sys",
];

/// Tokens that distinguish operating systems.
fn told_apart(tokens: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    // How many parentheses of a `cfg` are open.
    let mut open = 0;
    for (at, token) in tokens.iter().enumerate() {
        let next = |ahead: usize| tokens.get(at + ahead).map_or("", String::as_str);
        match token.as_str() {
            "cfg" | "cfg_attr" if next(1) == "(" || (next(1) == "!" && next(2) == "(") => open = 1,
            "(" if open > 0 && !matches!(tokens[at - 1].as_str(), "cfg" | "cfg_attr" | "!") => {
                open += 1;
            }
            ")" if open > 0 => open -= 1,
            "unix" | "windows" if open > 0 => found.push(token.as_str()),
            name if open > 0 && name.starts_with("target_") => found.push(name),
            name if next(1) == "::" && (name == "os" || OF_ONE_SYSTEM.contains(&name)) => {
                found.push(name);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn what_tells_systems_apart_is_found() {
    let of = |text: &str| {
        let tokens = tokens(text);
        told_apart(&tokens).join(" ")
    };
    assert_eq!(of("#[cfg(unix)]"), "unix");
    assert_eq!(of("#[cfg(all(test, not(windows)))]"), "windows");
    assert_eq!(of("#[cfg(any(test, target_os = \"x\"))]"), "target_os");
    assert_eq!(of("if cfg!(target_vendor = \"apple\") {}"), "target_vendor");
    assert_eq!(of("#[cfg_attr(unix, path = \"x\")]"), "unix");
    assert_eq!(of("use std::os::fd::AsFd;"), "os");
    assert_eq!(of("use std::{io, os::unix};"), "os");
    assert_eq!(of("nix::libc::getpid()"), "nix libc");
    let harmless = "#[cfg(test)] fn f(unix: u8) { cfg!(test); g(windows, unix::x) }";
    assert_eq!(of(harmless), "");
}

#[test]
fn operating_systems_are_told_apart_in_sys_only() {
    let mut wrong = Vec::new();
    for source in all_sources().iter().filter(|it| it.layer != "sys") {
        let found = told_apart(&source.tokens).into_iter();
        wrong.extend(found.map(|what| format!("{}: {what}", source.path.display())));
    }
    assert!(wrong.is_empty(), "outside of sys:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_in_secret_and_sys_only() {
    for source in all_sources() {
        if source.layer == "secret" || source.layer == "sys" {
            continue;
        }
        let path = source.path.display();
        for (at, token) in source.tokens.iter().enumerate() {
            assert!(token != "unsafe", "{path}");
            // It may not be allowed anywhere else.
            let denied = source.layer == "lib" && source.tokens[at.saturating_sub(2)] == "deny";
            assert!(token != "unsafe_code" || denied, "{path}");
        }
    }
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let forbidden = [
        "tokio",
        "std::fs",
        "std::thread",
        "std::io",
        "Instant::now",
        "SystemTime",
        "getrandom",
        "HashMap",
        "HashSet",
        "println!",
        "eprintln!",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src.join("proto"), &mut paths);
    files(&src.join("mesh"), &mut paths);
    // A file of tests contains only tests.
    paths.retain(|path| !path.ends_with("tests.rs"));
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let running = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in running.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = forbidden.iter().find(|word| code.contains(**word));
            assert!(
                found.is_none(),
                "{}:{}: {}",
                path.display(),
                number + 1,
                found.unwrap()
            );
        }
    }
}

#[test]
fn no_two_files_need_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = sources::Sources::read(&src);
    assert!(sources.needs().len() > 30);
    let cycles = sources.cycles();
    assert!(cycles.is_empty(), "these need each other: {cycles:#?}");
}
