//! Clients that ask as fast as they are answered, and what that takes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// What to ask, and how much of it at once.
pub struct Load<'a> {
    pub table: &'a str,
    pub clients: usize,
    /// By all clients together.
    pub requests: usize,
    pub entries: u32,
    /// The key with this number, out of `entries`.
    pub key: fn(u32) -> String,
}

/// A mail address with this number.
pub fn user(number: u32) -> String {
    format!("user{number}@example.org")
}

/// What came out. Times in microseconds.
pub struct Figures {
    pub throughput: f64,
    pub p50: f64,
    pub p99: f64,
    /// Of the server, for one request.
    pub cpu: f64,
}

impl Load<'_> {
    /// One client, a few questions: the table is open afterwards.
    pub fn warm_up(&self, socket: &Path) {
        let once = Load { clients: 1, requests: 200, ..*self };
        once.run(socket, &[]);
    }

    /// Asks the server at `socket`, whose processes are `pids`.
    pub fn run(&self, socket: &Path, pids: &[u32]) -> Figures {
        let each = self.requests / self.clients;
        let connections: Vec<UnixStream> = (0..self.clients).map(|_| connect(socket)).collect();
        let before = cpu(pids);
        let start = Instant::now();
        let mut times: Vec<u32> = std::thread::scope(|scope| {
            let ask = |(number, connection)| scope.spawn(move || self.client(number, connection, each));
            let threads: Vec<_> = connections.into_iter().enumerate().map(ask).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let wall = start.elapsed();
        let spent = cpu(pids) - before;
        times.sort_unstable();
        let at = |share: usize| f64::from(times[(times.len() - 1) * share / 100]) / 1000.0;
        let count = times.len() as f64;
        Figures {
            throughput: count / wall.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            cpu: spent as f64 / 1000.0 / count,
        }
    }

    /// Asks `each` questions one after the other; returns the time of each in nanoseconds.
    fn client(&self, number: usize, mut connection: UnixStream, each: usize) -> Vec<u32> {
        let mut times = Vec::with_capacity(each);
        let mut answer = [0; 4096];
        let mut state = number as u32 + 1;
        for _ in 0..each {
            // A linear congruential walk over the keys (Numerical Recipes' constants).
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (state >> 8) % self.entries;
            let (table, key) = (self.table, (self.key)(key));
            let request = format!("request\0lookup\0table\0{table}\0flags\x00524352\0key\0{key}\0\0");
            let start = Instant::now();
            connection.write_all(request.as_bytes()).unwrap();
            let length = connection.read(&mut answer).unwrap();
            times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            assert!(answer[..length].starts_with(b"status\x000\0"), "an answer other than found");
        }
        times
    }
}

fn connect(socket: &Path) -> UnixStream {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut announcement = [0; 28];
    connection.read_exact(&mut announcement).unwrap();
    connection
}

/// CPU time of these processes so far, in nanoseconds.
fn cpu(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
    };
    pids.iter().map(of).sum()
}
