//! Doing more with a handed descriptor than reading it.

use crate::Outcome::{Errno, Killed};
use crate::raw::{Word, code_page};
use crate::{Attack, Attempt, Loot, call};
use libc::*;

const PAGE: u64 = 4096;
const ANYWHERE: u64 = 0;
const NO_FD: i32 = -1;

/// A lock on the whole file.
fn lock(loot: &Loot, command: i32, kind: i32) -> crate::Answer {
    // struct flock: type, whence, (padding), start, length, pid.
    let lock = [kind.word() & 0xffff, 0, 0, 0];
    call!(SYS_fcntl, loot.handed, command, &lock)
}

fn memory_file_and_exec() -> crate::Answer {
    let file = call!(SYS_memfd_create, c"x", 0)?;
    call!(SYS_execveat, file, c"", 0, 0, AT_EMPTY_PATH)
}

/// Memory of our own with all rights that the worker may ask for.
fn private_page() -> crate::Answer {
    call!(SYS_mmap, ANYWHERE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0)
}

/// Writes to a descriptor, and reads what comes back.
fn to_and_fro(fd: i32) -> crate::Answer {
    call!(SYS_write, fd, b"x", 1)?;
    match call!(SYS_read, fd, &mut [0_u8; 8], 8)? {
        0 => Err(ENODATA),
        length => Ok(length),
    }
}

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 7,
        name: "write to a table's content",
        outcome: Killed,
        attempts: &[
            Attempt("ftruncate", |loot| call!(SYS_ftruncate, loot.handed, 0)),
            Attempt("fallocate", |loot| call!(SYS_fallocate, loot.handed, 0, 0, PAGE)),
            Attempt("writev", |loot| call!(SYS_writev, loot.handed, &[b"x".word(), 1], 1)),
            Attempt("pwrite64", |loot| call!(SYS_pwrite64, loot.handed, b"x", 1, 0)),
            Attempt("pwritev2", |loot| call!(SYS_pwritev2, loot.handed, &[b"x".word(), 1], 1, 0, 0, 0)),
            Attempt("sendfile", |loot| call!(SYS_sendfile, loot.handed, loot.handed, 0, 1)),
            Attempt("copy_file_range", |loot| {
                call!(SYS_copy_file_range, loot.handed, 0, loot.handed, 0, 1, 0)
            }),
            Attempt("splice", |loot| call!(SYS_splice, loot.client, 0, loot.handed, 0, 1, 0)),
        ],
    },
    Attack {
        item: 7,
        name: "write to a table's content by the call that answers clients",
        outcome: Errno(&[EBADF]),
        attempts: &[Attempt("write", |loot| call!(SYS_write, loot.handed, b"x", 1))],
    },
    Attack {
        item: 8,
        name: "change a table's attributes",
        outcome: Killed,
        attempts: &[
            Attempt("fchmod", |loot| call!(SYS_fchmod, loot.handed, 0o777)),
            Attempt("utimensat", |loot| call!(SYS_utimensat, loot.handed, 0, 0, 0)),
            Attempt("fsetxattr", |loot| call!(SYS_fsetxattr, loot.handed, c"user.x", b"x", 1, 0)),
            Attempt("fremovexattr", |loot| call!(SYS_fremovexattr, loot.handed, c"user.x")),
            Attempt("F_ADD_SEALS", |loot| call!(SYS_fcntl, loot.handed, F_ADD_SEALS, F_SEAL_SEAL)),
        ],
    },
    Attack {
        item: 9,
        name: "change a table's owner",
        outcome: Killed,
        attempts: &[
            Attempt("fchown", |loot| call!(SYS_fchown, loot.handed, 1, 1)),
            Attempt("fchownat", |loot| call!(SYS_fchownat, loot.handed, c"", 1, 1, AT_EMPTY_PATH)),
        ],
    },
    Attack {
        item: 10,
        name: "flock a table, so that postmap hangs",
        outcome: Killed,
        attempts: &[
            Attempt("LOCK_EX", |loot| call!(SYS_flock, loot.handed, LOCK_EX)),
            Attempt("LOCK_SH", |loot| call!(SYS_flock, loot.handed, LOCK_SH)),
        ],
    },
    Attack {
        item: 11,
        name: "fcntl locks on a table",
        outcome: Killed,
        attempts: &[
            Attempt("F_SETLK", |loot| lock(loot, F_SETLK, F_RDLCK)),
            Attempt("F_SETLKW", |loot| lock(loot, F_SETLKW, F_WRLCK)),
            Attempt("F_OFD_SETLK", |loot| lock(loot, F_OFD_SETLK, F_RDLCK)),
        ],
    },
    Attack {
        item: 12,
        name: "leases and signals on a table",
        outcome: Killed,
        attempts: &[
            Attempt("F_SETLEASE", |loot| call!(SYS_fcntl, loot.handed, F_SETLEASE, F_RDLCK)),
            Attempt("F_NOTIFY", |loot| call!(SYS_fcntl, loot.handed, F_NOTIFY, 1)),
            Attempt("F_SETOWN", |loot| call!(SYS_fcntl, loot.handed, F_SETOWN, loot.target)),
            Attempt("F_SETSIG", |loot| call!(SYS_fcntl, loot.handed, 10, SIGKILL)),
        ],
    },
    Attack {
        item: 13,
        name: "change what an open file shares",
        outcome: Killed,
        attempts: &[
            Attempt("lseek", |loot| call!(SYS_lseek, loot.handed, 7, SEEK_SET)),
            Attempt("F_SETFL", |loot| call!(SYS_fcntl, loot.handed, F_SETFL, O_APPEND)),
            Attempt("F_DUPFD", |loot| call!(SYS_fcntl, loot.handed, F_DUPFD, 100)),
            Attempt("dup3", |loot| call!(SYS_dup3, loot.handed, 0, 0)),
        ],
    },
    Attack {
        item: 14,
        name: "map a table otherwise than for reading",
        outcome: Killed,
        attempts: &[
            Attempt("shared, writable", |loot| {
                call!(SYS_mmap, ANYWHERE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, loot.handed, 0)
            }),
            Attempt("shared, executable", |loot| {
                call!(SYS_mmap, ANYWHERE, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, loot.handed, 0)
            }),
            Attempt("private, executable", |loot| {
                call!(SYS_mmap, ANYWHERE, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, loot.handed, 0)
            }),
            Attempt("private, writable", |loot| {
                call!(SYS_mmap, ANYWHERE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, loot.handed, 0)
            }),
        ],
    },
    Attack {
        item: 15,
        name: "make memory executable, or put memory over code",
        outcome: Killed,
        attempts: &[
            Attempt("anonymous memory, executable", |_| {
                let rights = PROT_READ | PROT_WRITE | PROT_EXEC;
                call!(SYS_mmap, ANYWHERE, PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0)
            }),
            Attempt("MAP_FIXED over code", |_| {
                let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
                call!(SYS_mmap, code_page(), PAGE, PROT_READ | PROT_WRITE, flags, NO_FD, 0)
            }),
            Attempt("a table, MAP_FIXED over code", |loot| {
                call!(SYS_mmap, code_page(), PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, loot.handed, 0)
            }),
            Attempt("mprotect own memory executable", |_| {
                call!(SYS_mprotect, private_page()?, PAGE, PROT_READ | PROT_EXEC)
            }),
            Attempt("mprotect code writable", |_| {
                call!(SYS_mprotect, code_page(), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC)
            }),
            Attempt("pkey_mprotect", |_| {
                call!(SYS_pkey_mprotect, private_page()?, PAGE, PROT_READ | PROT_EXEC, -1)
            }),
            Attempt("mremap own memory over code", |_| {
                let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
                call!(SYS_mremap, private_page()?, PAGE, PAGE, flags, code_page())
            }),
            Attempt("mremap MREMAP_DONTUNMAP", |_| {
                call!(SYS_mremap, private_page()?, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0)
            }),
            Attempt("remap_file_pages", |_| call!(SYS_remap_file_pages, code_page(), PAGE, 0, 1, 0)),
            Attempt("madvise", |_| call!(SYS_madvise, code_page(), PAGE, MADV_DONTNEED)),
        ],
    },
    Attack {
        item: 16,
        name: "storms of disk writes",
        outcome: Killed,
        attempts: &[
            Attempt("sync", |_| call!(SYS_sync)),
            Attempt("syncfs", |loot| call!(SYS_syncfs, loot.handed)),
            Attempt("fsync", |loot| call!(SYS_fsync, loot.handed)),
            Attempt("fdatasync", |loot| call!(SYS_fdatasync, loot.handed)),
        ],
    },
    Attack {
        item: 17,
        name: "give a handed file a name",
        outcome: Killed,
        attempts: &[
            Attempt("linkat AT_EMPTY_PATH", |loot| {
                call!(SYS_linkat, loot.handed, c"", AT_FDCWD, c"/x", AT_EMPTY_PATH)
            }),
            Attempt("symlinkat", |_| call!(SYS_symlinkat, c"/etc/shadow", AT_FDCWD, c"/x")),
            Attempt("renameat2", |_| call!(SYS_renameat2, AT_FDCWD, c"/x", AT_FDCWD, c"/y", 0)),
            Attempt("unlinkat", |_| call!(SYS_unlinkat, AT_FDCWD, c"/x", 0)),
            Attempt("mkdirat", |_| call!(SYS_mkdirat, AT_FDCWD, c"/x", 0o777)),
            Attempt("mknodat", |_| call!(SYS_mknodat, AT_FDCWD, c"/x", S_IFIFO | 0o666, 0)),
        ],
    },
    Attack {
        item: 18,
        name: "execute",
        outcome: Killed,
        attempts: &[
            Attempt("execve", |_| call!(SYS_execve, c"/bin/sh", 0, 0)),
            Attempt("execveat of a handed file", |loot| {
                call!(SYS_execveat, loot.handed, c"", 0, 0, AT_EMPTY_PATH)
            }),
            Attempt("memfd_create, then execveat", |_| memory_file_and_exec()),
            Attempt("memfd_secret", |_| call!(SYS_memfd_secret, 0)),
        ],
    },
    Attack {
        item: 29,
        name: "ioctl",
        outcome: Killed,
        attempts: &[
            Attempt("TIOCSTI", |_| call!(SYS_ioctl, 0, TIOCSTI, b"x")),
            Attempt("FIONREAD", |loot| call!(SYS_ioctl, loot.client, FIONREAD, &mut [0_i32])),
            Attempt("FS_IOC_SETFLAGS", |loot| call!(SYS_ioctl, loot.handed, 0x4008_6602_u64, &[0_u64])),
            Attempt("FICLONE", |loot| call!(SYS_ioctl, loot.handed, 0x4004_9409_u64, loot.handed)),
        ],
    },
    Attack {
        item: 51,
        name: "write to the standard descriptors, and find it again: they are /dev/null",
        outcome: Errno(&[ENODATA]),
        attempts: &[Attempt("1", |_| to_and_fro(1)), Attempt("2", |_| to_and_fro(2))],
    },
];
