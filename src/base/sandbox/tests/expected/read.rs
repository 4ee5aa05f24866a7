//! What the processes of the read service, and the logger of both, may call.
//!
//! Written by hand, from what each process does. Nothing here is read from policy/seccomp.json: who changes the policy
//! changes this table as well, line by line, and the two must agree.

use super::Call;
use libc::*;

/// Starts and ends the others. Children inherit its filter, so it has what their set-up needs.
pub const SUPERVISOR: &[Call] = rules! {
    SYS_accept4: [3 int = SOCK_NONBLOCK | SOCK_CLOEXEC];
    SYS_access: any;
    SYS_arch_prctl: [0 int = 0x1002];
    SYS_brk: any;
    SYS_capget: any;
    SYS_capset: any;
    SYS_chdir: any;
    SYS_chroot: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_clock_nanosleep: [0 int = CLOCK_MONOTONIC, 1 int = 0];
    SYS_clone: [0 long = CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD];
    SYS_close: any;
    SYS_close_range: any;
    SYS_connect: any;
    SYS_dup2: any;
    SYS_dup3: any;
    SYS_epoll_create1: [0 int = EPOLL_CLOEXEC];
    SYS_epoll_ctl: [1 int = EPOLL_CTL_ADD] [1 int = EPOLL_CTL_MOD] [1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: any;
    SYS_execveat: [4 int = AT_EMPTY_PATH];
    SYS_exit_group: any;
    SYS_fchdir: any;
    SYS_fcntl:
        [1 int = F_GETFD]
        [1 int = F_SETFD]
        [1 int = F_GETFL]
        [1 int = F_SETFL]
        [1 int = F_DUPFD_CLOEXEC]
        [1 int = F_OFD_SETLK]
        [1 int = F_ADD_SEALS, 2 int = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE];
    SYS_flock: [1 int = LOCK_SH | LOCK_NB] [1 int = LOCK_UN];
    SYS_fstat: any;
    SYS_getdents64: any;
    SYS_geteuid: any;
    SYS_getpid: any;
    SYS_getppid: any;
    SYS_getrandom: any;
    SYS_getsockopt: [1 int = SOL_SOCKET, 2 int = SO_TYPE];
    SYS_gettid: any;
    SYS_getxattr: [2 long = 0, 3 long = 0];
    SYS_inotify_add_watch: any;
    SYS_inotify_init1: [0 int = IN_NONBLOCK | IN_CLOEXEC];
    SYS_kill: [1 int = SIGTERM] [1 int = SIGKILL];
    SYS_landlock_add_rule: [1 int = 1, 3 int = 0];
    SYS_landlock_create_ruleset: [2 int = 0] [2 int = 1];
    SYS_landlock_restrict_self: [1 int = 0];
    SYS_lseek: any;
    SYS_madvise: [2 int = MADV_DONTNEED] [2 int = MADV_COLLAPSE] [2 int = MADV_POPULATE_READ];
    SYS_memfd_create: [1 int = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL];
    SYS_mmap: [2 long & (PROT_EXEC) = 0] [2 long & (PROT_WRITE) = 0, 3 long & (MAP_ANONYMOUS) = 0];
    SYS_mprotect: [2 long & (PROT_EXEC) = 0];
    SYS_mremap: [3 long = MREMAP_MAYMOVE];
    SYS_munmap: any;
    SYS_newfstatat: any;
    SYS_openat: [2 int & (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND) = O_RDONLY];
    SYS_openat2: any;
    SYS_poll: any;
    SYS_prctl:
        [0 int = PR_SET_PDEATHSIG]
        [0 int = PR_GET_DUMPABLE]
        [0 int = PR_SET_DUMPABLE]
        [0 int = PR_SET_KEEPCAPS]
        [0 int = PR_SET_NAME]
        [0 int = PR_CAPBSET_READ]
        [0 int = PR_CAPBSET_DROP]
        [0 int = PR_SET_NO_NEW_PRIVS]
        [0 int = PR_CAP_AMBIENT, 1 long = PR_CAP_AMBIENT_CLEAR_ALL];
    SYS_pread64: any;
    SYS_prlimit64: [0 int = 0];
    SYS_read: any;
    SYS_readlink: any;
    SYS_readlinkat: any;
    SYS_recvfrom: [3 int & (MSG_OOB) = 0];
    SYS_recvmsg: [2 int & (MSG_CMSG_CLOEXEC | MSG_OOB) = MSG_CMSG_CLOEXEC];
    SYS_restart_syscall: any;
    SYS_rseq: any;
    SYS_rt_sigaction: any;
    SYS_rt_sigprocmask: any;
    SYS_rt_sigreturn: any;
    SYS_sched_getaffinity: any;
    SYS_seccomp: [0 int = SECCOMP_SET_MODE_FILTER, 1 int = SECCOMP_FILTER_FLAG_TSYNC];
    SYS_sendfile: any;
    SYS_sendmsg: [2 int & (MSG_NOSIGNAL | MSG_OOB) = MSG_NOSIGNAL];
    SYS_sendto: [3 int & (MSG_NOSIGNAL | MSG_OOB) = MSG_NOSIGNAL];
    SYS_set_robust_list: any;
    SYS_set_tid_address: any;
    SYS_setgroups: any;
    SYS_setresgid: any;
    SYS_setresuid: any;
    SYS_sigaltstack: any;
    SYS_signalfd4: [3 int = SFD_NONBLOCK | SFD_CLOEXEC];
    SYS_socket:
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0];
    SYS_socketpair:
        [0 int = AF_UNIX, 1 int = SOCK_SEQPACKET | SOCK_CLOEXEC, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0]
        [0 int = AF_UNIX, 1 int = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0];
    SYS_statx: any;
    SYS_tgkill: [2 int = SIGABRT];
    SYS_wait4: any;
    SYS_waitid: any;
    SYS_write: any;
};

/// Opens tables, copies them, accepts clients.
pub const BROKER: &[Call] = rules! {
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
    SYS_fcntl:
        [1 int = F_ADD_SEALS, 2 int = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE]
        [1 int = F_OFD_SETLK];
    SYS_flock: [1 int = LOCK_SH | LOCK_NB] [1 int = LOCK_UN];
    SYS_fstat: any;
    SYS_getsockopt: [1 int = SOL_SOCKET, 2 int = SO_TYPE];
    SYS_getxattr: [2 long = 0, 3 long = 0];
    SYS_memfd_create: [1 int = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL];
    SYS_openat2: any;
    SYS_read: any;
    SYS_readlinkat: any;
    SYS_recvfrom: [3 int = MSG_DONTWAIT | MSG_TRUNC, 4 long = 0];
    SYS_recvmsg:
        [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT]
        [0 int = 7, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_sendfile: any;
    SYS_sendmsg: [2 int = MSG_NOSIGNAL | MSG_DONTWAIT];
    SYS_socketpair: [0 int = AF_UNIX, 1 int = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 2 int = 0];
    SYS_write: any;
};

/// Receives lines, and sends them to one socket or to standard error.
pub const LOGGER: &[Call] = rules! {
    SYS_brk: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_close: any;
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: [0 int = 5];
    SYS_exit_group: [0 int = 0] [0 int = 1];
    SYS_recvfrom: [3 int = MSG_DONTWAIT | MSG_TRUNC, 4 long = 0];
    SYS_recvmsg: [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_sendto: [0 int = 4, 3 int = MSG_NOSIGNAL | MSG_DONTWAIT];
    SYS_write: [0 int = 2];
};

/// Reads requests of clients, and answers from mapped tables.
pub const LOOKUP: &[Call] = rules! {
    SYS_brk: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_close: any;
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: any;
    SYS_exit_group: [0 int = 0] [0 int = 1];
    SYS_fstat: any;
    SYS_madvise: [2 int = MADV_COLLAPSE] [2 int = MADV_POPULATE_READ];
    SYS_mmap:
        [2 long = PROT_READ, 3 long = MAP_SHARED | MAP_POPULATE]
        [2 long = PROT_READ, 3 long = MAP_SHARED]
        [2 long = PROT_READ | PROT_WRITE, 3 long = MAP_PRIVATE | MAP_ANONYMOUS];
    SYS_mremap: [3 long = MREMAP_MAYMOVE];
    SYS_munmap: any;
    SYS_read: any;
    SYS_recvmsg: [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_sendto: [3 int = MSG_NOSIGNAL | MSG_DONTWAIT, 4 long = 0];
    SYS_write: any;
};

/// Asks a server, and answers lookup workers.
pub const GATEWAY: &[Call] = rules! {
    SYS_brk: any;
    SYS_clock_gettime: [0 int = CLOCK_MONOTONIC] [0 int = CLOCK_REALTIME];
    SYS_close: any;
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: any;
    SYS_exit_group: [0 int = 0] [0 int = 1];
    SYS_fstat: any;
    SYS_mmap:
        [2 long = PROT_READ, 3 long = MAP_SHARED | MAP_POPULATE]
        [2 long = PROT_READ | PROT_WRITE, 3 long = MAP_PRIVATE | MAP_ANONYMOUS];
    SYS_mremap: [3 long = MREMAP_MAYMOVE];
    SYS_munmap: any;
    SYS_read: any;
    SYS_recvfrom: [3 int = MSG_DONTWAIT, 4 long = 0];
    SYS_recvmsg: [0 int = 3, 2 int = MSG_CMSG_CLOEXEC | MSG_DONTWAIT];
    SYS_sendto: [3 int = MSG_NOSIGNAL | MSG_DONTWAIT, 4 long = 0];
    SYS_write: any;
};
