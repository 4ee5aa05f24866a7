//! Deeds at the network, at other processes, and at the kernel.

use super::*;
use crate::Outcome::Killed;
use crate::call;
use libc::*;

/// struct sockaddr_in of 127.0.0.1.
fn address(port: u16) -> [u8; 16] {
    let [high, low] = port.to_be_bytes();
    let mut address = [2, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    address[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    address
}

fn tcp(nr: i64, port: u16) -> Answer {
    let socket = call!(SYS_socket, AF_INET, SOCK_STREAM, 0)?;
    let done = call!(nr, socket, &address(port), 16);
    let _ = call!(SYS_close, socket);
    done
}

/// Connects to the abstract name on which the test listens; as the supervisor's list allows it.
fn abstract_name(_: &Scene<'_>) -> Answer {
    let socket = call!(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)?;
    let mut address = [0_u8; 2 + 1 + ABSTRACT.len()];
    address[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
    address[3..].copy_from_slice(ABSTRACT);
    let done = call!(SYS_connect, socket, &address, address.len());
    let _ = call!(SYS_close, socket);
    done
}

fn fork(_: &Scene<'_>) -> Answer {
    match call!(SYS_clone, CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD, 0, 0, 0, 0)? {
        0 => {
            let _ = call!(SYS_exit_group, 0);
            Ok(0)
        }
        child => Ok(child),
    }
}

/// More than any heap has room for, in bytes.
const HUGE: u64 = 16 << 40;

/// In the order in which they are made.
pub(super) const DEEDS: &[Deed] = &[
    Deed {
        what: "connect by TCP",
        run: |scene| tcp(SYS_connect, scene.port),
        locked: &[(OUTER, Killed), (SERVANTS, Killed)],
        open: &[(SUPERVISORS, NO_ACCESS), (CHILDREN, NO_ACCESS)],
    },
    Deed {
        what: "listen by TCP",
        run: |_| tcp(SYS_bind, 0),
        locked: &[],
        open: &[(SUPERVISORS, NO_ACCESS), (CHILDREN, NO_ACCESS)],
    },
    Deed {
        what: "connect to an abstract name",
        run: abstract_name,
        locked: &[(OUTER, NO_PERMISSION), (SERVANTS, Killed)],
        open: &[(CHILDREN, NO_PERMISSION)],
    },
    Deed {
        what: "signal a process that is none of the service",
        run: |scene| call!(SYS_kill, scene.target, SIGTERM),
        locked: &[(OUTER, NO_PERMISSION), (SERVANTS, Killed)],
        open: &[(SERVANTS, NO_PERMISSION)],
    },
    Deed {
        what: "stop it",
        run: |scene| call!(SYS_kill, scene.target, SIGSTOP),
        locked: &[(SUPERVISORS, Killed)],
        open: &[],
    },
    Deed {
        what: "trace it",
        run: |scene| call!(SYS_ptrace, PTRACE_ATTACH, scene.target, 0, 0),
        locked: &[(&[Supervisor, Broker, Starting], Killed)],
        open: &[(SUPERVISORS, NO_PERMISSION), (&[Broker], NO_PERMISSION)],
    },
    Deed {
        what: "start a process",
        run: fork,
        locked: &[(SERVANTS, Killed)],
        open: &[(CHILDREN, Errno(&[EAGAIN]))],
    },
    Deed {
        what: "run a program",
        run: |_| call!(SYS_execve, c"/bin/true", 0, 0),
        locked: &[(OUTER, Killed), (SERVANTS, Killed)],
        // EAGAIN: a user who has more processes than his limit runs nothing.
        open: &[(SERVANTS, Errno(&[EACCES, EAGAIN])), (WORKERS, Errno(&[ENOENT, EAGAIN]))],
    },
    Deed {
        what: "become root",
        run: |_| call!(SYS_setresuid, 0, 0, 0),
        locked: &[(SERVANTS, Killed)],
        open: &[(CHILDREN, NO_PERMISSION)],
    },
    Deed {
        what: "take all memory",
        run: |_| {
            call!(
                SYS_mmap,
                0,
                HUGE,
                PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1,
                0
            )
        },
        locked: &[(SERVANTS, Killed)],
        open: &[(CHILDREN, Errno(&[ENOMEM]))],
    },
    Deed {
        what: "make memory executable",
        run: |_| {
            let memory = PROT_READ | PROT_WRITE | PROT_EXEC;
            call!(SYS_mmap, 0, 4096, memory, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        },
        locked: &[(OUTER, Killed), (SERVANTS, Killed)],
        open: &[],
    },
    Deed {
        what: "mount a file system",
        run: |scene| call!(SYS_mount, c"none", scene.folder, c"tmpfs", 0, 0),
        locked: &[(&[Supervisor, Broker, Starting], Killed)],
        open: &[(&[Supervisor], NO_PERMISSION), (BROKERS, NO_PERMISSION)],
    },
    Deed {
        what: "a filter of its own",
        run: |_| call!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0),
        locked: &[(&[Supervisor], Killed), (SERVANTS, Killed)],
        open: &[],
    },
];
