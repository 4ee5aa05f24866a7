//! A gateway process and the broker's end of its channel; lookup workers that ask; servers.
//!
//! May: start this program as the gateway.

use mapkeep_log::ChannelSink;
use mapkeep_process::TITLE;
use mapkeep_proto::{
    Answer, Answered, Asked, Asks, Backend, BackendTable, BrokerToGateway, Decode, Encoded, Frames,
    GatewayLaunch, GatewayToBroker, Host, Ids, Launch, MAX_MESSAGE, Manner, Process, Protocol, Question,
    SupervisorToProcess, TableId,
};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::spawn::{Program, spawn};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ids that nobody has.
const UID: u32 = 4_100_021;
const GID: u32 = 4_100_022;

pub const TABLE: TableId = TableId(5);

/// An empty directory, to be the root of a process.
struct Empty(PathBuf);

impl Empty {
    fn new() -> Empty {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mapkeep-gateway-process-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Empty(path)
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

/// Waits until there is something to read.
fn readable(descriptor: BorrowedFd<'_>) -> bool {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
    let mut events = [EpollEvent::empty()];
    epoll.wait(&mut events, EpollTimeout::try_from(PATIENCE).unwrap()).unwrap() > 0
}

/// A pair of streams; the second is for the gateway.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// A running gateway, seen from its broker.
pub struct Gateway {
    pub pid: Pid,
    pub channel: Option<Channel>,
    log: Channel,
    _empty: Empty,
    ended: bool,
}

impl Gateway {
    /// Starts one, with one table.
    pub fn start(protocol: Protocol, asks: Asks) -> Gateway {
        let ((ours, theirs), (log, their_log)) = (Channel::pair().unwrap(), Channel::pair().unwrap());
        let (theirs, their_log) = (theirs.into_descriptor(), their_log.into_descriptor());
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let empty = Empty::new();
        let launch = Launch::Gateway(GatewayLaunch {
            process: Process {
                parent: std::process::id().cast_signed(),
                ids: geteuid().is_root().then_some(Ids { uid: UID, gid: GID }),
                verbose: true,
            },
            chroot: empty.0.clone(),
            descriptors: 100,
        })
        .encode();
        let first = SupervisorToProcess::Launch { size: launch.len() as u64 };
        ours.send(&first.encode(), &[memory(&launch).as_fd()]).unwrap();
        let arguments = [CString::new(format!("{TITLE}gateway")).unwrap()];
        let own = File::open("/proc/self/exe").unwrap();
        let descriptors = [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd(), their_log.as_fd()];
        let program = Program { executable: own.as_fd(), arguments: &arguments, descriptors: &descriptors };
        let pid = spawn(&program).unwrap();
        let gateway = Gateway { pid, channel: Some(ours), log, _empty: empty, ended: false };
        let hosts = vec![Host::Unix(b"/server".to_vec())];
        let backend = Backend { title: "backend".to_owned(), hosts, connections: 1, protocol }.encode();
        let table = BackendTable { name: b"the table".to_vec(), milliseconds: 60_000, asks }.encode();
        gateway.say(BrokerToGateway::Backend { size: backend.len() as u64 }, Some(memory(&backend).as_fd()));
        let message = BrokerToGateway::Table { id: TABLE, generation: 1, size: table.len() as u64 };
        gateway.say(message, Some(memory(&table).as_fd()));
        assert_eq!(gateway.receive(), Some(GatewayToBroker::Ready));
        assert_eq!(gateway.receive(), Some(GatewayToBroker::Loaded { id: TABLE, generation: 1 }));
        gateway
    }

    pub fn say(&self, message: BrokerToGateway, freight: Option<BorrowedFd<'_>>) {
        let freight: Vec<_> = freight.into_iter().collect();
        self.channel.as_ref().unwrap().send(&message.encode(), &freight).unwrap();
    }

    /// The next message; nothing at the end of the channel.
    pub fn receive(&self) -> Option<GatewayToBroker> {
        let channel = self.channel.as_ref().unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match channel.receive_plain(&mut buffer).unwrap() {
                Received::Message(length, _) => {
                    return Some(GatewayToBroker::decode(&buffer[..length]).unwrap());
                }
                Received::Empty if readable(channel.as_fd()) => {}
                Received::Empty => panic!("the gateway says nothing: {:#?}", self.logged()),
                Received::Closed => return None,
                Received::Oversized => panic!("an oversized message"),
            }
        }
    }

    /// The number of the connection that it asks for.
    fn wish(&self) -> u32 {
        match self.receive() {
            Some(GatewayToBroker::Connect { number, host: 0 }) => number,
            other => panic!("{other:?}: {:#?}", self.logged()),
        }
    }

    /// Gives it no connection.
    pub fn refuse(&self) {
        let number = self.wish();
        self.say(BrokerToGateway::NotConnected { number, reason: "no route".to_owned() }, None);
    }

    /// Gives it the connection that it asks for when it is asked for this key.
    pub fn server_for(&self, asker: &mut Asker, key: &str) -> Server {
        asker.ask(key);
        let number = self.wish();
        let (ours, theirs) = pair();
        self.say(BrokerToGateway::Connected { number }, Some(theirs.as_fd()));
        Server(ours)
    }

    pub fn asker(&self) -> Asker {
        let (stream, theirs) = pair();
        self.say(BrokerToGateway::Asker, Some(theirs.as_fd()));
        Asker { stream, frames: Frames::default(), last: 0 }
    }

    pub fn wait(&mut self) -> WaitStatus {
        self.ended = true;
        waitpid(self.pid, None).unwrap()
    }

    /// What it has logged so far.
    pub fn logged(&self) -> Vec<String> {
        let (mut buffer, mut lines) = ([0; 4096], Vec::new());
        while let Ok(Received::Message(length, _)) = self.log.receive_plain(&mut buffer) {
            lines.extend(ChannelSink::decode(&buffer[..length]).map(|(_, text)| text));
        }
        lines
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            println!("{:?}", waitpid(self.pid, None));
        }
        if std::thread::panicking() {
            println!("{:#?}", self.logged());
        }
    }
}

/// The other end of a connection.
pub struct Server(UnixStream);

impl Server {
    /// What it is asked next; nothing may follow it.
    pub fn question(&mut self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.read(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Whether it is closed, or will be in time.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let ended = self.0.read_to_end(&mut rest).map_err(|error| error.kind());
        matches!(ended, Ok(_) | Err(std::io::ErrorKind::ConnectionReset))
    }
}

/// A lookup worker that asks.
pub struct Asker {
    pub stream: UnixStream,
    frames: Frames,
    last: u32,
}

impl Asker {
    pub fn ask(&mut self, key: &str) {
        let manner =
            Manner { with_nul: false, bare: true, substitution: false, utf8: true, file_content: false };
        self.last += 1;
        let asked = Asked::Lookup { key: key.as_bytes(), manner };
        let mut bytes = Vec::new();
        Question { ticket: self.last, table: TABLE, client: 1, asked }.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The answer to the last question.
    pub fn answer(&mut self) -> String {
        let mut chunk = [0; 65_536];
        loop {
            if let Some(body) = self.frames.next(Answer::LONGEST).unwrap() {
                let Answer { ticket, answered } = Answer::decode(body).unwrap();
                assert_eq!(ticket, self.last);
                return match answered {
                    Answered::Found { value, .. } => format!("={}", String::from_utf8_lossy(value)),
                    Answered::Absent => "absent".to_owned(),
                    Answered::Failed { why, reason } => format!("{why:?} {reason}"),
                };
            }
            let length = self.stream.read(&mut chunk).unwrap();
            assert!(length > 0, "the gateway has closed the stream");
            self.frames.add(&chunk[..length]);
        }
    }

    pub fn is_closed(&mut self) -> bool {
        let ended = self.stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        matches!(ended, Ok(_) | Err(std::io::ErrorKind::ConnectionReset))
    }
}
