//! What hijacked processes of every kind try, and how each attempt must end: under the whole lock of the product, and
//! where its filters let everything through.
//!
//! To add one: an entry in `DEEDS`. Beside the folder of the scene is `elsewhere`, where everybody may make files, with a file
//! that everybody may write.

use crate::Outcome::{self, Allowed, Dismissed, Errno, Killed};
use crate::{Answer, call};
use Process::{Broker, Logger, Lookup, Starting, Supervisor, WriteBroker, WriteSupervisor, Writer};
use libc::*;
use std::ffi::{CStr, CString};

/// A process of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Process {
    /// The supervisor of the read service.
    Supervisor = 1,
    /// That of the writing service.
    WriteSupervisor,
    /// The broker.
    Broker,
    /// That of the writing service.
    WriteBroker,
    /// The logger.
    Logger,
    /// A lookup worker.
    Lookup,
    /// The writer.
    Writer,
    /// A lookup worker before its lock, when it has that of the supervisor and is root.
    Starting,
}

/// What a hijacked process has to work with.
#[derive(Debug)]
pub struct Scene<'s> {
    /// The directory of the service.
    pub folder: &'s CStr,
    /// A process of root's that is none of the service.
    pub target: i32,
    /// A TCP port of this machine on which somebody listens.
    pub port: u16,
}

impl Scene<'_> {
    fn path(&self, name: &str) -> CString {
        CString::new(format!("{}/{name}", self.folder.to_string_lossy())).unwrap_or_default()
    }
}

/// Something to try. Who tries it, and how that must end, with the product's filters and with open ones.
#[derive(Debug)]
pub struct Deed {
    /// What is tried.
    pub what: &'static str,
    /// Tries it.
    pub run: fn(&Scene<'_>) -> Answer,
    /// Under the whole lock.
    pub locked: &'static [(Process, Outcome)],
    /// Where filters let everything through.
    pub open: &'static [(Process, Outcome)],
}

const NO_ACCESS: Outcome = Errno(&[EACCES]);
const NO_PERMISSION: Outcome = Errno(&[EPERM]);
const NOT_THERE: Outcome = Errno(&[ENOENT]);

fn open(path: &CStr, flags: i32) -> Answer {
    let how = [flags as u64, if flags & O_CREAT != 0 { 0o600 } else { 0 }, 0];
    call!(SYS_openat2, AT_FDCWD, path, &how, 24)
}

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

/// The abstract name on which the test listens.
pub const ABSTRACT: &[u8; 17] = b"mapkeep-hijacking";

fn fork(_: &Scene<'_>) -> Answer {
    match call!(SYS_clone, CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD, 0, 0, 0, 0)? {
        0 => {
            let _ = call!(SYS_exit_group, 0);
            Ok(0)
        }
        child => Ok(child),
    }
}

/// Says the same to the supervisor again and again, as a broker says it; it may be busy, but not for ever.
fn insist(message: &[u8]) -> Answer {
    let part = [message.as_ptr() as u64, message.len() as u64];
    // struct msghdr: no address, one part, no descriptors, no flags.
    let header = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
    let flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    for _ in 0..100_000_000 {
        match call!(SYS_sendmsg, 3, &header, flags) {
            Ok(_) | Err(EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(0)
}

/// Opens a device and asks for something that only its driver knows.
fn device(_: &Scene<'_>) -> Answer {
    let null = call!(SYS_openat, AT_FDCWD, c"/dev/null", O_RDONLY | O_CLOEXEC)?;
    let done = call!(SYS_ioctl, null, TCGETS as i64, &mut [0_u64; 8]);
    let _ = call!(SYS_close, null);
    done
}

/// More than any heap has room for, in bytes.
const HUGE: u64 = 16 << 40;

/// Attempts of all processes, in the order in which they are made.
pub const DEEDS: &[Deed] = &[
    Deed {
        what: "write a file outside of the tables' directories",
        run: |scene| open(&scene.path("../elsewhere/outside"), O_RDWR),
        locked: &[
            (Supervisor, NO_ACCESS),
            (WriteSupervisor, NO_ACCESS),
            (Broker, NO_ACCESS),
            (WriteBroker, NO_ACCESS),
            (Starting, NO_ACCESS),
            (Logger, Killed),
            (Lookup, Killed),
            (Writer, Killed),
        ],
        open: &[(Logger, NO_ACCESS), (Lookup, NOT_THERE), (Writer, NOT_THERE)],
    },
    Deed {
        what: "make a file outside",
        run: |scene| open(&scene.path("../elsewhere/new"), O_RDWR | O_CREAT | O_EXCL),
        locked: &[
            (Supervisor, NO_ACCESS),
            (WriteSupervisor, NO_ACCESS),
            (Broker, NO_ACCESS),
            (WriteBroker, NO_ACCESS),
            (Starting, NO_ACCESS),
        ],
        open: &[(Logger, NO_ACCESS)],
    },
    Deed {
        what: "read a file outside",
        run: |scene| open(&scene.path("../elsewhere/outside"), O_RDONLY),
        locked: &[(Broker, NO_ACCESS), (WriteBroker, NO_ACCESS), (Supervisor, Allowed)],
        open: &[(Logger, NO_ACCESS)],
    },
    Deed {
        what: "read /etc/shadow",
        run: |_| open(c"/etc/shadow", O_RDONLY),
        // The broker of the read service has /etc, for the tables of accounts.
        locked: &[(WriteBroker, NO_ACCESS)],
        open: &[(Logger, NO_ACCESS), (Lookup, NOT_THERE), (Writer, NOT_THERE)],
    },
    Deed {
        what: "write a table of the read service",
        run: |scene| open(&scene.path("text"), O_RDWR),
        locked: &[(Broker, NO_ACCESS), (Supervisor, NO_ACCESS), (WriteSupervisor, NO_ACCESS)],
        open: &[],
    },
    Deed {
        what: "read a table of the read service",
        run: |scene| open(&scene.path("text"), O_RDONLY),
        locked: &[(Broker, Allowed)],
        open: &[],
    },
    Deed {
        what: "make a file beside the tables of the writing service",
        run: |scene| open(&scene.path("data/victim.db.mapkeep-new"), O_RDWR | O_CREAT),
        locked: &[(WriteBroker, Allowed)],
        open: &[],
    },
    Deed {
        what: "make a link beside the tables",
        run: |scene| call!(SYS_symlink, c"/etc/shadow", scene.path("data/victim.db.corrupt-1").as_c_str()),
        locked: &[(WriteBroker, Killed)],
        open: &[(WriteBroker, NO_ACCESS)],
    },
    Deed {
        what: "make a FIFO beside the tables",
        run: |scene| call!(SYS_mknod, scene.path("data/victim.db.corrupt-2").as_c_str(), S_IFIFO | 0o600, 0),
        locked: &[(WriteBroker, Killed)],
        open: &[(WriteBroker, NO_ACCESS)],
    },
    Deed {
        what: "cut a file outside by its path",
        run: |scene| call!(SYS_truncate, scene.path("../elsewhere/outside").as_c_str(), 0),
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed)],
        open: &[
            (Supervisor, NO_ACCESS),
            (WriteSupervisor, NO_ACCESS),
            (Broker, NO_ACCESS),
            (WriteBroker, NO_ACCESS),
            (Logger, NO_ACCESS),
        ],
    },
    Deed {
        what: "ask a device's driver",
        run: device,
        locked: &[(Supervisor, Killed), (Starting, Killed)],
        open: &[(Supervisor, NO_ACCESS), (WriteSupervisor, NO_ACCESS)],
    },
    Deed {
        what: "connect by TCP",
        run: |scene| tcp(SYS_connect, scene.port),
        locked: &[
            (Supervisor, Killed),
            (WriteSupervisor, Killed),
            (Broker, Killed),
            (WriteBroker, Killed),
            (Logger, Killed),
            (Starting, Killed),
        ],
        open: &[
            (Supervisor, NO_ACCESS),
            (WriteSupervisor, NO_ACCESS),
            (Broker, NO_ACCESS),
            (WriteBroker, NO_ACCESS),
            (Logger, NO_ACCESS),
            (Lookup, NO_ACCESS),
            (Writer, NO_ACCESS),
        ],
    },
    Deed {
        what: "listen by TCP",
        run: |_| tcp(SYS_bind, 0),
        locked: &[],
        open: &[
            (Supervisor, NO_ACCESS),
            (WriteSupervisor, NO_ACCESS),
            (Broker, NO_ACCESS),
            (WriteBroker, NO_ACCESS),
            (Logger, NO_ACCESS),
            (Lookup, NO_ACCESS),
            (Writer, NO_ACCESS),
        ],
    },
    Deed {
        what: "connect to an abstract name",
        run: abstract_name,
        locked: &[
            (Supervisor, NO_PERMISSION),
            (WriteSupervisor, NO_PERMISSION),
            (Starting, NO_PERMISSION),
            (Broker, Killed),
            (WriteBroker, Killed),
            (Logger, Killed),
        ],
        open: &[
            (Broker, NO_PERMISSION),
            (WriteBroker, NO_PERMISSION),
            (Logger, NO_PERMISSION),
            (Lookup, NO_PERMISSION),
            (Writer, NO_PERMISSION),
        ],
    },
    Deed {
        what: "signal a process that is none of the service",
        run: |scene| call!(SYS_kill, scene.target, SIGTERM),
        locked: &[
            (Supervisor, NO_PERMISSION),
            (WriteSupervisor, NO_PERMISSION),
            (Starting, NO_PERMISSION),
            (Broker, Killed),
            (WriteBroker, Killed),
            (Logger, Killed),
        ],
        open: &[(Broker, NO_PERMISSION), (WriteBroker, NO_PERMISSION), (Logger, NO_PERMISSION)],
    },
    Deed {
        what: "stop it",
        run: |scene| call!(SYS_kill, scene.target, SIGSTOP),
        locked: &[(Supervisor, Killed), (WriteSupervisor, Killed)],
        open: &[],
    },
    Deed {
        what: "trace it",
        run: |scene| call!(SYS_ptrace, PTRACE_ATTACH, scene.target, 0, 0),
        locked: &[(Supervisor, Killed), (Broker, Killed), (Starting, Killed)],
        open: &[(Supervisor, NO_PERMISSION), (WriteSupervisor, NO_PERMISSION), (Broker, NO_PERMISSION)],
    },
    Deed {
        what: "start a process",
        run: fork,
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed)],
        open: &[
            (Broker, Errno(&[EAGAIN])),
            (WriteBroker, Errno(&[EAGAIN])),
            (Logger, Errno(&[EAGAIN])),
            (Lookup, Errno(&[EAGAIN])),
            (Writer, Errno(&[EAGAIN])),
        ],
    },
    Deed {
        what: "run a program",
        run: |_| call!(SYS_execve, c"/bin/true", 0, 0),
        locked: &[
            (Supervisor, Killed),
            (WriteSupervisor, Killed),
            (Broker, Killed),
            (WriteBroker, Killed),
            (Logger, Killed),
            (Starting, Killed),
        ],
        open: &[
            // EAGAIN: a user who has more processes than his limit runs nothing.
            (Broker, Errno(&[EACCES, EAGAIN])),
            (WriteBroker, Errno(&[EACCES, EAGAIN])),
            (Logger, Errno(&[EACCES, EAGAIN])),
            (Lookup, Errno(&[ENOENT, EAGAIN])),
            (Writer, Errno(&[ENOENT, EAGAIN])),
        ],
    },
    Deed {
        what: "become root",
        run: |_| call!(SYS_setresuid, 0, 0, 0),
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed)],
        open: &[
            (Broker, NO_PERMISSION),
            (WriteBroker, NO_PERMISSION),
            (Logger, NO_PERMISSION),
            (Lookup, NO_PERMISSION),
            (Writer, NO_PERMISSION),
        ],
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
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed)],
        open: &[
            (Broker, Errno(&[ENOMEM])),
            (WriteBroker, Errno(&[ENOMEM])),
            (Logger, Errno(&[ENOMEM])),
            (Lookup, Errno(&[ENOMEM])),
            (Writer, Errno(&[ENOMEM])),
        ],
    },
    Deed {
        what: "make memory executable",
        run: |_| {
            let memory = PROT_READ | PROT_WRITE | PROT_EXEC;
            call!(SYS_mmap, 0, 4096, memory, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        },
        locked: &[
            (Supervisor, Killed),
            (WriteSupervisor, Killed),
            (Broker, Killed),
            (WriteBroker, Killed),
            (Logger, Killed),
            (Starting, Killed),
        ],
        open: &[],
    },
    Deed {
        what: "mount a file system",
        run: |scene| call!(SYS_mount, c"none", scene.folder, c"tmpfs", 0, 0),
        locked: &[(Supervisor, Killed), (Broker, Killed), (Starting, Killed)],
        open: &[(Supervisor, NO_PERMISSION), (Broker, NO_PERMISSION), (WriteBroker, NO_PERMISSION)],
    },
    Deed {
        what: "a filter of its own",
        run: |_| call!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0),
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed), (Supervisor, Killed)],
        open: &[],
    },
    Deed {
        what: "speak to the supervisor as the logger",
        run: |_| call!(SYS_sendto, 3, b"\0x", 2, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0),
        locked: &[(Logger, Killed)],
        open: &[],
    },
    Deed {
        what: "take descriptors from another channel than that of the supervisor",
        run: |_| call!(SYS_recvmsg, 6, &[0_u64; 7], MSG_CMSG_CLOEXEC | MSG_DONTWAIT),
        locked: &[(Broker, Killed), (WriteBroker, Killed), (Logger, Killed)],
        open: &[],
    },
    Deed {
        what: "have workers started without end",
        run: |_| insist(&[2, 0, 0]),
        locked: &[
            (Broker, Dismissed("the broker asks for more workers than it may have")),
            (WriteBroker, Dismissed("the broker asks for more workers than it may have")),
        ],
        open: &[],
    },
    Deed {
        what: "be ready again and again",
        run: |_| insist(&[1]),
        locked: &[
            (Broker, Dismissed("the broker is ready twice")),
            (WriteBroker, Dismissed("the broker is ready twice")),
        ],
        open: &[],
    },
    Deed {
        what: "lock a table against its writers",
        run: |scene| {
            let table = open(&scene.path("text"), O_RDONLY)?;
            call!(SYS_flock, table, LOCK_EX | LOCK_NB)
        },
        locked: &[(Broker, Killed)],
        open: &[],
    },
    Deed {
        what: "give a table away by its mode",
        run: |scene| {
            let table = open(&scene.path("data/victim.db.mapkeep-new"), O_RDWR | O_CREAT)?;
            call!(SYS_fchmod, table, 0o666)
        },
        locked: &[(WriteBroker, Killed)],
        open: &[],
    },
    Deed {
        what: "make a set-user-id file of a table",
        run: |scene| {
            let table = open(&scene.path("data/victim.db.mapkeep-new"), O_RDWR | O_CREAT)?;
            call!(SYS_fchmod, table, 0o4644)
        },
        locked: &[(WriteBroker, Killed)],
        open: &[],
    },
    Deed {
        what: "rename over a table unseen",
        run: |scene| {
            let [from, to] = ["data/victim.db.mapkeep-new", "data/answers.db"].map(|name| scene.path(name));
            call!(SYS_renameat2, AT_FDCWD, from.as_c_str(), AT_FDCWD, to.as_c_str(), 0)
        },
        locked: &[(WriteBroker, Killed)],
        open: &[],
    },
    Deed {
        what: "remove a directory",
        run: |scene| call!(SYS_unlinkat, AT_FDCWD, scene.path("data").as_c_str(), AT_REMOVEDIR),
        locked: &[(WriteBroker, Killed)],
        open: &[],
    },
    Deed {
        what: "rename a table out of its directory",
        run: |scene| {
            let [from, to] =
                ["data/victim.db.mapkeep-new", "../elsewhere/victim.db"].map(|name| scene.path(name));
            call!(SYS_renameat2, AT_FDCWD, from.as_c_str(), AT_FDCWD, to.as_c_str(), RENAME_NOREPLACE)
        },
        locked: &[(WriteBroker, Errno(&[EACCES, EXDEV]))],
        open: &[],
    },
];
