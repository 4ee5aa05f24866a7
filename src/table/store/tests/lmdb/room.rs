//! Without room: on a full file system, and above a limit of the file's length.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mapkeep_table_store::{LmdbStore, Store, StoreError};

use crate::support::{Content, Directory, ROLE, cannot_run, child, content, get, is_root, open, try_open};

/// Adds groups until there is no space left. Returns what has been committed.
fn fill(store: &mut LmdbStore, name: &str) -> Content {
    let mut committed: Content = content(store).unwrap().into_iter().collect();
    for number in 0..10_000 {
        let group =
            [0, 1, 2].map(|at| (format!("{name} {number} {at}").into_bytes(), vec![b'v'; 700 * at + 1]));
        let put = group.iter().try_for_each(|(key, value)| store.put(key, value));
        let result = put.and_then(|()| store.commit());
        store.undo();
        store.rest();
        match result {
            Ok(()) => committed.extend(group),
            Err(StoreError::NoRoom(_)) => return committed,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("there is always room");
}

fn assert_content(store: &mut LmdbStore, expected: &Content) {
    assert!(content(store).unwrap().into_iter().eq(expected.clone()), "the content differs");
}

/// A file system in memory, 256 KiB large.
struct Small(PathBuf);

impl Small {
    fn mount(directory: &Directory) -> Small {
        let path = directory.0.join("small");
        fs::create_dir(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&path).status();
        assert!(mounted.unwrap().success(), "mount");
        Small(path)
    }

    fn resize(&self, kilobytes: u32) {
        let size = format!("remount,size={kilobytes}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success(), "mount");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn full_disk_refuses_keeps_and_recovers_without_reopening() {
    if !is_root() && !cannot_run("a full file system", "not root") {
        return;
    }
    let directory = Directory::new();
    let small = Small::mount(&directory);
    let table = small.0.join("table.lmdb");
    let mut store = open(&table);
    for kilobytes in [300, 500, 1000] {
        let committed = fill(&mut store, &format!("below {kilobytes}"));
        assert_content(&mut store, &committed);
        // Also for one that opens it now, and that reads every page of it.
        assert_content(&mut open(&table), &committed);
        small.resize(kilobytes);
        let mut more = committed.clone();
        for (key, _) in committed.iter().step_by(2) {
            assert_eq!(store.delete(key), Ok(true));
            store.commit().unwrap();
            more.remove(key);
        }
        store.put(b"room", b"again").unwrap();
        more.insert(b"room".to_vec(), b"again".to_vec());
        store.commit().unwrap();
        assert_content(&mut store, &more);
    }
    drop(store);
    assert_eq!(get(&mut open(&table), b"room"), Some(b"again".to_vec()));
}

#[test]
fn full_disk_makes_no_table_and_leaves_no_half_of_one() {
    if !is_root() && !cannot_run("a full file system", "not root") {
        return;
    }
    let directory = Directory::new();
    let small = Small::mount(&directory);
    let (filler, table) = (small.0.join("filler"), small.0.join("table.lmdb"));
    // One page is free, a table begins with two.
    fs::write(&filler, vec![0; (256 - 4) << 10]).unwrap();
    for _ in 0..2 {
        let refused = try_open(&table).map(drop);
        assert!(matches!(refused, Err(StoreError::NoRoom(_))), "{refused:?}");
        assert_eq!(table.metadata().unwrap().len(), 0);
    }
    fs::remove_file(&filler).unwrap();
    let mut store = open(&table);
    store.put(b"a", b"1").unwrap();
    store.commit().unwrap();
}

/// What a child with a limit of the length of files does.
pub fn limited(path: &Path) {
    let mut store = open(path);
    let committed = fill(&mut store, "limited");
    assert_content(&mut store, &committed);
    assert_content(&mut open(path), &committed);
    fs::write(path.with_extension("count"), committed.len().to_string()).unwrap();
}

#[test]
fn limit_of_the_length_of_files_refuses_and_keeps() {
    let directory = Directory::new();
    let table = directory.table();
    let command = child(&format!("limited {}", table.display()));
    // The shell ignores SIGXFSZ, and so does what it becomes.
    let limited = Command::new("sh")
        .args(["-c", r#"ulimit -f 200; trap "" XFSZ; exec "$0" "$@""#])
        .arg(command.get_program())
        .args(command.get_args())
        .env(ROLE, format!("limited {}", table.display()))
        .output()
        .unwrap();
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    let count = fs::read_to_string(table.with_extension("count")).unwrap();
    let mut store = open(&table);
    assert_eq!(content(&mut store).unwrap().len().to_string(), count);
    store.put(b"more", &vec![0; 1 << 20]).unwrap();
    store.commit().unwrap();
}
