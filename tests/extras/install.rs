//! `scripts/install`: everything is there, works, and goes again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::tools::{install, installed, repository};

/// All that is installed below a prefix, with its mode.
const FILES: [(&str, u32); 18] = [
    ("bin/sesame", 0o755),
    ("lib/systemd/system/sesame-alerts.service", 0o644),
    ("share/bash-completion/completions/sesame", 0o644),
    ("share/doc/sesame/CHANGELOG.md", 0o644),
    ("share/doc/sesame/LICENSE", 0o644),
    ("share/doc/sesame/README.md", 0o644),
    ("share/doc/sesame/SECURITY.md", 0o644),
    ("share/doc/sesame/USAGE.md", 0o644),
    ("share/doc/sesame/examples/bot.py", 0o755),
    ("share/doc/sesame/examples/bot.sh", 0o755),
    ("share/doc/sesame/examples/bridge.py", 0o755),
    ("share/doc/sesame/examples/notify.sh", 0o755),
    ("share/doc/sesame/examples/session.exp", 0o755),
    ("share/fish/vendor_completions.d/sesame.fish", 0o644),
    ("share/man/man1/sesame.1", 0o644),
    ("share/man/man5/sesame-json.5", 0o644),
    ("share/systemd/user/sesame.service", 0o644),
    ("share/zsh/site-functions/_sesame", 0o644),
];

/// Every file below a folder, relative to it, with its mode.
fn files(folder: &Path) -> BTreeSet<(String, u32)> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            found.insert((name, mode));
        }
    }
    found
}

fn expected() -> BTreeSet<(String, u32)> {
    let files = FILES.iter();
    files
        .map(|(name, mode)| ((*name).to_owned(), *mode))
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn installation_has_all_files_and_none_after_uninstalling() {
    let prefix = installed();
    assert_eq!(files(prefix.path()), expected());
    let mut sesame = Command::new(prefix.path().join("bin/sesame"));
    assert!(sesame.arg("--version").output().unwrap().status.success());
    // A file of somebody else stays.
    let other = prefix.path().join("share/doc/other");
    fs::write(&other, "").unwrap();
    let output = install(&["--uninstall"], &[("PREFIX", prefix.path())]);
    assert!(output.status.success(), "{output:?}");
    let left: Vec<_> = files(prefix.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(left, ["share/doc/other"]);
    assert!(!prefix.path().join("share/doc/sesame").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn installation_below_destdir_does_not_name_it() {
    let stage = tempfile::tempdir().unwrap();
    let variables = [
        ("DESTDIR", stage.path()),
        ("PREFIX", Path::new("/opt/sesame")),
    ];
    let output = install(&[], &variables);
    assert!(output.status.success(), "{output:?}");
    let prefix = stage.path().join("opt/sesame");
    assert_eq!(files(&prefix), expected());
    for unit in [
        "share/systemd/user/sesame.service",
        "lib/systemd/system/sesame-alerts.service",
    ] {
        let text = fs::read_to_string(prefix.join(unit)).unwrap();
        assert!(text.contains("/opt/sesame/bin/sesame "), "{text}");
        assert!(
            !text.contains(&stage.path().display().to_string()),
            "{text}"
        );
    }
}

#[test]
fn unit_below_usual_prefix_finds_the_program_by_its_name() {
    let stage = tempfile::tempdir().unwrap();
    let output = install(&[], &[("DESTDIR", stage.path())]);
    assert!(output.status.success(), "{output:?}");
    let unit = "share/systemd/user/sesame.service";
    let installed = fs::read(stage.path().join("usr/local").join(unit)).unwrap();
    assert!(installed == fs::read(repository("scripts/units/sesame.service")).unwrap());
}

#[test]
fn installer_refuses_what_it_cannot_do() {
    let place = tempfile::tempdir().unwrap();
    let relative = install(&[], &[("PREFIX", Path::new("here"))]);
    assert_eq!(relative.status.code(), Some(2), "{relative:?}");
    let unknown = install(&["--everything"], &[("PREFIX", place.path())]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let variables = [
        ("PREFIX", place.path()),
        ("BINARY", Path::new("/nonexistent/sesame")),
    ];
    let missing = install(&[], &variables);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(told.contains("cargo build --release"), "{told}");
    assert_eq!(files(place.path()), BTreeSet::new());
}
