//! A writer process and the broker's end of its channel; clients; the directory with their files.
//!
//! May: start this program as the writer.

use mapkeep_log::ChannelSink;
use mapkeep_process::TITLE;
use mapkeep_proto::{
    BrokerToWriter, Decode, Ids, Launch, Listed, MAX_MESSAGE, Process, SupervisorToProcess, TableId,
    WriterLaunch, WriterToBroker, encode_names,
};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::spawn::{Program, spawn};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ids that no account has.
const UID: u32 = 4_100_011;
const GID: u32 = 4_100_012;

pub const BTREE: TableId = TableId(0);
pub const HASH: TableId = TableId(1);
pub const LMDB: TableId = TableId(2);
const NAMES: [&str; 5] = ["btree:/b", "hash:/h", "lmdb:/l", "internal:i", "static:foo"];

/// A directory with the files of the tables.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("mapkeep-writer-process-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("empty")).unwrap();
        std::fs::set_permissions(path.join("empty"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Place(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file for reading and writing, made if it is not there.
    pub fn open(&self, name: &str) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.path(name)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until there is something to read.
fn readable(descriptor: BorrowedFd<'_>) -> bool {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
    let mut events = [EpollEvent::empty()];
    epoll.wait(&mut events, EpollTimeout::try_from(PATIENCE).unwrap()).unwrap() > 0
}

/// A running writer, seen from its broker.
pub struct Writer<'p> {
    place: &'p Place,
    pub pid: Pid,
    pub channel: Option<Channel>,
    log: Channel,
    generations: BTreeMap<u16, u32>,
    ended: bool,
}

impl<'p> Writer<'p> {
    /// Starts a writer and opens the three tables with files.
    pub fn start(place: &'p Place) -> Writer<'p> {
        let mut writer = Writer::start_without_tables(place);
        for id in [BTREE, HASH, LMDB] {
            writer.hand_out(id);
            assert_eq!(
                writer.receive(),
                WriterToBroker::Opened { id, generation: writer.generations[&id.0] }
            );
        }
        writer
    }

    pub fn start_without_tables(place: &'p Place) -> Writer<'p> {
        let ((ours, theirs), (log, their_log)) = (Channel::pair().unwrap(), Channel::pair().unwrap());
        let (theirs, their_log) = (theirs.into_descriptor(), their_log.into_descriptor());
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let launch = Launch::Writer(WriterLaunch {
            process: Process {
                parent: std::process::id().cast_signed(),
                ids: geteuid().is_root().then_some(Ids { uid: UID, gid: GID }),
                verbose: true,
            },
            chroot: place.path("empty"),
            descriptors: 1000,
            tables: NAMES.len() as u64,
        })
        .encode();
        let memory = mapkeep_broker_snapshot::seal_bytes(&launch).unwrap();
        let first = SupervisorToProcess::Launch { size: launch.len() as u64 };
        ours.send(&first.encode(), &[memory.as_fd()]).unwrap();
        let arguments = [CString::new(format!("{TITLE}writer")).unwrap()];
        let own = File::open("/proc/self/exe").unwrap();
        let descriptors = [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd(), their_log.as_fd()];
        let program = Program { executable: own.as_fd(), arguments: &arguments, descriptors: &descriptors };
        let pid = spawn(&program).unwrap();
        let (channel, generations) = (Some(ours), BTreeMap::new());
        let writer = Writer { place, pid, channel, log, generations, ended: false };
        let listed =
            |name: &&str| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false };
        let block = encode_names(&NAMES.iter().map(listed).collect::<Vec<_>>()).unwrap();
        let names = writer.place.open("names");
        names.write_all_at(&block, 0).unwrap();
        let message =
            BrokerToWriter::Names { size: block.len() as u64, smtputf8: true, approval_known: true };
        writer.say(message, &[names.as_fd()]);
        assert_eq!(writer.receive(), WriterToBroker::Ready);
        writer
    }

    pub fn hand_out(&mut self, id: TableId) {
        let generation = self.generations.entry(id.0).or_insert(0);
        *generation += 1;
        let generation = *generation;
        let (place, name) = (self.place, if id == BTREE { "b" } else { "h" });
        if id == LMDB {
            let data = place.open("l.lmdb");
            let mut options = OpenOptions::new();
            let meta = options
                .write(true)
                .custom_flags(nix::fcntl::OFlag::O_DSYNC.bits())
                .open(place.path("l.lmdb"))
                .unwrap();
            return self.say(BrokerToWriter::Lmdb { id, generation }, &[data.as_fd(), meta.as_fd()]);
        }
        let (store, log) =
            (place.open(&format!("{name}.mapkeep")), place.open(&format!("{name}.mapkeep-wal")));
        match File::open(place.path(&format!("{name}.db"))) {
            Ok(beside) => self.say(
                BrokerToWriter::StoreBeside { id, generation },
                &[store.as_fd(), log.as_fd(), beside.as_fd()],
            ),
            Err(_) => self.say(BrokerToWriter::Store { id, generation }, &[store.as_fd(), log.as_fd()]),
        }
    }

    pub fn say(&self, message: BrokerToWriter, freight: &[BorrowedFd<'_>]) {
        self.channel.as_ref().unwrap().send(&message.encode(), freight).unwrap();
    }

    /// The next message, except reports of disconnected clients, and requests of checkpoints, which are answered.
    pub fn receive(&self) -> WriterToBroker {
        loop {
            let message =
                self.receive_any().unwrap_or_else(|| panic!("the writer has gone: {:#?}", self.logged()));
            if !self.has_helped(message) {
                return message;
            }
        }
    }

    /// Does what a checkpoint needs of a broker. False: the message is about something else.
    fn has_helped(&self, message: WriterToBroker) -> bool {
        match message {
            WriterToBroker::Closed(_) => {}
            WriterToBroker::WantNew(id) => {
                let file = self.place.open(&format!("{}.new", id.0));
                self.say(BrokerToWriter::New(id), &[file.as_fd()]);
            }
            WriterToBroker::Replace(id) => {
                let name = if id == BTREE { "b.db" } else { "h.db" };
                let new = self.place.path(&format!("{}.new", id.0));
                std::fs::rename(new, self.place.path(name)).unwrap();
                self.say(BrokerToWriter::Replaced(id), &[]);
            }
            _ => return false,
        }
        true
    }

    /// The next message; nothing at the end of the channel.
    fn receive_any(&self) -> Option<WriterToBroker> {
        let channel = self.channel.as_ref().unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match channel.receive_plain(&mut buffer).unwrap() {
                Received::Message(length, _) => {
                    return Some(WriterToBroker::decode(&buffer[..length]).unwrap());
                }
                Received::Empty if readable(channel.as_fd()) => {}
                Received::Empty => panic!("the writer says nothing: {:#?}", self.logged()),
                Received::Closed => return None,
                Received::Oversized => panic!("an oversized message"),
            }
        }
    }

    /// Makes checkpoints until the writer ends.
    pub fn finish(&mut self) -> WaitStatus {
        self.say(BrokerToWriter::Finish, &[]);
        while let Some(message) = self.receive_any() {
            assert!(self.has_helped(message), "{message:?}: {:#?}", self.logged());
        }
        self.wait()
    }

    pub fn wait(&mut self) -> WaitStatus {
        self.ended = true;
        waitpid(self.pid, None).unwrap()
    }

    pub fn kill(mut self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
        self.wait();
    }

    pub fn client(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.say(BrokerToWriter::Client, &[theirs.as_fd()]);
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream: ours, received: Vec::new() };
        assert_eq!(client.receive().as_deref(), Some("protocol|proxymap_protocol||"));
        client
    }

    /// What it has logged so far.
    fn logged(&self) -> Vec<String> {
        let (mut buffer, mut lines) = ([0; 4096], Vec::new());
        while let Ok(Received::Message(length, _)) = self.log.receive_plain(&mut buffer) {
            lines.extend(ChannelSink::decode(&buffer[..length]).map(|(_, text)| text));
        }
        lines
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
        if std::thread::panicking() {
            println!("{:#?}", self.logged());
        }
    }
}

/// A client. Requests and replies have `|` for NUL.
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    pub fn ask(&mut self, request: &str) -> String {
        self.try_ask(request).expect("a reply, not the end")
    }

    /// The reply; nothing when the writer is gone.
    pub fn try_ask(&mut self, request: &str) -> Option<String> {
        self.stream.write_all(&request.replace('|', "\0").into_bytes()).ok()?;
        self.receive()
    }

    pub fn receive(&mut self) -> Option<String> {
        loop {
            if let Some(end) = list_end(&self.received) {
                let reply: Vec<u8> = self.received.drain(..end).collect();
                return Some(String::from_utf8(reply).unwrap().replace('\0', "|"));
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Where the first list of attributes ends.
fn list_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let name = bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        if name == 0 {
            return Some(at + 1);
        }
        at += name + 1;
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
    }
}
