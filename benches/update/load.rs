//! Clients that update, or look up, as fast as they are answered, and what that takes.

use super::common::writing::{Client, OK, Random, Request};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A server with one table.
pub struct Load<'a> {
    pub socket: PathBuf,
    pub table: &'a str,
    /// What every request carries.
    pub flags: u32,
    pub entries: usize,
    /// The processes of the server.
    pub pids: Vec<u32>,
}

/// What came out.
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Median, in milliseconds.
    pub p50: f64,
    /// 99th percentile, in milliseconds.
    pub p99: f64,
    /// Server CPU for a request, in microseconds.
    pub cpu: f64,
}

pub fn key(number: usize) -> Vec<u8> {
    format!("user{number}@example.org").into_bytes()
}

/// About as long as an entry of verify(8).
pub fn value(number: u64) -> Vec<u8> {
    format!("0:{number:010}:{number:010}:delivery via mx.example.org[192.0.2.1]:25: 250 2.1.5 Ok")
        .into_bytes()
}

impl Load<'_> {
    /// Updates so often that files which grow at first have grown.
    pub fn warm_up(&self, count: usize) {
        let (mut random, mut client) = (Random(99), Client::open(&self.socket));
        for _ in 0..count {
            self.update(&mut client, &mut random);
        }
    }

    /// This number of clients update for this time.
    pub fn updates(&self, clients: usize, time: Duration) -> Figures {
        let before = cpu(&self.pids);
        let start = Instant::now();
        let times: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|number| {
                    scope.spawn(move || {
                        let mut random = Random(number as u64 + 1);
                        let mut client = Client::open(&self.socket);
                        let mut times = Vec::new();
                        while start.elapsed() < time {
                            times.push(self.update(&mut client, &mut random));
                        }
                        times
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        figures(times, start.elapsed(), cpu(&self.pids) - before)
    }

    /// One client looks up while another updates. The figures are those of the lookups; their CPU is that of both.
    pub fn lookups_beside_updates(&self, time: Duration) -> Figures {
        let over = AtomicBool::new(false);
        let before = cpu(&self.pids);
        let start = Instant::now();
        let times = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut random, mut client) = (Random(1), Client::open(&self.socket));
                while !over.load(Ordering::Relaxed) {
                    self.update(&mut client, &mut random);
                }
            });
            let (mut random, mut client) = (Random(2), Client::open(&self.socket));
            let mut times = Vec::new();
            while start.elapsed() < time {
                let request =
                    Request { table: self.table, flags: self.flags }.lookup(&key(random.below(self.entries)));
                let asked = Instant::now();
                let reply = client.ask(&request);
                times.push(asked.elapsed());
                assert_eq!(reply.status(), OK, "{reply:?}");
            }
            over.store(true, Ordering::Relaxed);
            times
        });
        figures(times, start.elapsed(), cpu(&self.pids) - before)
    }

    fn update(&self, client: &mut Client, random: &mut Random) -> Duration {
        let key = key(random.below(self.entries));
        let request =
            Request { table: self.table, flags: self.flags }.update(&key, &value(random.next() % 1_000_000));
        let asked = Instant::now();
        let reply = client.ask(&request);
        let time = asked.elapsed();
        assert_eq!(reply.status(), OK, "{reply:?}");
        time
    }
}

fn figures(mut times: Vec<Duration>, wall: Duration, cpu: u64) -> Figures {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    let count = times.len() as f64;
    Figures { rate: count / wall.as_secs_f64(), p50: at(50), p99: at(99), cpu: cpu as f64 / 1000.0 / count }
}

/// CPU time of these processes so far, in nanoseconds.
fn cpu(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
    };
    pids.iter().map(of).sum()
}
