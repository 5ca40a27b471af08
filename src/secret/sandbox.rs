//! What the process gives up once it has read what it was started with: files that it does not
//! need (Landlock), more rights by an exec (no_new_privs), and system calls that nothing here
//! makes (seccomp). What breaks into it finds less to break into next.
//!
//! Nothing of it is a reason not to run: an older kernel gives less of it, which the report says.

use std::path::Path;

use super::harden::Hardening;

/// Restricts this thread and those that it starts from now on, for good, across an exec too. Call
/// it before any thread starts, and never in an image that a panic started: that has inherited
/// everything, and the kernel has no room for a further layer after some sixteen.
///
/// `own` is the directory of files that are written.
#[cfg(target_os = "linux")]
pub fn enter(own: Option<&Path>) -> Hardening {
    let mut report = Hardening::default();
    report.note(
        "sandbox: files that are not needed are out of reach (Landlock)",
        files::restrict(own),
    );
    report.note(
        "sandbox: system calls that are not needed are refused (seccomp)",
        calls::restrict(),
    );
    report
}

/// There is none on this system.
#[cfg(not(target_os = "linux"))]
pub fn enter(_own: Option<&Path>) -> Hardening {
    Hardening::default()
}

#[cfg(target_os = "linux")]
mod files {
    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
        Scope, make_bitflags, path_beneath_rules,
    };

    /// The newest version of Landlock whose rights these rules know: on a newer kernel nothing else
    /// is restricted, on an older one less.
    const KNOWN: ABI = ABI::V6;

    /// What is read after the start. Directories and not the files themselves where these may be
    /// replaced during a run, since a rule holds for one inode: name resolution reads /etc anew
    /// when the network changes, and loads libraries; the processors are counted; the time zone is
    /// looked up; /proc is where a process finds itself.
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

    /// What is written as well.
    const DEVICES: [&str; 2] = ["/dev/null", "/dev/tty"];

    /// The network is not restricted: whom to talk to is what the program is told all the time.
    pub(super) fn restrict(own: Option<&Path>) -> io::Result<()> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let execute = read | AccessFs::Execute;
        let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
        let keep = read | make_bitflags!(AccessFs::{WriteFile | Truncate | RemoveFile | MakeReg});
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))
            .and_then(|rules| rules.scope(Scope::AbstractUnixSocket))
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rules(beneath(&READ, read)))
            .and_then(|rules| rules.add_rules(beneath(&name_servers(), read)))
            .and_then(|rules| rules.add_rules(beneath(&program(), execute)))
            .and_then(|rules| rules.add_rules(beneath(&DEVICES, device)))
            .and_then(|rules| rules.add_rules(beneath(own.as_slice(), keep)))
            .and_then(landlock::RulesetCreated::restrict_self)
            .map_err(io::Error::other)?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            RulesetStatus::PartiallyEnforced => Err(io::Error::other(
                "only in part: the kernel knows less of it",
            )),
            RulesetStatus::NotEnforced => Err(io::Error::other("the kernel has no Landlock")),
        }
    }

    fn beneath<P: AsRef<Path>>(
        paths: &[P],
        access: BitFlags<AccessFs>,
    ) -> impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>>
    {
        // Of a file, what can be done with a file alone; what is not there is left out.
        path_beneath_rules(paths, access)
    }

    /// Where the list of name servers really is, which is often no file of /etc.
    fn name_servers() -> Vec<PathBuf> {
        let real = fs::canonicalize("/etc/resolv.conf").ok();
        real.and_then(|real| real.parent().map(Path::to_path_buf))
            .into_iter()
            .collect()
    }

    /// What a panic executes: the program, and the loader among the libraries. Not whole
    /// directories of programs: no shell is among them.
    fn program() -> Vec<PathBuf> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut paths = vec![PathBuf::from("/proc/self/exe")];
        for line in maps.lines() {
            let path = line.find('/').map(|at| Path::new(&line[at..]));
            let is_library = |path: &&Path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().contains(".so"))
            };
            // Their directory, for an update puts others in their place.
            let folder = path.filter(is_library).and_then(Path::parent);
            if let Some(folder) = folder
                && !paths.iter().any(|path| path == folder)
            {
                paths.push(folder.to_path_buf());
            }
        }
        paths
    }
}

#[cfg(target_os = "linux")]
mod calls {
    use std::collections::BTreeMap;
    use std::io;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter,
    };

    /// What is refused: what looks into other processes or the kernel, or takes it over, and has
    /// had the most holes.
    ///
    /// A list of what is allowed would be stronger, and would break with the next version of the C
    /// library, of its name service or of a crate that makes another call: for a program that
    /// people rely on that is the worse evil.
    const REFUSED: &[libc::c_long] = &[
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_bpf,
        libc::SYS_chroot,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_finit_module,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kcmp,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_personality,
        libc::SYS_pidfd_getfd,
        libc::SYS_pivot_root,
        libc::SYS_process_madvise,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
    ];

    /// The bit by which x86_64 knows the calls of its other interface, x32, and the numbers there
    /// of those above that have one of their own: ptrace, kexec_load, process_vm_readv and
    /// process_vm_writev.
    #[cfg(target_arch = "x86_64")]
    const X32: (libc::c_long, [libc::c_long; 4]) = (0x4000_0000, [521, 528, 539, 540]);

    /// What types into the terminal as if the user did, and so into the shell behind the program:
    /// TIOCSTI and TIOCLINUX of `asm-generic/ioctls.h`.
    const TYPES: [u64; 2] = [0x5412, 0x541c];

    pub(super) fn restrict() -> io::Result<()> {
        let filter = filter().map_err(io::Error::other)?;
        apply_filter(&filter).map_err(io::Error::other)
    }

    fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            numbers().map(|number| (number, Vec::new())).collect();
        let mut typing = Vec::new();
        for request in TYPES {
            let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
            typing.push(SeccompRule::new(vec![is])?);
        }
        rules.insert(libc::SYS_ioctl, typing);
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    }

    #[cfg(target_arch = "x86_64")]
    fn numbers() -> impl Iterator<Item = i64> {
        let (bit, others) = X32;
        let all = REFUSED.iter().copied().chain(others);
        REFUSED
            .iter()
            .copied()
            .chain(all.map(move |number| number | bit))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn numbers() -> impl Iterator<Item = i64> {
        REFUSED.iter().map(|number| i64::from(*number))
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(unsafe_code)]
mod tests {
    use std::fs::{self, File};
    use std::io;
    use std::net::ToSocketAddrs;
    use std::process::Command;

    use super::*;

    /// Both hold for the thread that asks for them and for its children alone.
    fn inside(own: &Path, test: impl FnOnce() + Send + 'static) {
        let own = own.to_path_buf();
        let tested = std::thread::spawn(move || {
            let report = enter(Some(&own));
            if report.failed.is_empty() {
                test();
            } else {
                eprintln!("skipped: {:?}", report.failed);
            }
        });
        assert!(tested.join().is_ok());
    }

    #[test]
    fn nothing_is_written_but_in_the_own_directory() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("diary"), "dear").unwrap();
        fs::write(own.path().join("name"), "alice").unwrap();
        let (here, there) = (own.path().to_path_buf(), other.path().to_path_buf());
        inside(own.path(), move || {
            let denied = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            denied(File::open(there.join("diary")).map(drop));
            denied(fs::write(there.join("diary"), "x"));
            denied(fs::write(there.join("new"), "x"));
            denied(fs::remove_file(there.join("diary")));
            denied(File::options().append(true).open("/etc/passwd").map(drop));
            denied(fs::create_dir(here.join("folder")));
            denied(
                Command::new("/bin/sh")
                    .arg("-c")
                    .arg("true")
                    .status()
                    .map(drop),
            );

            fs::write(here.join(".name.1"), "bob").unwrap();
            fs::rename(here.join(".name.1"), here.join("name")).unwrap();
            assert_eq!(fs::read_to_string(here.join("name")).unwrap(), "bob");
            File::open(&here).unwrap().sync_all().unwrap();
            fs::remove_file(here.join("name")).unwrap();
            fs::write("/dev/null", "x").unwrap();
            // Name resolution reads its files, and the own program stays executable.
            assert!(("localhost", 1).to_socket_addrs().unwrap().next().is_some());
            let own_program = Command::new("/proc/self/exe").arg("--help").output();
            assert!(own_program.unwrap().status.success());
        });
    }

    #[test]
    fn calls_that_nothing_here_makes_are_refused() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), || {
            // SAFETY: with these arguments none of the calls does anything.
            let results = unsafe {
                [
                    libc::syscall(libc::SYS_unshare, 0),
                    libc::syscall(libc::SYS_personality, 0xffff_ffff_u32),
                    libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, 0),
                ]
                .map(|result| (result, io::Error::last_os_error().raw_os_error()))
            };
            assert!(
                results.iter().all(|(result, _)| *result == -1),
                "{results:?}"
            );
            assert_eq!(results[2].1, Some(libc::EPERM));
        });
    }
}
