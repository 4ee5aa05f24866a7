//! Noticing that a table's file has changed: inotify on the directories of the approved tables.
//!
//! Watches are made before lock-down, for afterwards the broker cannot name a path to inotify. What is lost
//! later (a directory that is removed or replaced) falls back to polling.

use mapkeep_proto::TableId;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The watched directories and the tables with files in them.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, HashMap<OsString, Vec<TableId>>>,
}

/// What inotify reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Something happened to this table's file.
    Touched(TableId),
    /// inotify no longer watches this table's directory.
    Lost(TableId),
    /// Events were dropped: everything may have changed.
    Everything,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Watch { inotify, directories: HashMap::new() })
    }

    /// Watches the directory of `file` for the table `id`. False if that is not possible.
    pub(crate) fn add(&mut self, id: TableId, file: &[u8]) -> bool {
        let Some(slash) = file.iter().rposition(|byte| *byte == b'/') else { return false };
        let (directory, name) = file.split_at(slash);
        let directory = if directory.is_empty() { b"/" } else { directory };
        let name = OsString::from_vec(name.get(1..).unwrap_or_default().to_vec());
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(OsStr::from_bytes(directory), events) {
            Ok(watch) => {
                self.directories.entry(watch).or_default().entry(name).or_default().push(id);
                true
            }
            Err(_) => false,
        }
    }

    /// Reads the events that are waiting.
    pub(crate) fn notices(&mut self) -> io::Result<Vec<Notice>> {
        let mut notices = Vec::new();
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(notices),
            Err(error) => return Err(error.into()),
        };
        let ended = AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_UNMOUNT;
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                notices.push(Notice::Everything);
            } else if event.mask.intersects(ended) {
                let lost = self.directories.remove(&event.wd).unwrap_or_default();
                notices.extend(lost.into_values().flatten().map(Notice::Lost));
            } else if let Some(files) = self.directories.get(&event.wd) {
                let touched = event.name.as_ref().and_then(|name| files.get(name));
                notices.extend(touched.into_iter().flatten().map(|id| Notice::Touched(*id)));
            }
        }
        Ok(notices)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn changes_of_the_named_file_are_noticed_and_of_other_files_are_not() {
        let folder = std::env::temp_dir().join(format!("mapkeep-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("table.db");
        let mut watch = Watch::new().unwrap();
        assert!(watch.add(TableId(3), file.as_os_str().as_bytes()));
        assert!(!watch.add(TableId(4), b"/nonexistent/dir/file"));
        assert_eq!(watch.notices().unwrap(), []);
        fs::write(folder.join("other"), b"x").unwrap();
        assert_eq!(watch.notices().unwrap(), []);
        fs::write(&file, b"x").unwrap();
        assert!(watch.notices().unwrap().contains(&Notice::Touched(TableId(3))));
        fs::remove_dir_all(&folder).unwrap();
        assert!(watch.notices().unwrap().contains(&Notice::Lost(TableId(3))));
    }
}
