//! Core dumps that gdb makes.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::memory::{Found, around};
use super::needle::{Finder, Needle};
use super::skip;

/// Whether gdb is installed; prints a line if not.
fn there() -> bool {
    let found = Command::new("gdb")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let there = found.is_ok_and(|status| status.success());
    if !there {
        skip("a core dump needs the package gdb");
    }
    there
}

fn gdb(pid: u32, commands: &[&str]) -> Option<Command> {
    if !there() {
        return None;
    }
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-p", &pid.to_string()]);
    for one in commands {
        command.args(["-ex", one]);
    }
    command.stdin(Stdio::null());
    Some(command)
}

/// A core of a running process, which continues.
pub fn dump(pid: u32, path: &Path) -> Option<Core> {
    let file = format!("gcore {}", path.display());
    let output = gdb(pid, &["set pagination off", &file])?.output().unwrap();
    take(path, &String::from_utf8_lossy(&output.stdout))
}

/// Waits inside gdb for the exit of a process.
pub struct Exiting {
    gdb: Child,
    path: PathBuf,
}

impl Exiting {
    /// Attaches. The process continues, and is dumped when it exits.
    pub fn watch(pid: u32, path: &Path) -> Option<Self> {
        let attached = path.with_extension("attached");
        let file = format!("gcore {}", path.display());
        let tell = format!("shell touch {}", attached.display());
        let commands = [
            "set pagination off",
            "handle SIGCONT SIGUSR1 SIGPIPE nostop noprint pass",
            "catch syscall exit_group",
            &tell,
            "continue",
            &file,
            "detach",
        ];
        let mut command = gdb(pid, &commands)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let gdb = command.spawn().unwrap();
        super::seen("gdb attaches", || attached.exists().then_some(()));
        Some(Self {
            gdb,
            path: path.to_owned(),
        })
    }

    /// The core, once the process has exited.
    pub fn core(self) -> Option<Core> {
        let output = self.gdb.wait_with_output().unwrap();
        take(&self.path, &String::from_utf8_lossy(&output.stdout))
    }
}

fn take(path: &Path, said: &str) -> Option<Core> {
    match fs::read(path) {
        Ok(core) => {
            fs::remove_file(path).unwrap();
            Some(Core::new(core))
        }
        Err(error) => {
            skip(&format!("gdb made no core dump ({error}): {said}"));
            None
        }
    }
}

/// A core, with the places of the registers, and the address of each part.
pub struct Core {
    bytes: Vec<u8>,
    notes: Range<usize>,
    loads: Vec<(Range<usize>, usize)>,
}

impl Core {
    fn new(bytes: Vec<u8>) -> Self {
        let segment = |kind| segments(&bytes, kind).expect("an ELF file");
        let notes = segment(PT_NOTE).remove(0).0;
        let loads = segment(PT_LOAD);
        Self {
            bytes,
            notes,
            loads,
        }
    }

    fn address(&self, at: usize) -> usize {
        let load = self.loads.iter().find(|(place, _)| place.contains(&at));
        load.map_or(at, |(place, address)| at - place.start + address)
    }

    /// Every occurrence of these needles.
    pub fn search(&self, needles: &[Needle]) -> Vec<Found> {
        let finder = Finder::new(needles);
        let hits = finder.find(&self.bytes).into_iter();
        hits.map(|hit| {
            let what = needles[hit.needle].what.clone();
            let owner = match self.notes.contains(&hit.at) {
                true => REGISTERS,
                false => "the core",
            };
            Found::in_core(
                what,
                hit.form,
                self.address(hit.at),
                owner,
                around(&self.bytes, hit.at),
            )
        })
        .collect()
    }
}

/// Shown as the place of the registers of all threads.
pub const REGISTERS: &str = "the registers";

const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;

/// The segments of a kind, and their addresses (elf(5), 64 bits, little-endian).
fn segments(core: &[u8], kind: u64) -> Option<Vec<(Range<usize>, usize)>> {
    let number = |at: usize, len: usize| {
        let bytes = core.get(at..at + len)?.iter().rev();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let size = |at: usize| usize::try_from(number(at, 8)?).ok();
    let (table, entry, count) = (size(32)?, number(54, 2)?, number(56, 2)?);
    let mut found = Vec::new();
    for one in 0..count {
        let at = table + usize::try_from(one * entry).ok()?;
        if number(at, 4)? == kind {
            let (start, len) = (size(at + 8)?, size(at + 32)?);
            found.push((start..start + len, size(at + 16)?));
        }
    }
    Some(found)
}
