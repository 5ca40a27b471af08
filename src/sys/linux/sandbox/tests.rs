#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;

use nix::libc;

use super::*;
use crate::sys::reexec;

/// Runs a test under both filters, which hold only for the thread that applies them and for its
/// children. The test gets the descriptor of the program.
fn inside(own: &Path, test: impl FnOnce(i32) + Send + 'static) {
    let own = own.to_path_buf();
    let tested = std::thread::spawn(move || {
        let program = reexec::reserve().program;
        let report = enter(vec![own], Vec::new(), program);
        match program {
            Some(program) if report.failed.is_empty() => test(program),
            _ => eprintln!("skipped: {:?}", report.failed),
        }
    });
    assert!(tested.join().is_ok());
}

/// The exit status of a child that did this; it may make only system calls.
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
fn files_outside_the_own_folder_are_not_written() {
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
fn reserved_descriptor_cannot_be_replaced() {
    let own = tempfile::tempdir().unwrap();
    inside(own.path(), |reserved| {
        let zero: libc::c_long = 0;
        let number = libc::c_long::from(reserved);
        // SAFETY: none of the calls takes a pointer.
        unsafe {
            let call = |number: libc::c_long, a: libc::c_long, b: libc::c_long, c: libc::c_long| {
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
            // Other descriptors are not affected.
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
            // It may still send signals to itself, as a panic does.
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
