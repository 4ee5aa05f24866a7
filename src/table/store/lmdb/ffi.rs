//! liblmdb, made safe by ownership: an environment is inside of its transaction, so that there is one at a time.
//!
//! Purpose: the calls of liblmdb that are needed, one method each. May: what liblmdb does to its two descriptors.
//! Never: decide what an error means. Called by: `LmdbStore` only, with a file that has been checked and is locked:
//! liblmdb trusts what it reads, and reads it from a mapping of the file.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::ptr::{NonNull, null, null_mut};

use lmdb_master_sys as lmdb;

use super::calls::{inside, opening};

/// The error code of a failed call of liblmdb: one of its own (negative), or an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub c_int);

impl Code {
    /// Not one of liblmdb's: it has not taken the descriptors that it was to take.
    pub const NOT_WRAPPED: Code = Code(c_int::MIN);
    pub const MAP_FULL: Code = Code(lmdb::MDB_MAP_FULL);
    pub const MAP_RESIZED: Code = Code(lmdb::MDB_MAP_RESIZED);
    pub const TXN_FULL: Code = Code(lmdb::MDB_TXN_FULL);
    pub const BAD_VALSIZE: Code = Code(lmdb::MDB_BAD_VALSIZE);

    /// The file is damaged, or liblmdb has found it so.
    pub fn corruption(self) -> Option<&'static str> {
        match self.0 {
            lmdb::MDB_CORRUPTED => Some("a page is of another kind"),
            lmdb::MDB_PAGE_NOTFOUND => Some("a page does not exist"),
            lmdb::MDB_INVALID => Some("it is not an LMDB file"),
            lmdb::MDB_VERSION_MISMATCH => Some("it belongs to another version of LMDB"),
            lmdb::MDB_PANIC => Some("liblmdb reports a fatal error"),
            lmdb::MDB_PAGE_FULL | lmdb::MDB_CURSOR_FULL | lmdb::MDB_PROBLEM => Some("a tree is malformed"),
            lmdb::MDB_BAD_TXN | lmdb::MDB_INCOMPATIBLE => Some("liblmdb cannot go on"),
            _ => None,
        }
    }

    fn of(result: c_int) -> Result<(), Code> {
        if result == lmdb::MDB_SUCCESS { Ok(()) } else { Err(Code(result)) }
    }

    /// True for success, false for "not there".
    fn found(result: c_int) -> Result<bool, Code> {
        if result == lmdb::MDB_NOTFOUND { Ok(false) } else { Code::of(result).map(|()| true) }
    }
}

/// An open file without a transaction.
#[derive(Debug)]
pub(super) struct Env {
    raw: NonNull<lmdb::MDB_env>,
}

impl Env {
    /// Opens the file that both descriptors stand for, with a map of `map` bytes. An empty file becomes a table.
    pub fn open(data: OwnedFd, meta: OwnedFd, map: usize) -> Result<Env, Code> {
        let mut raw = null_mut();
        // SAFETY: `raw` is where the new environment goes.
        Code::of(inside(|| unsafe { lmdb::mdb_env_create(&mut raw) }))?;
        let env = Env { raw: NonNull::new(raw).ok_or(Code(libc::ENOMEM))? };
        env.set_map_size(map)?;
        // The two flags of Postfix: one file, and no lock file beside it. The path is one that no file can have.
        let flags = lmdb::MDB_NOSUBDIR | lmdb::MDB_NOLOCK;
        // SAFETY: the environment is new, and the path is a C string.
        let open = || unsafe { lmdb::mdb_env_open(env.raw.as_ptr(), c"".as_ptr(), flags, 0o600) };
        let (result, taken) = opening(data, meta, open);
        match Code::of(result) {
            Err(Code(libc::ENOENT)) if !taken => Err(Code::NOT_WRAPPED),
            result => result.map(|()| env),
        }
    }

    /// Maps that many bytes (whole pages) from now on.
    pub fn set_map_size(&self, map: usize) -> Result<(), Code> {
        // SAFETY: there is no transaction, since one would own the environment.
        Code::of(inside(|| unsafe { lmdb::mdb_env_set_mapsize(self.raw.as_ptr(), map) }))
    }

    /// Begins to read; hold the lock until the transaction has ended.
    pub fn read(self) -> Result<Txn<Read>, (Env, Code)> {
        self.begin(lmdb::MDB_RDONLY)
    }

    /// Begins to change; hold the exclusive lock until the transaction has ended.
    pub fn write(self) -> Result<Txn<Write>, (Env, Code)> {
        self.begin(0)
    }

    fn begin<Kind>(self, flags: u32) -> Result<Txn<Kind>, (Env, Code)> {
        let (mut raw, mut dbi) = (null_mut(), 0);
        // SAFETY: the environment is open, and no other transaction of it lives, since that would own it.
        let begun = inside(|| unsafe { lmdb::mdb_txn_begin(self.raw.as_ptr(), null_mut(), flags, &mut raw) });
        let raw = match (Code::of(begun), NonNull::new(raw)) {
            (Ok(()), Some(raw)) => Raw(raw),
            (Err(code), _) => return Err((self, code)),
            (Ok(()), None) => return Err((self, Code(libc::ENOMEM))),
        };
        // SAFETY: the transaction lives; no name stands for the main database.
        let opened = inside(|| unsafe { lmdb::mdb_dbi_open(raw.0.as_ptr(), null(), 0, &mut dbi) });
        match Code::of(opened) {
            Ok(()) => Ok(Txn { raw, env: self, dbi, kind: PhantomData }),
            Err(code) => {
                drop(raw);
                Err((self, code))
            }
        }
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        // SAFETY: no transaction lives (it would own the environment), and the environment is not used again.
        inside(|| unsafe { lmdb::mdb_env_close(self.raw.as_ptr()) });
    }
}

/// A transaction that reads.
#[derive(Debug)]
pub(super) enum Read {}

/// A transaction that changes.
#[derive(Debug)]
pub(super) enum Write {}

/// A transaction of the main database, with the environment. Dropping it without [`Txn::commit`] undoes its changes.
#[derive(Debug)]
pub(super) struct Txn<Kind> {
    // Dropped in this order: the transaction ends before the environment.
    raw: Raw,
    env: Env,
    dbi: lmdb::MDB_dbi,
    kind: PhantomData<Kind>,
}

#[derive(Debug)]
struct Raw(NonNull<lmdb::MDB_txn>);

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the transaction lives until here; commit takes it out of the hands of drop.
        inside(|| unsafe { lmdb::mdb_txn_abort(self.0.as_ptr()) });
    }
}

impl<Kind> Txn<Kind> {
    /// Appends the value of `key` to `value`. The key must not be empty.
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, Code> {
        let (mut key, mut data) = (borrowed(key), empty());
        // SAFETY: the transaction lives, and liblmdb only reads the key's bytes.
        let got = inside(|| unsafe { lmdb::mdb_get(self.raw.0.as_ptr(), self.dbi, &mut key, &mut data) });
        Ok(Code::found(got)? && append(value, &data)?)
    }

    /// Appends the first entry with a key greater than `last` (the first of all, if that is empty) to `key` and `value`.
    pub fn after(&self, last: &[u8], key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool, Code> {
        let mut raw = null_mut();
        // SAFETY: the transaction lives; `raw` is where the cursor goes.
        Code::of(inside(|| unsafe { lmdb::mdb_cursor_open(self.raw.0.as_ptr(), self.dbi, &mut raw) }))?;
        let cursor = Cursor { raw: NonNull::new(raw).ok_or(Code(libc::ENOMEM))?, txn: PhantomData::<&Self> };
        let (mut at, mut data) = (borrowed(last), empty());
        let place = if last.is_empty() { lmdb::MDB_FIRST } else { lmdb::MDB_SET_RANGE };
        let mut found = cursor.step(&mut at, &mut data, place)?;
        if found && at.mv_size == last.len() {
            let mut stored = Vec::new();
            append(&mut stored, &at)?;
            if stored == last {
                found = cursor.step(&mut at, &mut data, lmdb::MDB_NEXT)?;
            }
        }
        Ok(found && append(key, &at)? && append(value, &data)?)
    }

    /// Ends the transaction; what it has changed is undone.
    pub fn end(self) -> Env {
        self.env
    }
}

impl Txn<Write> {
    /// Stores an entry. After an error (one of size excepted) the transaction can only be ended.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Code> {
        let (mut key, mut data) = (borrowed(key), borrowed(value));
        // SAFETY: the transaction lives, and liblmdb only reads the bytes of key and value.
        Code::of(inside(|| unsafe { lmdb::mdb_put(self.raw.0.as_ptr(), self.dbi, &mut key, &mut data, 0) }))
    }

    /// Removes an entry. False: there was none. After an error the transaction can only be ended.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Code> {
        let mut key = borrowed(key);
        // SAFETY: the transaction lives, and liblmdb only reads the key's bytes.
        Code::found(inside(|| unsafe { lmdb::mdb_del(self.raw.0.as_ptr(), self.dbi, &mut key, null_mut()) }))
    }

    /// Makes the changes durable. After an error none of them has been made, and liblmdb may refuse to continue.
    pub fn commit(self) -> (Env, Result<(), Code>) {
        let raw = self.raw.0.as_ptr();
        std::mem::forget(self.raw);
        // SAFETY: the transaction lives until this call, which ends it whether it succeeds or not.
        (self.env, Code::of(inside(|| unsafe { lmdb::mdb_txn_commit(raw) })))
    }
}

/// A cursor; it cannot outlive its transaction.
struct Cursor<'t, Kind> {
    raw: NonNull<lmdb::MDB_cursor>,
    txn: PhantomData<&'t Txn<Kind>>,
}

impl<Kind> Cursor<'_, Kind> {
    fn step(&self, key: &mut lmdb::MDB_val, data: &mut lmdb::MDB_val, to: u32) -> Result<bool, Code> {
        // SAFETY: cursor and transaction live, and liblmdb only reads the bytes of the key that it is given.
        Code::found(inside(|| unsafe { lmdb::mdb_cursor_get(self.raw.as_ptr(), key, data, to) }))
    }
}

impl<Kind> Drop for Cursor<'_, Kind> {
    fn drop(&mut self) {
        // SAFETY: the cursor was opened in `Txn::after`, its transaction lives, and it is not used again.
        inside(|| unsafe { lmdb::mdb_cursor_close(self.raw.as_ptr()) });
    }
}

fn empty() -> lmdb::MDB_val {
    lmdb::MDB_val { mv_size: 0, mv_data: null_mut() }
}

/// Bytes as liblmdb takes them. The pointer is not const for C's sake; liblmdb does not write through it.
fn borrowed(bytes: &[u8]) -> lmdb::MDB_val {
    lmdb::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

/// Appends what liblmdb has just pointed at, before anything else can end the transaction or change it.
fn append(out: &mut Vec<u8>, found: &lmdb::MDB_val) -> Result<bool, Code> {
    out.try_reserve(found.mv_size).map_err(|_| Code(libc::ENOMEM))?;
    let end = out.len();
    let room = out.spare_capacity_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: liblmdb points at `mv_size` readable bytes of a page, in the map (the file is as long as its pages say,
    // which is checked under the lock that still holds) or in memory; so much room has been reserved behind the end.
    // No reference to the map is made: other programs may write to it.
    unsafe { found.mv_data.cast::<u8>().copy_to_nonoverlapping(room, found.mv_size) };
    // SAFETY: this number of bytes after `end` have been reserved, and just been filled.
    unsafe { out.set_len(end + found.mv_size) };
    Ok(true)
}
