//! Which system calls are refused (seccomp).

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// Refused system calls: those that look into other processes or the kernel, or take them over, and
/// have had the most holes.
///
/// A list of allowed calls would be stronger. But it would break with the next version of the C
/// library, of its name service or of a crate that makes another call, which is the worse evil for
/// a program that people rely on.
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

/// Requests that type into the terminal as if the user did, and so into the shell behind the
/// program: TIOCSTI and TIOCLINUX of `asm-generic/ioctls.h`. And TIOCSETD, with which the kernel
/// loads drivers that put another protocol on the line.
const TYPES: [u64; 3] = [0x5412, 0x541c, 0x5423];

/// Requests that make the kernel send another process a signal when there is something to read:
/// FIOSETOWN and SIOCSPGRP of `asm-generic/sockios.h`; F_SETOWN, F_SETSIG and F_SETOWN_EX of
/// `asm-generic/fcntl.h`.
const OWNS: [u64; 2] = [0x8901, 0x8902];
const OWNS_BY_FCNTL: [u64; 3] = [8, 10, 15];

/// FIOCLEX of `asm-generic/ioctls.h`: closes the descriptor on exec.
const FIOCLEX: u64 = 0x5451;

/// The flags of `clone` that make namespaces (`linux/sched.h`). CLONE_NEWTIME belongs to `clone3`
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

/// The families of sockets that remain, and their types (`linux/net.h`).
const UNIX: u64 = libc::AF_UNIX as u64;
const INET: [u64; 2] = [libc::AF_INET as u64, libc::AF_INET6 as u64];
const NETLINK: u64 = libc::AF_NETLINK as u64;
const TYPE_MASK: u64 = 0xf;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DATAGRAM: u64 = libc::SOCK_DGRAM as u64;
/// The kernel would load a module for any other protocol (SCTP, DCCP, L2TP, SMC…).
const PROTOCOLS: [u64; 3] = [0, libc::IPPROTO_TCP as u64, libc::IPPROTO_UDP as u64];
const NETLINK_ROUTE: u64 = 0;

pub(super) fn restrict(program: Option<i32>) -> io::Result<()> {
    apply_filter(&unknown()).map_err(io::Error::other)?;
    let filter = filter(program).map_err(io::Error::other)?;
    apply_filter(&filter).map_err(io::Error::other)
}

/// Answers like a kernel that does not know the call. For `clone3`, because its flags are in memory
/// and could be changed after the check; the C library then uses `clone`. And for the calls of x32,
/// which have numbers of their own. For calls of any other interface the other filter kills the
/// process.
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
        // The descriptor must not be closed, replaced, or lost to the next image.
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

    // The process id stays the same through every panic.
    let own = u64::from(std::process::id());
    // Ctrl-Z stops every process that a terminal would stop. From Linux 6.12 on, Landlock lets the
    // signal reach only this process.
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
    // A limit on the time of another process amounts to a signal.
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
    sockets.extend(not_stream().map(|kind| vec![(0, Eq, UNIX), (1, MaskedEq(TYPE_MASK), kind)]));
    for family in INET {
        let others = not_stream().filter(|kind| *kind != DATAGRAM);
        sockets.extend(others.map(|kind| vec![(0, Eq, family), (1, MaskedEq(TYPE_MASK), kind)]));
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
