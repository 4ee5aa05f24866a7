//! Tables that can be changed: engines on descriptors; a change is durable before it is reported as done.
//!
//! Purpose: put, delete, get and list entries of one table. May: read, write, lock, truncate and sync the descriptors
//! that it was given. Never: open, rename or remove a file, know a path or a client.
//! Called by: the writer, with the keys and values as they are stored (the writer has added the NUL that Postfix adds).
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod checkpoint;
mod error;
pub mod lmdb;
mod memory;
pub mod sqlite;
mod stamp;

pub use checkpoint::{Checkpoint, Progress};
pub use error::StoreError;
pub use lmdb::LmdbStore;
pub use memory::MemoryStore;
pub use sqlite::prepare;
pub use stamp::Stamp;

/// One table that can be changed.
///
/// Changes become durable in groups: each is made at once, is seen by later requests, and may be acknowledged only
/// after [`Store::commit`] has returned without an error.
pub trait Store {
    /// Puts the value of exactly this stored key into `value`, which is empty before. False: there is none.
    ///
    /// # Errors
    /// The reason why there is no answer.
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StoreError>;

    /// Stores an entry, in the place of any with the same key. Not durable before the next commit.
    ///
    /// # Errors
    /// The reason why it is not stored. After [`StoreError::KeyTooLong`] and [`StoreError::KeyEmpty`] the rest of the
    /// group stands; after any other error the group is lost: see [`Store::undo`].
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes an entry. False: there was none. Not durable before the next commit.
    ///
    /// # Errors
    /// As for [`Store::put`].
    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError>;

    /// Puts the first entry whose key is greater than `last` (the first of all, without one) into `key` and `value`,
    /// both empty before. False if there is none. The order is bytewise. So a scan continues past entries that are
    /// removed meanwhile, including the current one.
    ///
    /// # Errors
    /// The reason why there is no answer.
    fn after(
        &mut self,
        last: Option<&[u8]>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool, StoreError>;

    /// Whether changes wait for a commit.
    fn is_open(&self) -> bool;

    /// Makes the changes since the last commit durable, all of them with one sync. Nothing to do: nothing is done.
    ///
    /// # Errors
    /// None of the changes has been made; the store can be used again.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Drops the changes since the last commit.
    fn undo(&mut self);

    /// Ends reading for now: locks that other programs would have to wait for are given up. Called before each sleep.
    fn rest(&mut self) {}
}
