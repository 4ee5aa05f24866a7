//! A data directory on a file system of 256 KiB that runs full, and gets room again.

use crate::common::poll;
use crate::common::postfix::{Server, account};
use crate::common::writing::{Client, Content, NOKEY, OK, Place, RETRY};
use crate::common::{PATIENCE, process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: &str = "256k";
/// The file that is removed to make room.
const BALLAST: usize = 64 << 10;

/// A small file system; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn on(dir: &Path) -> Mounted {
        let (uid, gid) = account("postfix");
        let options = format!("size={SIZE},uid={uid},gid={gid},mode=700");
        let out =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "mapkeep-test"]).arg(dir).output();
        let out = out.unwrap();
        assert!(out.status.success(), "mount: {}", String::from_utf8_lossy(&out.stderr));
        Mounted(dir.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that a failed test has left may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Updates until there is no space left; everything acknowledged stays, and lookups continue; once there is space
/// again, so do updates, without a restart.
pub fn disk(kind: &str) {
    let place = Place::new();
    let _mounted = Mounted::on(&place.site.path("data"));
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let ballast = place.data("ballast");
    fs::write(&ballast, vec![0; BALLAST]).unwrap();
    let service = place.start(Server::Ours);
    let mut client = service.client();
    client.open_table(&table);
    let mut content = Content::new();
    let family = || {
        let mut pids: Vec<u32> = service.master.family().iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        pids
    };
    let before = family();

    let refused = fill(&mut client, &table, &mut content);
    assert!(content.len() >= 5, "only {} entries fit into {SIZE}", content.len());
    assert_holds(&mut client, &table, &content, &refused);
    place.wait_for_log(0, &["warning: ", &table, "room"]);
    // It stays full; existing entries can be looked up, and small ones may or may not fit.
    for number in 0..20 {
        let key = format!("more{number}").into_bytes();
        match client.update(&table, &key, &[b'm'; 3000]) {
            OK => drop(content.insert(key, vec![b'm'; 3000])),
            status => assert_eq!(status, RETRY),
        }
    }
    let doomed = content.keys().next().unwrap().clone();
    match client.delete(&table, &doomed) {
        OK => drop(content.remove(&doomed)),
        status => assert_eq!(status, RETRY),
    }
    assert_holds(&mut client, &table, &content, &refused);

    fs::remove_file(&ballast).unwrap();
    let room = || (client.update(&table, b"room again", b"yes") == OK).then_some(());
    assert!(poll(PATIENCE, room).is_some(), "still RETRY with {BALLAST} bytes free");
    content.insert(b"room again".to_vec(), b"yes".to_vec());
    assert_holds(&mut client, &table, &content, &refused);
    assert_eq!(family(), before, "a process was replaced");
    drop(client);
    service.stop();

    // The same after a restart; and stock's reader gets the entries once there is space for its file, too.
    let remounted =
        Command::new("mount").args(["-o", "remount,size=8m"]).arg(place.site.path("data")).status().unwrap();
    assert!(remounted.success());
    let service = place.start(Server::Ours);
    let mut client = service.client();
    client.open_table(&table);
    assert_holds(&mut client, &table, &content, &refused);
    assert_eq!(client.update(&table, b"last", b"one"), OK);
    content.insert(b"last".to_vec(), b"one".to_vec());
    drop(client);
    service.stop();
    place.assert_file(&table, &content);
    assert_eq!(process::all().iter().filter(|p| !p.zombie && p.touches(&place.data(""))).count(), 0);
}

/// Updates until one is refused; returns its key.
fn fill(client: &mut Client, table: &str, content: &mut Content) -> Vec<u8> {
    for number in 0..1000 {
        let (key, value) = (format!("key{number:04}").into_bytes(), vec![b'a' + (number % 26) as u8; 2000]);
        match client.update(table, &key, &value) {
            OK => drop(content.insert(key, value)),
            status => {
                assert_eq!(status, RETRY, "update {number}");
                eprintln!("{table}: full after {number} entries of 2000 bytes");
                return key;
            }
        }
    }
    panic!("{table}: two million bytes were acknowledged on a file system of {SIZE}");
}

/// Every acknowledged entry is answered, and nothing else.
fn assert_holds(client: &mut Client, table: &str, content: &Content, refused: &[u8]) {
    for (key, value) in content {
        let reply = client.lookup(table, key);
        assert_eq!((reply.status(), reply.value()), (OK, value.as_slice()), "{}", key.escape_ascii());
    }
    assert_eq!(client.lookup(table, refused).status(), NOKEY, "what was refused is not there");
    assert!(&client.content(table) == content, "{table}: not what was acknowledged");
}
