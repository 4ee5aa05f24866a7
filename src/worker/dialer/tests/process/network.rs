//! A network and an /etc for these tests alone, and the servers in it.
//!
//! May: change what is mounted and which interfaces are up, in namespaces of its own. Called by: `main`.

use mapkeep_sys::exit;
use mapkeep_sys::fork::{Forked, split};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, listen, socket,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

/// What is in /etc. `dead.test` and `both.test` have two addresses, of which the C library puts that of IPv6 first.
const FILES: [(&str, &str); 5] = [
    (
        "hosts",
        "127.0.0.1 localhost here.test\n::1 six.test\n::1 both.test\n127.0.0.1 both.test\n192.0.2.1 far.test\n",
    ),
    ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
    ("nsswitch.conf", "hosts: files dns\n"),
    ("host.conf", "multi on\n"),
    ("shadow", "root:secret\n"),
];
/// Kept of the machine's.
const KEPT: [&str; 2] = ["ld.so.cache", "services"];

/// Goes into namespaces where all of that can be changed. False, with a loud line, where there can be none.
pub fn isolate() -> bool {
    let kept = KEPT.map(|name| std::fs::read(format!("/etc/{name}")));
    if unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI may make name spaces");
        println!("\n*** SKIPPED: mount and network name spaces are needed (unshare --mount --net) ***\n");
        return false;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("etc"), "/etc", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    for (name, content) in KEPT.iter().zip(kept).filter_map(|(name, kept)| Some((name, kept.ok()?))) {
        std::fs::write(format!("/etc/{name}"), content).unwrap();
    }
    for (name, content) in FILES {
        std::fs::write(format!("/etc/{name}"), content).unwrap();
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "ip(8) is needed for this test");
    start_name_server();
    true
}

/// A server that takes what comes and answers with its own name.
pub fn server(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Accepts one, says `text`, and expects to read it at the other end.
pub fn greets(listener: &TcpListener, connected: OwnedFd) {
    let (mut server_side, _) = listener.accept().unwrap();
    server_side.write_all(b"hello").unwrap();
    drop(server_side);
    let mut stream = TcpStream::from(connected);
    // It never waits by itself.
    let mut byte = [0];
    if let Err(error) = stream.read(&mut byte) {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut text = byte.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>();
    stream.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"hello");
}

/// A server whose queue is full: whoever connects gets no answer. Alive as long as its value.
pub struct Deaf {
    _held: Vec<OwnedFd>,
    pub port: u16,
}

/// Makes one at this address; `port` 0 for any.
pub fn deaf(address: SocketAddr) -> Deaf {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let new = |flags| socket(family, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None).unwrap();
    let listener = new(SockFlag::empty());
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let own: SockaddrStorage = getsockname(listener.as_raw_fd()).unwrap();
    let port =
        own.as_sockaddr_in().map(|own| own.port()).or(own.as_sockaddr_in6().map(|own| own.port())).unwrap();
    let mut held = vec![listener];
    // The queue has room for one; the others are not answered any more.
    for _ in 0..3 {
        let client = new(SockFlag::SOCK_NONBLOCK);
        let _ = connect(client.as_raw_fd(), &own);
        held.push(client);
    }
    Deaf { _held: held, port }
}

/// What a name server says of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    Garbage,
    Truncated,
    Address,
    SixOnly,
    NoSuchName,
}

fn says(name: &str) -> Says {
    match name {
        "silent.test" => Says::Nothing,
        "garbage.test" => Says::Garbage,
        "long.test" => Says::Truncated,
        "named.test" => Says::Address,
        "named-six.test" => Says::SixOnly,
        _ => Says::NoSuchName,
    }
}

/// The name in a question, and where the question ends.
fn asked(question: &[u8]) -> (String, usize) {
    let (mut name, mut at) = (Vec::new(), 12);
    while let Some(length) = question.get(at).copied().filter(|length| *length > 0) {
        name.push(String::from_utf8_lossy(&question[at + 1..at + 1 + usize::from(length)]).into_owned());
        at += 1 + usize::from(length);
    }
    (name.join("."), at + 5)
}

/// The answer to a question (RFC 1035, 4.1); none for one that gets none.
fn answer(question: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
    let (name, end) = asked(question);
    let says = says(&name.to_lowercase());
    let is_six = question[end - 3] == 28;
    let data: &[u8] = match (says, is_six) {
        (Says::Nothing, _) => return None,
        (Says::Garbage, _) => return Some([&question[..2], &[0xff; 300]].concat()),
        (Says::Address, false) => &[127, 0, 0, 1],
        (Says::Truncated, false) if by_tcp => &[127, 0, 0, 1],
        (Says::SixOnly, true) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => &[],
    };
    let cut = if says == Says::Truncated && !by_tcp { 0x02 } else { 0 };
    let code = if says == Says::NoSuchName { 3 } else { 0 };
    let count = u8::from(!data.is_empty());
    let mut text = [&question[..2], &[0x85 | cut, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]].concat();
    text.extend(&question[12..end]);
    if !data.is_empty() {
        text.extend([0xc0, 12, 0, if is_six { 28 } else { 1 }, 0, 1, 0, 0, 0, 60, 0]);
        text.push(u8::try_from(data.len()).unwrap());
        text.extend(data);
    }
    Some(text)
}

/// The stand-in name server, as a process that dies with this one.
fn start_name_server() {
    let datagrams = UdpSocket::bind("127.0.0.1:53").unwrap();
    let streams = TcpListener::bind("127.0.0.1:53").unwrap();
    let Ok(Forked::Child) = split() else { return };
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    std::thread::spawn(move || {
        for stream in streams.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question).unwrap();
                let text = answer(&question, true).unwrap_or_default();
                stream.write_all(&u16::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&text).unwrap();
            }
        }
    });
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
        if let Some(text) = answer(&buffer[..length], false) {
            let _ = datagrams.send_to(&text, from);
        }
    }
    exit::now(1)
}
