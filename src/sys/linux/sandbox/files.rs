//! Which files can be reached (Landlock).
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, make_bitflags, path_beneath_rules,
};
use nix::libc;

/// The newest version of Landlock whose rights these rules know: on a newer kernel nothing else is
/// restricted, and on an older one less is.
const KNOWN: ABI = ABI::V6;

/// What sesame reads after the start. A rule holds for one inode, so these are directories where
/// files may be replaced during a run: name resolution reads /etc again when the network changes,
/// and loads libraries; others are for the number of processors, the time zone, and /proc, where a
/// process finds itself.
const READ: [&str; 11] = [
    "/etc",
    "/run/systemd/resolve",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
];

/// What sesame also writes.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/tty"];

/// The network is not restricted, because the peers are known only during the run.
pub(super) fn restrict(
    own: &[PathBuf],
    others: &[PathBuf],
    program: Option<i32>,
) -> io::Result<()> {
    let read_file = make_bitflags!(AccessFs::{ReadFile});
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let execute = read | AccessFs::Execute;
    let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
    let keep = read | make_bitflags!(AccessFs::{WriteFile | Truncate | RemoveFile | MakeReg});
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(beneath(&READ, read)))
        .and_then(|rules| rules.add_rules(beneath(&name_servers(), read)))
        .and_then(|rules| rules.add_rules(beneath(&libraries(), read)))
        .and_then(|rules| rules.add_rules(beneath(&executed(program), execute)))
        .and_then(|rules| rules.add_rules(beneath(&DEVICES, device)))
        .and_then(|rules| rules.add_rules(beneath(own, keep)))
        .and_then(|rules| rules.add_rules(beneath(others, read_file)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => {
            Err(io::Error::other("the kernel supports only a part of it"))
        }
        RulesetStatus::NotEnforced => Err(io::Error::other("the kernel has no Landlock")),
    }
}

fn beneath<P: AsRef<Path>>(
    paths: &[P],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>> {
    // For a file, only the rights that apply to files; a missing path is left out.
    path_beneath_rules(paths, access)
}

/// The real place of the list of name servers, which is often outside /etc.
fn name_servers() -> Vec<PathBuf> {
    let real = fs::canonicalize("/etc/resolv.conf").ok();
    real.and_then(|real| real.parent().map(Path::to_path_buf))
        .into_iter()
        .collect()
}

/// The folders of the libraries, because an update replaces the files.
fn libraries() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (_, path) in mapped() {
        let name = path.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.contains(".so"))
            && let Some(folder) = path.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_path_buf());
        }
    }
    folders
}

/// What the kernel must be able to execute when a panic executes the program's copy, which is in no
/// folder: the loader that it names. If no copy could be made, the program itself.
fn executed(program: Option<i32>) -> Vec<PathBuf> {
    // SAFETY: the call takes no pointer.
    let base = unsafe { libc::getauxval(libc::AT_BASE) };
    let loader = mapped().find_map(|(start, path)| (start == base).then_some(path));
    let is_copy = program.is_some_and(|program| {
        fs::read_link(format!("/proc/self/fd/{program}"))
            .is_ok_and(|path| path.to_string_lossy().starts_with("/memfd:"))
    });
    let itself = (!is_copy).then(|| PathBuf::from("/proc/self/exe"));
    loader.into_iter().chain(itself).collect()
}

/// The files that are mapped into this process, each with its address.
fn mapped() -> impl Iterator<Item = (u64, PathBuf)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let lines: Vec<_> = maps
        .lines()
        .filter_map(|line| {
            let (start, _) = line.split_once('-')?;
            let path = PathBuf::from(&line[line.find('/')?..]);
            Some((u64::from_str_radix(start, 16).ok()?, path))
        })
        .collect();
    lines.into_iter()
}
