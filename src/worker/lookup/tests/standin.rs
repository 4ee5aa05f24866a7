//! A stand-in for a process that answers, on the other end of its stream, and the tables that it answers for.

use super::*;
use mapkeep_proto::{Answer, Answered, Asked, Frames, Group, Manner, Question};
use std::cell::Cell;

pub(super) const RULES: &str = "regexp:/r";
pub(super) const IN_NAME: &str = "pcre:{{/x/ y}}";
pub(super) const UNION: &str = "unionmap:{static:s,regexp:/r,inline:{a=b},pcre:{{/x/ y}}}";
pub(super) const PIPE: &str = "pipemap:{regexp:/r,unionmap:{pcre:{{/x/ y}},static:s}}";
/// Eight levels, each with a member that is asked elsewhere.
pub(super) const DEEP: &str = "debug:unionmap:{regexp:/r,pipemap:{inline:{a=b},unionmap:{debug:regexp:/r,pipemap:{\
     pcre:{{/x/ y}},unionmap:{static:s,pipemap:{regexp:/r,unionmap:{pcre:{{/x/ y}}}}}}}}}";
pub(super) const FAILING: &str = "unionmap:{regexp:/r,fail:x}";
pub(super) const MISSING: &str = "unionmap:{regexp:/r,hash:/none}";

/// Tables that servers answer for.
pub(super) const SOCKETMAP: &str = "socketmap:unix:/s:m";
pub(super) const TCP: &str = "tcp:localhost:1";
pub(super) const BOTH: &str = "unionmap:{socketmap:unix:/s:m,static:s,tcp:localhost:1}";
pub(super) const RULES_FIRST: &str = "pipemap:{regexp:/r,tcp:localhost:1}";
pub(super) const BAD_SERVER: &str = "tcp:localhost:";

/// Their ids follow those of the tables that are answered at once.
pub(super) const TABLES: [&str; 17] = [
    RULES,
    IN_NAME,
    UNION,
    PIPE,
    DEEP,
    FAILING,
    MISSING,
    "static:s",
    "inline:{a=b}",
    "fail:x",
    "hash:/none",
    SOCKETMAP,
    TCP,
    BOTH,
    RULES_FIRST,
    BAD_SERVER,
    "socketmap:unix:/s:n",
];

pub(super) const RULES_ID: TableId = TableId(2);

/// A question as the stand-in has it; without a key: whether the table is usable.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) ticket: u32,
    pub(super) table: TableId,
    pub(super) client: u64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) manner: Option<Manner>,
}

pub(super) struct Standin {
    pub(super) stream: UnixStream,
    frames: Frames,
    pub(super) withdrawn: Vec<u32>,
}

thread_local! {
    static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock that only goes on when it is told to.
fn clock() -> Instant {
    thread_local! {
        static START: Instant = Instant::now();
    }
    START.with(|start| *start) + AHEAD.get()
}

pub(super) fn wait(time: Duration) {
    AHEAD.set(AHEAD.get() + time);
}

impl Service {
    /// One whose clock stands still.
    pub(super) fn timeless() -> Service {
        let mut service = Service::new();
        service.worker.clock = clock;
        service
    }

    /// A stand-in for a rules worker.
    pub(super) fn standin(&mut self) -> Standin {
        self.peer(Group::Rules)
    }

    /// A stand-in for a process of this group.
    pub(super) fn peer(&mut self, group: Group) -> Standin {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        let theirs = File::from(OwnedFd::from(theirs));
        self.tell(BrokerToLookup::Answerer(group), Some(&theirs));
        Standin { stream: ours, frames: Frames::default(), withdrawn: Vec::new() }
    }

    /// One round of the loop, which has something to do in any case, so that it never sleeps.
    pub(super) fn round(&mut self) {
        const NUDGE: u32 = u32::MAX;
        self.tell(BrokerToLookup::Ping(NUDGE), None);
        loop {
            match self.read() {
                LookupToBroker::Pong(NUDGE) => return,
                other => self.unread.push_back(other),
            }
        }
    }
}

impl Standin {
    /// The questions that have come since the last look.
    pub(super) fn questions(&mut self) -> Vec<Put> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        self.frames.add(&bytes);
        let mut put = Vec::new();
        while let Some(body) = self.frames.next(Question::LONGEST).unwrap() {
            let Question { ticket, table, client, asked } = Question::decode(body).unwrap();
            let (key, manner) = match asked {
                Asked::Lookup { key, manner } => (Some(key.to_vec()), Some(manner)),
                Asked::Usable => (None, None),
                Asked::Withdrawn => {
                    self.withdrawn.push(ticket);
                    continue;
                }
            };
            put.push(Put { ticket, table, client, key, manner });
        }
        put
    }

    pub(super) fn answer(&mut self, ticket: u32, answered: Answered<'_>) {
        let mut frame = Vec::new();
        Answer { ticket, answered }.encode(&mut frame);
        self.stream.write_all(&frame).unwrap();
    }

    /// What [`value_of`] says.
    pub(super) fn answer_well(&mut self, put: &Put) {
        match put.key.as_deref().and_then(|key| value_of(put.table, key)) {
            Some(value) => self.answer(put.ticket, Answered::Found { with_nul: false, value: &value }),
            None => self.answer(put.ticket, Answered::Absent),
        }
    }

    /// Whether the worker has let go of it.
    pub(super) fn is_dropped(&mut self) -> bool {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).is_ok()
    }
}

/// What the stand-in has for a key.
pub(super) fn value_of(table: TableId, key: &[u8]) -> Option<Vec<u8>> {
    (!key.starts_with(b"no")).then(|| [b"T", table.0.to_string().as_bytes(), b"-", key].concat())
}

/// The replies that have come since the last look, with `|` for each NUL byte.
pub(super) fn texts(mut client: &UnixStream) -> Vec<String> {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    let (mut all, mut reply, mut is_name) = (Vec::new(), String::new(), true);
    for word in bytes.split_inclusive(|byte| *byte == 0) {
        reply.push_str(&String::from_utf8_lossy(word).replace('\0', "|"));
        // An empty name ends a reply; an empty value does not.
        match is_name && word == b"\0" {
            true => all.push(std::mem::take(&mut reply)),
            false => is_name = !is_name,
        }
    }
    assert_eq!(reply, "", "half a reply");
    all
}

pub(super) fn ask(mut client: &UnixStream, table: &str, key: &str) {
    client.write_all(&lookups(table, std::iter::once(key.to_owned()))).unwrap();
}

pub(super) const RETRY: &str = "status|2|value|||";
