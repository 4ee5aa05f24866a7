//! Clients that ask patterns for what takes them longest, and a client that only wants to be answered.

use super::common::master::Master;
use super::common::wire::{ANNOUNCEMENT, Received, Wire, attribute};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nested quantifiers, for which a search takes exponential time.
pub const SLOW: &str = "/^(a+)+$/ many\n/(x+x+)+y/ pairs\n";
/// Requests that each attacker sends at once.
const AT_ONCE: usize = 120;
/// How long an attacker that gets no reply waits before it checks whether it must stop.
const BEAT: Duration = Duration::from_millis(20);

/// Attackers at work.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    answers: Arc<AtomicUsize>,
    wrong: Arc<AtomicUsize>,
}

impl Crowd {
    /// This number of attackers: one of three reads its answers, the others disconnect without reading them and connect
    /// again.
    pub fn of(number: usize, socket: &Path, tables: &[String]) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let (answers, wrong) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let start = |number: usize| {
            let (socket, table) = (socket.to_path_buf(), tables[number % tables.len()].clone());
            let (stop, answers, wrong) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(&wrong));
            std::thread::spawn(move || match number % 3 {
                1 => stay(&socket, &table, number, &stop, (&answers, &wrong)),
                _ => hit_and_run(&socket, &table, number, &stop),
            })
        };
        Crowd { threads: (0..number).map(start).collect(), stop, answers, wrong }
    }

    /// They stop: how many answers they have got, and how many of those were neither an error nor the truth.
    pub fn leave(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        (self.answers.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed))
    }
}

/// Of 4 KB or of 250 KB, for either pattern.
fn worst(table: &str, number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(4) { 250_000 } else { 4_000 };
    let (letter, end) = if number.is_multiple_of(2) { ("a", "!") } else { ("x", "!y") };
    let key = format!("{}{end}", letter.repeat(length));
    format!("request\0lookup\0table\0{table}\0flags\x0064\0key\0{key}\0\0").into_bytes()
}

fn hit_and_run(socket: &Path, table: &str, number: usize, stop: &AtomicBool) {
    let requests = worst(table, number).repeat(AT_ONCE);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = UnixStream::connect(socket) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if stream.read_exact(&mut [0; ANNOUNCEMENT.len()]).is_err() {
            continue;
        }
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(&requests);
        // The machine should be busy with their requests, not with making them.
        std::thread::sleep(BEAT);
    }
}

/// Neither key fits a rule, so that an answer is a temporary error, or that there is none.
fn stay(socket: &Path, table: &str, number: usize, stop: &AtomicBool, counts: (&AtomicUsize, &AtomicUsize)) {
    let requests = worst(table, number | 1).repeat(AT_ONCE.min(16));
    let (answers, wrong) = counts;
    while !stop.load(Ordering::Relaxed) {
        let mut wire = Wire::open(socket);
        wire.send(&requests).unwrap();
        let mut left = AT_ONCE.min(16);
        while left > 0 && !stop.load(Ordering::Relaxed) {
            match wire.receive(BEAT) {
                Received::Reply(reply) => {
                    left -= 1;
                    answers.fetch_add(1, Ordering::Relaxed);
                    if !matches!(attribute(&reply, "status"), Some("1" | "2")) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Received::Silence => {}
                Received::Closed => panic!("a connection was lost"),
            }
        }
    }
}

/// How long a client waited for each of its answers.
pub struct Waits(Vec<Duration>);

impl Waits {
    /// A client that asks for so long.
    pub fn of_a_client(master: &Master<'_>, table: &str, time: Duration) -> Waits {
        let begun = Instant::now();
        Waits::while_true(master, table, || begun.elapsed() < time)
    }

    /// A client that asks as long as `wanted` is true.
    pub fn while_true(master: &Master<'_>, table: &str, mut wanted: impl FnMut() -> bool) -> Waits {
        let mut wire = master.wire();
        let (mut waits, mut number) = (Vec::new(), 0);
        while wanted() {
            number = (number + 7) % 1000;
            let request = format!("request|lookup|table|{table}|flags|64|key|user{number}@example.org||");
            let begun = Instant::now();
            let reply = wire.ask(&request);
            waits.push(begun.elapsed());
            assert_eq!(attribute(&reply, "value"), Some(format!("v{number}").as_str()), "{reply}");
        }
        waits.sort_unstable();
        Waits(waits)
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |wait: &Duration| wait.as_secs_f64() * 1000.0;
        let at =
            |share: usize| self.0.get((self.0.len().saturating_sub(1)) * share / 100).map_or(0.0, millis);
        let most = self.0.last().map_or(0.0, millis);
        write!(
            out,
            "{} answers, p50 {:.3} ms, p99 {:.3} ms, longest {most:.1} ms",
            self.0.len(),
            at(50),
            at(99)
        )
    }
}
