//! A dialer process, the supervisor's end of its channel, and brokers that want connections.
//!
//! May: start this program as the dialer. Called by: `main`.

use mapkeep_log::ChannelSink;
use mapkeep_process::TITLE;
use mapkeep_proto::{
    BrokerToDialer, Decode, DialerLaunch, DialerToBroker, Host, Ids, Launch, MAX_MESSAGE, Process,
    SupervisorToDialer, SupervisorToProcess,
};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::spawn::{Program, spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long a test waits for something that should come at once, in milliseconds.
const PATIENCE: u16 = 20_000;
/// Ids that nobody has.
pub const UID: u32 = 4_100_021;
pub const GID: u32 = 4_100_022;
pub const GROUP: u32 = 4_100_023;
/// What is said to be the name of that user.
pub const ACCOUNT: &str = "the-mail-owner";

/// Waits until there is something to read; false after a long time.
pub fn readable(descriptor: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], PollTimeout::from(PATIENCE)).unwrap() > 0
}

/// Whether a channel has room soon. A dialer that is slow looks like one that hears no more, and is treated so.
pub fn writable_soon(channel: &Channel) -> bool {
    poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(500_u16)).unwrap() > 0
}

/// A running dialer.
pub struct Dialer {
    pub pid: Pid,
    supervisor: Option<Channel>,
    log: Channel,
    ended: bool,
}

impl Dialer {
    pub fn start() -> Dialer {
        Dialer::with(true, true)
    }

    /// One that connects over these protocols.
    pub fn with(ipv4: bool, ipv6: bool) -> Dialer {
        let ((ours, theirs), (log, their_log)) = (Channel::pair().unwrap(), Channel::pair().unwrap());
        let (theirs, their_log) = (theirs.into_descriptor(), their_log.into_descriptor());
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let launch = Launch::Dialer(DialerLaunch {
            process: Process {
                parent: std::process::id().cast_signed(),
                ids: Some(Ids { uid: UID, gid: GID }),
                verbose: true,
            },
            groups: vec![GROUP, GID],
            account: ACCOUNT.to_owned(),
            ipv4,
            ipv6,
        })
        .encode();
        let memory = mapkeep_broker_snapshot::seal_bytes(&launch).unwrap();
        let first = SupervisorToProcess::Launch { size: launch.len() as u64 };
        ours.send(&first.encode(), &[memory.as_fd()]).unwrap();
        let arguments = [CString::new(format!("{TITLE}dialer")).unwrap()];
        let own = File::open("/proc/self/exe").unwrap();
        let descriptors = [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd(), their_log.as_fd()];
        let program = Program { executable: own.as_fd(), arguments: &arguments, descriptors: &descriptors };
        let pid = spawn(&program).unwrap();
        let dialer = Dialer { pid, supervisor: Some(ours), log, ended: false };
        // The report of its lock.
        assert!(readable(dialer.log.as_fd()));
        let report = dialer.logged();
        assert!(matches!(report.as_slice(), [one] if one.starts_with("dialer: pid=")), "{report:?}");
        dialer
    }

    pub fn broker(&self) -> Broker {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = theirs.into_descriptor();
        self.say(&SupervisorToDialer::Broker.encode(), &[theirs.as_fd()]);
        Broker(ours)
    }

    pub fn say(&self, packet: &[u8], freight: &[BorrowedFd<'_>]) {
        self.supervisor.as_ref().unwrap().send(packet, freight).unwrap();
    }

    /// The supervisor goes.
    pub fn leave_alone(&mut self) {
        self.supervisor = None;
    }

    /// Its connectors that have not ended.
    pub fn connectors(&self) -> Vec<Pid> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(path).unwrap();
        children.split_whitespace().map(|word| Pid::from_raw(word.parse().unwrap())).collect()
    }

    /// Waits until it has just so many.
    pub fn wait_for_connectors(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.connectors().len() != count {
            assert!(begun.elapsed().as_millis() < PATIENCE.into(), "{:?}", self.connectors());
            std::thread::yield_now();
        }
    }

    pub fn is_alive(&self) -> bool {
        waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).unwrap() == WaitStatus::StillAlive
    }

    pub fn wait(&mut self) -> WaitStatus {
        self.ended = true;
        waitpid(self.pid, None).unwrap()
    }

    /// The next line of its log, when there is one.
    pub fn line(&self) -> String {
        assert!(readable(self.log.as_fd()));
        self.logged().join("\n")
    }

    /// What it has logged that was not read yet.
    fn logged(&self) -> Vec<String> {
        let (mut buffer, mut lines) = ([0; 4096], Vec::new());
        while let Ok(Received::Message(length, _)) = self.log.receive_plain(&mut buffer) {
            lines.extend(ChannelSink::decode(&buffer[..length]).map(|(_, text)| text));
        }
        lines
    }
}

impl Drop for Dialer {
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

/// A broker's end of its channel.
pub struct Broker(pub Channel);

/// What came of a wish.
#[derive(Debug)]
pub enum Came {
    Connected(u32, OwnedFd),
    Failed(u32, String),
    /// The dialer has closed the channel.
    Closed,
}

impl Broker {
    pub fn want(&self, number: u32, milliseconds: u32, host: Host) {
        self.0.send(&BrokerToDialer::Connect { number, milliseconds, host }.encode(), &[]).unwrap();
    }

    /// The next answer.
    pub fn hear(&self) -> Came {
        let mut buffer = [0; MAX_MESSAGE];
        assert!(readable(self.0.as_fd()), "no answer");
        let (length, mut freight) = match self.0.receive(&mut buffer).unwrap() {
            Received::Message(length, freight) => (length, freight),
            Received::Closed => return Came::Closed,
            other => panic!("{other:?}"),
        };
        let message = DialerToBroker::decode(&buffer[..length]).unwrap();
        assert_eq!(message.descriptors(), freight.len());
        match message {
            DialerToBroker::Connected { number } => Came::Connected(number, freight.pop().unwrap()),
            DialerToBroker::Failed { number, reason } => Came::Failed(number, reason),
        }
    }

    /// Why the wish with this number, the only one, has failed.
    pub fn reason(&self, number: u32, milliseconds: u32, host: Host) -> String {
        self.want(number, milliseconds, host);
        match self.hear() {
            Came::Failed(heard, reason) => {
                assert_eq!(heard, number);
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    /// The connection of the wish with this number, the only one.
    pub fn connection(&self, number: u32, host: Host) -> OwnedFd {
        self.want(number, 10_000, host);
        match self.hear() {
            Came::Connected(heard, socket) => {
                assert_eq!(heard, number);
                socket
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A host, as the configuration names it.
pub fn tcp(name: &str, port: impl ToString) -> Host {
    Host::Tcp { name: name.as_bytes().to_vec(), port: port.to_string().into_bytes() }
}
