//! The files of a table that is written, by name.
//!
//! Pure. What belongs to a table `hash:/DIR/NAME` or `btree:/DIR/NAME` besides `NAME.db` is ours: Postfix does not know
//! these names.

use mapkeep_name::{Kind, file_of};
use nix::fcntl::OFlag;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading only.
    Read,
    /// For reading and writing.
    Write,
    /// For writing only; each write is on disk when it returns (`O_DSYNC`).
    Synced,
}

impl Access {
    pub(super) fn flags(self) -> OFlag {
        match self {
            Access::Read => OFlag::O_RDONLY,
            Access::Write => OFlag::O_RDWR,
            Access::Synced => OFlag::O_WRONLY | OFlag::O_DSYNC,
        }
    }
}

/// One of the files of a table that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFile {
    /// `NAME.db`: what stock Postfix reads.
    Database,
    /// `NAME.mapkeep`: the store, which has the current contents of a hash or btree table while the service runs.
    Store,
    /// `NAME.mapkeep-wal`: the store's log.
    Log,
    /// `NAME.db.mapkeep-new`: a checkpoint on its way to become `NAME.db`. There is one during a checkpoint only.
    New,
    /// `NAME.lmdb`.
    Lmdb,
}

impl WriteFile {
    fn suffix(self) -> &'static [u8] {
        match self {
            WriteFile::Database => b".db",
            WriteFile::Store => b".mapkeep",
            WriteFile::Log => b".mapkeep-wal",
            WriteFile::New => b".db.mapkeep-new",
            WriteFile::Lmdb => b".lmdb",
        }
    }

    /// The access that the service needs.
    #[must_use]
    pub fn access(self) -> Access {
        if self == WriteFile::Database { Access::Read } else { Access::Write }
    }
}

/// The files of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFiles {
    /// The path in the table's name.
    path: Vec<u8>,
    lmdb: bool,
}

impl WriteFiles {
    /// The files of the table `name` (`type:path`); none for types that cannot be written.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<WriteFiles> {
        let lmdb = match Kind::of(name) {
            Kind::Lmdb => true,
            Kind::Hash | Kind::Btree => false,
            _ => return None,
        };
        let suffix = if lmdb { WriteFile::Lmdb.suffix() } else { WriteFile::Database.suffix() };
        let path = file_of(name)?.strip_suffix(suffix)?.to_vec();
        Some(WriteFiles { path, lmdb })
    }

    /// Whether the table is one lmdb file; otherwise it is a database with a store and a log.
    #[must_use]
    pub fn is_lmdb(&self) -> bool {
        self.lmdb
    }

    /// The file that the configured name denotes.
    #[must_use]
    pub fn configured(&self) -> WriteFile {
        if self.lmdb { WriteFile::Lmdb } else { WriteFile::Database }
    }

    /// The file that holds the current contents.
    #[must_use]
    pub fn main(&self) -> WriteFile {
        if self.lmdb { WriteFile::Lmdb } else { WriteFile::Store }
    }

    /// The files that the table has permanently once they are created; the configured one first.
    #[must_use]
    pub fn lasting(&self) -> &'static [WriteFile] {
        if self.lmdb { &[WriteFile::Lmdb] } else { &[WriteFile::Database, WriteFile::Store, WriteFile::Log] }
    }

    /// The configured path of a file.
    #[must_use]
    pub fn path(&self, file: WriteFile) -> Vec<u8> {
        [&self.path, file.suffix()].concat()
    }

    /// The last component of that path.
    #[must_use]
    pub fn name(&self, file: WriteFile) -> Vec<u8> {
        let path = self.path(file);
        path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_written_types_and_of_no_other() {
        let files = WriteFiles::of(b"btree:/d/x").unwrap();
        assert_eq!(files, WriteFiles::of(b"hash:/d/x").unwrap());
        for (file, path) in [
            (WriteFile::Database, "/d/x.db"),
            (WriteFile::Store, "/d/x.mapkeep"),
            (WriteFile::Log, "/d/x.mapkeep-wal"),
            (WriteFile::New, "/d/x.db.mapkeep-new"),
        ] {
            assert_eq!(files.path(file), path.as_bytes());
            assert_eq!(files.name(file), &path.as_bytes()[3..]);
        }
        assert_eq!((files.main(), files.lasting().len()), (WriteFile::Store, 3));
        let lmdb = WriteFiles::of(b"lmdb:/d/x").unwrap();
        assert_eq!((lmdb.path(WriteFile::Lmdb), lmdb.main()), (b"/d/x.lmdb".to_vec(), WriteFile::Lmdb));
        assert_eq!(lmdb.lasting(), [WriteFile::Lmdb]);
        for other in ["cdb:/d/x", "texthash:/d/x", "static:x", "internal:x", "debug:btree:/d/x", "x", ""] {
            assert_eq!(WriteFiles::of(other.as_bytes()), None, "{other}");
        }
    }
}
