//! What the system reports about a process.

use std::collections::BTreeMap;
use std::fs;

use super::seen;

/// How much memory is locked, in KiB.
pub fn locked_kib(pid: u32) -> u64 {
    kib(pid, "VmLck:")
}

/// How much memory is in RAM, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    kib(pid, "VmRSS:")
}

fn kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let value = line.unwrap().trim().trim_end_matches(" kB");
    value.parse().unwrap()
}

/// The argument list as others see it.
pub fn arguments(pid: u32) -> String {
    String::from_utf8(fs::read(format!("/proc/{pid}/cmdline")).unwrap()).unwrap()
}

/// How many descriptors of each kind are open beyond standard input and output.
pub fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let tcp = tcp(pid);
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // One that is closed meanwhile is not open.
        let Ok(target) = fs::read_link(&path) else {
            continue;
        };
        if number > 2 {
            let target = target.display().to_string();
            let kind = tcp.get(&target).cloned().unwrap_or_else(|| kind(&target));
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

/// Waits until the open descriptors are these.
pub fn become_these(pid: u32, these: &BTreeMap<String, usize>) {
    seen(&format!("descriptors {these:?}"), || {
        (descriptors(pid) == *these).then_some(())
    });
}

fn kind(target: &str) -> String {
    match target.split_once(":[") {
        Some((kind @ ("socket" | "pipe"), _)) => kind.into(),
        _ => target.into(),
    }
}

/// The TCP sockets of the process's network: listening, or connected.
fn tcp(pid: u32) -> BTreeMap<String, String> {
    let mut sockets = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let state = match fields[3] {
                "0A" => "listening",
                _ => "connected",
            };
            sockets.insert(format!("socket:[{}]", fields[9]), state.to_owned());
        }
    }
    sockets
}
