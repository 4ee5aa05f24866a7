//! What the engine asks of the kernel once the descriptors are there, opening included: these calls and no others.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use mapkeep_table_store::lmdb::salvage_file;
use mapkeep_table_store::{LmdbStore, Store, StoreError};
use nix::fcntl::{FcntlArg, fcntl};

use crate::raw;
use crate::support::{Directory, child, descriptors, get, open};

/// All calls. ftruncate is not reached here: it empties a file again when there was no room to make a table of it.
const CALLS: [(&str, libc::c_long); 12] = [
    ("brk", libc::SYS_brk),
    ("clock_nanosleep", libc::SYS_clock_nanosleep),
    ("close", libc::SYS_close),
    ("fcntl", libc::SYS_fcntl),
    ("fdatasync", libc::SYS_fdatasync),
    ("fstat", libc::SYS_fstat),
    ("mmap", libc::SYS_mmap),
    ("mremap", libc::SYS_mremap),
    ("munmap", libc::SYS_munmap),
    ("pread64", libc::SYS_pread64),
    ("pwrite64", libc::SYS_pwrite64),
    ("statx", libc::SYS_statx),
];

/// What a child does: everything, with all of the calls but `without`.
pub fn confined(path: &Path, without: &str) {
    let spare = descriptors(path);
    let old = descriptors(path);
    let other = descriptors(path).0;
    let fresh = descriptors(&path.with_extension("fresh"));
    let allowed: Vec<_> = CALLS.iter().filter(|(name, _)| *name != without).map(|(_, call)| *call).collect();
    raw::confine(&allowed, &[]);
    for (data, meta) in [old, fresh] {
        let mut store = LmdbStore::open(data, meta).unwrap();
        for number in 0..20_000_u32 {
            store.put(&number.to_be_bytes(), &[1; 30]).unwrap();
        }
        store.commit().unwrap();
        store.rest();
        // More than the first map holds: it grows.
        store.put(b"long", &vec![2; 20 << 20]).unwrap();
        store.commit().unwrap();
        assert_eq!(store.delete(b"long"), Ok(true));
        store.commit().unwrap();
        assert_eq!(get(&mut store, &7_u32.to_be_bytes()), Some(vec![1; 30]));
        assert_eq!(store.after(None, &mut Vec::new(), &mut Vec::new()), Ok(true));
        store.rest();
        store.put(b"undone", b"").unwrap();
        store.undo();
    }
    let mut store = LmdbStore::open(spare.0.try_clone().unwrap(), spare.1).unwrap();
    let whole = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&other, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    assert_eq!(store.put(b"a", b"1"), Err(StoreError::Busy));
    drop(other);
    assert_eq!(salvage_file(spare.0).unwrap().len(), 20_000);
    raw::leave();
}

#[test]
fn calls_listed_are_all_and_each_is_needed() {
    let directory = Directory::new();
    let run = |without: &str| {
        drop(open(&directory.table()));
        // One arena for all threads, as in a process with one.
        let mut child = child(&format!("confined {} {without}", directory.table().display()));
        let output = child.env("MALLOC_ARENA_MAX", "1").output().unwrap();
        (output.status.signal(), output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (signal, code, stderr) = run("nothing");
    assert_eq!((signal, code), (None, Some(0)), "{stderr}");
    for (name, _) in CALLS {
        let (signal, _, stderr) = run(name);
        assert_eq!(signal, Some(libc::SIGSYS), "without {name}: {stderr}");
    }
}

/// What a child does: fails to make a change durable.
pub fn failing(path: &Path, call: &str) {
    let (data, meta) = descriptors(path);
    let mut store = LmdbStore::open(data, meta).unwrap();
    let call = CALLS.iter().find(|(name, _)| *name == call).unwrap().1;
    raw::confine(&[], &[call]);
    for _ in 0..3 {
        // After the first failure the file is reopened, which needs a sync as well.
        let failed = store.put(b"new", &vec![b'v'; 100_000]).and_then(|()| store.commit());
        assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
        assert!(!store.is_open());
    }
    raw::leave();
}

#[test]
fn failing_writes_and_syncs_are_reported_and_change_nothing() {
    for call in ["fdatasync", "pwrite64"] {
        let directory = Directory::new();
        let mut store = open(&directory.table());
        store.put(b"old", b"value").unwrap();
        store.commit().unwrap();
        drop(store);
        let output = child(&format!("failing {} {call}", directory.table().display())).output().unwrap();
        assert!(output.status.success(), "{call}: {}", String::from_utf8_lossy(&output.stderr));
        let mut store = open(&directory.table());
        assert_eq!(get(&mut store, b"old"), Some(b"value".to_vec()));
        assert_eq!(get(&mut store, b"new"), None);
        store.put(b"new", b"value").unwrap();
        store.commit().unwrap();
    }
}
