//! How the program for Windows is started, and which processes it is.

use std::fs;

use crate::scenario::{Place, Run};

/// Names the program.
const PROGRAM: &str = "SESAME_WINDOWS_EXE";

/// Where the program is.
pub fn program() -> String {
    std::env::var(PROGRAM)
        .unwrap_or_else(|_| panic!("{PROGRAM} does not name sesame.exe: run scripts/windows"))
}

/// A run of the program for Windows.
pub fn windows() -> Run {
    // Among temporary files wine looks for its server, which is one for all runs.
    let shared = std::env::temp_dir().display().to_string();
    let run = Run::new().program_is(&["wine", &program()]);
    run.env("TMPDIR", &shared)
}

/// The same, with this display name.
pub fn windows_named(name: &str) -> Run {
    windows().with(&["--display-name", name])
}

/// A path as Windows has it.
pub fn path(unix: &str) -> String {
    format!("Z:{}", unix.replace('/', "\\"))
}

/// Every process of the runs in this place that does the work: those whose command line a keeper
/// has made.
pub fn workers(place: &Place) -> Vec<u32> {
    let home = format!("HOME={}", place.path("home").display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // Of another user, or gone meanwhile.
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_here = environment
            .split(|byte| *byte == 0)
            .any(|it| it == home.as_bytes());
        let is_worker = line.split(|byte| *byte == 0).next() == Some(b"sesame");
        (is_here && is_worker).then_some(pid)
    });
    processes.collect()
}

/// The one process that does the work.
pub fn worker(place: &Place) -> u32 {
    let workers = workers(place);
    assert_eq!(workers.len(), 1, "{workers:?}");
    workers[0]
}
