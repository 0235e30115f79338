//! System calls that a program has no use for, and an attacker has. They fail with "not permitted".

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// On x86_64, a call's other number, by which the kernel would do the same.
#[cfg(target_arch = "x86_64")]
const OTHER: i64 = 0x4000_0000;

/// `prctl` that would let a program live longer than who watches it.
const SET_DEATH_SIGNAL: u64 = libc::PR_SET_PDEATHSIG as u64;

#[rustfmt::skip]
const FORBIDDEN: &[i64] = &[
    // Other processes, their memory and their files.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_pidfd_getfd, libc::SYS_pidfd_open,
    // Namespaces, mounts and roots.
    libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_move_mount,
    libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at,
    // Memory that no limit counts.
    libc::SYS_memfd_create, libc::SYS_memfd_secret, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_msgget, libc::SYS_semget,
    libc::SYS_mq_open,
    // Large and often broken parts of the kernel.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // The machine.
    libc::SYS_acct, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_reboot, libc::SYS_sethostname, libc::SYS_setdomainname,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_quotactl, libc::SYS_syslog,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_personality, libc::SYS_vhangup,
];

/// Calls that make a process by another name.
#[cfg(target_arch = "x86_64")]
const FORKS: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[i64] = &[];

/// What `clone` is told of new namespaces.
const NAMESPACES: [u64; 7] = [
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWCGROUP as u64,
];

/// Holds this process, and what it becomes, to the filter; `forks`: it may make processes.
pub fn apply(forks: bool) -> Result<(), String> {
    for program in programs(forks)? {
        apply_filter(&program).map_err(|error| format!("the filter of system calls (seccomp): {error}"))?;
    }
    Ok(())
}

fn programs(forks: bool) -> Result<[BpfProgram; 2], String> {
    let rule = |at, compare, value| {
        let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, compare, value);
        SeccompRule::new(vec![condition.map_err(|error| error.to_string())?])
            .map_err(|error| error.to_string())
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FORBIDDEN
        .iter()
        .chain(if forks { &[] } else { FORKS })
        .map(|&call| (call, vec![]))
        .collect();
    // A thread is made, a process is not.
    let thread = libc::CLONE_THREAD as u64;
    let clone: Result<Vec<SeccompRule>, String> = match forks {
        false => rule(0, SeccompCmpOp::MaskedEq(thread), 0).map(|rule| vec![rule]),
        // A process, but none in namespaces of its own.
        true => NAMESPACES
            .iter()
            .map(|flag| rule(0, SeccompCmpOp::MaskedEq(*flag), *flag))
            .collect(),
    };
    rules.insert(libc::SYS_clone, clone?);
    // Neither a network of any kind, nor a machine's host (vsock), which no namespace hides.
    rules.insert(
        libc::SYS_socket,
        vec![rule(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?],
    );
    rules.insert(
        libc::SYS_prctl,
        vec![rule(0, SeccompCmpOp::Eq, SET_DEATH_SIGNAL)?],
    );
    #[cfg(target_arch = "x86_64")]
    {
        let others: Vec<_> = rules
            .iter()
            .map(|(call, rules)| (call | OTHER, rules.clone()))
            .collect();
        rules.extend(others);
    }
    let denied = program(rules, libc::EPERM)?;
    // The C library asks for the older call where this one is said not to be there.
    let unknown = program(BTreeMap::from([(libc::SYS_clone3, vec![])]), libc::ENOSYS)?;
    Ok([denied, unknown])
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into();
    let arch = arch.map_err(|error| format!("the filter of system calls: {error}"))?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        arch,
    );
    let program = filter.and_then(TryInto::try_into);
    program.map_err(|error| format!("the filter of system calls: {error}"))
}
