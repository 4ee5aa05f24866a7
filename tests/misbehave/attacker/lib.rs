//! Hostile code for the escape tests: what an attacker would try after taking over a lookup worker or the writer.
//!
//! Purpose: one table of attempts, and the places to run them from: inside a real worker or writer, where a client's
//! bytes ask for one ([`take_over`]), inside every other process ([`hijack`]), and under one layer of the lock alone
//! ([`layers`]). It is never shipped.

pub mod deeds;
pub mod hijack;
pub mod layers;
pub mod lmdb;
pub mod raw;
mod table;

pub use table::{attacks, outcome};

use mapkeep_proto::{BrokerToWriter, Decode, TableId};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A lookup worker of proxymap.
    Lookup,
    /// The writer of proxywrite.
    Writer,
}

/// The number of the table that the attacks on the writer's tables go for; the harness lists it second.
pub const VICTIM: TableId = TableId(1);

static ROLE: OnceLock<Role> = OnceLock::new();
/// How the broker numbered the last opening of the victim.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// What a raw system call gave: its value, or the error number.
pub type Answer = Result<i64, i32>;

/// What the attacker has to work with.
#[derive(Clone, Copy, Debug)]
pub struct Loot {
    /// A descriptor that the process was handed: a sealed snapshot, or the writer's sealed list of names.
    pub handed: i32,
    /// The connection of the client that sent the attack.
    pub client: i32,
    /// A process to go for: the broker.
    pub target: i32,
}

/// One thing to try. The function makes the calls; if the first of several fails, the others are not made.
#[derive(Debug)]
pub struct Attempt(pub &'static str, pub fn(&Loot) -> Answer);

/// How an attempt must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel ends the worker with SIGSYS at the call.
    Killed,
    /// The call comes back with one of these error numbers.
    Errno(&'static [i32]),
    /// The call comes back with success. For the attempts that show that the harness can tell.
    Allowed,
    /// The broker logs this about the worker and has it killed, whether or not the call returns.
    Dismissed(&'static str),
    /// The worker's process ends, by itself or not.
    Ended,
    /// SIGILL or SIGSYS ends the worker, or the call fails with ENXIO: for the calls that the kernel lets past every
    /// filter. Which of the three depends on its version.
    Futile,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Killed => out.write_str("SIGSYS"),
            Outcome::Errno(numbers) => {
                let names: Vec<String> = numbers.iter().map(|number| errno_name(*number)).collect();
                out.write_str(&names.join(" or "))
            }
            Outcome::Allowed => out.write_str("allowed"),
            Outcome::Dismissed(what) => write!(out, "ended, \"{what}\""),
            Outcome::Ended => out.write_str("ended"),
            Outcome::Futile => out.write_str("SIGILL, SIGSYS or ENXIO"),
        }
    }
}

/// The attempts of one kind.
#[derive(Debug)]
pub struct Attack {
    /// Its number in the report. 0: a check of the harness itself.
    pub item: u8,
    /// The target.
    pub name: &'static str,
    /// How every attempt must end; see [`outcome`] for those that end otherwise in the writer.
    pub outcome: Outcome,
    /// The attempts, each made in a life of its own.
    pub attempts: &'static [Attempt],
}

/// The name of an error number, as `EPERM`.
#[must_use]
pub fn errno_name(number: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(number))
}

/// A command as a client sends it: which attempt at which attack of the table, and at which process.
#[must_use]
pub fn command(attack: usize, attempt: usize, target: u32) -> String {
    format!("attack {attack} {attempt} {target}\n")
}

/// Makes this process hostile, once it is locked down and serves: code of ours runs wherever it reads a client's bytes,
/// as it would after a memory error in the parser. Nothing else about the process changes.
pub fn take_over(role: Role) {
    let _ = ROLE.set(role);
    match role {
        Role::Lookup => raw::on_client_bytes(obey, raw::Keep::Last),
        Role::Writer => {
            lmdb::link();
            raw::on_messages(note);
            raw::on_client_bytes(obey, raw::Keep::First);
        }
    }
}

/// The broker's number of the victim's last opening that this process was told of.
fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// What every writer knows, and the attacker has to see go by.
fn note(packet: &[u8]) {
    if let Ok(
        BrokerToWriter::Store { id: VICTIM, generation }
        | BrokerToWriter::StoreBeside { id: VICTIM, generation },
    ) = BrokerToWriter::decode(packet)
    {
        GENERATION.store(generation, Ordering::Relaxed);
    }
}

/// Runs the attempt that these bytes order, if they do. True when they did.
fn obey(client: i32, bytes: &[u8]) -> bool {
    let Some((attack, attempt, target)) = parse(bytes) else { return false };
    let role = ROLE.get().copied().unwrap_or(Role::Lookup);
    let found = attacks(role).nth(attack).and_then(|attack| attack.attempts.get(attempt));
    let Some(Attempt(_, step)) = found else { return false };
    raw::tell(client, format!("begin {}\n", raw::own_pid()).as_bytes());
    let report = match step(&Loot { handed: raw::handed(), client, target }) {
        Ok(value) => format!("returned {value}\n"),
        Err(number) => format!("failed {number}\n"),
    };
    raw::tell(client, report.as_bytes());
    true
}

fn parse(bytes: &[u8]) -> Option<(usize, usize, i32)> {
    let text = std::str::from_utf8(bytes.strip_prefix(b"attack ")?).ok()?;
    let mut words = text.split_whitespace();
    let (attack, attempt, target) = (words.next()?, words.next()?, words.next()?);
    Some((attack.parse().ok()?, attempt.parse().ok()?, target.parse().ok()?))
}
