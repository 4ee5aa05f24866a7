//! The stand-in's process: its lock, which is that of a rules worker, and its loop.

use crate::orders::{Garbage, Order, label, order, value};
use crate::streams::{Gone, Put, Stream, Wanted};
use mapkeep_log::ChannelSink;
use mapkeep_process::{CHANNEL, EPOLL, Fatal, LOG, PROGRAM, fixed_epoll, leave, privilege, sleep_until};
use mapkeep_proto::{
    Answer, Answered, BrokerToLookup, Decode, LookupToBroker, MAX_MESSAGE, NoAnswer, WorkerLaunch,
    decode_names,
};
use mapkeep_sandbox::{FileRules, Limits, Lock, Role, enter};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::mapping::Mapping;
use mapkeep_sys::{exit, inherit, signals};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The broker's number among epoll's events; those of streams follow.
const BROKER: u64 = 0;
const HEAP: u64 = 1 << 30;

/// Serves as long as there may be questions.
pub(crate) fn main(launch: &WorkerLaunch, channel: OwnedFd) -> ! {
    leave(serve(launch, channel))
}

fn serve(launch: &WorkerLaunch, channel: OwnedFd) -> Result<(), Fatal> {
    let process = &launch.process;
    let broker = Channel::without_freight(channel);
    let log = Channel::without_freight(inherit::take(LOG)?);
    mapkeep_log::install(Box::new(ChannelSink::new(log)), process.verbose, 10)?;
    signals::ignore_pipe_and_size()?;
    let epoll = fixed_epoll()?;
    epoll.add(&broker, EpollEvent::new(EpollFlags::EPOLLIN, BROKER))?;
    let lock = Lock {
        role: Role::Rules,
        privilege: privilege(Role::Rules, process, Some(launch.chroot.clone())),
        limits: Limits {
            core: 0,
            nproc: 0,
            nofile: launch.descriptors,
            fsize: 0,
            address_space: HEAP + PROGRAM,
            data: HEAP,
        },
        files: FileRules::default(),
        expected_descriptors: &[0, 1, 2, CHANNEL, LOG, EPOLL],
        parent_pid: Some(process.parent),
    };
    let (_confined, report) = enter(lock)?;
    tracing::debug!("{report}");
    let mut standin = Standin {
        broker,
        epoll,
        labels: Vec::new(),
        streams: BTreeMap::new(),
        numbered: BROKER,
        timed: BTreeMap::new(),
        held: Vec::new(),
        open: BTreeSet::new(),
        withdrawn: 0,
    };
    while standin.round()? {}
    Ok(())
}

/// An answer that is still to be sent: to which stream and question, and the value.
type Late = ((u64, u32), Vec<u8>);

struct Standin {
    broker: Channel,
    epoll: Epoll,
    /// Those of the tables, by their ids.
    labels: Vec<String>,
    streams: BTreeMap<u64, Stream>,
    /// How many streams there have been.
    numbered: u64,
    /// By when they are due, and by stream and ticket.
    timed: BTreeMap<(Instant, u64, u32), Late>,
    /// In the order in which they came.
    held: Vec<Late>,
    /// Questions that are neither answered nor withdrawn.
    open: BTreeSet<(u64, u32)>,
    withdrawn: usize,
}

impl Standin {
    /// Waits for something to do, and does it. False if the broker has closed the channel.
    fn round(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let due = self.timed.keys().next().map(|(due, ..)| *due);
        // There are few streams, and a full one is rare: it is tried again.
        let full = self.streams.values().any(Stream::waits).then(|| now + Duration::from_millis(1));
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, sleep_until(due.into_iter().chain(full), now)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            match event.data() {
                BROKER if !self.obey()? => return Ok(false),
                BROKER => {}
                number => self.read(number)?,
            }
        }
        self.send_due(Instant::now());
        let flushed = |(number, stream): (&u64, &mut Stream)| stream.flush().err().map(|Gone| *number);
        let gone: Vec<u64> = self.streams.iter_mut().filter_map(flushed).collect();
        gone.into_iter().try_for_each(|number| self.close(number))?;
        Ok(true)
    }

    /// Carries out the broker's messages. False if the broker has closed the channel.
    fn obey(&mut self) -> io::Result<bool> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let (length, mut freight) = match self.broker.receive(&mut buffer)? {
                Received::Message(length, freight) => (length, freight),
                Received::Empty => return Ok(true),
                Received::Closed | Received::Oversized => return Ok(false),
            };
            let packet = buffer.get(..length).unwrap_or_default();
            let message = BrokerToLookup::decode(packet).map_err(io::Error::other)?;
            self.take(message, freight.pop())?;
        }
    }

    fn take(&mut self, message: BrokerToLookup, freight: Option<OwnedFd>) -> io::Result<()> {
        let said = match (message, freight) {
            (BrokerToLookup::Names { size, .. }, Some(names)) => {
                let block = Mapping::of(names.as_fd(), size)?;
                let names = decode_names(block.as_ref()).map_err(io::Error::other)?;
                self.labels = names.iter().map(|listed| label(&listed.name)).collect();
                LookupToBroker::Ready
            }
            // The contents of the table do not matter here.
            (BrokerToLookup::Snapshot { id, generation, .. }, _) => LookupToBroker::Loaded { id, generation },
            (BrokerToLookup::Ping(number), _) => LookupToBroker::Pong(number),
            (BrokerToLookup::Asker, Some(stream)) => {
                self.numbered += 1;
                self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, self.numbered))?;
                self.streams.insert(self.numbered, Stream::new(stream));
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.broker.send(&said.encode(), &[])
    }

    fn read(&mut self, number: u64) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        let Ok(questions) = stream.questions() else { return self.close(number) };
        questions.into_iter().try_for_each(|put| self.decide(number, put))
    }

    fn close(&mut self, number: u64) -> io::Result<()> {
        let Some(stream) = self.streams.remove(&number) else { return Ok(()) };
        self.open.retain(|(stream, _)| *stream != number);
        Ok(self.epoll.delete(&stream)?)
    }

    /// What becomes of a question.
    fn decide(&mut self, stream: u64, put: Put) -> io::Result<()> {
        let place = (stream, put.ticket);
        let key = match put.wanted {
            Wanted::Value(key) => key,
            Wanted::Usable => {
                self.answer(place, Answered::Absent);
                return Ok(());
            }
            Wanted::Withdrawn => {
                self.withdrawn += usize::from(self.open.remove(&place));
                return Ok(());
            }
        };
        self.open.insert(place);
        let label = self.labels.get(usize::from(put.table)).map_or("", String::as_str);
        let (order, value) = (order(label, &key), value(label, &key));
        let failed = |reason| Answered::Failed { why: NoAnswer::Later, reason };
        match order {
            Order::Answer => self.found(place, &value),
            Order::After(time) => {
                self.timed.insert((Instant::now() + time, stream, put.ticket), (place, value));
            }
            Order::Hold => self.held.push((place, value)),
            Order::Free => {
                for (place, value) in std::mem::take(&mut self.held).into_iter().rev() {
                    self.found(place, &value);
                }
                self.found(place, &value);
            }
            Order::Silent => {}
            Order::Absent => self.answer(place, Answered::Absent),
            Order::Fail => self.answer(place, failed("it was ordered to fail")),
            Order::Twice => {
                self.found(place, &value);
                self.found(place, &value);
            }
            Order::Die => exit::now(1),
            Order::Garbage(garbage) => return self.send_garbage(place, garbage),
            Order::Count => {
                let counts = format!("open {}, withdrawn {}", self.open.len() - 1, self.withdrawn);
                self.found(place, counts.as_bytes());
            }
            Order::Unknown => self.answer(place, failed("the key has an order that is unknown")),
        }
        Ok(())
    }

    fn found(&mut self, place: (u64, u32), value: &[u8]) {
        self.answer(place, Answered::Found { with_nul: false, value });
    }

    /// Answers, whether or not a client still waits for it.
    fn answer(&mut self, (stream, ticket): (u64, u32), answered: Answered<'_>) {
        self.open.remove(&(stream, ticket));
        if let Some(stream) = self.streams.get_mut(&stream) {
            Answer { ticket, answered }.encode(stream.output());
        }
    }

    fn send_due(&mut self, now: Instant) {
        while let Some(first) = self.timed.first_entry().filter(|first| first.key().0 <= now) {
            let (place, value) = first.remove();
            self.found(place, &value);
        }
    }

    fn send_garbage(&mut self, (number, ticket): (u64, u32), garbage: Garbage) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        let absent = |ticket: u32| Answer { ticket, answered: Answered::Absent };
        match garbage {
            Garbage::Endless => stream.output().extend([0xFF; 4]),
            Garbage::Kind => stream.output().extend([1, 0, 0, 0, 99]),
            Garbage::Unasked => absent(ticket.wrapping_add(1_000_000)).encode(stream.output()),
            Garbage::Half => {
                absent(ticket).encode(stream.output());
                stream.output().pop();
                // There is room: nothing else has been answered in this round, or little.
                let _ = stream.flush();
                return self.close(number);
            }
        }
        Ok(())
    }
}
