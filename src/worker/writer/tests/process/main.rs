//! The whole writer as a process of its own, locked in as under the supervisor, with real files and a broker's end in
//! the test's hands. As root everything is enforced; otherwise what can be without.
//!
//! A runner of its own, since processes are started by fork, and this program is the writer, too.

#![cfg(test)]

#[path = "../../../../base/sandbox/tests/runner/mod.rs"]
mod runner;
mod writer;

use mapkeep_proto::{BrokerToWriter, Launch, Part, WriterToBroker, version_text};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use std::path::Path;
use std::process::{Command, ExitCode};
use writer::{BTREE, Client, HASH, LMDB, Place, Writer};

fn main() -> ExitCode {
    if mapkeep_process::is_launched() {
        match mapkeep_process::launched("process", || version_text("process")) {
            (Launch::Writer(launch), channel) => mapkeep_worker_writer::main(&launch, channel),
            _ => mapkeep_process::refuse("process", "the launch of another process"),
        }
    }
    runner::run(&[
        ("updates_are_in_the_files_that_stock_reads", updates_are_in_the_files),
        ("killed_writer_has_lost_nothing_that_it_acknowledged", killed_writer_has_lost_nothing),
        ("lmdb_file_that_another_program_locks_is_waited_for", locked_lmdb_file),
        ("damaged_files_are_replaced_by_fresh_ones", damaged_files_are_replaced),
        ("writer_ends_when_its_broker_goes", ends_with_its_broker),
        ("writer_ends_when_the_service_does", ends_with_the_service),
    ])
}

fn update(table: &str, key: &str, value: &str) -> String {
    format!("request|update|table|{table}|flags|64|key|{key}|value|{value}||")
}

fn lookup(table: &str, key: &str) -> String {
    format!("request|lookup|table|{table}|flags|64|key|{key}||")
}

/// What Postfix reads in a file, line by line; nothing where Postfix is not installed.
fn postmap(path: &Path, kind: &str) -> Option<Vec<String>> {
    let shown = Command::new("postmap").arg("-s").arg(format!("{kind}:{}", path.display())).output();
    let Ok(shown) = shown else {
        assert!(std::env::var_os("CI").is_none(), "Postfix must be installed for this test");
        println!("*** Postfix is not installed: not compared with what it reads ***");
        return None;
    };
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let mut lines: Vec<String> =
        String::from_utf8(shown.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    Some(lines)
}

fn updates_are_in_the_files() {
    let place = Place::new("files");
    let mut writer = Writer::start(&place);
    let mut clients: Vec<Client> = (0..4).map(|_| writer.client()).collect();
    std::thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for round in 0..50 {
                    for table in ["btree:/b", "hash:/h", "lmdb:/l", "internal:i"] {
                        let key = format!("k{number}-{round}");
                        assert_eq!(client.ask(&update(table, &key, "v")), "status|0||");
                        assert_eq!(client.ask(&lookup(table, &key)), "status|0|value|v||");
                        let delete = format!("request|delete|table|{table}|flags|64|key|{key}||");
                        if round % 5 == 0 {
                            assert_eq!(client.ask(&delete), "status|0||");
                            assert_eq!(client.ask(&delete), "status|1||");
                        }
                    }
                }
            });
        }
    });
    assert_eq!(clients[0].ask(&lookup("static:foo", "x")), "status|0|value|foo||");
    assert_eq!(clients[0].ask(&update("static:foo", "x", "y")), "status|5||");
    let wanted: Vec<String> = {
        let keys = (0..4).flat_map(|number| (0..50).map(move |round| (number, round)));
        let mut lines: Vec<String> = keys
            .filter(|(_, round)| round % 5 != 0)
            .map(|(number, round)| format!("k{number}-{round}\tv"))
            .collect();
        lines.sort();
        lines
    };
    // A scan of one client beside changes of another.
    let mut found = 0;
    let step = |function: u8| format!("request|sequence|table|btree:/b|flags|64|function|{function}||");
    let mut reply = clients[1].ask(&step(0));
    while reply != "status|1|key||value|||" {
        assert!(reply.starts_with("status|0|key|k"), "{reply}");
        found += 1;
        clients[2].ask(&update("btree:/b", "k0-1", "v"));
        reply = clients[1].ask(&step(1));
    }
    assert_eq!(found, wanted.len());
    // The checkpoints of both tables, then a sign that they are done.
    writer.say(BrokerToWriter::Checkpoint, &[]);
    assert_eq!(writer.finish(), WaitStatus::Exited(writer.pid, 0));
    for (name, kind) in [("b", "btree"), ("h", "hash"), ("l", "lmdb")] {
        let Some(lines) = postmap(&place.path(name), kind) else { continue };
        assert_eq!(lines, wanted, "{kind}");
    }
}

fn killed_writer_has_lost_nothing() {
    const CLIENTS: usize = 4;
    let place = Place::new("kill");
    let tables = ["btree:/b", "hash:/h", "lmdb:/l"];
    // For each client and table: the last number that was acknowledged, and the last that was sent.
    let mut known = vec![[(0_u32, 0_u32); 3]; CLIENTS];
    for round in 0..8_u32 {
        let writer = Writer::start(&place);
        let mut check = writer.client();
        for (number, known) in known.iter().enumerate() {
            for (table, (acknowledged, sent)) in tables.iter().zip(known).filter(|(_, known)| known.0 > 0) {
                let reply = check.ask(&lookup(table, &format!("client{number}")));
                let value = reply.strip_prefix("status|0|value|").and_then(|rest| rest.strip_suffix("||"));
                let value: u32 = value.and_then(|value| value.parse().ok()).unwrap_or_else(|| {
                    panic!("round {round}, {table}: {reply:?} after {acknowledged} was acknowledged")
                });
                assert!((*acknowledged..=*sent).contains(&value), "{table}: {value} {acknowledged} {sent}");
            }
        }
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| writer.client()).collect();
        let pid = writer.pid;
        std::thread::scope(|scope| {
            for (number, (client, known)) in clients.iter_mut().zip(&mut known).enumerate() {
                scope.spawn(move || {
                    for count in 1.. {
                        for (table, (acknowledged, sent)) in tables.iter().zip(known.iter_mut()) {
                            *sent = (*acknowledged).max(*sent) + 1;
                            let request = update(table, &format!("client{number}"), &sent.to_string());
                            match client.try_ask(&request) {
                                Some(reply) => assert_eq!(reply, "status|0||"),
                                None => return,
                            }
                            *acknowledged = *sent;
                        }
                        // Somewhere in the middle of what the others are at.
                        if number == 0 && count == 10 + round * 7 {
                            kill(pid, Signal::SIGKILL).unwrap();
                        }
                    }
                });
            }
        });
        writer.kill();
    }
    // The end, in good order.
    let mut writer = Writer::start(&place);
    assert_eq!(writer.finish(), WaitStatus::Exited(writer.pid, 0));
    for (name, kind) in [("b", "btree"), ("h", "hash"), ("l", "lmdb")] {
        let Some(lines) = postmap(&place.path(name), kind) else { continue };
        assert_eq!(lines.len(), CLIENTS, "{kind}: {lines:?}");
    }
}

fn locked_lmdb_file() {
    let place = Place::new("lock");
    let writer = Writer::start(&place);
    let mut client = writer.client();
    assert_eq!(client.ask(&update("lmdb:/l", "k", "1")), "status|0||");
    // As a Postfix program locks it, but for good.
    let file = place.open("l.lmdb");
    let whole = |kind: i32| nix::libc::flock {
        l_type: kind as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let lock = |kind: i32| fcntl(&file, FcntlArg::F_SETLK(&whole(kind))).unwrap();
    lock(nix::libc::F_WRLCK);
    assert_eq!(client.ask(&update("lmdb:/l", "k", "2")), "status|2||");
    assert_eq!(client.ask(&lookup("lmdb:/l", "k")), "status|2|value|||");
    assert_eq!(client.ask(&update("btree:/b", "k", "2")), "status|0||");
    lock(nix::libc::F_RDLCK);
    assert_eq!(client.ask(&lookup("lmdb:/l", "k")), "status|0|value|1||");
    assert_eq!(client.ask(&update("lmdb:/l", "k", "2")), "status|2||");
    lock(nix::libc::F_UNLCK);
    assert_eq!(client.ask(&update("lmdb:/l", "k", "2")), "status|0||");
    assert_eq!(client.ask(&lookup("lmdb:/l", "k")), "status|0|value|2||");
}

fn damaged_files_are_replaced() {
    let place = Place::new("damage");
    for name in ["b.mapkeep", "l.lmdb"] {
        std::fs::write(place.path(name), [0xa5; 8192]).unwrap();
    }
    std::fs::write(place.path("h.db"), [0xa5; 8192]).unwrap();
    let mut writer = Writer::start_without_tables(&place);
    for (id, part, files) in [
        (BTREE, Part::Store, &["b.mapkeep", "b.mapkeep-wal"][..]),
        (HASH, Part::File, &["h.db"]),
        (LMDB, Part::Lmdb, &["l.lmdb"]),
    ] {
        writer.hand_out(id);
        assert_eq!(writer.receive(), WriterToBroker::Corrupt { id, generation: 1, part });
        for file in files {
            std::fs::rename(place.path(file), place.path(&format!("{file}.corrupt"))).unwrap();
        }
        if part == Part::File {
            // It opens without it.
            assert_eq!(writer.receive(), WriterToBroker::Opened { id, generation: 1 });
        } else {
            writer.hand_out(id);
            assert_eq!(writer.receive(), WriterToBroker::Opened { id, generation: 2 });
        }
    }
    let mut client = writer.client();
    for table in ["btree:/b", "hash:/h", "lmdb:/l"] {
        assert_eq!(client.ask(&update(table, "k", "v")), "status|0||", "{table}");
    }
    drop(client);
    assert_eq!(writer.finish(), WaitStatus::Exited(writer.pid, 0));
    for (name, kind) in [("b", "btree"), ("h", "hash"), ("l", "lmdb")] {
        let Some(lines) = postmap(&place.path(name), kind) else { continue };
        assert_eq!(lines, ["k\tv"], "{kind}");
    }
}

fn ends_with_its_broker() {
    let place = Place::new("broker");
    let mut writer = Writer::start(&place);
    let mut client = writer.client();
    assert_eq!(client.ask(&update("btree:/b", "k", "v")), "status|0||");
    writer.channel = None;
    assert_eq!(client.receive(), None);
    assert_eq!(writer.wait(), WaitStatus::Exited(writer.pid, 0));
}

fn ends_with_the_service() {
    let place = Place::new("service");
    let mut writer = Writer::start(&place);
    let mut client = writer.client();
    assert_eq!(client.ask(&update("hash:/h", "k", "v")), "status|0||");
    assert_eq!(writer.finish(), WaitStatus::Exited(writer.pid, 0));
    assert_eq!(client.receive(), None);
    assert!(place.path("h.db").exists() && place.path("b.db").exists());
    // Those who come next find everything, and nothing to take over.
    let writer = Writer::start(&place);
    assert_eq!(writer.client().ask(&lookup("hash:/h", "k")), "status|0|value|v||");
}
