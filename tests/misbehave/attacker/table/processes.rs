//! Other processes, and more of them.

use crate::{Attack, Attempt, Loot, Outcome::Killed, call};
use libc::*;

/// The first bytes of this program's code as they would be in a process started from the same file.
fn transfer(nr: c_long, loot: &Loot) -> crate::Answer {
    let mut room = [0_u8; 8];
    let near = [room.as_mut_ptr() as u64, 8];
    let far = [crate::raw::code_page(), 8];
    call!(nr, loot.target, &near, 1, &far, 1, 0)
}

fn take_descriptor(loot: &Loot) -> crate::Answer {
    let process = call!(SYS_pidfd_open, loot.target, 0)?;
    call!(SYS_pidfd_getfd, process, 0, 0)
}

fn signal_by_descriptor(loot: &Loot) -> crate::Answer {
    let process = call!(SYS_pidfd_open, loot.target, 0)?;
    call!(SYS_pidfd_send_signal, process, 0, 0, 0)
}

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 19,
        name: "debug another process, read and write its memory",
        outcome: Killed,
        attempts: &[
            Attempt("PTRACE_ATTACH", |loot| call!(SYS_ptrace, PTRACE_ATTACH, loot.target, 0, 0)),
            Attempt("PTRACE_SEIZE", |loot| call!(SYS_ptrace, PTRACE_SEIZE, loot.target, 0, 0)),
            Attempt("process_vm_readv", |loot| transfer(SYS_process_vm_readv, loot)),
            Attempt("process_vm_writev", |loot| transfer(SYS_process_vm_writev, loot)),
            Attempt("process_madvise", |_| call!(SYS_process_madvise, 3, &[0_u64; 2], 1, MADV_COLD, 0)),
            Attempt("kcmp", |loot| call!(SYS_kcmp, loot.target, loot.target, 0, 0, 0)),
        ],
    },
    Attack {
        item: 20,
        name: "take a descriptor out of another process",
        outcome: Killed,
        attempts: &[
            Attempt("pidfd_open, then pidfd_getfd", take_descriptor),
            Attempt("pidfd_getfd", |loot| call!(SYS_pidfd_getfd, loot.handed, 3, 0)),
        ],
    },
    Attack {
        item: 21,
        name: "leave with a status that ends the whole service",
        outcome: Killed,
        attempts: &[
            Attempt("78, as if the lock had been refused", |_| call!(SYS_exit_group, 78)),
            Attempt("2", |_| call!(SYS_exit_group, 2)),
            Attempt("exit of the only thread", |_| call!(SYS_exit, 78)),
        ],
    },
    Attack {
        item: 21,
        name: "signal another process",
        outcome: Killed,
        attempts: &[
            Attempt("kill", |loot| call!(SYS_kill, loot.target, 0)),
            Attempt("kill everybody", |_| call!(SYS_kill, -1, SIGKILL)),
            Attempt("tkill", |loot| call!(SYS_tkill, loot.target, 0)),
            Attempt("tgkill", |loot| call!(SYS_tgkill, loot.target, loot.target, 0)),
            Attempt("rt_sigqueueinfo", |loot| call!(SYS_rt_sigqueueinfo, loot.target, SIGUSR1, &[0_u64; 16])),
            Attempt("pidfd_open, then pidfd_send_signal", signal_by_descriptor),
            Attempt("pidfd_send_signal", |loot| call!(SYS_pidfd_send_signal, loot.handed, SIGKILL, 0, 0)),
        ],
    },
    Attack {
        item: 22,
        name: "limits and scheduling of another process",
        outcome: Killed,
        attempts: &[
            Attempt("prlimit64", |loot| call!(SYS_prlimit64, loot.target, RLIMIT_CPU, 0, &mut [0_u64; 2])),
            Attempt("setrlimit", |_| call!(SYS_setrlimit, RLIMIT_NOFILE, &[1_u64, 1])),
            Attempt("setpriority", |loot| call!(SYS_setpriority, PRIO_PROCESS, loot.target, 19)),
            Attempt("sched_setaffinity", |loot| call!(SYS_sched_setaffinity, loot.target, 8, &[1_u64])),
            Attempt("sched_setscheduler", |loot| {
                call!(SYS_sched_setscheduler, loot.target, SCHED_IDLE, &[0_i32])
            }),
            Attempt("ioprio_set", |loot| call!(SYS_ioprio_set, 1, loot.target, 3 << 13)),
        ],
    },
    Attack {
        item: 43,
        name: "more processes and threads",
        outcome: Killed,
        attempts: &[
            Attempt("fork", |_| call!(SYS_fork)),
            Attempt("vfork", |_| call!(SYS_vfork)),
            Attempt("clone", |_| call!(SYS_clone, SIGCHLD, 0, 0, 0, 0)),
            Attempt("clone3", |_| call!(SYS_clone3, &[0_u64; 11], 88)),
        ],
    },
];
