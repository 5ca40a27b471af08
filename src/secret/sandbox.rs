//! What the process gives up once it has read what it was started with: files that it does not
//! need (Landlock), more rights by an exec (no_new_privs), and system calls that nothing here
//! makes (seccomp). What breaks into it finds less to break into next.
//!
//! Nothing of it is a reason not to run: an older kernel gives less of it, which the report says.
#![allow(unsafe_code)]

use std::path::PathBuf;

use super::harden::Hardening;

/// Restricts this thread and those that it starts from now on, for good, across an exec too. Call
/// it before any thread starts, and never in an image that a panic started: that has inherited
/// everything, and the kernel has no room for a further layer after some sixteen.
///
/// `own` are files, and folders of files, that are written. `program` is the descriptor of what a
/// panic executes: nothing else is executed, and the descriptor stays what it is.
#[cfg(target_os = "linux")]
pub fn enter(own: Vec<PathBuf>, program: Option<i32>) -> Hardening {
    let mut report = Hardening::default();
    report.note(
        "the sandbox (Landlock) blocks files that sesame does not need",
        files::restrict(&own, program),
    );
    report.note(
        "the sandbox (seccomp) blocks system calls that sesame does not need",
        calls::restrict(program),
    );
    report
}

/// There is none on this system.
#[cfg(not(target_os = "linux"))]
pub fn enter(_own: Vec<PathBuf>, _program: Option<i32>) -> Hardening {
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
    pub(super) fn restrict(own: &[PathBuf], program: Option<i32>) -> io::Result<()> {
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

    /// Where the libraries are: an update puts others in their place.
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

    /// What the kernel must be able to execute when a panic executes the program's copy, which is in
    /// no folder: the loader that it names. Where no copy could be made, the program itself.
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

    /// The files that are mapped into this process, each with where.
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
}

#[cfg(target_os = "linux")]
mod calls {
    use std::collections::BTreeMap;
    use std::io;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter, sock_filter,
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
        libc::SYS_execve,
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
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_move_pages,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        libc::SYS_msgctl,
        libc::SYS_msgget,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_personality,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pivot_root,
        libc::SYS_process_madvise,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_semctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_shmget,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_tkill,
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
        #[cfg(target_arch = "x86_64")]
        libc::SYS_uselib,
    ];

    /// The bit by which x86_64 knows the calls of its other interface, x32.
    const X32: u32 = 0x4000_0000;

    /// What types into the terminal as if the user did, and so into the shell behind the program:
    /// TIOCSTI and TIOCLINUX of `asm-generic/ioctls.h`. And TIOCSETD, by which the kernel loads
    /// drivers that put another protocol on the line.
    const TYPES: [u64; 3] = [0x5412, 0x541c, 0x5423];

    /// What has the kernel send another process a signal when something can be read: FIOSETOWN and
    /// SIOCSPGRP of `asm-generic/sockios.h`; F_SETOWN, F_SETSIG and F_SETOWN_EX of
    /// `asm-generic/fcntl.h`.
    const OWNS: [u64; 2] = [0x8901, 0x8902];
    const OWNS_BY_FCNTL: [u64; 3] = [8, 10, 15];

    /// FIOCLEX of `asm-generic/ioctls.h`: to be closed on exec.
    const FIOCLEX: u64 = 0x5451;

    /// The flags of `clone` that make namespaces (`linux/sched.h`). CLONE_NEWTIME is one of `clone3`
    /// and `unshare` only.
    const NAMESPACES: [u64; 7] = [
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];

    /// The families of sockets that are left, and their types (`linux/net.h`).
    const UNIX: u64 = libc::AF_UNIX as u64;
    const INET: [u64; 2] = [libc::AF_INET as u64, libc::AF_INET6 as u64];
    const NETLINK: u64 = libc::AF_NETLINK as u64;
    const TYPE_MASK: u64 = 0xf;
    const STREAM: u64 = libc::SOCK_STREAM as u64;
    const DATAGRAM: u64 = libc::SOCK_DGRAM as u64;
    /// Any other protocol (SCTP, DCCP, L2TP, SMC…) is a module that the kernel would load.
    const PROTOCOLS: [u64; 3] = [0, libc::IPPROTO_TCP as u64, libc::IPPROTO_UDP as u64];
    const NETLINK_ROUTE: u64 = 0;

    pub(super) fn restrict(program: Option<i32>) -> io::Result<()> {
        apply_filter(&unknown()).map_err(io::Error::other)?;
        let filter = filter(program).map_err(io::Error::other)?;
        apply_filter(&filter).map_err(io::Error::other)
    }

    /// Answers as a kernel does that does not know a call: for `clone3`, whose flags are in memory,
    /// where they could be changed after a look; the C library then takes `clone`. And for the calls
    /// of x32, which pass by numbers of their own. Calls of a wholly foreign interface are for the
    /// other filter, which kills for them.
    fn unknown() -> BpfProgram {
        // linux/bpf_common.h, linux/seccomp.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JGE|BPF_K,
        // BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K; the number is the first word of `seccomp_data`.
        const LOAD: u16 = 0x20;
        const JUMP_GE: u16 = 0x35;
        const JUMP_EQ: u16 = 0x15;
        const RETURN: u16 = 0x06;
        let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
        vec![
            step(LOAD, 0, 0, 0),
            step(JUMP_GE, 2, 0, X32),
            step(JUMP_EQ, 1, 0, libc::SYS_clone3 as u32),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        ]
    }

    /// Conditions that all have to hold.
    type All = Vec<(u8, SeccompCmpOp, u64)>;

    fn filter(program: Option<i32>) -> Result<BpfProgram, seccompiler::BackendError> {
        use SeccompCmpOp::{Eq, Ge, Le, MaskedEq, Ne};
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|number| (*number, Vec::new())).collect();
        let mut refuse = |number: libc::c_long, any: Vec<All>| {
            let any = any.into_iter().map(|all| {
                let all = all.into_iter().map(|(argument, how, value)| {
                    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)
                });
                SeccompRule::new(all.collect::<Result<_, _>>()?)
            });
            rules
                .entry(number)
                .or_default()
                .extend(any.collect::<Result<Vec<_>, _>>()?);
            Ok::<_, seccompiler::BackendError>(())
        };

        let empty_path = libc::AT_EMPTY_PATH as u64;
        let mut ioctl: Vec<All> = TYPES
            .iter()
            .chain(&OWNS)
            .map(|request| vec![(1, Eq, *request)])
            .collect();
        let mut fcntl: Vec<All> = OWNS_BY_FCNTL.map(|command| vec![(1, Eq, command)]).into();
        if let Some(program) = program {
            let program = program as u64;
            refuse(
                libc::SYS_execveat,
                vec![vec![(0, Ne, program)], vec![(4, Ne, empty_path)]],
            )?;
            // It is not closed, nor replaced, nor lost to the image that comes.
            refuse(libc::SYS_close, vec![vec![(0, Eq, program)]])?;
            refuse(
                libc::SYS_close_range,
                vec![vec![(0, Le, program), (1, Ge, program)]],
            )?;
            #[cfg(target_arch = "x86_64")]
            refuse(libc::SYS_dup2, vec![vec![(1, Eq, program)]])?;
            refuse(libc::SYS_dup3, vec![vec![(1, Eq, program)]])?;
            fcntl.push(vec![
                (0, Eq, program),
                (1, Eq, libc::F_SETFD as u64),
                (2, Ne, 0),
            ]);
            ioctl.push(vec![(0, Eq, program), (1, Eq, FIOCLEX)]);
        } else {
            refuse(libc::SYS_execveat, Vec::new())?;
        }
        refuse(libc::SYS_ioctl, ioctl)?;
        refuse(libc::SYS_fcntl, fcntl)?;

        let namespaces = NAMESPACES.map(|flag| vec![(0, MaskedEq(flag), flag)]);
        refuse(libc::SYS_clone, namespaces.into())?;

        // The process id stays what it is through every panic.
        let own = u64::from(std::process::id());
        // Ctrl-Z stops all that a terminal would stop. From Linux 6.12 on Landlock lets it reach this
        // process only.
        let stop = libc::SIGTSTP as u64;
        refuse(
            libc::SYS_kill,
            vec![
                vec![(0, Ne, own), (0, Ne, 0)],
                vec![(0, Eq, 0), (1, Ne, stop)],
            ],
        )?;
        for number in [
            libc::SYS_tgkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
        ] {
            refuse(number, vec![vec![(0, Ne, own)]])?;
        }
        // A limit on the time of another process is a signal too.
        refuse(libc::SYS_prlimit64, vec![vec![(0, Ne, 0), (0, Ne, own)]])?;

        let not_stream = || (0..=TYPE_MASK).filter(|kind| *kind != STREAM);
        let mut sockets: Vec<All> = vec![
            vec![
                (0, Ne, UNIX),
                (0, Ne, INET[0]),
                (0, Ne, INET[1]),
                (0, Ne, NETLINK),
            ],
            vec![(0, Eq, NETLINK), (2, Ne, NETLINK_ROUTE)],
        ];
        sockets
            .extend(not_stream().map(|kind| vec![(0, Eq, UNIX), (1, MaskedEq(TYPE_MASK), kind)]));
        for family in INET {
            let others = not_stream().filter(|kind| *kind != DATAGRAM);
            sockets
                .extend(others.map(|kind| vec![(0, Eq, family), (1, MaskedEq(TYPE_MASK), kind)]));
            let any = PROTOCOLS.iter().map(|known| (2, Ne, *known));
            sockets.push([(0, Eq, family)].into_iter().chain(any).collect());
        }
        refuse(libc::SYS_socket, sockets)?;
        let mut pairs: Vec<All> = vec![vec![(0, Ne, UNIX)]];
        pairs.extend(not_stream().map(|kind| vec![(1, MaskedEq(TYPE_MASK), kind)]));
        refuse(libc::SYS_socketpair, pairs)?;

        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::ffi::CString;
    use std::fs::{self, File};
    use std::io;
    use std::net::ToSocketAddrs;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::ptr;

    use super::*;
    use crate::secret::panic;

    /// Both hold for the thread that asks for them and for its children alone. The test is given the
    /// descriptor of the program.
    fn inside(own: &Path, test: impl FnOnce(i32) + Send + 'static) {
        let own = own.to_path_buf();
        let tested = std::thread::spawn(move || {
            let program = panic::reserve().program;
            let report = enter(vec![own], program);
            match program {
                Some(program) if report.failed.is_empty() => test(program),
                _ => eprintln!("skipped: {:?}", report.failed),
            }
        });
        assert!(tested.join().is_ok());
    }

    /// How a child ended that did this, which must be nothing but system calls.
    fn in_child(act: impl FnOnce()) -> i32 {
        // SAFETY: the child makes system calls only, and ends by one.
        unsafe {
            match libc::fork() {
                0 => {
                    act();
                    libc::_exit(77)
                }
                child => {
                    assert!(child > 0);
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    status
                }
            }
        }
    }

    fn refused(what: &str, result: libc::c_long) {
        refused_with(what, result, libc::EPERM);
    }

    fn refused_with(what: &str, result: libc::c_long, errno: i32) {
        let why = io::Error::last_os_error();
        assert_eq!(
            (result, why.raw_os_error()),
            (-1, Some(errno)),
            "{what}: {why}"
        );
    }

    #[test]
    fn nothing_is_written_but_in_the_own_directory() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("diary"), "dear").unwrap();
        fs::write(own.path().join("name"), "alice").unwrap();
        let (here, there) = (own.path().to_path_buf(), other.path().to_path_buf());
        inside(own.path(), move |_| {
            let denied = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            denied(File::open(there.join("diary")).map(drop));
            denied(fs::write(there.join("diary"), "x"));
            denied(fs::write(there.join("new"), "x"));
            denied(fs::remove_file(there.join("diary")));
            denied(File::options().append(true).open("/etc/passwd").map(drop));
            denied(fs::create_dir(here.join("folder")));

            fs::write(here.join("name"), "bob").unwrap();
            assert_eq!(fs::read_to_string(here.join("name")).unwrap(), "bob");
            File::open(&here).unwrap().sync_all().unwrap();
            fs::remove_file(here.join("name")).unwrap();
            fs::write(here.join("name"), "carol").unwrap();
            fs::write("/dev/null", "x").unwrap();
            // Name resolution reads its files and asks for routes.
            assert!(("localhost", 1).to_socket_addrs().unwrap().next().is_some());
            assert!(("nonexistent.invalid", 1).to_socket_addrs().is_err());
        });
    }

    #[test]
    fn only_the_reserved_program_is_executed() {
        let own = tempfile::tempdir().unwrap();
        let program = own.path().join("program");
        fs::copy("/bin/sh", &program).unwrap();
        let program = CString::new(program.to_str().unwrap()).unwrap();
        inside(own.path(), move |reserved| {
            let path = |text: &str| CString::new(text).unwrap();
            let (sh, dash_c) = (path("/bin/sh"), path("-c"));
            let (exit, empty) = (path("exit 9"), path(""));
            let interpreter = path("/lib64/ld-linux-x86-64.so.2");
            let script = [sh.as_ptr(), dash_c.as_ptr(), exit.as_ptr(), ptr::null()];
            let loaded = [
                interpreter.as_ptr(),
                sh.as_ptr(),
                dash_c.as_ptr(),
                exit.as_ptr(),
                ptr::null(),
            ];
            let none: [*const libc::c_char; 1] = [ptr::null()];
            let at = |number: i32, path: &CString, flags: libc::c_int| {
                // SAFETY: C strings and arrays of them that end with a null pointer.
                unsafe {
                    libc::syscall(
                        libc::SYS_execveat,
                        number,
                        path.as_ptr(),
                        script.as_ptr(),
                        none.as_ptr(),
                        flags,
                    )
                }
            };
            let here = libc::AT_FDCWD;
            let opened = File::open("/bin/sh").unwrap();
            let opened = std::os::fd::AsRawFd::as_raw_fd(&opened);
            // None of these may succeed: it would end this process.
            for file in [&sh, &interpreter, &program] {
                // SAFETY: as above.
                let result = unsafe { libc::execve(file.as_ptr(), loaded.as_ptr(), none.as_ptr()) };
                refused("execve", result.into());
                refused("execveat with a path", at(here, file, 0));
                refused("and with the flag", at(here, file, libc::AT_EMPTY_PATH));
                refused("at the program", at(reserved, file, 0));
            }
            for file in [&sh, &program] {
                let result = at(reserved, file, libc::AT_EMPTY_PATH);
                refused_with("a path beside the program", result, libc::EACCES);
            }
            refused(
                "another descriptor",
                at(opened, &empty, libc::AT_EMPTY_PATH),
            );
            let shell = Command::new("/bin/sh").arg("-c").arg("true").status();
            assert_eq!(shell.unwrap_err().raw_os_error(), Some(libc::EPERM));
            // SAFETY: a C string.
            let memory = unsafe { libc::memfd_create(empty.as_ptr(), 0) };
            refused("memfd_create", memory.into());

            let arguments = [path("sesame"), path("--exact"), path("no such test")];
            let mut arguments: Vec<_> = arguments.iter().map(|text| text.as_ptr()).collect();
            arguments.push(ptr::null());
            let status = in_child(|| {
                // SAFETY: as above.
                unsafe {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
                    libc::dup2(null, 1);
                    libc::syscall(
                        libc::SYS_execveat,
                        reserved,
                        empty.as_ptr(),
                        arguments.as_ptr(),
                        none.as_ptr(),
                        libc::AT_EMPTY_PATH,
                    );
                }
            });
            assert_eq!(status, 0, "the program itself is executed");
        });
    }

    #[test]
    fn the_reserved_descriptor_stays_what_it_is() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), |reserved| {
            let zero: libc::c_long = 0;
            let number = libc::c_long::from(reserved);
            // SAFETY: none of the calls takes a pointer.
            unsafe {
                let call =
                    |number: libc::c_long, a: libc::c_long, b: libc::c_long, c: libc::c_long| {
                        libc::syscall(number, a, b, c)
                    };
                refused("close", call(libc::SYS_close, number, 0, 0));
                refused("close_range", call(libc::SYS_close_range, zero, number, 0));
                let all = libc::c_long::from(libc::c_uint::MAX);
                refused("to the end", call(libc::SYS_close_range, number, all, 4));
                #[cfg(target_arch = "x86_64")]
                refused("dup2", call(libc::SYS_dup2, 0, number, 0));
                refused("dup3", call(libc::SYS_dup3, 0, number, 0));
                let set = libc::c_long::from(libc::F_SETFD);
                refused("on exec", call(libc::SYS_fcntl, number, set, 1));
                refused("and by ioctl", call(libc::SYS_ioctl, number, 0x5451, 0));
                let truncated = call(libc::SYS_ftruncate, number, 0, 0);
                refused_with("its content", truncated, libc::EPERM);
                let written = libc::write(reserved, [0_u8; 1].as_ptr().cast(), 1);
                refused("and writing", written as libc::c_long);
                // Others are not touched by it.
                let other = libc::dup(0);
                assert!(other >= 0 && libc::fcntl(other, libc::F_SETFD, 1) == 0);
                assert_eq!(libc::close(other), 0);
                assert!(libc::fcntl(reserved, libc::F_GETFD) == 0);
            }
        });
    }

    #[test]
    fn no_namespace_is_made() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), |_| {
            let flags = [
                libc::CLONE_NEWNS,
                libc::CLONE_NEWCGROUP,
                libc::CLONE_NEWUTS,
                libc::CLONE_NEWIPC,
                libc::CLONE_NEWUSER,
                libc::CLONE_NEWPID,
                libc::CLONE_NEWNET,
            ];
            for flag in flags {
                // SAFETY: both fail; a child would end at once.
                unsafe {
                    refused("unshare", libc::syscall(libc::SYS_unshare, flag));
                    let clone = libc::syscall(libc::SYS_clone, flag | libc::SIGCHLD, 0, 0, 0, 0);
                    if clone == 0 {
                        libc::_exit(0);
                    }
                    refused("clone", clone);
                }
            }
            // SAFETY: without arguments it could do nothing.
            let clone3 = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
            refused_with("clone3", clone3, libc::ENOSYS);
            assert!(std::thread::spawn(|| true).join().unwrap(), "threads start");
        });
    }

    #[test]
    fn four_kinds_of_sockets_are_left() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), |_| {
            use libc::{
                AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK,
                SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM,
            };
            // SAFETY: the calls take no pointers, and what they open is closed.
            let socket = |family, kind, protocol| unsafe { libc::socket(family, kind, protocol) };
            let flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
            for (what, family, kind, protocol) in [
                ("AF_PACKET", libc::AF_PACKET, SOCK_RAW, 0),
                ("AF_ALG", libc::AF_ALG, SOCK_SEQPACKET, 0),
                ("AF_VSOCK", libc::AF_VSOCK, SOCK_STREAM, 0),
                ("AF_BLUETOOTH", libc::AF_BLUETOOTH, SOCK_RAW, 0),
                ("NETLINK_AUDIT", AF_NETLINK, SOCK_RAW, libc::NETLINK_AUDIT),
                ("NETLINK_NETFILTER", AF_NETLINK, SOCK_RAW | flags, 12),
                ("unix datagrams", AF_UNIX, SOCK_DGRAM, 0),
                ("unix datagrams, flags", AF_UNIX, SOCK_DGRAM | flags, 0),
                ("unix packets", AF_UNIX, SOCK_SEQPACKET, 0),
                ("SCTP", AF_INET, SOCK_STREAM, libc::IPPROTO_SCTP),
                ("SCTP packets", AF_INET6, SOCK_SEQPACKET | flags, 0),
                ("DCCP", AF_INET6, 6, libc::IPPROTO_DCCP),
                ("UDP-Lite", AF_INET, SOCK_DGRAM, libc::IPPROTO_UDPLITE),
                ("MPTCP", AF_INET, SOCK_STREAM | flags, libc::IPPROTO_MPTCP),
                ("L2TP", AF_INET, SOCK_DGRAM, 115),
                ("raw IPv4", AF_INET, SOCK_RAW | flags, libc::IPPROTO_ICMP),
                ("raw IPv6", AF_INET6, SOCK_RAW, libc::IPPROTO_ICMPV6),
            ] {
                refused(what, socket(family, kind, protocol).into());
            }
            for (what, family, kind, protocol) in [
                ("TCP", AF_INET, SOCK_STREAM | flags, 0),
                ("TCP, named", AF_INET6, SOCK_STREAM, libc::IPPROTO_TCP),
                ("UDP, named", AF_INET, SOCK_DGRAM, libc::IPPROTO_UDP),
                ("UDP", AF_INET6, SOCK_DGRAM | flags, 0),
                ("unix streams", AF_UNIX, SOCK_STREAM | flags, 0),
                ("NETLINK_ROUTE", AF_NETLINK, SOCK_RAW | flags, 0),
            ] {
                let opened = socket(family, kind, protocol);
                assert!(opened >= 0, "{what}: {}", io::Error::last_os_error());
                // SAFETY: it was just opened.
                unsafe { libc::close(opened) };
            }
            let mut pair = [0; 2];
            // SAFETY: the kernel fills the array.
            let datagrams = unsafe { libc::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair.as_mut_ptr()) };
            refused("a pair of datagrams", datagrams.into());
            assert!(std::os::unix::net::UnixStream::pair().is_ok());
        });
    }

    #[test]
    fn no_signal_leaves_the_process() {
        let own = tempfile::tempdir().unwrap();
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = other.id() as libc::pid_t;
        inside(own.path(), move |_| {
            let mut info = [0_i32; 32];
            info[2] = -1; // si_code: SI_QUEUE
            let info = info.as_ptr();
            // SAFETY: the kernel reads the array; signal 0 is none.
            unsafe {
                for (what, result) in [
                    ("kill", libc::syscall(libc::SYS_kill, pid, 0)),
                    ("kill of all", libc::syscall(libc::SYS_kill, -1, 0)),
                    ("kill of a group", libc::syscall(libc::SYS_kill, 0, 0)),
                    ("tkill", libc::syscall(libc::SYS_tkill, pid, 0)),
                    ("tgkill", libc::syscall(libc::SYS_tgkill, pid, pid, 0)),
                    (
                        "sigqueue",
                        libc::syscall(libc::SYS_rt_sigqueueinfo, pid, 0, info),
                    ),
                    (
                        "to a thread",
                        libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, pid, 0, info),
                    ),
                    (
                        "by descriptor",
                        libc::syscall(libc::SYS_pidfd_send_signal, 0, 0, 0, 0),
                    ),
                    (
                        "F_SETOWN",
                        libc::syscall(libc::SYS_fcntl, 0, libc::F_SETOWN, pid),
                    ),
                    (
                        "FIOSETOWN",
                        libc::syscall(libc::SYS_ioctl, 0, 0x8901, &raw const pid),
                    ),
                    ("prlimit", libc::syscall(libc::SYS_prlimit64, pid, 0, 0, 0)),
                ] {
                    assert_eq!(result, -1, "{what}");
                }
                refused("kill", libc::syscall(libc::SYS_kill, pid, 0));
                refused(
                    "pidfd",
                    libc::syscall(libc::SYS_pidfd_send_signal, 0, 0, 0, 0),
                );
                refused(
                    "F_SETOWN",
                    libc::syscall(libc::SYS_fcntl, 0, libc::F_SETOWN, pid),
                );
                refused("prlimit", libc::syscall(libc::SYS_prlimit64, pid, 0, 0, 0));
                // To itself it may, as a panic does.
                assert_eq!(libc::kill(libc::getpid(), 0), 0);
            }
        });
        assert!(other.try_wait().unwrap().is_none());
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }

    #[test]
    fn calls_that_nothing_here_makes_are_refused() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), |_| {
            // SAFETY: with these arguments none of the calls does anything.
            unsafe {
                refused("setns", libc::syscall(libc::SYS_setns, -1, 0));
                refused("personality", libc::syscall(libc::SYS_personality, -1));
                refused(
                    "TIOCSTI",
                    libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, 0),
                );
                refused(
                    "TIOCSETD",
                    libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSETD, 0),
                );
                refused(
                    "quotactl_fd",
                    libc::syscall(libc::SYS_quotactl_fd, -1, 0, 0, 0),
                );
                refused("io_uring", libc::syscall(libc::SYS_io_uring_setup, 0, 0));
                refused("shmat", libc::syscall(libc::SYS_shmat, -1, 0, 0));
                refused("msgget", libc::syscall(libc::SYS_msgget, 0, 0));
                refused("semget", libc::syscall(libc::SYS_semget, 0, 0, 0));
                refused("mq_open", libc::syscall(libc::SYS_mq_open, 0, 0, 0, 0));
                refused("ptrace", libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0));
            }
        });
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn no_other_interface_of_the_kernel_is_left() {
        let own = tempfile::tempdir().unwrap();
        inside(own.path(), |_| {
            const X32: libc::c_long = 0x4000_0000;
            for number in [libc::SYS_getpid, libc::SYS_unshare, 520, 521, 545] {
                // SAFETY: it fails, and without arguments would do nothing.
                let result = unsafe { libc::syscall(number | X32, 0, 0, 0) };
                refused_with("x32", result, libc::ENOSYS);
            }
            let status = in_child(|| {
                // The call `getpid` of i386.
                // SAFETY: it takes nothing and gives a number.
                unsafe {
                    std::arch::asm!("int 0x80", inout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                }
            });
            assert!(libc::WIFSIGNALED(status), "{status}");
            assert_eq!(libc::WTERMSIG(status), libc::SIGSYS);
        });
    }
}
