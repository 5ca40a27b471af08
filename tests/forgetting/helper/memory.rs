//! The memory of another process, read from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::needle::{Finder, Needle};
use super::{PATIENCE, skip};

/// The page size of the kernels that this runs on.
const PAGE: usize = 4096;

/// How many bytes are read at once.
const CHUNK: usize = 4 << 20;

/// A writable mapping.
#[derive(Clone, Debug)]
pub struct Region {
    start: usize,
    end: usize,
    /// Kept in RAM: the arena.
    pub locked: bool,
    name: String,
}

/// An occurrence of a needle.
#[derive(Clone, Debug)]
pub struct Found {
    /// The needle.
    pub what: String,
    /// Its form.
    pub form: &'static str,
    /// Whether it is in the arena.
    pub locked: bool,
    address: usize,
    owner: String,
    around: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            form,
            address,
            owner,
            around,
            ..
        } = self;
        write!(f, "{what} as {form} at {address:x} in {owner}: {around}")
    }
}

impl Found {
    /// An occurrence in a core.
    pub fn in_core(
        what: String,
        form: &'static str,
        address: usize,
        owner: &str,
        around: String,
    ) -> Self {
        Self {
            what,
            form,
            locked: false,
            address,
            owner: owner.into(),
            around,
        }
    }

    /// The owner of the memory.
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

/// A process whose memory is searched.
pub struct Memory {
    pid: u32,
    file: File,
}

impl Memory {
    /// The memory of a process; `None`, and a line about it, if it cannot be read.
    pub fn of(pid: u32) -> Option<Self> {
        let path = format!("/proc/{pid}/mem");
        match File::open(&path) {
            Ok(file) => Some(Self { pid, file }),
            Err(error) => {
                skip(&format!(
                    "reading another process's memory needs CAP_SYS_PTRACE ({error})"
                ));
                None
            }
        }
    }

    /// Every writable mapping.
    pub fn regions(&self) -> Vec<Region> {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid)).unwrap();
        let mut regions: Vec<(Region, bool)> = Vec::new();
        for line in smaps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                let (region, _) = regions.last_mut().unwrap();
                region.locked = flags.split(' ').any(|flag| flag == "lo");
            } else if let Some((region, writable)) = header(line) {
                regions.push((region, writable));
            }
        }
        regions
            .into_iter()
            .filter_map(|(region, writable)| writable.then_some(region))
            .collect()
    }

    /// Every occurrence of these needles. The process is stopped meanwhile, so that nothing moves
    /// from memory that was not searched yet to memory that was.
    pub fn search(&self, needles: &[Needle]) -> Vec<Found> {
        let stopped = Stopped::new(self.pid);
        let finder = Finder::new(needles);
        let stacks = stacks(self.pid);
        let pagemap = File::open(format!("/proc/{}/pagemap", self.pid)).unwrap();
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        for region in self.regions() {
            let owner = owner(&region, &stacks);
            for (start, end) in used(&pagemap, &region) {
                // A needle may begin in one piece and end in the next.
                let mut from = start;
                while from < end {
                    let to = end.min(from + CHUNK);
                    let over = end.min(to + finder.longest);
                    bytes.resize(over - from, 0);
                    if self.file.read_exact_at(&mut bytes, from as u64).is_err() {
                        break;
                    }
                    for hit in finder
                        .find(&bytes)
                        .into_iter()
                        .filter(|hit| hit.at < to - from)
                    {
                        found.push(Found {
                            what: needles[hit.needle].what.clone(),
                            form: hit.form,
                            locked: region.locked,
                            address: from + hit.at,
                            owner: owner.clone(),
                            around: around(&bytes, hit.at),
                        });
                    }
                    from = to;
                }
            }
        }
        drop(stopped);
        found
    }

    /// Searches until no occurrence is left outside the arena. Returns those that are still there
    /// after a while. Memory that another thread is just about to free is gone at the next search.
    pub fn remains(&self, needles: &[Needle]) -> Vec<Found> {
        let until = Instant::now() + FREEING;
        loop {
            let mut found = self.search(needles);
            found.retain(|one| !one.locked);
            if found.is_empty() || Instant::now() > until {
                return found;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until each needle is there, in one form at least.
    pub fn holds(&self, needles: &[Needle]) -> Vec<Found> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.search(needles);
            let missing = missing(needles, &found);
            if missing.is_empty() {
                return found;
            }
            assert!(
                Instant::now() < until,
                "the detector does not find what must be there: {missing:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How long threads may take to free memory.
const FREEING: Duration = Duration::from_secs(10);

/// Which needles were not found.
pub fn missing(needles: &[Needle], found: &[Found]) -> Vec<String> {
    let there: BTreeSet<&str> = found.iter().map(|one| one.what.as_str()).collect();
    let what = needles.iter().map(|needle| needle.what.clone());
    what.filter(|what| !there.contains(what.as_str())).collect()
}

/// What was found, a few of each kind and place.
pub fn list(found: &[Found]) -> String {
    let mut kinds: BTreeMap<(String, &str, &str), Vec<&Found>> = BTreeMap::new();
    for one in found {
        let kind = one.what.trim_end_matches(|c: char| c.is_ascii_digit());
        let key = (kind.to_owned(), one.form, one.owner.as_str());
        kinds.entry(key).or_default().push(one);
    }
    let mut text = format!("{} places", found.len());
    for ((kind, form, owner), all) in kinds {
        let which: BTreeSet<&str> = all.iter().map(|one| one.what.as_str()).collect();
        text += &format!(
            "\n  {kind}({} of them) as {form}, {} times in {owner}",
            which.len(),
            all.len()
        );
        for one in all.iter().take(3) {
            text += &format!("\n    {:x}: {}", one.address, one.around);
        }
    }
    text
}

/// The bytes before and after, in readable form.
pub fn around(bytes: &[u8], at: usize) -> String {
    let from = at.saturating_sub(24);
    let to = bytes.len().min(at + 72);
    bytes[from..to].escape_ascii().to_string()
}

fn header(line: &str) -> Option<(Region, bool)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let writable = fields.next()?.starts_with("rw");
    let region = Region {
        start,
        end,
        locked: false,
        name: fields.nth(3).unwrap_or_default().to_owned(),
    };
    Some((region, writable))
}

/// The parts of a region that are backed by memory.
fn used(pagemap: &File, region: &Region) -> Vec<(usize, usize)> {
    let pages = (region.end - region.start) / PAGE;
    let mut entries = vec![0; 8 * pages];
    let at = (region.start / PAGE * 8) as u64;
    if pagemap.read_exact_at(&mut entries, at).is_err() {
        return vec![(region.start, region.end)];
    }
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for (number, entry) in entries.chunks(8).enumerate() {
        // Present, or swapped out.
        if entry[7] & 0xc0 == 0 {
            continue;
        }
        let start = region.start + number * PAGE;
        match parts.last_mut() {
            Some((_, end)) if *end == start => *end += PAGE,
            _ => parts.push((start, start + PAGE)),
        }
    }
    parts
}

/// The stack pointers of all threads that wait in the kernel, with their names.
fn stacks(pid: u32) -> Vec<(usize, String)> {
    tasks(pid)
        .into_iter()
        .filter_map(|task| {
            let name = fs::read_to_string(format!("{task}/comm")).ok()?;
            let call = fs::read_to_string(format!("{task}/syscall")).ok()?;
            let pointer = call.split_ascii_whitespace().rev().nth(1)?;
            let pointer = usize::from_str_radix(pointer.strip_prefix("0x")?, 16).ok()?;
            Some((pointer, name.trim_end().to_owned()))
        })
        .collect()
}

/// The folders of a process's threads.
pub fn tasks(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path().display().to_string()));
    paths.collect()
}

fn owner(region: &Region, stacks: &[(usize, String)]) -> String {
    /// The size of the areas in which the C library puts the heaps of threads.
    const HEAP: usize = 64 << 20;
    let on_it = |(pointer, _): &&(usize, String)| (region.start..region.end).contains(pointer);
    if region.locked {
        return "the arena".into();
    }
    if let Some((_, thread)) = stacks.iter().find(on_it) {
        return format!("the stack of thread {thread}");
    }
    match region.name.as_str() {
        "" if region.start.is_multiple_of(HEAP) => "a thread's heap".into(),
        "" => format!("a mapping of {} KiB", (region.end - region.start) >> 10),
        name => name.into(),
    }
}

/// A process that is stopped until this is dropped.
pub struct Stopped(u32);

impl Stopped {
    pub fn new(pid: u32) -> Self {
        signal(pid, Signal::SIGSTOP);
        let until = Instant::now() + PATIENCE;
        while !tasks(pid).iter().all(|task| stands(task)) {
            assert!(Instant::now() < until, "process {pid} does not stop");
            thread::sleep(Duration::from_millis(1));
        }
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::SIGCONT);
    }
}

fn stands(task: &str) -> bool {
    // A thread that has ended meanwhile counts as stopped.
    fs::read_to_string(format!("{task}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest).trim();
        state.starts_with(['T', 'Z', 'X'])
    }) || !fs::exists(task).unwrap_or(false)
}

pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}
