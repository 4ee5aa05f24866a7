//! Tables handed out, refused and mended; damaged files set aside.

use super::super::trouble::text_of;
use super::*;
use mapkeep_broker_trust::testbed::{Bed, OWNER, STRANGER, as_owner};
use nix::errno::Errno;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// A directory `d` of the owner.
pub(crate) fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    bed.directory("d");
    bed.owner("d", OWNER);
    Some(bed)
}

/// A list of tables: each is `type:` and a name in the test's directory; after a `-` only a member of others.
pub(crate) fn list(bed: &Bed, names: &[&str]) -> Vec<Listed> {
    let listed = |name: &&str| {
        let (kind, path) = name.split_once(':').unwrap();
        let (approved, kind) = kind.strip_prefix('-').map_or((true, kind), |kind| (false, kind));
        Listed { name: [kind.as_bytes(), b":", &bed.bytes(path)].concat(), approved, incomplete: false }
    };
    names.iter().map(listed).collect()
}

/// The broker's tables, all due to be opened.
pub(crate) fn tables(bed: &Bed, names: &[&str]) -> Tables {
    let mut tables = Tables::new(list(bed, names), Anchor::host().unwrap(), OWNER);
    tables.reset(Instant::now());
    tables
}

/// Opens the table as the broker does, with the broker's rights.
pub(crate) fn open(tables: &mut Tables, id: u16) -> Result<HandOut, Unavailable> {
    as_owner(|| tables.open(TableId(id), Instant::now()))
}

/// A file of the owner.
pub(crate) fn owned(bed: &Bed, name: &str, content: &[u8]) {
    bed.file(name, content);
    bed.owner(name, OWNER);
    bed.mode(name, 0o600);
}

fn identity(descriptor: &OwnedFd) -> (u64, u64) {
    let status = mapkeep_sys::status::of(descriptor.as_fd()).unwrap();
    (status.dev, status.ino)
}

fn identity_of(bed: &Bed, name: &str) -> (u64, u64) {
    let status = fs::metadata(bed.path(name)).unwrap();
    (status.dev(), status.ino())
}

/// The names in the directory `d`, sorted.
pub(crate) fn names(bed: &Bed) -> Vec<String> {
    let entries = fs::read_dir(bed.path("d")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn asides(bed: &Bed, start: &str) -> Vec<String> {
    let start = format!("{start}.corrupt-");
    names(bed).into_iter().filter(|name| name.starts_with(&start)).collect()
}

#[test]
fn open_creates_missing_files() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["btree:d/x", "lmdb:d/y", "static:d/z", "hash:d/w"]);
    owned(&bed, "d/w.db", b"old");
    let ids: Vec<u16> = tables.due(Instant::now()).into_iter().map(|id| id.0).collect();
    assert_eq!(ids, [0, 1, 3], "a table without a file is not opened");

    let first = open(&mut tables, 0).unwrap();
    assert_eq!(first.message, BrokerToWriter::Store { id: TableId(0), generation: 1 });
    let lmdb = open(&mut tables, 1).unwrap();
    assert_eq!(lmdb.message, BrokerToWriter::Lmdb { id: TableId(1), generation: 1 });
    let beside = open(&mut tables, 3).unwrap();
    assert_eq!(beside.message, BrokerToWriter::StoreBeside { id: TableId(3), generation: 1 });
    for (files, expected) in [
        (&first, &["d/x.mapkeep", "d/x.mapkeep-wal"][..]),
        (&lmdb, &["d/y.lmdb", "d/y.lmdb"]),
        (&beside, &["d/w.mapkeep", "d/w.mapkeep-wal", "d/w.db"]),
    ] {
        let expected: Vec<_> = expected.iter().map(|name| identity_of(&bed, name)).collect();
        let found: Vec<_> = files.descriptors.iter().map(|one| identity(one)).collect();
        assert_eq!(found, expected);
        assert_eq!(files.descriptors.len(), files.message_descriptors());
    }
    assert_eq!(names(&bed), ["w.db", "w.mapkeep", "w.mapkeep-wal", "x.mapkeep", "x.mapkeep-wal", "y.lmdb"]);
    for name in ["d/x.mapkeep", "d/x.mapkeep-wal", "d/y.lmdb"] {
        let status = fs::metadata(bed.path(name)).unwrap();
        assert_eq!((status.mode() & 0o7777, status.uid()), (0o600, OWNER));
    }
    assert_eq!(tables.next_due(), None);

    // Each opening has a number of its own, and descriptors of its own.
    tables.reset(Instant::now());
    assert_eq!(open(&mut tables, 0).unwrap().generation, 2);
}

impl HandOut {
    fn message_descriptors(&self) -> usize {
        use mapkeep_proto::Decode;
        self.message.descriptors()
    }
}

#[test]
fn lmdb_descriptors_are_two_openings_of_one_file() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let Some(bed) = bed() else { return };
    let files = open(&mut tables(&bed, &["lmdb:d/y"]), 0).unwrap();
    let flags: Vec<OFlag> = files
        .descriptors
        .iter()
        .map(|one| OFlag::from_bits_retain(fcntl(one, FcntlArg::F_GETFL).unwrap()))
        .collect();
    assert!(flags[0].contains(OFlag::O_RDWR) && !flags[0].contains(OFlag::O_DSYNC));
    assert!(flags[1].contains(OFlag::O_WRONLY | OFlag::O_DSYNC));
}

#[test]
fn refused_table_creates_nothing_and_recovers_when_corrected() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    bed.file("d/x.db", b"");
    assert_eq!(open(&mut tables, 0).unwrap_err(), Unavailable::Refused);
    assert_eq!(names(&bed), ["x.db"], "nothing is made for a table that is refused");
    assert!(tables.next_due().unwrap() > Instant::now());
    let told = tables.entries[0].told.clone();
    assert!(told.contains("(rule W2: ") && told.contains("move it away"), "{told}");
    bed.owner("d/x.db", OWNER);
    bed.mode("d", 0o777);
    assert_eq!(open(&mut tables, 0).unwrap_err(), Unavailable::Refused);
    assert!(tables.entries[0].told.contains("(rule W5: "));
    bed.mode("d", 0o755);
    assert!(open(&mut tables, 0).is_ok());
    assert!(!tables.entries[0].told.is_empty());
    tables.opened(TableId(0));
    assert!(tables.entries[0].told.is_empty(), "the recovery is logged once the writer answers");
}

#[test]
fn table_in_a_missing_directory_is_opened_once_it_exists() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/e/x"]);
    assert_eq!(open(&mut tables, 0).unwrap_err(), Unavailable::Missing);
    bed.directory("d/e");
    assert_eq!(open(&mut tables, 0).unwrap_err(), Unavailable::Refused, "it is root's");
    bed.owner("d/e", OWNER);
    assert!(open(&mut tables, 0).is_ok());
}

#[test]
fn members_and_shared_files_are_refused() {
    let Some(bed) = bed() else { return };
    let all = ["-btree:d/m", "hash:d/x", "btree:d/x", "lmdb:d/x", "btree:d/.//x", "hash:d/y"];
    let mut tables = tables(&bed, &all);
    for (id, rule) in [(0, "W7"), (1, ""), (2, "W6"), (3, ""), (4, "W6"), (5, "")] {
        let result = open(&mut tables, id);
        assert_eq!(result.is_ok(), rule.is_empty(), "{}", all[usize::from(id)]);
        assert!(
            tables.entries[usize::from(id)].told.contains(rule),
            "{}",
            tables.entries[usize::from(id)].told
        );
    }
    assert!(tables.entries[0].due.is_none(), "the configuration does not mend itself");
    assert_eq!(
        names(&bed),
        ["x.lmdb", "x.mapkeep", "x.mapkeep-wal", "y.mapkeep", "y.mapkeep-wal"],
        "a member is not made"
    );
}

#[test]
fn lack_of_space_has_its_own_reason() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    let component = bed.bytes("d/x.mapkeep");
    for (errno, reason) in [
        (Errno::ENOSPC, Unavailable::NoRoom),
        (Errno::EDQUOT, Unavailable::NoRoom),
        (Errno::EIO, Unavailable::Unreadable),
        (Errno::EROFS, Unavailable::Unreadable),
    ] {
        let refusal = Refusal::Io { component: component.clone(), errno };
        assert_eq!(tables.entries[0].trouble(&refusal.into(), Instant::now()), reason);
    }
    let text = text_of(&Refusal::Io { component, errno: Errno::ENOSPC });
    assert!(text.contains("x.mapkeep cannot be created: "), "{text}");
}

#[test]
fn damaged_store_and_its_log_are_set_aside_together() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["btree:d/x"]);
    owned(&bed, "d/x.mapkeep", b"store");
    owned(&bed, "d/x.mapkeep-wal", b"log");
    owned(&bed, "d/x.db", b"database");
    open(&mut tables, 0).unwrap();
    tables.corrupt(TableId(0), Part::Store, Instant::now());
    assert_eq!(tables.due(Instant::now()), [TableId(0)], "at once");
    let again = open(&mut tables, 0).unwrap();
    assert_eq!(again.message, BrokerToWriter::StoreBeside { id: TableId(0), generation: 2 });
    assert_eq!(fs::metadata(bed.path("d/x.mapkeep")).unwrap().len(), 0);
    assert_eq!(fs::metadata(bed.path("d/x.mapkeep-wal")).unwrap().len(), 0);
    let asides = asides(&bed, "x.mapkeep");
    assert_eq!(asides.len(), 2);
    assert_eq!(asides[1], format!("{}-wal", asides[0]), "SQLite finds the log by this name");
    assert_eq!(fs::read(bed.path(&format!("d/{}", asides[0]))).unwrap(), b"store");
    assert_eq!(fs::read(bed.path(&format!("d/{}", asides[1]))).unwrap(), b"log");
    let stamp = asides[0].strip_prefix("x.mapkeep.corrupt-").unwrap();
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "99999999T999999Z");
}

#[test]
fn damaged_files_get_different_names_and_are_bounded() {
    for plain in [false, true] {
        let Some(bed) = bed() else { return };
        change::tests::PLAIN_ONLY.set(plain);
        let mut tables = tables(&bed, &["lmdb:d/y"]);
        let now = Instant::now();
        open(&mut tables, 0).unwrap();
        for round in 0..3 {
            fs::write(bed.path("d/y.lmdb"), format!("damage {round}")).unwrap();
            tables.corrupt(TableId(0), Part::Lmdb, now);
            open(&mut tables, 0).unwrap();
        }
        assert_eq!(asides(&bed, "y.lmdb").len(), 3, "within one second or two, so there is a counter");
        // One more within the same minute is too many: nothing is renamed, nothing is handed out.
        tables.corrupt(TableId(0), Part::Lmdb, now);
        assert_eq!(open(&mut tables, 0).unwrap_err(), Unavailable::Unreadable);
        assert_eq!(asides(&bed, "y.lmdb").len(), 3);
        assert!(tables.due(now).is_empty());
        let later = tables.next_due().unwrap();
        assert!(later > now + Duration::from_secs(50));
        assert!(as_owner(|| tables.open(TableId(0), later)).is_ok());
        assert_eq!(asides(&bed, "y.lmdb").len(), 4);
        let read = |aside: &String| fs::read_to_string(bed.path(&format!("d/{aside}"))).unwrap();
        let mut kept: Vec<String> = asides(&bed, "y.lmdb").iter().map(read).collect();
        kept.sort();
        assert_eq!(kept, ["", "damage 0", "damage 1", "damage 2"]);
    }
}

#[test]
fn damaged_database_is_set_aside_at_once() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    owned(&bed, "d/x.db", b"damaged");
    open(&mut tables, 0).unwrap();
    as_owner(|| tables.corrupt(TableId(0), Part::File, Instant::now()));
    let asides = asides(&bed, "x.db");
    assert_eq!(fs::read(bed.path(&format!("d/{}", asides[0]))).unwrap(), b"damaged");
    assert!(!bed.path("d/x.db").exists());
    assert_eq!((tables.entries[0].present, tables.entries[0].damaged), (None, None));
    assert_eq!(tables.next_due(), None, "the store goes on");
}

#[test]
fn file_that_another_program_has_replaced_is_not_set_aside() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x", "lmdb:d/y"]);
    owned(&bed, "d/x.db", b"damaged");
    for id in [0, 1] {
        open(&mut tables, id).unwrap();
    }
    for name in ["d/x.db", "d/x.mapkeep", "d/y.lmdb"] {
        owned(&bed, "d/n", b"sound");
        fs::rename(bed.path("d/n"), bed.path(name)).unwrap();
    }
    as_owner(|| tables.corrupt(TableId(0), Part::File, Instant::now()));
    tables.corrupt(TableId(0), Part::Store, Instant::now());
    tables.corrupt(TableId(1), Part::Lmdb, Instant::now());
    for id in [0, 1] {
        open(&mut tables, id).unwrap();
    }
    assert!(names(&bed).iter().all(|name| !name.contains("corrupt")), "{:?}", names(&bed));
    for name in ["d/x.db", "d/x.mapkeep", "d/y.lmdb"] {
        assert_eq!(fs::read(bed.path(name)).unwrap(), b"sound");
    }
}

#[test]
fn log_without_its_store_is_set_aside() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x", "hash:d/y"]);
    owned(&bed, "d/x.mapkeep-wal", b"log of a store that is gone");
    owned(&bed, "d/y.mapkeep-wal", b"");
    for id in [0, 1] {
        open(&mut tables, id).unwrap();
        assert_eq!(
            fs::metadata(bed.path(["d/x.mapkeep-wal", "d/y.mapkeep-wal"][usize::from(id)])).unwrap().len(),
            0
        );
    }
    assert_eq!(asides(&bed, "x.mapkeep-wal").len(), 1);
    assert_eq!(asides(&bed, "y.mapkeep-wal").len(), 0);
    // A log beside its store belongs to it.
    owned(&bed, "d/x.mapkeep-wal", b"log");
    tables.reset(Instant::now());
    open(&mut tables, 0).unwrap();
    assert_eq!(fs::read(bed.path("d/x.mapkeep-wal")).unwrap(), b"log");
}

#[test]
fn left_over_checkpoint_is_removed_whatever_it_is() {
    let Some(bed) = bed() else { return };
    let mut tables = tables(&bed, &["hash:d/x"]);
    owned(&bed, "d/victim", b"content");
    bed.link("victim", "d/x.db.mapkeep-new");
    open(&mut tables, 0).unwrap();
    assert!(bed.path("d/x.db.mapkeep-new").is_symlink(), "it may be that of another service");
    as_owner(|| tables.opened(TableId(0)));
    assert!(!bed.path("d/x.db.mapkeep-new").is_symlink());
    assert_eq!(fs::read(bed.path("d/victim")).unwrap(), b"content");
    bed.file("d/x.db.mapkeep-new", b"of somebody else");
    bed.owner("d/x.db.mapkeep-new", STRANGER);
    tables.reset(Instant::now());
    open(&mut tables, 0).unwrap();
    as_owner(|| tables.opened(TableId(0)));
    assert!(!bed.path("d/x.db.mapkeep-new").exists());
}

#[test]
fn directory_in_the_place_of_a_file_is_set_aside() {
    for name in ["x.db", "x.mapkeep", "x.mapkeep-wal", "y.lmdb"] {
        let Some(bed) = bed() else { return };
        let mut tables = tables(&bed, &["hash:d/x", "lmdb:d/y"]);
        let path = format!("d/{name}");
        bed.directory(&path);
        let id = u16::from(name == "y.lmdb");
        assert_eq!(open(&mut tables, id).unwrap_err(), Unavailable::Refused, "it is root's");
        bed.owner(&path, OWNER);
        open(&mut tables, id).unwrap();
        let asides = asides(&bed, name);
        assert_eq!(asides.len(), 1, "{name}");
        assert!(bed.path(&format!("d/{}", asides[0])).is_dir());
    }
}
