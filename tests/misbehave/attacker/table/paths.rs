//! Reaching files by name, and leaving the root directory.

use crate::raw::Word;
use crate::{Attack, Attempt, Loot, Outcome::Killed, call};
use libc::*;
use std::ffi::CString;

const RESOLVE: [u64; 6] = [
    RESOLVE_NO_XDEV,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_CACHED,
];

fn openat2(resolve: usize) -> crate::Answer {
    let resolve = RESOLVE.get(resolve).copied().unwrap_or_default();
    call!(SYS_openat2, AT_FDCWD, c"/etc/shadow", &[0, 0, resolve], 24)
}

fn open_of_process(loot: &Loot, name: &str, flags: i32) -> crate::Answer {
    let path = CString::new(format!("/proc/{}/{name}", loot.target)).unwrap_or_default();
    call!(SYS_openat, AT_FDCWD, path.as_c_str(), flags)
}

fn reopen(loot: &Loot) -> crate::Answer {
    let path = CString::new(format!("/proc/self/fd/{}", loot.handed)).unwrap_or_default();
    call!(SYS_openat, AT_FDCWD, path.as_c_str(), O_RDWR)
}

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 1,
        name: "open files of the system",
        outcome: Killed,
        attempts: &[
            Attempt("open /etc/shadow", |_| call!(SYS_open, c"/etc/shadow", O_RDONLY)),
            Attempt("openat /etc/shadow", |_| call!(SYS_openat, AT_FDCWD, c"/etc/shadow", O_RDONLY)),
            Attempt("openat main.cf", |_| call!(SYS_openat, AT_FDCWD, c"/etc/postfix/main.cf", O_RDONLY)),
            Attempt("openat the root directory", |_| call!(SYS_openat, AT_FDCWD, c"/", O_PATH)),
            Attempt("creat /tmp/x", |_| call!(SYS_creat, c"/tmp/mapkeep-attacker", 0o600)),
        ],
    },
    Attack {
        item: 2,
        name: "open by other calls",
        outcome: Killed,
        attempts: &[
            Attempt("openat2 NO_XDEV", |_| openat2(0)),
            Attempt("openat2 NO_MAGICLINKS", |_| openat2(1)),
            Attempt("openat2 NO_SYMLINKS", |_| openat2(2)),
            Attempt("openat2 BENEATH", |_| openat2(3)),
            Attempt("openat2 IN_ROOT", |_| openat2(4)),
            Attempt("openat2 CACHED", |_| openat2(5)),
            Attempt("open_tree", |_| call!(SYS_open_tree, AT_FDCWD, c"/", 0)),
            Attempt("name_to_handle_at", |_| {
                call!(SYS_name_to_handle_at, AT_FDCWD, c"/", &mut [0_u64; 32], &mut [0_i32], 0)
            }),
            Attempt("open_by_handle_at", |_| call!(SYS_open_by_handle_at, 3, &[0_u64; 32], O_RDONLY)),
        ],
    },
    Attack {
        item: 3,
        name: "reopen a handed descriptor for writing",
        outcome: Killed,
        attempts: &[Attempt("openat /proc/self/fd/N", reopen)],
    },
    Attack {
        item: 4,
        name: "become uid 0, or gain a capability",
        outcome: Killed,
        attempts: &[
            Attempt("setuid", |_| call!(SYS_setuid, 0)),
            Attempt("setresuid", |_| call!(SYS_setresuid, 0, 0, 0)),
            Attempt("setresgid", |_| call!(SYS_setresgid, 0, 0, 0)),
            Attempt("setgroups", |_| call!(SYS_setgroups, 1, &[0_u32])),
            Attempt("setfsuid", |_| call!(SYS_setfsuid, 0)),
            Attempt("capset", |_| call!(SYS_capset, &[0x2008_0522_u32, 0], &[!0_u32; 6])),
        ],
    },
    Attack {
        item: 5,
        name: "leave the root directory by a directory descriptor",
        outcome: Killed,
        attempts: &[
            Attempt("openat ../../etc/passwd", |loot| {
                call!(SYS_openat, loot.handed, c"../../etc/passwd", O_RDONLY)
            }),
            Attempt("fchdir", |loot| call!(SYS_fchdir, loot.handed)),
            Attempt("chdir ..", |_| call!(SYS_chdir, c"..")),
        ],
    },
    Attack {
        item: 6,
        name: "another root directory or name space",
        outcome: Killed,
        attempts: &[
            Attempt("chroot", |_| call!(SYS_chroot, c".")),
            Attempt("unshare a user name space", |_| call!(SYS_unshare, CLONE_NEWUSER)),
            Attempt("unshare a mount name space", |_| call!(SYS_unshare, CLONE_NEWNS)),
            Attempt("setns", |loot| call!(SYS_setns, loot.handed, 0)),
            Attempt("mount", |_| call!(SYS_mount, c"/", c"/", 0, MS_BIND, 0)),
            Attempt("umount2", |_| call!(SYS_umount2, c"/", MNT_DETACH)),
            Attempt("pivot_root", |_| call!(SYS_pivot_root, c".", c".")),
            Attempt("fsopen", |_| call!(SYS_fsopen, c"proc", 0)),
            Attempt("move_mount", |_| call!(SYS_move_mount, 3, c"", AT_FDCWD, c"/", 0)),
        ],
    },
    Attack {
        item: 23,
        name: "look into other processes through /proc",
        outcome: Killed,
        attempts: &[
            Attempt("mem", |loot| open_of_process(loot, "mem", O_RDWR)),
            Attempt("environ", |loot| open_of_process(loot, "environ", O_RDONLY)),
            Attempt("cmdline", |loot| open_of_process(loot, "cmdline", O_RDONLY)),
            Attempt("maps", |loot| open_of_process(loot, "maps", O_RDONLY)),
        ],
    },
    Attack {
        item: 31,
        name: "ask whether a path exists",
        outcome: Killed,
        attempts: &[
            Attempt("newfstatat AT_EMPTY_PATH", |_| {
                call!(SYS_newfstatat, AT_FDCWD, c"/etc/passwd", &mut [0_u64; 32], AT_EMPTY_PATH)
            }),
            Attempt("statx", |_| call!(SYS_statx, AT_FDCWD, c"/etc/passwd", 0, 0, &mut [0_u64; 32])),
            Attempt("stat", |_| call!(SYS_stat, c"/etc/passwd", &mut [0_u64; 32])),
            Attempt("access", |_| call!(SYS_access, c"/etc/passwd", R_OK)),
            Attempt("faccessat2", |_| call!(SYS_faccessat2, AT_FDCWD, c"/etc/passwd", R_OK, 0)),
            Attempt("readlinkat", |_| {
                call!(SYS_readlinkat, AT_FDCWD, c"/proc/self/exe", &mut [0_u8; 64], 64)
            }),
            Attempt("getcwd", |_| call!(SYS_getcwd, &mut [0_u8; 64], 64)),
            Attempt("getdents64", |loot| call!(SYS_getdents64, loot.handed, &mut [0_u64; 64], 512.word())),
        ],
    },
];
