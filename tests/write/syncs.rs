//! What is acknowledged has been synced: the calls of a whole service, seen by strace(1).
//!
//! A crash of the machine is what a sync is for, and no test here can make one; so the calls are looked at, in their order.
//! One trace for each process, from its start on. May: run strace.

use crate::common::end_of;
use crate::common::postfix::Server;
use crate::common::writing::{Content, OK, Place};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The traced calls: those that write, sync and rename, and those that send messages or replies.
const CALLS: &str =
    "read,write,pwrite64,fsync,fdatasync,openat2,rename,renameat,renameat2,sendmsg,sendto,ftruncate";

/// Whether strace is available; without it the test prints a notice, and fails if CI is set.
fn can_trace() -> bool {
    let found = Command::new("strace").arg("-V").output().is_ok_and(|out| out.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "strace is not installed");
    if !found {
        eprintln!("\n*** SKIPPED: syncs: strace is not installed. Nothing was tested. ***\n");
    }
    found
}

/// Updates of each type, then the end of the service with its checkpoints.
pub fn acknowledged_is_synced(server: Server) {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    let traces = place.dir("traces");
    let tables = ["hash", "btree", "lmdb"].map(|kind| place.name(kind, kind));
    place.approve(&tables.each_ref().map(String::as_str), "");
    let service = place.start_traced(server, CALLS, &traces.join("trace"));
    let mut client = service.client();
    for table in &tables {
        client.open_table(table);
        for number in 0..3 {
            assert_eq!(client.update(table, format!("key{number}").as_bytes(), b"value"), OK);
        }
    }
    drop(client);
    service.stop();
    let content: Content = (0..3).map(|n| (format!("key{n}").into_bytes(), b"value".to_vec())).collect();
    tables.iter().for_each(|table| place.assert_file(table, &content));

    let all: Vec<Vec<String>> = fs::read_dir(&traces)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap().lines().map(str::to_owned).collect())
        .collect();
    let with = |text: &str| -> &Vec<String> {
        all.iter()
            .find(|lines| lines.iter().any(|line| line.contains(text)))
            .unwrap_or_else(|| panic!("no process has made a call with {text:?}"))
    };
    let writer = with("request\\0update");
    for (table, file) in tables.iter().zip(["hash.mapkeep-wal", "btree.mapkeep-wal", "lmdb.lmdb"]) {
        assert_synced_before_the_reply(writer, table, &place.data(file));
    }
    let broker = with("RENAME_");
    for kind in ["hash", "btree"] {
        let new = place.data(&format!("{kind}.db.mapkeep-new"));
        assert!(
            writer.iter().any(|line| is_sync(line, "fdatasync(", &new)),
            "{} is not synced",
            new.display()
        );
    }
    assert_names_are_synced_before_any_message(broker, &place.data(""));
}

fn is_sync(line: &str, call: &str, path: &Path) -> bool {
    line.starts_with(call) && line.contains(&format!("<{}>", path.display())) && line.ends_with("= 0")
}

/// Each update of this table: between the read of the request and the write of the reply its file is synced, after the last
/// byte that was written to it.
fn assert_synced_before_the_reply(writer: &[String], table: &str, file: &Path) {
    let asked = format!("request\\0update\\0table\\0{table}\\0");
    let mut updates = 0;
    for (start, _) in writer.iter().enumerate().filter(|(_, line)| line.contains(&asked)) {
        let replied =
            writer[start..].iter().position(|line| line.starts_with("write(") && line.contains("status\\0"));
        let calls = &writer[start..start + replied.expect("a reply")];
        let synced = calls.iter().rposition(|line| is_sync(line, "fdatasync(", file));
        let name = format!("<{}>", file.display());
        let wrote = calls.iter().rposition(|line| line.starts_with("pwrite64(") && line.contains(&name));
        // The last write of lmdb is that of the meta page, on a descriptor that syncs each write.
        let meta = table.starts_with("lmdb:");
        assert!(
            synced.is_some() && wrote.is_some() && (meta || synced > wrote),
            "an update of {table} was acknowledged without a sync: {calls:#?}"
        );
        updates += 1;
    }
    assert_eq!(updates, 3, "updates of {table} in the trace");
}

/// Whenever a name of a table was created or changed, the directory is synced before the next message or reply.
fn assert_names_are_synced_before_any_message(broker: &[String], directory: &Path) {
    let directory = directory.display().to_string();
    let directory = directory.trim_end_matches('/');
    let [mut made, mut renamed] = [0, 0];
    for (at, line) in broker.iter().enumerate() {
        let makes = line.starts_with("openat2(")
            && line.contains("O_CREAT")
            && !line.contains("mapkeep-new")
            && !line.contains(" = -1 ");
        let renames = line.starts_with("renameat2(") && line.ends_with("= 0");
        if !makes && !renames {
            continue;
        }
        *if makes { &mut made } else { &mut renamed } += 1;
        let calls = &broker[at..];
        let told = calls.iter().position(|line| line.starts_with("sendmsg(")).unwrap_or(calls.len());
        let synced = calls.iter().position(|line| is_sync(line, "fsync(", Path::new(directory)));
        let begin = || end_of(calls[..told].iter().map(String::as_str));
        assert!(synced.is_some_and(|synced| synced < told), "a name was not synced:\n{line}\n{}", begin());
    }
    let end = || end_of(broker.iter().map(String::as_str));
    assert!(made >= 3 && renamed >= 2, "{made} files made, {renamed} names changed:\n{}", end());
}
