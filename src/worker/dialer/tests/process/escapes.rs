//! What a hijacked connector and a hijacked dialer try, and how each deed must end.

use crate::dialer::{Broker, Came, Dialer, tcp};
use crate::hijack::{Answer, system_call as call};
use crate::network::server;
use libc::*;
use mapkeep_proto::Host;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How a deed must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It succeeds: what the process is for, or what it may do with the reason at the deed.
    Done,
    /// The call comes back with this error number.
    Failed(i32),
    /// The kernel ends the process with SIGSYS at the call.
    Killed,
}
use End::{Done, Failed, Killed};

/// Something to try, and how it must end in a connector, and in the dialer.
pub struct Deed {
    pub what: &'static str,
    pub run: fn() -> Answer,
    pub connector: End,
    pub dialer: End,
}

/// The port of somebody who listens, and that the wish names; another one on which somebody listens.
const NAMED: u16 = 4211;
const OTHER: u16 = 4212;
/// Everybody may read this file and make files beside it.
const TABLE: &str = "/run/mapkeep-dialer-escapes/table";

fn open(path: &str, flags: i32) -> Answer {
    let path = CString::new(path).unwrap_or_default();
    call!(SYS_openat, AT_FDCWD, path.as_c_str(), flags | O_CLOEXEC, 0o600)
}

/// struct sockaddr_in of 127.0.0.1.
fn address(port: u16) -> [u8; 16] {
    let ([family, _], [high, low]) = ((AF_INET as u16).to_ne_bytes(), port.to_be_bytes());
    [family, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn at_tcp(nr: i64, port: u16) -> Answer {
    let socket = call!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?;
    call!(nr, socket, &address(port), 16)
}

/// struct sockaddr_un of a path, or of an abstract name where that begins with a zero byte.
fn at_unix(nr: i64, name: &str) -> Answer {
    let socket = call!(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)?;
    let mut address = [0_u8; 110];
    address.iter_mut().zip((AF_UNIX as u16).to_ne_bytes()).for_each(|(to, from)| *to = from);
    address.iter_mut().skip(2).zip(name.bytes()).for_each(|(to, from)| *to = from);
    call!(nr, socket, &address, 2 + name.len())
}

fn parent() -> i64 {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|text| text.split(' ').nth(3)?.parse().ok())
        .unwrap_or(1)
}

const WRITE_AND_RUN: i32 = PROT_READ | PROT_WRITE | PROT_EXEC;

const fn deed(what: &'static str, run: fn() -> Answer, connector: End, dialer: End) -> Deed {
    Deed { what, run, connector, dialer }
}

/// All of them.
pub fn deeds() -> &'static [Deed] {
    const DEEDS: &[Deed] = &[
        // That the harness can tell, and what each may.
        deed("connect where it is to", || at_tcp(SYS_connect, NAMED), Done, Done),
        deed("read a file of the name service", || open("/etc/hosts", O_RDONLY), Done, Done),
        // The dialer may read what its account may: it hears nobody but the broker, which reads more.
        deed("read a file that everybody may read", || open(TABLE, O_RDONLY), Failed(EACCES), Done),
        deed("read /etc/shadow", || open("/etc/shadow", O_RDONLY), Failed(EACCES), Failed(EACCES)),
        deed("read the status of its parent", || open("/proc/1/status", O_RDONLY), Failed(EACCES), Done),
        deed("read the memory of init", || open("/proc/1/mem", O_RDONLY), Failed(EACCES), Failed(EACCES)),
        // It has to let connectors through, whose ports it does not know when it starts.
        deed("connect to another TCP port", || at_tcp(SYS_connect, OTHER), Failed(EACCES), Done),
        deed("bind a TCP port", || at_tcp(SYS_bind, 4213), Failed(EACCES), Failed(EACCES)),
        deed("listen", || call!(SYS_listen, 3, 5), Killed, Killed),
        deed("accept", || call!(SYS_accept4, 3, 0, 0, 0), Killed, Killed),
        deed(
            "connect to an abstract name",
            || at_unix(SYS_connect, "\0mapkeep-dialer-escapes"),
            Failed(EPERM),
            Failed(EPERM),
        ),
        deed(
            "make a socket in a directory that everybody may write",
            || at_unix(SYS_bind, "/run/mapkeep-dialer-escapes/socket"),
            Failed(EACCES),
            Failed(EACCES),
        ),
        deed("open a raw socket", || call!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP), Killed, Killed),
        deed("open a packet socket", || call!(SYS_socket, AF_PACKET, SOCK_RAW, 0), Killed, Killed),
        deed(
            "open another netlink",
            || call!(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER),
            Killed,
            Killed,
        ),
        deed(
            "speak another protocol",
            || call!(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP),
            Killed,
            Killed,
        ),
        deed(
            "make a pair of sockets",
            || call!(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, &[0_i32; 2]),
            Killed,
            Killed,
        ),
        deed("write a file", || open(TABLE, O_RDWR), Killed, Killed),
        deed("make a file", || open("/run/mapkeep-dialer-escapes/new", O_WRONLY | O_CREAT), Killed, Killed),
        deed(
            "make a file by openat2",
            || call!(SYS_openat2, AT_FDCWD, c"/tmp/x", &[0_u64; 3], 24),
            Killed,
            Killed,
        ),
        deed("remove a file", || call!(SYS_unlink, c"/run/mapkeep-dialer-escapes/table"), Killed, Killed),
        deed(
            "make a link",
            || call!(SYS_symlink, c"/etc", c"/run/mapkeep-dialer-escapes/link"),
            Killed,
            Killed,
        ),
        deed("run a program", || call!(SYS_execve, c"/bin/true", 0, 0), Killed, Killed),
        deed(
            "run a program by its descriptor",
            || call!(SYS_execveat, 3, c"", 0, 0, AT_EMPTY_PATH),
            Killed,
            Killed,
        ),
        deed(
            "make a thread",
            || call!(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0),
            Killed,
            Killed,
        ),
        deed("make a user namespace", || call!(SYS_unshare, CLONE_NEWUSER), Killed, Killed),
        deed("fork by another call", || call!(SYS_vfork), Killed, Killed),
        deed("end init", || call!(SYS_kill, 1, SIGTERM), Killed, Killed),
        deed("kill init", || call!(SYS_kill, 1, SIGKILL), Killed, Failed(EPERM)),
        deed("kill whoever started it", || call!(SYS_kill, parent(), SIGKILL), Killed, Failed(EPERM)),
        deed("trace it", || call!(SYS_ptrace, PTRACE_ATTACH, parent(), 0, 0), Killed, Killed),
        deed("read its memory", || call!(SYS_process_vm_readv, parent(), 0, 0, 0, 0, 0), Killed, Killed),
        deed("become root", || call!(SYS_setresuid, 0, 0, 0), Killed, Killed),
        deed("mount", || call!(SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0), Killed, Killed),
        deed("load a program into the kernel", || call!(SYS_bpf, 5, 0, 0), Killed, Killed),
        deed(
            "make memory that it can write and run",
            || call!(SYS_mmap, 0, 4096, WRITE_AND_RUN, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            Killed,
            Killed,
        ),
        deed(
            "make memory executable",
            || call!(SYS_mprotect, 4096, 4096, PROT_READ | PROT_EXEC),
            Killed,
            Killed,
        ),
        deed("ask a device's driver", || call!(SYS_ioctl, 0, TCGETS as i64, 0), Killed, Killed),
        deed("a ring of requests", || call!(SYS_io_uring_setup, 1, 0), Killed, Killed),
        // What the dialer has for its forks, its forks have no more.
        deed(
            "look for forks that have ended",
            || call!(SYS_wait4, -1, 0, WNOHANG, 0),
            Killed,
            Failed(ECHILD),
        ),
        deed(
            "put something in the place of the channel",
            || call!(SYS_dup3, 3, 256, O_CLOEXEC),
            Killed,
            Done,
        ),
        deed("change what it dies of", || call!(SYS_prctl, PR_SET_PDEATHSIG, 0), Killed, Done),
        deed("wait as the dialer does", || call!(SYS_epoll_wait, 5, 0, 0, 0), Killed, Failed(EINVAL)),
        // The wishes of others, and what they are answered.
        deed(
            "take a wish from the channel",
            || call!(SYS_recvfrom, 256, 0, 0, MSG_DONTWAIT, 0, 0),
            Killed,
            Killed,
        ),
        deed("read the channel", || call!(SYS_read, 256, 0, 0), Killed, Killed),
        deed(
            "answer on another descriptor",
            || call!(SYS_sendmsg, 3, 0, MSG_NOSIGNAL | MSG_DONTWAIT),
            Killed,
            Failed(EFAULT),
        ),
    ];
    DEEDS
}

/// What was seen of a deed of which only this is known.
fn seen(reason: &str) -> Result<End, String> {
    match reason.strip_prefix("failed ").map(str::parse) {
        Some(Ok(number)) => Ok(Failed(number)),
        _ if reason == "done" => Ok(Done),
        _ if reason.contains("a system call that it may not make") => Ok(Killed),
        _ => Err(reason.to_owned()),
    }
}

/// The servers and files that deeds go for, for as long as it lives.
struct Scene {
    _servers: [std::net::TcpListener; 2],
    _abstract: std::os::unix::net::UnixListener,
}

impl Scene {
    fn new() -> Scene {
        let folder = Path::new(TABLE).parent().unwrap();
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).unwrap();
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::write(TABLE, "key value").unwrap();
        std::fs::set_permissions("/etc/shadow", PermissionsExt::from_mode(0o600)).unwrap();
        let listen = |port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        use std::os::linux::net::SocketAddrExt;
        let name = std::os::unix::net::SocketAddr::from_abstract_name("mapkeep-dialer-escapes").unwrap();
        let own = std::os::unix::net::UnixListener::bind_addr(&name).unwrap();
        Scene { _servers: [listen(NAMED), listen(OTHER)], _abstract: own }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let folder = Path::new(TABLE).parent().unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let _ = std::fs::remove_dir_all(folder);
        if !std::thread::panicking() {
            assert_eq!(left, ["table"], "nobody has made or removed a file");
        }
    }
}

fn report(wrong: &[String]) {
    println!("    {} deeds", deeds().len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

pub fn connector() {
    let _scene = Scene::new();
    // Modes are not what stops it.
    std::fs::set_permissions("/etc/shadow", PermissionsExt::from_mode(0o644)).unwrap();
    let dialer = Dialer::start();
    let broker = dialer.broker();
    let mut wrong = Vec::new();
    for (place, deed) in deeds().iter().enumerate() {
        let number = u32::try_from(place).unwrap();
        let reason = broker.reason(number, 10_000, tcp(&format!("deed-{place}-{number}.connector"), NAMED));
        if seen(&reason) != Ok(deed.connector) {
            wrong.push(format!("{}: {:?}, should be {:?}", deed.what, seen(&reason), deed.connector));
        }
    }
    report(&wrong);
    // Nobody else has noticed.
    assert!(dialer.is_alive());
    let (listener, port) = server("127.0.0.1");
    crate::network::greets(&listener, broker.connection(9999, tcp("localhost", port)));
}

pub fn dialer() {
    let _scene = Scene::new();
    let mut wrong = Vec::new();
    for (place, deed) in deeds().iter().enumerate() {
        let seen = deed_of_a_dialer(place);
        if seen != Ok(deed.dialer) {
            wrong.push(format!("{}: {seen:?}, should be {:?}", deed.what, deed.dialer));
        }
    }
    report(&wrong);
}

/// What becomes of a deed in a dialer of its own.
fn deed_of_a_dialer(place: usize) -> Result<End, String> {
    let mut dialer = Dialer::start();
    let broker: Broker = dialer.broker();
    broker.want(1, 10_000, Host::Unix(format!("/deed-{place}-1.dialer").into_bytes()));
    match broker.hear() {
        Came::Failed(1, reason) => seen(&reason),
        Came::Closed => match dialer.wait() {
            WaitStatus::Signaled(_, Signal::SIGSYS, _) => Ok(Killed),
            other => Err(format!("{other:?}")),
        },
        other => Err(format!("{other:?}")),
    }
}
