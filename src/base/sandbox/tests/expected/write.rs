//! What the processes of the writing service may call.
//!
//! Written by hand, from what each process does. Nothing here is read from policy/seccomp.json: who changes the policy
//! changes this table as well, line by line, and the two must agree.

use super::Call;
use libc::*;

/// The calls of its supervisor in addition to those in the reading service; fcntl and socketpair replace the entries
/// there, because no two of its workers are connected.
pub const WRITE_SUPERVISOR: &[Call] = rules! {
    SYS_fchmod: any;
    SYS_fcntl:
        [1 int = F_GETFD]
        [1 int = F_SETFD]
        [1 int = F_GETFL]
        [1 int = F_SETFL]
        [1 int = F_DUPFD_CLOEXEC]
        [1 int = F_GETLK]
        [1 int = F_SETLK]
        [1 int = F_OFD_SETLK]
        [1 int = F_SETLEASE, 2 long = F_RDLCK]
        [1 int = F_GETLEASE]
        [1 int = F_ADD_SEALS, 2 int = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE];
    SYS_fdatasync: any;
    SYS_flock: [1 int = LOCK_EX | LOCK_NB] [1 int = LOCK_SH | LOCK_NB] [1 int = LOCK_UN];
    SYS_fsync: any;
    SYS_ftruncate: any;
    SYS_pwrite64: any;
    SYS_renameat: any;
    SYS_renameat2: any;
    SYS_socketpair:
        [0 int = AF_UNIX, 1 int = SOCK_SEQPACKET | SOCK_CLOEXEC, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0];
    SYS_unlinkat: any;
};

/// Opens, creates, renames and removes the files of tables, accepts clients.
pub const WRITE_BROKER: &[Call] = rules! {
    SYS_accept4: [3 int = SOCK_NONBLOCK | SOCK_CLOEXEC];
    SYS_brk: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_close: any;
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: [0 int = 5];
    SYS_exit_group: any;
    SYS_fchmod: [1 int & (0o7777 & !0o644) = 0];
    SYS_fcntl: [1 int = F_SETLEASE, 2 long = F_RDLCK] [1 int = F_GETLEASE];
    SYS_flock: [1 int = LOCK_EX | LOCK_NB] [1 int = LOCK_SH | LOCK_NB];
    SYS_fstat: any;
    SYS_fsync: any;
    SYS_getxattr: [2 long = 0, 3 long = 0];
    SYS_openat2: any;
    SYS_readlinkat: any;
    SYS_recvfrom: [3 int = MSG_DONTWAIT | MSG_TRUNC, 4 long = 0];
    SYS_recvmsg: [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_renameat: any;
    SYS_renameat2: [4 int = RENAME_NOREPLACE] [4 int = RENAME_EXCHANGE];
    SYS_sendmsg: [2 int = MSG_NOSIGNAL | MSG_DONTWAIT];
    SYS_unlinkat: [2 int = 0];
};

/// Reads requests of clients, and reads and writes the files that it was handed.
pub const WRITER: &[Call] = rules! {
    SYS_brk: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_clock_nanosleep: [0 int = CLOCK_MONOTONIC, 1 int = 0];
    SYS_close: any;
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: any;
    SYS_exit_group: [0 int = 0] [0 int = 1];
    SYS_fcntl:
        [1 int = F_GETFD]
        [1 int = F_SETFD]
        [1 int = F_GETFL]
        [1 int = F_DUPFD_CLOEXEC, 2 long = 6]
        [1 int = F_GETLK]
        [1 int = F_SETLK]
        [1 int = F_OFD_SETLK];
    SYS_fdatasync: any;
    SYS_flock: [1 int = LOCK_SH | LOCK_NB] [1 int = LOCK_UN];
    SYS_fstat: any;
    SYS_ftruncate: any;
    SYS_mmap:
        [2 long = PROT_READ, 3 long = MAP_SHARED | MAP_POPULATE]
        [2 long = PROT_READ, 3 long = MAP_SHARED]
        [2 long = PROT_READ | PROT_WRITE, 3 long = MAP_PRIVATE | MAP_ANONYMOUS];
    SYS_mremap: [3 long = MREMAP_MAYMOVE];
    SYS_munmap: any;
    SYS_pread64: any;
    SYS_pwrite64: any;
    SYS_read: any;
    SYS_recvmsg: [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_sendto: [3 int = MSG_NOSIGNAL | MSG_DONTWAIT, 4 long = 0];
    SYS_statx: [1 long = 0, 2 int = AT_EMPTY_PATH];
    SYS_write: any;
};
