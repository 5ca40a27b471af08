//! Dependencies between the layers point down only (the list in `src/lib.rs`). No crate boundary
//! enforces this, so these tests read the `crate::` paths of every file.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/sources.rs"]
mod sources;

/// What each layer may know, besides itself.
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
        ("cli", &["exit", "front", "mesh", "proto", "config", "sys"]),
        (
            "config",
            &["cli", "exit", "front", "mesh", "proto", "secret", "sys"],
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

fn layer_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The first segments of the `crate::…` paths in a line, comments aside.
fn known(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
        })
        .collect()
}

#[test]
fn every_arrow_points_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    assert!(paths.len() > 30);
    let allowed = allowed();
    let mut wrong = Vec::new();
    for path in paths {
        let inside = path.strip_prefix(&src).unwrap();
        let layer = layer_of(inside);
        let Some(may_know) = allowed.get(layer.as_str()) else {
            assert!(
                layer == "lib" || layer == "main",
                "{} belongs to no layer",
                inside.display()
            );
            continue;
        };
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            for name in known(line) {
                let layer_name = allowed.contains_key(name);
                if layer_name && name != layer && !may_know.contains(&name) {
                    wrong.push(format!(
                        "{}:{}: {layer} knows {name}",
                        inside.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point up:\n{}",
        wrong.join("\n")
    );
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
    // A module of tests in a file of its own is tests throughout.
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
fn unsafe_code_stands_in_secret_and_sys_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    for path in paths
        .iter()
        .filter(|path| !path.starts_with(src.join("secret")) && !path.starts_with(src.join("sys")))
    {
        let text = fs::read_to_string(path).unwrap();
        assert!(
            !text.contains("unsafe {") && !text.contains("allow(unsafe_code)"),
            "{}",
            path.display()
        );
    }
}

/// Files that may need each other, each group with the reason.
const TOGETHER: [&[&str]; 1] = [
    // One type, whose methods stand in several files of its folder.
    &[
        "mesh/engine/connection.rs",
        "mesh/engine/ending.rs",
        "mesh/engine/mod.rs",
    ],
];

#[test]
fn no_two_files_need_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = sources::Sources::read(&src);
    assert!(sources.needs().len() > 30);
    let mut cycles = sources.cycles();
    cycles.retain(|cycle| {
        let together =
            |files: &&[&str]| cycle.iter().all(|it| files.iter().any(|f| it.ends_with(f)));
        !TOGETHER.iter().any(together)
    });
    assert!(cycles.is_empty(), "these need each other: {cycles:#?}");
}
