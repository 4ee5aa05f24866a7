//! The tables of the writing service under attack: what it has acknowledged must be there afterwards.
//!
//! May: make a data directory, and send updates and lookups. Never: forget what was acknowledged.

use crate::common::PATIENCE;
use crate::common::wire::{Received, Wire, bytes};
use crate::service::make_directory;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What verify(8) sends: UTF8_REQUEST, OPEN_LOCK, SYNC_UPDATE, DUP_REPLACE.
const FLAGS: u32 = 0x9_0180;
/// The broker's limit of stores that may be set aside within a minute.
const ASIDE: usize = 3;
/// The order gives the attacker the table numbers: the second is the one that it attacks, the third is lmdb.
const LIST: [(&str, &str); 3] = [("btree", "answers"), ("btree", "victim"), ("lmdb", "other")];
const ANSWERS: [usize; 2] = [0, 2];
const OK: &str = "status|0|";

/// The tables, and what the service has acknowledged about them.
pub struct Tables {
    data: PathBuf,
    /// For each update: the number that was acknowledged last, and the number that was sent last.
    acknowledged: [u32; ANSWERS.len()],
    sent: [u32; ANSWERS.len()],
    lost: Option<String>,
}

impl Tables {
    /// Makes the data directory of a service, which belongs to this user.
    pub fn make(folder: &Path, owner: &str) -> Tables {
        let data = folder.join("data");
        make_directory(&data, 0o700);
        let (uid, gid) = account(owner);
        chown(&data, Some(uid), Some(gid)).expect("an owner");
        Tables { data, acknowledged: [0; ANSWERS.len()], sent: [0; ANSWERS.len()], lost: None }
    }

    /// Lines of main.cf. A writer may otherwise be silent for hours before it is ended.
    pub fn configuration(&self) -> String {
        let names: Vec<String> = (0..LIST.len()).map(|table| format!("proxy:{}", self.name(table))).collect();
        format!(
            "data_directory = {}\nproxy_write_maps = {}\ndaemon_timeout = 10s\n",
            self.data.display(),
            names.join(" ")
        )
    }

    /// Looks up what each table has acknowledged and updates it; nothing if the service has not answered.
    pub fn ask(&mut self, socket: &Path) -> Option<()> {
        // Else the next line would call a service that is about to come back broken.
        UnixStream::connect(socket).ok()?;
        let mut wire = Wire::connect(socket);
        matches!(wire.receive(PATIENCE), Received::Reply(_)).then_some(())?;
        for (place, table) in ANSWERS.into_iter().enumerate() {
            let head = format!("table|{}|flags|{FLAGS}|key|key|", self.name(table));
            if self.acknowledged[place] > 0 {
                let reply = answer(&mut wire, &format!("request|lookup|{head}|"))?;
                let number = reply.strip_prefix("status|0|value|").and_then(|rest| rest.strip_suffix("||"));
                let number = number.and_then(|text| text.parse().ok());
                // An update without a reply may or may not be stored.
                if !number
                    .is_some_and(|number| (self.acknowledged[place]..=self.sent[place]).contains(&number))
                {
                    self.lost = Some(format!("{} said {reply:?}", self.name(table)));
                }
            }
            self.sent[place] += 1;
            let number = self.sent[place];
            let reply = answer(&mut wire, &format!("request|update|{head}value|{number}||"))?;
            if !reply.starts_with(OK) {
                self.lost = Some(format!("{} took no update: {reply:?}", self.name(table)));
            }
            self.acknowledged[place] = number;
        }
        Some(())
    }

    /// What has happened to them that must not; nothing if all is well.
    pub fn damage(&mut self) -> Option<String> {
        // Reported once, so that later attempts are judged on their own.
        if let Some(lost) = self.lost.take() {
            return Some(format!("an acknowledged update is not there: {lost}"));
        }
        let entries = std::fs::read_dir(&self.data).expect("the data directory");
        let found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        if let Some(strange) = found.iter().find(|path| !self.has(path)) {
            return Some(format!("{} is there", strange.display()));
        }
        let is_aside = |path: &&PathBuf| path.to_string_lossy().contains(".corrupt-");
        let aside = found.iter().filter(is_aside).filter(|path| !path.to_string_lossy().ends_with("-wal"));
        (aside.count() > ASIDE).then(|| "more files set aside than a minute has room for".to_owned())
    }

    /// Whether this file belongs to one of the tables.
    pub fn has(&self, path: &Path) -> bool {
        let name = path.strip_prefix(&self.data).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        LIST.iter().any(|(_, table)| {
            name.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')).is_some_and(is_suffix)
        })
    }

    fn name(&self, table: usize) -> String {
        let (kind, name) = LIST[table];
        format!("{kind}:{}/{name}", self.data.display())
    }
}

/// What a table's files may be called after its name.
fn is_suffix(rest: &str) -> bool {
    let plain = ["db", "db.mapkeep-new", "mapkeep", "mapkeep-wal", "lmdb"].contains(&rest);
    plain || ["mapkeep.corrupt-", "db.corrupt-"].iter().any(|start| rest.starts_with(start))
}

/// A reply that says more than "try again later".
fn answer(wire: &mut Wire, request: &str) -> Option<String> {
    wire.send(&bytes(request)).ok()?;
    match wire.receive(PATIENCE) {
        Received::Reply(reply) if !reply.starts_with("status|2|") => Some(reply),
        _ => None,
    }
}

/// A user's number and that of its group.
fn account(name: &str) -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name)).expect("the user");
    let number = |field: usize| line.split(':').nth(field).and_then(|text| text.parse().ok()).expect("an id");
    (number(2), number(3))
}
