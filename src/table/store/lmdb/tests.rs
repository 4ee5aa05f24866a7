use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::check::check;
use super::*;
use faults::Fault;

/// Failures of the writes that liblmdb makes, in the order in which they come.
pub(super) mod faults {
    use std::cell::RefCell;

    use nix::errno::Errno;

    #[derive(Clone, Copy, Debug)]
    pub enum Fault {
        /// Nothing happens.
        None,
        /// Half of it is written.
        Short,
        /// Nothing is written.
        Refused(Errno),
        /// It is written, and an error reported, as when the sync of a synchronous write fails.
        Late(Errno),
    }

    thread_local! {
        static FAULTS: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
    }

    /// Plans faults for the next writes. How many of the last plan have not come.
    pub fn plan(faults: &[Fault]) -> usize {
        FAULTS.replace(faults.iter().rev().copied().collect()).len()
    }

    /// How much of a write succeeds, and which error is then reported.
    pub fn next(count: usize) -> (usize, Option<Errno>) {
        match FAULTS.with_borrow_mut(Vec::pop) {
            None | Some(Fault::None) => (count, None),
            Some(Fault::Short) => (count / 2, None),
            Some(Fault::Refused(error)) => (0, Some(error)),
            Some(Fault::Late(error)) => (count, Some(error)),
        }
    }
}

/// A file of a table, removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mapkeep-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Place(std::env::temp_dir().join(name));
        let _ = fs::remove_file(&place.0);
        place
    }

    fn descriptors(&self) -> (OwnedFd, OwnedFd) {
        let data =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.0).unwrap();
        let meta = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&self.0).unwrap();
        (data.into(), meta.into())
    }

    fn open(&self) -> LmdbStore {
        let (data, meta) = self.descriptors();
        LmdbStore::open(data, meta).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn keys(store: &mut LmdbStore) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    loop {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if !store.after(keys.last().map(Vec::as_slice), &mut key, &mut value).unwrap() {
            store.rest();
            return keys;
        }
        keys.push(key);
    }
}

/// A group with pages that follow each other, a long value, and freed pages.
fn change(store: &mut LmdbStore) -> Result<(), StoreError> {
    for number in 0..100_u8 {
        store.put(&[b'n', number], &[number; 200])?;
    }
    store.put(b"long", &[7; 20_000])?;
    store.delete(b"old 3")?;
    store.commit()
}

/// Every write of a group fails once, in each way. Afterwards the file has the state before or after the group, for
/// this store and for a program that opens it next; the same group then succeeds.
#[test]
fn each_write_failing_leaves_the_state_before_and_the_next_group_succeeds() {
    let faults = [
        (vec![Fault::Refused(Errno::EIO)], StoreError::Io(String::new())),
        (vec![Fault::Refused(Errno::ENOSPC)], StoreError::NoRoom(String::new())),
        (vec![Fault::Short, Fault::Refused(Errno::EDQUOT)], StoreError::NoRoom(String::new())),
        (vec![Fault::Late(Errno::EIO)], StoreError::Io(String::new())),
        // The meta page, and the old one that liblmdb then writes back.
        (vec![Fault::Late(Errno::EIO), Fault::Refused(Errno::EIO)], StoreError::Io(String::new())),
    ];
    for (fault, expected) in faults {
        for place in 0.. {
            let file = Place::new();
            let mut store = file.open();
            for number in 0..8 {
                store.put(format!("old {number}").as_bytes(), &[1; 900]).unwrap();
            }
            store.commit().unwrap();
            let before = keys(&mut store);
            faults::plan(&[vec![Fault::None; place], fault.clone()].concat());
            let result = change(&mut store);
            store.undo();
            let left = faults::plan(&[]);
            if left == fault.len() {
                // The group has fewer writes.
                assert_eq!(result, Ok(()));
                assert!(place >= 4, "there were {place} writes only");
                break;
            }
            let error = result.unwrap_err();
            assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&expected), "{place}: {error}");
            let restored = !matches!(fault.last(), Some(Fault::Refused(Errno::EIO))) || fault.len() == 1;
            for found in [keys(&mut store), keys(&mut file.open())] {
                // A meta page that is there, although writing it and taking it back have failed, counts.
                assert!(
                    found == before || (!restored && found.len() == before.len() + 100),
                    "{place}: {fault:?}"
                );
            }
            change(&mut store).unwrap();
            assert_eq!(keys(&mut store).len(), before.len() + 100, "{place}");
            drop(store);
            assert_eq!(keys(&mut file.open()).len(), before.len() + 100, "{place}");
        }
    }
}

#[test]
fn short_writes_are_continued() {
    let file = Place::new();
    let mut store = file.open();
    faults::plan(&[Fault::Short; 12]);
    change(&mut store).unwrap();
    assert_eq!(faults::plan(&[]), 0);
    drop(store);
    assert_eq!(keys(&mut file.open()).len(), 101);
}

#[test]
fn table_that_could_not_be_made_leaves_an_empty_file() {
    for fault in [[Fault::Refused(Errno::ENOSPC), Fault::None], [Fault::Short, Fault::Refused(Errno::ENOSPC)]]
    {
        let file = Place::new();
        let (data, meta) = file.descriptors();
        faults::plan(&fault);
        assert!(matches!(LmdbStore::open(data, meta), Err(StoreError::NoRoom(_))));
        faults::plan(&[]);
        assert_eq!(file.0.metadata().unwrap().len(), 0);
        assert_eq!(keys(&mut file.open()), Vec::<Vec<u8>>::new());
    }
}

/// The calls that are taken from liblmdb stay what they are for everybody else.
#[test]
fn calls_of_the_c_library_outside_of_liblmdb_work() {
    let file = Place::new();
    drop(file.open());
    let path = std::ffi::CString::new(file.0.to_str().unwrap()).unwrap();
    let descriptor =
        nix::fcntl::open(path.as_c_str(), nix::fcntl::OFlag::O_RDWR, nix::sys::stat::Mode::empty());
    assert!(descriptor.is_ok());
    let missing =
        nix::fcntl::open(c"/nonexistent/file", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty());
    assert_eq!(missing.err(), Some(Errno::ENOENT));
    assert_eq!(nix::unistd::getpid().as_raw() as u32, std::process::id());
    assert!(nix::sys::statfs::fstatfs(descriptor.unwrap()).unwrap().blocks() > 0);
}

#[test]
fn descriptors_are_kept_and_none_is_left_behind() {
    let open_now = || fs::read_dir("/proc/self/task").and_then(|_| fs::read_dir("/proc/self/fd")).unwrap();
    let of_file = |path: &Path| {
        open_now()
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path))
            })
            .count()
    };
    let file = Place::new();
    let mut store = file.open();
    assert_eq!(of_file(&file.0), 4);
    faults::plan(&[Fault::Refused(Errno::EIO)]);
    assert!(change(&mut store).is_err());
    store.undo();
    faults::plan(&[]);
    change(&mut store).unwrap();
    assert_eq!(of_file(&file.0), 4);
    drop(store);
    assert_eq!(of_file(&file.0), 0);
}

#[test]
fn lack_of_memory_for_the_map_loses_the_group_only() {
    let file = Place::new();
    let (data, meta) = file.descriptors();
    let mut store = LmdbStore::open_with_limit(data, meta, u64::MAX).unwrap();
    store.put(b"kept", b"1").unwrap();
    store.commit().unwrap();
    store.put(b"lost", b"2").unwrap();
    // No machine has an address space that large.
    let refused = (0..64).find_map(|_| store.table.grow().err());
    assert!(matches!(refused, Some(StoreError::Io(_))), "{refused:?}");
    store.undo();
    assert_eq!(keys(&mut store), [b"kept"]);
    store.put(b"more", b"3").unwrap();
    store.commit().unwrap();
    assert_eq!(keys(&mut file.open()), [b"kept", b"more"]);
}

/// Each of these would lead liblmdb astray, and none of them shows when the table is read.
#[test]
fn check_finds_what_reading_does_not_show() {
    let file = Place::new();
    let mut store = file.open();
    for round in 0..3_u8 {
        for number in 0..120_u8 {
            store.put(&[b'n', number], &[round; 200]).unwrap();
        }
        store.commit().unwrap();
    }
    drop(store);
    let healthy = fs::read(&file.0).unwrap();
    let page = 4096;
    let newest = if healthy[page + 144] > healthy[144] { page } else { 0 };
    let number_at = |bytes: &[u8], at: usize| format::u64_at(bytes, at).unwrap();
    let heads = check(healthy.as_slice(), healthy.len() as u64).unwrap();
    let (main, free) = (heads.newest().main.clone(), heads.newest().free.clone());
    let main_root = main.root.unwrap() as usize * page;
    let free_root = free.root.unwrap() as usize * page;
    // The last node of the page of the list of free pages: its place, and its first number.
    let nodes = (usize::from(format::u16_at(&healthy, free_root + 12).unwrap()) - 16) / 2;
    let node = free_root + usize::from(format::u16_at(&healthy, free_root + 16 + 2 * (nodes - 1)).unwrap());
    let first_free = node + 8 + 8 + 8;
    assert!(number_at(&healthy, first_free) >= 2);
    type Change<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
    let put = |at: usize, number: u64| -> Change<'_> {
        Box::new(move |bytes| bytes[at..at + 8].copy_from_slice(&number.to_le_bytes()))
    };
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("a free page that is in use", put(first_free, main.root.unwrap())),
        ("a free page that does not exist", put(first_free, heads.newest().last_page + 1)),
        ("a meta page as a free page", put(first_free, 1)),
        ("a list of free pages longer than its record", put(first_free - 8, 1 << 40)),
        ("a list of free pages from the future", put(node + 8, heads.newest().transaction + 1)),
        ("a last page before one in use", put(newest + 136, main.root.unwrap() - 1)),
        ("a last page far behind the file", put(newest + 136, 1 << 40)),
        ("another number of entries", put(newest + 120, main.entries + 1)),
        ("another depth", Box::new(move |bytes| bytes[newest + 94] += 1)),
        ("a page that says it is dirty", Box::new(move |bytes| bytes[main_root + 10] |= 0x10)),
        ("free space that overlaps a node", Box::new(move |bytes| bytes[main_root + 14] += 2)),
        ("the newest meta page in the wrong place", put(newest + 144, number_at(&healthy, newest + 144) + 1)),
    ];
    for (name, change) in changes {
        let mut bytes = healthy.clone();
        change(&mut bytes);
        assert_ne!(bytes, healthy, "{name}");
        let found = check(bytes.as_slice(), bytes.len() as u64);
        assert!(matches!(found, Err(StoreError::Corrupt(_))), "{name}");
    }
}
