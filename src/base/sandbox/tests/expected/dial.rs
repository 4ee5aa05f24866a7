//! What the dialer and its connectors may call.
//!
//! Written by hand, from what each process does. Nothing here is read from policy/seccomp.json: who changes the policy
//! changes this table as well, line by line, and the two must agree.

use super::Call;
use libc::*;

/// The bits of a descriptor's number that only the channel of a connector has.
const CHANNEL: c_int = 256;
/// The bits of a socket's type that select the type itself, not its initial flags.
const TYPE: c_int = !(SOCK_NONBLOCK | SOCK_CLOEXEC);

/// Has connections made. Connectors inherit its filter, so it has what they need.
pub const DIALER: &[Call] = rules! {
    SYS_access: any;
    SYS_bind: any;
    SYS_brk: any;
    SYS_clock_gettime:
        [0 int = CLOCK_MONOTONIC]
        [0 int = CLOCK_REALTIME];
    SYS_clone: [0 long = CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD];
    SYS_close: any;
    SYS_close_range: any;
    SYS_connect: any;
    SYS_dup3: [1 int = CHANNEL, 2 int = O_CLOEXEC];
    SYS_epoll_ctl:
        [0 int = 5, 1 int = EPOLL_CTL_ADD]
        [0 int = 5, 1 int = EPOLL_CTL_MOD]
        [0 int = 5, 1 int = EPOLL_CTL_DEL];
    SYS_epoll_wait: [0 int = 5];
    SYS_exit_group:
        [0 int = 0]
        [0 int = 1];
    SYS_fcntl:
        [1 int = F_GETFD]
        [1 int = F_SETFD]
        [1 int = F_GETFL];
    SYS_fstat: any;
    SYS_futex: [1 int = FUTEX_WAKE | FUTEX_PRIVATE_FLAG];
    SYS_getdents64: any;
    SYS_getpid: any;
    SYS_getppid: any;
    SYS_getsockname: any;
    SYS_getsockopt:
        [1 int = SOL_SOCKET]
        [1 int = SOL_NETLINK];
    SYS_ioctl:
        [1 int = FIONREAD]
        [1 int = SIOCGIFINDEX];
    SYS_kill: [1 int = SIGKILL];
    SYS_landlock_add_rule:
        [1 int = 1, 3 int = 0]
        [1 int = 2, 3 int = 0];
    SYS_landlock_create_ruleset:
        [2 int = 0]
        [2 int = 1];
    SYS_landlock_restrict_self: [1 int = 0];
    SYS_lseek: any;
    SYS_mmap:
        [2 long & PROT_EXEC = 0]
        [2 long & PROT_WRITE = 0, 3 long & MAP_ANONYMOUS = 0];
    SYS_mprotect: [2 long & PROT_EXEC = 0];
    SYS_munmap: any;
    SYS_newfstatat: any;
    SYS_openat: [2 int & (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND) = O_RDONLY];
    SYS_poll: any;
    SYS_ppoll: any;
    SYS_prctl:
        [0 int = PR_SET_PDEATHSIG]
        [0 int = PR_GET_DUMPABLE]
        [0 int = PR_SET_DUMPABLE]
        [0 int = PR_SET_NO_NEW_PRIVS];
    SYS_pread64: any;
    SYS_read: [0 int & CHANNEL = 0];
    SYS_recvfrom: [0 int & CHANNEL = 0, 3 int & MSG_OOB = 0];
    SYS_recvmsg: [0 int & CHANNEL = 0, 2 int & MSG_OOB = 0];
    SYS_rt_sigprocmask: any;
    SYS_seccomp: [0 int = SECCOMP_SET_MODE_FILTER, 1 int = SECCOMP_FILTER_FLAG_TSYNC];
    SYS_sendmmsg: [0 int & CHANNEL = 0];
    SYS_sendmsg: [2 int = MSG_NOSIGNAL | MSG_DONTWAIT];
    SYS_sendto: [0 int & CHANNEL = 0];
    SYS_set_robust_list: any;
    SYS_setsockopt:
        [1 int = SOL_IP, 2 int = IP_RECVERR]
        [1 int = SOL_IPV6, 2 int = IPV6_RECVERR]
        [1 int = SOL_NETLINK];
    SYS_socket:
        [0 int = AF_UNIX, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_UNIX, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_INET, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_INET, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_INET6, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_INET6, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_NETLINK, 1 int & TYPE = SOCK_RAW, 2 int = NETLINK_ROUTE];
    SYS_statx: any;
    SYS_uname: any;
    SYS_wait4: any;
    SYS_write: [0 int & CHANNEL = 0];
    SYS_writev: [0 int & CHANNEL = 0];
};

/// Resolves a name, connects, hands the connection over.
pub const CONNECTOR: &[Call] = rules! {
    SYS_access: any;
    SYS_bind: any;
    SYS_brk: any;
    SYS_clock_gettime:
        [0 int = CLOCK_MONOTONIC]
        [0 int = CLOCK_REALTIME];
    SYS_close: any;
    SYS_connect: any;
    SYS_exit_group:
        [0 int = 0]
        [0 int = 1];
    SYS_fcntl:
        [1 int = F_GETFD]
        [1 int = F_SETFD]
        [1 int = F_GETFL];
    SYS_fstat: any;
    SYS_futex: [1 int = FUTEX_WAKE | FUTEX_PRIVATE_FLAG];
    SYS_getpid: any;
    SYS_getsockname: any;
    SYS_getsockopt:
        [1 int = SOL_SOCKET]
        [1 int = SOL_NETLINK];
    SYS_ioctl:
        [1 int = FIONREAD]
        [1 int = SIOCGIFINDEX];
    SYS_lseek: any;
    SYS_mmap:
        [2 long & PROT_EXEC = 0]
        [2 long & PROT_WRITE = 0, 3 long & MAP_ANONYMOUS = 0];
    SYS_mprotect: [2 long & PROT_EXEC = 0];
    SYS_munmap: any;
    SYS_newfstatat: any;
    SYS_openat: [2 int & (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND) = O_RDONLY];
    SYS_poll: any;
    SYS_ppoll: any;
    SYS_read: [0 int & CHANNEL = 0];
    SYS_recvfrom: [0 int & CHANNEL = 0, 3 int & MSG_OOB = 0];
    SYS_recvmsg: [0 int & CHANNEL = 0, 2 int & MSG_OOB = 0];
    SYS_rt_sigprocmask: any;
    SYS_sendmmsg: [0 int & CHANNEL = 0];
    SYS_sendmsg: [0 int = CHANNEL, 2 int = MSG_NOSIGNAL | MSG_DONTWAIT];
    SYS_sendto: [0 int & CHANNEL = 0];
    SYS_setsockopt:
        [1 int = SOL_IP, 2 int = IP_RECVERR]
        [1 int = SOL_IPV6, 2 int = IPV6_RECVERR]
        [1 int = SOL_NETLINK];
    SYS_socket:
        [0 int = AF_UNIX, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_UNIX, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_INET, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_INET, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_INET6, 1 int & TYPE = SOCK_STREAM, 2 int = 0]
        [0 int = AF_INET6, 1 int & TYPE = SOCK_DGRAM, 2 int = 0]
        [0 int = AF_NETLINK, 1 int & TYPE = SOCK_RAW, 2 int = NETLINK_ROUTE];
    SYS_uname: any;
    SYS_write: [0 int & CHANNEL = 0];
    SYS_writev: [0 int & CHANNEL = 0];
};
