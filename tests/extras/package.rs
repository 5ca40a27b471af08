//! What goes into the source package and into the Debian package.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use crate::helper::{has, skip};
use crate::tools::repository;

/// All that the source package has at its top.
const TOP: [&str; 20] = [
    ".cargo",
    ".cargo_vcs_info.json",
    ".github",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "USAGE.md",
    "build.rs",
    "clippy.toml",
    "completions",
    "deny.toml",
    "man",
    "pages",
    "scripts",
    "src",
    "tests",
];

fn listed() -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--locked",
        ])
        .current_dir(repository(""));
    cargo.output().unwrap()
}

#[test]
fn source_package_has_what_it_takes_to_build_test_and_install() {
    let output = listed();
    assert!(output.status.success(), "{output:?}");
    let list = String::from_utf8(output.stdout).unwrap();
    let top: BTreeSet<_> = list
        .lines()
        .map(|line| line.split('/').next().unwrap())
        .collect();
    let unknown: Vec<_> = top.iter().filter(|name| !TOP.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for needed in [
        ".cargo/config.toml",
        "Cargo.lock",
        "LICENSE",
        "completions/_sesame",
        "man/sesame-json.5",
        "man/sesame.1",
        "scripts/install",
        "scripts/units/sesame.service",
        "src/front/schema.json",
        "src/main.rs",
        "src/proto/words.txt",
        "tests/extras/main.rs",
    ] {
        assert!(list.lines().any(|line| line == needed), "no {needed}");
    }
    assert!(!list.contains(".ci/"), "{list}");
    // The project has no address that a registry could show.
    let told = String::from_utf8(output.stderr).unwrap();
    let warnings: Vec<_> = told
        .lines()
        .filter(|line| line.contains("warning:"))
        .collect();
    let address = "warning: manifest has no documentation, homepage or repository";
    assert!(warnings.iter().all(|line| *line == address), "{told}");
}

#[test]
fn release_notes_begin_with_the_version_of_the_package() {
    let notes = fs::read_to_string(repository("CHANGELOG.md")).unwrap();
    let newest = notes.split("\n## [").nth(1).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let unreleased = newest.starts_with("Unreleased]") && newest.contains(version);
    assert!(newest.starts_with(&format!("{version}]")) || unreleased);
}

/// Runs a command that must succeed; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn debian_package_is_built_installed_and_removed() {
    for (program, version, why) in [
        (
            "cargo-deb",
            "--version",
            "cargo-deb (cargo install cargo-deb)",
        ),
        ("dpkg", "--version", "dpkg"),
        ("strip", "--version", "strip, of the package binutils"),
    ] {
        if !has(program, version) {
            skip(&format!("the Debian package needs {why}"));
            return;
        }
    }
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    fs::create_dir_all(target.join("release")).unwrap();
    // The program under test in the place of an optimised one, which takes minutes to build.
    run(Command::new("strip")
        .args(["-o", &target.join("release/sesame").display().to_string()])
        .arg(env!("CARGO_BIN_EXE_sesame")));
    let package = place.path().join("sesame.deb");
    run(Command::new("cargo-deb")
        .args(["deb", "--no-build", "--no-strip", "--fast", "--offline"])
        .arg("--output")
        .arg(&package)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(repository("")));
    // A system of its own, in which nothing else is installed.
    let root = place.path().join("root");
    let state = root.join("var/lib/dpkg");
    for folder in ["info", "updates"] {
        fs::create_dir_all(state.join(folder)).unwrap();
    }
    fs::write(state.join("status"), "").unwrap();
    let dpkg = |args: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display()))
            .args(["--force-not-root", "--force-depends"])
            .args(args);
        run(&mut dpkg)
    };
    dpkg(&["-i", &package.display().to_string()]);
    let listed = dpkg(&["-L", "sesame"]);
    for file in [
        "/usr/bin/sesame",
        "/usr/lib/systemd/system/sesame-alerts.service",
        "/usr/lib/systemd/user/sesame.service",
        "/usr/share/bash-completion/completions/sesame",
        "/usr/share/doc/sesame/copyright",
        "/usr/share/doc/sesame/examples/bot.py",
        "/usr/share/fish/vendor_completions.d/sesame.fish",
        "/usr/share/man/man1/sesame.1.gz",
        "/usr/share/man/man5/sesame-json.5.gz",
        "/usr/share/zsh/vendor-completions/_sesame",
    ] {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
    }
    let version = run(Command::new(root.join("usr/bin/sesame")).arg("--version"));
    assert_eq!(
        version.trim_end(),
        concat!("sesame ", env!("CARGO_PKG_VERSION"))
    );
    dpkg(&["-r", "sesame"]);
    assert!(!root.join("usr/bin/sesame").exists());
}
