use super::*;
use mapkeep_proto::{Answered, MAX_KEY, MAX_VALUE};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;

const MANNER: Manner =
    Manner { with_nul: false, bare: true, substitution: false, utf8: false, file_content: false };

const CHUNK: usize = 64 << 10;

/// An asker as its worker sees it, and the other end of its stream.
struct Scene {
    asker: Asker<u64>,
    stream: UnixStream,
    /// Tickets by the places where they wait.
    line: BTreeMap<u64, u32>,
    joined: u64,
    scratch: Vec<u8>,
}

impl Scene {
    fn new() -> Scene {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (asker, line, scratch) = (Asker::new(theirs.into()), BTreeMap::new(), vec![0; CHUNK]);
        Scene { asker, stream, line, joined: 0, scratch }
    }

    /// Takes what has been sent.
    fn receive(&mut self) -> Result<(), Gone> {
        self.asker.read(&mut self.scratch)?;
        while let Some(taken) = self.asker.take()? {
            match taken {
                Taken::Question(question) => {
                    self.joined += 1;
                    self.line.insert(self.joined, question.ticket);
                    self.asker.waits_at(question.ticket, self.joined);
                }
                Taken::Withdrawn { ticket, place } => assert_eq!(self.line.remove(&place), Some(ticket)),
            }
        }
        Ok(())
    }

    /// Answers one question, if one waits.
    fn serve(&mut self) -> Option<u32> {
        let (_, ticket) = self.line.pop_first()?;
        self.asker.answer(&Answer { ticket, answered: Answered::Absent });
        Some(ticket)
    }
}

fn frame(ticket: u32, table: u16, asked: Asked<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Question { ticket, table: TableId(table), client: ticket.into(), asked }.encode(&mut bytes);
    bytes
}

#[test]
fn no_more_waits_than_its_bound_and_the_rest_stays_in_the_socket() {
    for length in [0, 1000, MAX_KEY] {
        let (mut scene, key) = (Scene::new(), vec![b'k'; length]);
        let (mut unsent, mut ticket) = (Vec::new(), 0);
        let most = WAITING + MAX_KEY + OVERHEAD;
        // What one end can send is bounded by what the other reads.
        let mut silent = 0_u32;
        while silent < 20 {
            if unsent.is_empty() {
                ticket += 1;
                unsent = frame(ticket, 0, Asked::Lookup { key: &key, manner: MANNER });
            }
            match scene.stream.write(&unsent) {
                Ok(count) => drop(unsent.drain(..count)),
                Err(_) => {
                    silent += u32::from(!scene.asker.wanted().contains(EpollFlags::EPOLLIN));
                    scene.receive().unwrap();
                }
            }
            assert!(scene.asker.waiting <= most, "{} for keys of {length}", scene.asker.waiting);
            assert!(scene.asker.input.held() <= CHUNK + Question::LONGEST + 4);
        }
        assert!(scene.asker.waiting >= WAITING);
        assert_eq!(scene.asker.tickets.len(), scene.asker.waiting / (length + OVERHEAD));
        // It is read from again as soon as one has been answered.
        scene.serve().unwrap();
        assert!(scene.asker.wanted().contains(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT));
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Questions and withdrawals; which tickets are asked, and which of them withdrawn.
fn stream(random: &mut Random) -> (Vec<u8>, BTreeSet<u32>, BTreeSet<u32>) {
    let (mut bytes, mut asked, mut withdrawn) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for ticket in 1..60 {
        let table = u16::try_from(random.below(2)).unwrap();
        let key = vec![b'k'; random.below(300)];
        bytes.extend(match random.below(4) {
            0 => {
                let old = u32::try_from(random.below(70)).unwrap();
                withdrawn.extend(asked.get(&old));
                frame(old, table, Asked::Withdrawn)
            }
            kind => {
                asked.insert(ticket);
                let lookup = Asked::Lookup { key: &key, manner: MANNER };
                frame(ticket, table, if kind == 1 { Asked::Usable } else { lookup })
            }
        });
    }
    (bytes, asked, withdrawn)
}

#[test]
fn every_question_is_answered_once_or_withdrawn_however_the_stream_is_cut() {
    for seed in 0..200 {
        let (mut random, mut scene) = (Random(seed), Scene::new());
        let (bytes, asked, withdrawn) = stream(&mut random);
        let (mut rest, mut answered) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.below(rest.len().min(500)) + 1);
            scene.stream.write_all(piece).unwrap();
            rest = after;
            scene.receive().unwrap();
            (0..random.below(4)).for_each(|_| answered.extend(scene.serve()));
        }
        answered.extend(std::iter::from_fn(|| scene.serve()));
        let once: BTreeSet<u32> = answered.iter().copied().collect();
        assert_eq!(once.len(), answered.len(), "seed {seed}");
        assert!(once.is_subset(&asked));
        let unanswered: BTreeSet<u32> = asked.difference(&once).copied().collect();
        assert!(unanswered.is_subset(&withdrawn), "seed {seed}: {unanswered:?} {withdrawn:?}");
        assert_eq!((scene.asker.waiting, scene.asker.tickets.len()), (0, 0), "seed {seed}");
    }
}

#[test]
fn damaged_stream_gives_questions_or_garbage_and_nothing_else() {
    let (mut garbage, mut taken) = (0, 0);
    for seed in 0..2000 {
        let (mut random, mut scene) = (Random(seed), Scene::new());
        let (mut bytes, ..) = stream(&mut random);
        for _ in 0..=random.below(3) {
            let place = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[place] ^= 1 << random.below(8),
                1 => bytes.truncate(place.max(1)),
                _ => drop(bytes.splice(place..place, [u8::try_from(random.below(256)).unwrap()])),
            }
        }
        scene.stream.write_all(&bytes).unwrap();
        match scene.receive() {
            Ok(()) => taken += 1,
            Err(Gone::Garbage(_)) => garbage += 1,
            Err(Gone::Closed) => panic!("it is open"),
        }
        let waiting = scene.asker.tickets.len();
        assert_eq!(std::iter::from_fn(|| scene.serve()).count(), waiting, "seed {seed}");
        assert_eq!(scene.asker.waiting, 0, "seed {seed}");
    }
    assert!(garbage > 100 && taken > 100, "{garbage} {taken}");
}

#[test]
fn long_answer_is_sent_in_pieces_and_leaves_no_buffer() {
    use std::io::Read;
    let mut scene = Scene::new();
    let long = vec![b'v'; MAX_VALUE];
    let answer = Answer { ticket: 1, answered: Answered::Found { with_nul: false, value: &long } };
    scene.asker.answer(&answer);
    assert!(!scene.asker.reads() && scene.asker.wanted() == EpollFlags::EPOLLOUT);
    let (mut got, mut buffer, mut pieces) = (Vec::new(), vec![0; CHUNK], 0);
    while !scene.asker.output.is_empty() {
        scene.asker.flush().unwrap();
        pieces += 1;
        while let Ok(length) = scene.stream.read(&mut buffer) {
            got.extend_from_slice(&buffer[..length]);
        }
    }
    let mut expected = Vec::new();
    answer.encode(&mut expected);
    assert!(got == expected && pieces > 1, "{} bytes in {pieces}", got.len());
    assert_eq!(scene.asker.output.capacity(), 0);
    assert_eq!(scene.asker.wanted(), EpollFlags::EPOLLIN);
    drop(scene.stream);
    scene.asker.answer(&answer);
    assert!(matches!(scene.asker.flush(), Err(Gone::Closed)));
    scene.asker.output.clear();
    assert!(matches!(scene.asker.read(&mut scene.scratch), Err(Gone::Closed)));
}

#[test]
fn question_is_taken_as_it_was_asked() {
    let mut scene = Scene::new();
    let lookup = Asked::Lookup { key: b"key", manner: MANNER };
    scene.stream.write_all(&frame(7, 3, lookup)).unwrap();
    scene.stream.write_all(&frame(8, 4, Asked::Usable)).unwrap();
    scene.asker.read(&mut scene.scratch).unwrap();
    let mut take = || match scene.asker.take() {
        Ok(Some(Taken::Question(question))) => question,
        other => panic!("{other:?}"),
    };
    let Pending { ticket, table, client, asked } = take();
    assert_eq!((ticket, table, client), (7, TableId(3), 7));
    assert_eq!(asked, Some((Box::from(b"key".as_slice()), MANNER)));
    let question = take();
    assert_eq!((question.ticket, question.table, question.key()), (8, TableId(4), 0));
    assert_eq!(question.asked, None);
    assert!(!format!("{:?} {question:?}", scene.asker).contains("key"));
    // A second question under a ticket that waits is none.
    scene.stream.write_all(&frame(8, 4, Asked::Usable)).unwrap();
    scene.asker.read(&mut scene.scratch).unwrap();
    assert!(matches!(scene.asker.take(), Err(Gone::Garbage(DecodeError::Field))));
}

#[test]
fn asker_with_a_full_queue_is_not_read() {
    let mut scene = Scene::new();
    scene.stream.write_all(&frame(1, 0, Asked::Usable)).unwrap();
    scene.receive().unwrap();
    scene.asker.limit(OVERHEAD);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(&scene.asker, EpollEvent::new(scene.asker.wanted(), 1)).unwrap();
    scene.stream.write_all(&frame(2, 0, Asked::Usable)).unwrap();
    let mut events = [EpollEvent::empty()];
    assert_eq!(epoll.wait(&mut events, EpollTimeout::ZERO), Ok(0));
    scene.receive().unwrap();
    assert_eq!(scene.line.len(), 1, "it is not read from");
    drop(scene.stream);
    assert_eq!(epoll.wait(&mut events, EpollTimeout::ZERO), Ok(1), "but that it has gone is told");
}
