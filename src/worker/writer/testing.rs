//! What the tests of the writer share: a scratch directory, stores that do as they are told, a broker's end, clients.

mod fake;

pub(crate) use fake::{Fake, STEPS};

use crate::engine::Rescue;
use crate::opening::{Files, Fresh, Opener, Refused};
use crate::serve::Writer;
use mapkeep_name::Kind;
use mapkeep_proto::{BrokerToWriter, Decode, Listed, MAX_MESSAGE, TableId, WriterToBroker, encode_names};
use mapkeep_sys::channel::{Channel, Received};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a test waits for something that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mapkeep-writer-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new and empty file, open for reading and writing.
    pub(crate) fn file(&self, name: &str) -> File {
        File::options().read(true).write(true).create_new(true).open(self.path(name)).unwrap()
    }

    /// A file that is there, with a lock of its own.
    pub(crate) fn open(&self, name: &str) -> File {
        File::options().read(true).write(true).open(self.path(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the tests' opener does.
pub(crate) type Opening =
    Box<dyn FnMut(Kind, Files, Option<Rescue>, &mut dyn FnMut()) -> Result<Fresh, Refused> + Send>;

struct Openly(Opening);

impl Opener for Openly {
    fn open(
        &mut self,
        kind: Kind,
        files: Files,
        rescue: Option<Rescue>,
        pause: &mut dyn FnMut(),
    ) -> Result<Fresh, Refused> {
        (self.0)(kind, files, rescue, pause)
    }
}

/// Waits until there is something to read.
pub(crate) fn readable(descriptor: BorrowedFd<'_>, within: Duration) -> bool {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
    let mut events = [EpollEvent::empty()];
    epoll.wait(&mut events, EpollTimeout::try_from(within).unwrap()).unwrap() > 0
}

/// The broker's end, and the writer in a thread.
pub(crate) struct Broker {
    channel: Option<Channel>,
    writer: Option<JoinHandle<io::Result<()>>>,
    pub(crate) scratch: Scratch,
}

impl Broker {
    /// A writer with these tables, which are opened by `opening`.
    pub(crate) fn new(tables: &[&str], opening: Opening) -> Broker {
        let (ours, theirs) = Channel::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let channel = Channel::without_freight(theirs.into_descriptor());
            Writer::new(channel, epoll, Openly(opening))?.serve()
        });
        let broker = Broker { channel: Some(ours), writer: Some(writer), scratch: Scratch::new() };
        let listed =
            |name: &&str| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false };
        let block = encode_names(&tables.iter().map(listed).collect::<Vec<_>>()).unwrap();
        let mut names = broker.scratch.file("names");
        names.write_all(&block).unwrap();
        let size = block.len() as u64;
        let names = &[names.as_fd()];
        broker.say(BrokerToWriter::Names { size, smtputf8: true, approval_known: true }, names);
        assert_eq!(broker.receive(), WriterToBroker::Ready);
        broker
    }

    /// A writer whose tables, of any type, are these fakes, all open.
    pub(crate) fn with_fakes(tables: &[(&str, &Fake)]) -> Broker {
        let names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
        let mut fakes: Vec<Fake> = tables.iter().map(|(_, fake)| (*fake).clone()).collect();
        let opening: Opening = Box::new(move |_, _, _, _| Ok(fakes.remove(0).fresh()));
        let broker = Broker::new(&names, opening);
        for (id, name) in (0..).zip(names) {
            broker.hand_out(TableId(id), 1, name);
            assert_eq!(broker.receive(), WriterToBroker::Opened { id: TableId(id), generation: 1 });
        }
        broker
    }

    /// Opens a table of this name, with empty files.
    pub(crate) fn hand_out(&self, id: TableId, generation: u32, name: &str) {
        let file = File::open("/dev/null").unwrap();
        let files = [file.as_fd(), file.as_fd()];
        self.say(
            match name.starts_with("lmdb") {
                true => BrokerToWriter::Lmdb { id, generation },
                false => BrokerToWriter::Store { id, generation },
            },
            &files,
        );
    }

    pub(crate) fn say(&self, message: BrokerToWriter, freight: &[BorrowedFd<'_>]) {
        self.channel.as_ref().unwrap().send(&message.encode(), freight).unwrap();
    }

    /// The next message of the writer, which must come.
    pub(crate) fn receive(&self) -> WriterToBroker {
        self.try_receive(PATIENCE).expect("the writer says something")
    }

    /// The next message of the writer, if one comes within this time.
    pub(crate) fn try_receive(&self, within: Duration) -> Option<WriterToBroker> {
        let channel = self.channel.as_ref().unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let length = match channel.receive_plain(&mut buffer).unwrap() {
            Received::Message(length, _) => length,
            Received::Empty if readable(channel.as_fd(), within) => return self.try_receive(within),
            Received::Empty | Received::Closed => return None,
            Received::Oversized => panic!("an oversized message"),
        };
        Some(WriterToBroker::decode(&buffer[..length]).unwrap())
    }

    /// A connection to the writer, past the announcement.
    pub(crate) fn client(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.say(BrokerToWriter::Client, &[theirs.as_fd()]);
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream: ours, received: Vec::new() };
        assert_eq!(client.receive(), "protocol|proxymap_protocol||");
        client
    }

    /// Goes, and waits for the writer's end.
    pub(crate) fn go(mut self) -> io::Result<()> {
        self.channel = None;
        self.ended()
    }

    /// Waits for the writer's end.
    pub(crate) fn ended(&mut self) -> io::Result<()> {
        self.writer.take().unwrap().join().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.channel = None;
        if let Some(writer) = self.writer.take() {
            let ended = writer.join();
            assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
        }
    }
}

/// A client. Requests and replies have `|` for NUL.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn send(&mut self, requests: &str) {
        self.stream.write_all(&requests.replace('|', "\0").into_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(request);
        self.receive()
    }

    /// One whole reply.
    pub(crate) fn receive(&mut self) -> String {
        self.try_receive().expect("a reply, not the end")
    }

    /// One whole reply; nothing when the writer has closed the connection.
    pub(crate) fn try_receive(&mut self) -> Option<String> {
        loop {
            if let Some(end) = list_end(&self.received) {
                let reply: Vec<u8> = self.received.drain(..end).collect();
                return Some(String::from_utf8(reply).unwrap().replace('\0', "|"));
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Bytes that have arrived and are not read yet.
    pub(crate) fn arrived(stream: &UnixStream) -> usize {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let mut buffer = [0; 65536];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(stream.as_raw_fd(), &mut buffer, flags).unwrap_or_default()
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
