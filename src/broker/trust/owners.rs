//! Whose files are trusted, and what the administrator has said about directories.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use mapkeep_sys::status::Status;

use super::people::People;

/// Whose files are trusted: root's always, and those of the declared owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    declared: Vec<u32>,
    people: Rc<People>,
    /// `trusted_directories`: absolute paths, seen from the anchor and free of links.
    vouched: Vec<Vec<u8>>,
    /// The value of `table_owners` as it is written.
    setting: String,
    /// The value of `trusted_directories` as it is written.
    directories: String,
}

impl Owners {
    /// Root only.
    #[must_use]
    pub fn root() -> Owners {
        Owners::default()
    }

    /// Root and these user ids. A worker's own id must never be among them.
    #[must_use]
    pub fn declared(uids: &[u32]) -> Owners {
        Owners { declared: uids.to_vec(), ..Owners::default() }
    }

    /// Adds what is known about users and groups. Without it, no group counts as private.
    #[must_use]
    pub fn among(self, people: Rc<People>) -> Owners {
        Owners { people, ..self }
    }

    /// Adds the values of `table_owners` and `trusted_directories` from mapkeep.cf, or their defaults. The latter are
    /// absolute paths, separated by white space.
    #[must_use]
    pub fn with_settings(self, table_owners: &str, trusted_directories: &str) -> Owners {
        let vouched = trusted_directories.split_whitespace();
        let vouched = vouched.map(|path| path.trim_end_matches('/').as_bytes().to_vec());
        // `trusted_directories = /` would vouch for everything.
        let vouched = vouched.filter(|path| !path.is_empty());
        Owners {
            vouched: vouched.collect(),
            setting: table_owners.to_owned(),
            directories: trusted_directories.to_owned(),
            ..self
        }
    }

    /// Whether a file of this user is trusted.
    #[must_use]
    pub fn trusts(&self, uid: u32) -> bool {
        uid == 0 || self.declared.contains(&uid)
    }

    /// Whether the administrator vouches for the entries of the directory with this path, or of one above it.
    pub(super) fn vouches_for(&self, path: &[u8]) -> bool {
        self.vouched.iter().any(|known| {
            path.strip_prefix(known.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
        })
    }

    /// Whether anybody but root and its owner can write the file behind this descriptor.
    pub(super) fn others_write(&self, handle: BorrowedFd<'_>, status: &Status) -> bool {
        self.people.others_write(handle, status, status.uid)
    }

    /// The line for mapkeep.cf with which this user's files are trusted.
    pub(super) fn line_with(&self, uid: u32) -> String {
        format!("table_owners = {}", appended(&self.setting, &self.people.name_of(uid)))
    }

    /// The line for mapkeep.cf that vouches for this directory.
    pub(super) fn line_vouching(&self, shown: &str) -> String {
        format!("trusted_directories = {}", appended(&self.directories, shown))
    }

    /// The user's name, or number.
    pub(super) fn name_of(&self, uid: u32) -> String {
        self.people.name_of(uid)
    }
}

fn appended(before: &str, word: &str) -> String {
    if before.is_empty() { word.to_owned() } else { format!("{before} {word}") }
}
