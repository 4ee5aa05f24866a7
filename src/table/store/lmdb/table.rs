//! The file of an lmdb table and the one transaction that is open on it.
//!
//! Purpose: each transaction under the lock of the whole file, shared or exclusive, as Postfix programs have it, on a
//! file of which it is known that liblmdb can be trusted with it. May: what `file` and `ffi` may. Never: keep the lock
//! without a transaction, or a transaction without the lock.
//!
//! The file is checked wholly when it is opened. Afterwards the meta pages and the length tell before each transaction
//! what other programs have done meanwhile. When they have done more than to commit transactions, it is checked again.
//!
//! This is needed for `postmap` of Postfix (3.7 to 3.12, strace and dict_lmdb.c): with `-i` it takes no lock, and when it
//! builds a table again it begins its transaction before it takes the lock. What another program commits meanwhile is
//! lost then, and the file may be damaged, whether that program is this engine or Postfix's own. `postmap -d`,
//! `postmap -q` and the daemons lock first.

use std::mem;
use std::os::fd::OwnedFd;

use crate::StoreError;

use super::check::check;
use super::ffi::{Code, Env, Read, Txn, Write};
use super::file::{Held, Lock, failed};
use super::format::Heads;

/// The first size of the map in bytes, the same as the default of Postfix's lmdb_map_size.
const FIRST_MAP: u64 = 16 << 20;

/// How often a file is checked that changes meanwhile.
const MOST_CHECKS: usize = 3;

#[derive(Debug)]
pub(super) enum State {
    /// To be opened (again).
    Closed,
    Idle(Env),
    Reading(Txn<Read>),
    Writing(Txn<Write>),
}

#[derive(Debug)]
pub(super) struct Table {
    file: Held,
    state: State,
    /// The size of the map, in bytes, and how large it may be.
    map: u64,
    limit: u64,
    /// What the file was like when it was last known to be good.
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    heads: Heads,
    length: u64,
}

impl Table {
    pub fn new(data: OwnedFd, meta: OwnedFd, limit: u64) -> Table {
        let map = FIRST_MAP.min(limit);
        Table { file: Held::new(data, meta), state: State::Closed, map, limit, known: None }
    }

    /// The transaction: after [`Table::read`] one of two kinds, after [`Table::write`] one that changes.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }

    pub fn is_writing(&self) -> bool {
        matches!(self.state, State::Writing(_))
    }

    /// Makes sure of a transaction to read in. One that changes will do.
    pub fn read(&mut self) -> Result<(), StoreError> {
        if matches!(self.state, State::Reading(_) | State::Writing(_)) {
            return Ok(());
        }
        self.begin(Lock::Shared, |env| env.read().map(State::Reading))
    }

    /// Makes sure of a transaction that changes.
    pub fn write(&mut self) -> Result<(), StoreError> {
        if self.is_writing() {
            return Ok(());
        }
        self.end_transaction();
        self.begin(Lock::Exclusive, |env| env.write().map(State::Writing))
    }

    /// Ends the transaction, if there is one, and releases the lock. Uncommitted changes are undone.
    pub fn end(&mut self) {
        self.end_transaction();
        self.file.unlock();
    }

    /// Ends a turn.
    pub fn rest(&mut self) {
        self.end();
        self.file.end_turn();
    }

    /// Commits the transaction, if it has changes, and releases the lock. After [`Code::MAP_FULL`] the lock is kept,
    /// for [`Table::grow`].
    pub fn commit(&mut self) -> Result<(), Code> {
        let txn = match mem::replace(&mut self.state, State::Closed) {
            State::Writing(txn) => txn,
            state => {
                self.state = state;
                return Ok(());
            }
        };
        let (env, result) = txn.commit();
        match result {
            Ok(()) => {
                self.state = State::Idle(env);
                self.remember();
                self.file.unlock();
            }
            Err(Code::MAP_FULL) => self.state = State::Idle(env),
            // liblmdb refuses everything after a failure to write the meta page. It is closed and reopened.
            Err(_) => self.file.unlock(),
        }
        result
    }

    /// Doubles the map, and begins a transaction that changes in place of the one that was open.
    pub fn grow(&mut self) -> Result<(), StoreError> {
        if self.map >= self.limit {
            return Err(StoreError::NoRoom(format!("its map may not be larger than {} bytes", self.limit)));
        }
        self.end_transaction();
        if let State::Idle(env) = mem::replace(&mut self.state, State::Closed) {
            let env = self.resize(env, self.map.saturating_mul(2).min(self.limit))?;
            self.state = env.write().map(State::Writing).map_err(|(_, code)| self.failure(code))?;
        }
        Ok(())
    }

    /// What an error of liblmdb means. After some of them the environment is closed, to be reopened.
    pub fn failure(&mut self, code: Code) -> StoreError {
        if let Some(what) = code.corruption() {
            self.state = State::Closed;
            self.known = None;
            return StoreError::Corrupt(what.into());
        }
        match code {
            Code::MAP_FULL => StoreError::NoRoom("its map is full".into()),
            Code::TXN_FULL => StoreError::NoRoom("there are too many changes at once".into()),
            Code::BAD_VALSIZE => StoreError::NoRoom("the value is longer than the format allows".into()),
            // A program that takes no lock has changed the file since the look at it.
            Code::MAP_RESIZED => StoreError::Busy,
            Code::NOT_WRAPPED => StoreError::Io(
                "the program is linked without the --wrap options that lmdb tables need".into(),
            ),
            Code(number) if number > 0 => failed("changing", &std::io::Error::from_raw_os_error(number)),
            Code(number) => StoreError::Io(format!("liblmdb refuses it ({number})")),
        }
    }

    /// Takes the lock, makes sure of the file, and begins a transaction. After an error nothing is held.
    fn begin(
        &mut self,
        lock: Lock,
        transaction: impl FnOnce(Env) -> Result<State, (Env, Code)>,
    ) -> Result<(), StoreError> {
        let env = self.file.lock(lock).and_then(|()| self.environment());
        let begun = env.and_then(|env| {
            transaction(env).map_err(|(env, code)| {
                self.state = State::Idle(env);
                self.failure(code)
            })
        });
        match begun {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    /// An environment for the file as it is now. The lock is held.
    fn environment(&mut self) -> Result<Env, StoreError> {
        let mut length = self.file.length()?;
        if length == 0 {
            self.file.lock(Lock::Exclusive)?;
            length = self.file.length()?;
        }
        let mut needed = 0;
        if length == 0 {
            self.state = State::Closed;
        } else {
            needed = self.look(length)?;
        }
        if needed > self.limit {
            return Err(StoreError::NoRoom(format!("it needs a map larger than {} bytes", self.limit)));
        }
        let map = self.map.max(needed).max(length.min(self.limit));
        match mem::replace(&mut self.state, State::Closed) {
            State::Idle(env) if map > self.map => self.resize(env, map),
            State::Idle(env) => Ok(env),
            _ => self.open(map, length == 0),
        }
    }

    /// Opens the environment. What an earlier one has left in memory only, after a failure, goes to disk first: else a
    /// transaction that was reported as failed could come back after a power cut, over pages in new use.
    fn open(&mut self, map: u64, fresh: bool) -> Result<Env, StoreError> {
        self.file.sync()?;
        let (data, meta) = self.file.duplicates()?;
        match Env::open(data, meta, bytes(map)) {
            Ok(env) => {
                self.map = map;
                if fresh {
                    self.remember();
                }
                Ok(env)
            }
            Err(code) => {
                if fresh {
                    self.file.clear();
                }
                Err(self.failure(code))
            }
        }
    }

    /// Replaces the map of the environment. If there is no memory for it, the next environment has the previous map.
    fn resize(&mut self, env: Env, map: u64) -> Result<Env, StoreError> {
        match env.set_map_size(bytes(map)) {
            Ok(()) => {
                self.map = map;
                Ok(env)
            }
            Err(code) => Err(self.failure(code)),
        }
    }

    /// Compares the file, which is `length` bytes long, with what is known about it, and checks it if necessary.
    /// Returns the length that its pages need.
    fn look(&mut self, length: u64) -> Result<u64, StoreError> {
        let heads = Heads::read(self.file.bytes());
        let known = match (self.known.take(), heads) {
            (Some(known), Ok(heads)) if heads == known.heads && length >= known.length => known,
            (Some(known), Ok(heads)) if heads.follow(&known.heads) && length >= heads.newest().end() => {
                Known { heads, length }
            }
            (known, heads) => {
                if !known.zip(heads.ok()).is_some_and(|(known, heads)| heads.follow(&known.heads)) {
                    self.state = State::Closed;
                }
                self.check()?
            }
        };
        let needed = known.heads.newest().end();
        self.known = Some(known);
        Ok(needed)
    }

    /// Checks all of the file; again when a program that takes no lock changes it meanwhile.
    fn check(&self) -> Result<Known, StoreError> {
        for _ in 0..MOST_CHECKS {
            let before = Heads::read(self.file.bytes());
            let length = self.file.length()?;
            let checked = check(self.file.bytes(), length);
            if Heads::read(self.file.bytes()) == before {
                return checked.map(|heads| Known { heads, length });
            }
        }
        Err(StoreError::Busy)
    }

    /// Records the state of the file. No other program can have changed it, except one that takes no lock.
    fn remember(&mut self) {
        let known = self.file.length().and_then(|length| {
            let heads = Heads::read(self.file.bytes())?;
            Ok(Known { heads, length })
        });
        self.known = known.ok();
    }

    /// Ends the transaction, and keeps the lock.
    fn end_transaction(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Reading(txn) => State::Idle(txn.end()),
            State::Writing(txn) => State::Idle(txn.end()),
            state => state,
        };
    }
}

/// A lock lives as long as any descriptor of the same opening, and the caller may have kept one.
impl Drop for Table {
    fn drop(&mut self) {
        self.end();
    }
}

/// A size of a map as liblmdb takes it.
fn bytes(map: u64) -> usize {
    usize::try_from(map).unwrap_or(usize::MAX)
}
