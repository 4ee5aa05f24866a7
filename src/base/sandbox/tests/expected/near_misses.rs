//! Calls that a role must die of although it may make others much like them, each with what it would give.

use libc::*;
use mapkeep_sandbox::Role;

/// Role, call, arguments from the first on (the others are 0), and what a hijacked process would gain.
pub type NearMiss = (Role, i64, &'static [u64], &'static str);

pub const NEAR_MISSES: &[NearMiss] = &[
    (Role::Logger, SYS_sendto, &[3, 0, 0, SEND, 0], "speaks to the supervisor"),
    (Role::Logger, SYS_sendto, &[6, 0, 0, SEND, 0], "speaks to a process whose lines it hears"),
    (Role::Logger, SYS_sendto, &[0, 0, 0, SEND, 0], "speaks on any socket that it comes by"),
    (Role::Logger, SYS_sendto, &[4, 0, 0, 0, 0], "waits for a log service that does not read"),
    (Role::Logger, SYS_write, &[1], "writes to another descriptor than standard error"),
    (Role::Logger, SYS_write, &[4], "writes to the log's socket without its form"),
    (Role::Logger, SYS_recvmsg, &[6, 0, RECEIVE], "takes descriptors from a process whose lines it hears"),
    (Role::Logger, SYS_exit_group, &[78], "ends the service as if its lock had been refused"),
    (Role::Lookup, SYS_exit_group, &[78], "ends the service as if its lock had been refused"),
    (Role::Lookup, SYS_recvmsg, &[6, 0, RECEIVE], "takes descriptors from a client"),
    (Role::Lookup, SYS_recvmsg, &[3, 0, MSG_DONTWAIT as u64], "keeps descriptors over an exec"),
    (Role::Lookup, SYS_sendto, &[6, 0, 0, SEND, 1], "names an address"),
    (Role::Lookup, SYS_mmap, &[0, 4096, EXECUTE, PRIVATE], "makes memory executable"),
    (Role::Lookup, SYS_mmap, &[0, 4096, CHANGE, MAP_SHARED as u64], "maps what it was handed for writing"),
    (Role::Lookup, SYS_mmap, &[0, 4096, CHANGE, PRIVATE | MAP_FIXED as u64], "maps over its own code"),
    (Role::Lookup, SYS_madvise, &[0, 4096, MADV_DONTNEED as u64], "throws memory away under the allocator"),
    (
        Role::Lookup,
        SYS_mremap,
        &[0, 4096, 4096, MREMAP_MAYMOVE as u64 | MREMAP_FIXED as u64],
        "moves over its code",
    ),
    (Role::Lookup, SYS_epoll_ctl, &[6, EPOLL_CTL_ADD as u64], "waits with another epoll descriptor"),
    (Role::Broker, SYS_recvmsg, &[6, 0, RECEIVE], "takes descriptors from a worker"),
    (Role::Broker, SYS_recvfrom, &[6, 0, 0, MSG_DONTWAIT as u64, 0], "misses that a message was longer"),
    (Role::Broker, SYS_flock, &[7, LOCK_EX as u64 | LOCK_NB as u64], "keeps writers away from a table"),
    (Role::Broker, SYS_flock, &[7, LOCK_SH as u64], "waits for a lock"),
    (Role::Broker, SYS_fcntl, &[7, F_OFD_SETLKW as u64], "waits for a lock"),
    (
        Role::Broker,
        SYS_fcntl,
        &[7, F_DUPFD_CLOEXEC as u64, 3],
        "puts a descriptor in the place of its channel",
    ),
    (Role::Broker, SYS_fcntl, &[7, F_ADD_SEALS as u64, F_SEAL_WRITE as u64], "seals half"),
    (
        Role::Broker,
        SYS_memfd_create,
        &[0, MFD_CLOEXEC as u64 | MFD_ALLOW_SEALING as u64],
        "may run its snapshot",
    ),
    (Role::Broker, SYS_sendmsg, &[6, 0, MSG_NOSIGNAL as u64], "waits for a worker"),
    (Role::Broker, SYS_socketpair, &[UNIX, STREAM, 0], "gives a worker a socket that waits"),
    (Role::Broker, SYS_socketpair, &[UNIX, CHANNEL, 0], "makes a channel like those of the supervisor"),
    (Role::Broker, SYS_socketpair, &[AF_INET as u64, PAIR, 0], "reaches the network code"),
    (Role::Broker, SYS_socketpair, &[AF_TIPC as u64, PAIR, 0], "reaches code of a protocol for clusters"),
    (Role::Broker, SYS_socket, &[UNIX, PAIR, 0], "makes a socket that can be connected"),
    (Role::WriteBroker, SYS_socketpair, &[UNIX, PAIR, 0], "makes a way that nobody needs"),
    (Role::Lookup, SYS_socketpair, &[UNIX, PAIR, 0], "makes a way of its own"),
    (Role::Broker, SYS_getxattr, &[0, 0, 4096, 64], "reads what an attribute of any file holds"),
    (Role::WriteBroker, SYS_getxattr, &[0, 0, 4096, 64], "reads what an attribute of any file holds"),
    (Role::WriteBroker, SYS_fchmod, &[7, 0o666], "lets everybody write a table"),
    (Role::WriteBroker, SYS_fchmod, &[7, 0o664], "lets a group write a table"),
    (Role::WriteBroker, SYS_fchmod, &[7, 0o755], "makes a program"),
    (Role::WriteBroker, SYS_fchmod, &[7, 0o4644], "makes a set-user-id file"),
    (Role::WriteBroker, SYS_fchmod, &[7, 0o2644], "makes a set-group-id file"),
    (Role::WriteBroker, SYS_flock, &[7, LOCK_EX as u64], "waits for a lock"),
    (Role::WriteBroker, SYS_flock, &[7, LOCK_SH as u64], "waits for a lock"),
    (
        Role::WriteBroker,
        SYS_fcntl,
        &[7, F_SETLEASE as u64, F_WRLCK as u64],
        "keeps readers away from a table",
    ),
    (Role::WriteBroker, SYS_fcntl, &[7, F_SETOWN as u64, 1], "has another process signalled"),
    (
        Role::WriteBroker,
        SYS_fcntl,
        &[7, F_DUPFD_CLOEXEC as u64, 3],
        "puts a client in the place of its channel",
    ),
    (Role::WriteBroker, SYS_fcntl, &[7, F_SETFL as u64], "makes a client's socket block"),
    (Role::WriteBroker, SYS_renameat2, &[5, 0, 5, 0, 0], "writes over a name unseen"),
    (Role::WriteBroker, SYS_renameat2, &[5, 0, 5, 0, RENAME_WHITEOUT as u64], "leaves a device behind"),
    (Role::WriteBroker, SYS_renameat2, &[5, 0, 5, 0, 3], "asks for both at once"),
    (Role::WriteBroker, SYS_unlinkat, &[5, 0, AT_REMOVEDIR as u64], "removes a directory"),
    (Role::WriteBroker, SYS_recvmsg, &[6, 0, RECEIVE], "takes descriptors from the writer"),
    (Role::Writer, SYS_exit_group, &[78], "ends the service as if its lock had been refused"),
    (Role::Writer, SYS_recvmsg, &[6, 0, RECEIVE], "takes descriptors from a client"),
    (Role::Writer, SYS_sendto, &[6, 0, 0, SEND, 1], "names an address"),
    (Role::Writer, SYS_fcntl, &[6, F_SETFL as u64], "makes a client's socket block"),
    (Role::Writer, SYS_fcntl, &[6, F_SETLKW as u64], "waits for a lock"),
    (Role::Writer, SYS_fcntl, &[6, F_OFD_SETLKW as u64], "waits for a lock"),
    (Role::Writer, SYS_fcntl, &[6, F_DUPFD as u64, 6], "keeps a descriptor over an exec"),
    (Role::Writer, SYS_fcntl, &[6, F_DUPFD_CLOEXEC as u64, 0], "puts a client in the place of its channel"),
    (Role::Writer, SYS_fcntl, &[6, F_DUPFD_CLOEXEC as u64, 3], "puts a client in the place of its channel"),
    (Role::Writer, SYS_fcntl, &[6, F_DUPFD_CLOEXEC as u64, 5], "puts a client in the place of its epoll"),
    (Role::Writer, SYS_flock, &[6, LOCK_EX as u64], "waits for a lock"),
    (Role::Writer, SYS_mmap, &[0, 4096, CHANGE, MAP_SHARED as u64], "maps a table for writing"),
    (Role::Writer, SYS_mmap, &[0, 4096, EXECUTE, PRIVATE], "makes memory executable"),
    (Role::Writer, SYS_statx, &[AT_FDCWD as u64, 1, 0], "looks a path up"),
    (
        Role::Writer,
        SYS_clock_nanosleep,
        &[CLOCK_MONOTONIC as u64, TIMER_ABSTIME as u64],
        "sleeps until a moment",
    ),
    (Role::Supervisor, SYS_socket, &[AF_INET as u64, STREAM, 0], "speaks to the network"),
    (Role::Supervisor, SYS_socket, &[AF_INET6 as u64, STREAM, 0], "speaks to the network"),
    (Role::Supervisor, SYS_socket, &[AF_UNIX as u64, STREAM, 0], "connects to a service of this machine"),
    (Role::Supervisor, SYS_socket, &[AF_NETLINK as u64, DATAGRAM, 0], "configures the network"),
    (Role::Supervisor, SYS_openat, &[AT_FDCWD as u64, 0, O_RDWR as u64], "writes a file"),
    (Role::Supervisor, SYS_openat, &[AT_FDCWD as u64, 0, O_CREAT as u64], "makes a file"),
    (Role::Supervisor, SYS_openat, &[AT_FDCWD as u64, 0, O_TRUNC as u64], "empties a file"),
    (Role::Supervisor, SYS_execveat, &[AT_FDCWD as u64, 0, 0, 0, 0], "runs a program by its name"),
    (Role::Supervisor, SYS_clone, &[CLONE_NEWUSER as u64 | SIGCHLD as u64], "makes a name space"),
    (
        Role::Supervisor,
        SYS_clone,
        &[CLONE_VM as u64 | CLONE_THREAD as u64 | CLONE_SIGHAND as u64],
        "makes a thread",
    ),
    (Role::Supervisor, SYS_prlimit64, &[1], "changes the limits of another process"),
    (Role::Supervisor, SYS_prctl, &[PR_SET_SECCOMP as u64], "sets a filter by another way"),
    (
        Role::Supervisor,
        SYS_prctl,
        &[PR_CAP_AMBIENT as u64, PR_CAP_AMBIENT_RAISE as u64],
        "hands on a capability",
    ),
    (Role::Supervisor, SYS_mprotect, &[0, 4096, EXECUTE], "makes memory executable"),
    (Role::Supervisor, SYS_mmap, &[0, 4096, EXECUTE, PRIVATE], "makes memory executable"),
    (Role::Supervisor, SYS_kill, &[0x3fff_ffff, SIGSTOP as u64], "stops a process without a word"),
    (Role::Supervisor, SYS_fcntl, &[7, F_SETLKW as u64], "waits for a lock"),
    (Role::Supervisor, SYS_fcntl, &[7, F_SETOWN as u64, 1], "has another process signalled"),
    (Role::WriteSupervisor, SYS_openat, &[AT_FDCWD as u64, 0, O_RDWR as u64], "writes a file past openat2"),
    (Role::WriteSupervisor, SYS_fcntl, &[7, F_SETLKW as u64], "waits for a lock"),
    (Role::WriteSupervisor, SYS_socket, &[AF_INET as u64, STREAM, 0], "speaks to the network"),
];

const SEND: u64 = (MSG_NOSIGNAL | MSG_DONTWAIT) as u64;
const RECEIVE: u64 = (MSG_CMSG_CLOEXEC | MSG_DONTWAIT) as u64;
const CHANGE: u64 = (PROT_READ | PROT_WRITE) as u64;
const EXECUTE: u64 = (PROT_READ | PROT_WRITE | PROT_EXEC) as u64;
const PRIVATE: u64 = (MAP_PRIVATE | MAP_ANONYMOUS) as u64;
const STREAM: u64 = (SOCK_STREAM | SOCK_CLOEXEC) as u64;
const UNIX: u64 = AF_UNIX as u64;
const PAIR: u64 = (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) as u64;
const CHANNEL: u64 = (SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK) as u64;
const DATAGRAM: u64 = (SOCK_DGRAM | SOCK_CLOEXEC) as u64;
