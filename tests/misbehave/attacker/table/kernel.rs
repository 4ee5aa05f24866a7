//! Parts of the kernel that a lookup has no use for, and other ways to its calls.

use crate::Outcome::{Futile, Killed};
use crate::raw::call_32;
use crate::{Attack, Attempt, call};
use libc::*;

/// Calls of the x32 table have this bit.
const X32: c_long = 0x4000_0000;
/// Two calls that the kernel keeps from every filter, since only its own code is meant to make them. Made from
/// anywhere else, they end the process or fail. (Numbers of Linux 6.11 and 6.18; libc has no names for them yet.)
const SYS_URETPROBE: c_long = 335;
const SYS_UPROBE: c_long = 336;

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 27,
        name: "large parts of the kernel",
        outcome: Killed,
        attempts: &[
            Attempt("io_uring_setup", |_| call!(SYS_io_uring_setup, 8, &mut [0_u64; 15])),
            Attempt("io_uring_enter", |_| call!(SYS_io_uring_enter, 3, 1, 0, 0, 0, 0)),
            Attempt("io_uring_register", |_| call!(SYS_io_uring_register, 3, 0, 0, 0)),
            Attempt("userfaultfd", |_| call!(SYS_userfaultfd, 1)),
            Attempt("bpf", |_| call!(SYS_bpf, 5, &[0_u64; 16], 128)),
            Attempt("perf_event_open", |_| call!(SYS_perf_event_open, &[0_u64; 16], 0, -1, -1, 0)),
            Attempt("seccomp", |_| call!(SYS_seccomp, 1, 0, 0)),
            Attempt("landlock_create_ruleset", |_| call!(SYS_landlock_create_ruleset, 0, 0, 1)),
            Attempt("init_module", |_| call!(SYS_init_module, 0, 0, c"")),
        ],
    },
    Attack {
        item: 28,
        name: "keys, System V IPC, queues, watches",
        outcome: Killed,
        attempts: &[
            Attempt("keyctl", |_| call!(SYS_keyctl, 0, -3, 0)),
            Attempt("add_key", |_| call!(SYS_add_key, c"user", c"x", b"x", 1, -3)),
            Attempt("request_key", |_| call!(SYS_request_key, c"user", c"x", 0, -3)),
            Attempt("shmget", |_| call!(SYS_shmget, IPC_PRIVATE, 4096, 0o600)),
            Attempt("semget", |_| call!(SYS_semget, IPC_PRIVATE, 1, 0o600)),
            Attempt("msgget", |_| call!(SYS_msgget, IPC_PRIVATE, 0o600)),
            Attempt("mq_open", |_| call!(SYS_mq_open, c"x", O_CREAT | O_RDWR, 0o600, 0)),
            Attempt("inotify_init1", |_| call!(SYS_inotify_init1, 0)),
            Attempt("fanotify_init", |_| call!(SYS_fanotify_init, 0, 0)),
            Attempt("epoll_create1", |_| call!(SYS_epoll_create1, 0)),
            Attempt("epoll_ctl of another epoll", |loot| {
                call!(SYS_epoll_ctl, 6, EPOLL_CTL_ADD, loot.client, &[1_u64, 0])
            }),
            Attempt("timer_create", |_| call!(SYS_timer_create, 0, 0, &mut [0_u64])),
        ],
    },
    Attack {
        item: 30,
        name: "other views of the process and of its calls",
        outcome: Killed,
        attempts: &[
            Attempt("personality", |_| call!(SYS_personality, 0x0040_0000)),
            Attempt("modify_ldt", |_| call!(SYS_modify_ldt, 0, &mut [0_u64; 2], 16)),
            Attempt("arch_prctl", |_| call!(SYS_arch_prctl, 0x1002, 0)),
            Attempt("prctl PR_SET_DUMPABLE", |_| call!(SYS_prctl, PR_SET_DUMPABLE, 1)),
            Attempt("prctl PR_SET_PDEATHSIG", |_| call!(SYS_prctl, PR_SET_PDEATHSIG, 0)),
            Attempt("rt_sigaction", |_| call!(SYS_rt_sigaction, SIGSYS, 0, &mut [0_u64; 8], 8)),
            Attempt("getpid by int 0x80", |_| Ok(call_32(20).into())),
            Attempt("exit by int 0x80", |_| Ok(call_32(1).into())),
            Attempt("getpid of x32", |_| call!(SYS_getpid | X32)),
            Attempt("an allowed call (close) of x32", |_| call!(SYS_close | X32, 9999)),
            Attempt("number -1", |_| call!(-1)),
            Attempt("number 100000", |_| call!(100_000)),
        ],
    },
    Attack {
        item: 30,
        name: "calls that no filter sees",
        outcome: Futile,
        attempts: &[Attempt("uretprobe", |_| call!(SYS_URETPROBE)), Attempt("uprobe", |_| call!(SYS_UPROBE))],
    },
];
