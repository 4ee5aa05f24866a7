//! Programs that have `NAME.db` open while it is to be written: it is left to them, nothing that they write is lost, and
//! who asked for the file is told.

use crate::common::postfix::Server;
use crate::common::writing::{
    CACHE, Client, Content, OK, Place, Request, SHARED, Service, file_of, inode, listing,
};
use crate::common::{PATIENCE, poll, process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// What smtp(8) sends for smtp_sasl_auth_cache_name: no lock at all (UTF8_REQUEST, SYNC_UPDATE, DUP_REPLACE).
const UNLOCKED: u32 = 0x8_0180;
/// The exit statuses of `mapkeep checkpoint`.
const NO_SERVICE: i32 = 69;
const PUT_OFF: i32 = 75;

fn mapkeep() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mapkeep"))
}

fn checkpoint(place: &Place) -> Output {
    mapkeep().arg("checkpoint").arg("-c").arg(place.site.path("etc")).output().unwrap()
}

/// Asserts how `mapkeep checkpoint` ends, and that its output has all of these texts.
fn assert_checkpoint(place: &Place, status: i32, texts: &[&str]) {
    let out = checkpoint(place);
    let said = [out.stdout.as_slice(), &out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(out.status.code(), Some(status), "{said}");
    assert!(texts.iter().all(|text| said.contains(text)), "{said}");
}

fn update(client: &mut Client, table: &str, flags: u32, key: &str, content: &mut Content) {
    let request = Request { table, flags };
    assert_eq!(client.ask(&request.update(key.as_bytes(), b"v")).status(), OK, "{key}");
    content.insert(key.as_bytes().to_vec(), b"v".to_vec());
}

/// A place with a table of one entry.
fn place(kind: &str) -> (Place, String, Content) {
    let place = Place::new();
    let table = place.name(kind, "t");
    place.approve(&[&table], "");
    let content: Content = [(b"old".to_vec(), b"v".to_vec())].into();
    place.make(&table, &content);
    (place, table, content)
}

/// The service, which has the table open by now; stock opens it for the first client.
fn opened<'p>(place: &'p Place, table: &str, server: Server) -> Service<'p> {
    let service = place.start(server);
    if server == Server::Ours {
        assert_eq!(service.client().value(table, b"old").as_deref(), Some(&b"v"[..]));
    }
    service
}

/// `postmap -i` adds entries as they come, over a time in which the service is asked for an update, too.
pub fn slow_postmap_keeps_its_entries(kind: &str, server: Server) {
    let (place, table, mut content) = place(kind);
    let service = opened(&place, &table, server);
    let mut command = Command::new("timeout");
    command.args(["300", "postmap", "-c"]).arg(place.site.path("etc")).args(["-i", &table]);
    let mut postmap = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = postmap.stdin.take().unwrap();
    input.write_all(b"before v\n").unwrap();
    let file = File::open(file_of(&table)).unwrap();
    let locked = || (file.try_lock_shared().is_err()).then_some(());
    assert!(
        poll(PATIENCE, || {
            let found = locked();
            file.unlock().unwrap();
            found
        })
        .is_some(),
        "postmap does not lock the file"
    );
    let in_place = inode(&file_of(&table));
    std::thread::scope(|scope| {
        // Stock waits for postmap.
        let asked = scope.spawn(|| {
            let mut client = service.client();
            let mut content = Content::new();
            update(&mut client, &table, SHARED, "ours", &mut content);
        });
        if server == Server::Ours {
            asked.join().unwrap();
            place.wait_for_log(
                0,
                &["cannot write its checkpoint", "is locked, or open for writing", "fuser -v"],
            );
            assert_checkpoint(&place, PUT_OFF, &["NOT written, because postmap (process "]);
        }
        assert_eq!(inode(&file_of(&table)), in_place);
        input.write_all(b"after v\n").unwrap();
        drop(input);
        assert!(postmap.wait().unwrap().success());
    });
    for key in ["before", "after", "ours"] {
        content.insert(key.as_bytes().to_vec(), b"v".to_vec());
    }
    if server == Server::Ours {
        assert_checkpoint(&place, 0, &["t.db: written"]);
    }
    place.wait_listed(&table, &content);
    service.stop();
    place.assert_file(&table, &content);
}

/// The way back after a crash, with stock's proxywrite running too soon: the file is its own until it ends, and then
/// nothing is lost that either of the two has acknowledged.
fn stock_has_the_file(kind: &str, flags: u32) {
    let (place, table, mut content) = place(kind);
    let service = place.start(Server::Ours);
    update(&mut service.client(), &table, flags, "ours", &mut content);
    service.kill();
    let service = place.start(Server::Stock);
    let mut client = service.client();
    update(&mut client, &table, flags, "stock1", &mut content);
    let in_place = inode(&file_of(&table));
    assert_checkpoint(&place, PUT_OFF, &["NOT written, because proxymap (process ", "run this again"]);
    assert_eq!(inode(&file_of(&table)), in_place);
    update(&mut client, &table, flags, "stock2", &mut content);
    drop(client);
    service.stop();
    assert_checkpoint(&place, 0, &["t.db: written"]);
    place.assert_file(&table, &content);
    // And stock continues with all of it.
    let service = place.start(Server::Stock);
    let mut client = service.client();
    client.flags = flags;
    assert!(client.content(&table) == content);
    drop(client);
    service.stop();
}

pub fn stock_has_locked_the_file(kind: &str, _: Server) {
    stock_has_the_file(kind, CACHE);
}

pub fn stock_has_the_file_open_without_a_lock(kind: &str, _: Server) {
    stock_has_the_file(kind, UNLOCKED);
}

/// The service ends while another program has the file: the store keeps what the file lacks.
pub fn end_of_the_service_leaves_the_file_alone(kind: &str, server: Server) {
    assert_eq!(server, Server::Ours);
    let (place, table, mut content) = place(kind);
    let service = opened(&place, &table, server);
    let file = File::options().write(true).open(file_of(&table)).unwrap();
    file.lock().unwrap();
    let before = place_listing(&table, &place, &file);
    update(&mut service.client(), &table, SHARED, "ours", &mut content);
    service.stop();
    assert!(place_listing(&table, &place, &file) == before);
    place.wait_for_log(0, &["cannot write its checkpoint", "is locked, or open for writing"]);
    drop(file);
    assert_checkpoint(&place, 0, &["t.db: written"]);
    place.assert_file(&table, &content);
}

/// The entries of the file, read while no lock blocks postmap(1).
fn place_listing(table: &str, place: &Place, file: &File) -> Vec<Vec<u8>> {
    file.unlock().unwrap();
    let listed = place.listed(table);
    file.lock().unwrap();
    listed
}

/// A service that does not start is no reason to wait.
pub fn checkpoint_ends_when_its_service_cannot_start(server: Server) {
    assert_eq!(server, Server::Ours);
    let (place, table, mut content) = place("btree");
    let service = place.start(server);
    update(&mut service.client(), &table, SHARED, "ours", &mut content);
    service.kill();
    let nothing = "nothing was written: the service that was started for this exited";
    // The writer's id belongs to an account, in a file of the test's own, in a mount namespace of its own.
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mine = place.site.path("passwd");
    fs::write(&mine, format!("{passwd}squatter:x:61103:61103::/:/bin/false\n")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "/bin/sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]).arg(mine);
    command.arg(mapkeep().get_program()).arg("checkpoint").arg("-c").arg(place.site.path("etc"));
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(NO_SERVICE), "{said}");
    assert!(said.contains(nothing) && said.contains("id 61103 belongs to"), "{said}");
    // A user who may see the store, and nothing more. The programs may have been built in a directory closed to other
    // users.
    let programs = place.site.path("programs");
    fs::create_dir(&programs).unwrap();
    for name in [env!("CARGO_BIN_EXE_mapkeep"), env!("CARGO_BIN_EXE_mapkeepd")].map(Path::new) {
        fs::copy(name, programs.join(name.file_name().unwrap())).unwrap();
    }
    crate::common::master::set_mode(&place.site.path("data"), 0o755);
    let mut command = Command::new(programs.join("mapkeep"));
    command.arg("checkpoint").arg("-c").arg(place.site.path("etc")).uid(65_534).gid(65_534);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(NO_SERVICE), "{said}");
    assert!(said.contains(nothing) && said.contains("run this as root"), "{said}");
    // And a user who may not even see it.
    crate::common::master::set_mode(&place.site.path("data"), 0o700);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("Permission denied") && said.contains("run this as root"), "{said}");
    assert_checkpoint(&place, 0, &["t.db: written"]);
    assert_eq!(place.listed(&table), listing(&content));
}

/// A process with the title of a writer that has a store open, and its parent, which would end by SIGUSR1.
struct Impostor {
    parent: Child,
    pid: u32,
}

impl Impostor {
    fn with_open(store: &Path) -> Impostor {
        let script = "exec 9<\"$0\"; (exec -a \"mapkeep: writer (proxywrite)\" sleep 1000) & echo $!; wait";
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script]).arg(store).stdout(Stdio::piped());
        let mut parent = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let one = Impostor { parent, pid: line.trim().parse().unwrap() };
        let title =
            || fs::read(format!("/proc/{}/cmdline", one.pid)).ok()?.starts_with(b"mapkeep").then_some(());
        poll(PATIENCE, title).expect("it has its title");
        one
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        process::signal("KILL", self.pid);
        let _ = self.parent.wait();
    }
}

/// A process can choose its title: one that has the store open under the title of a writer does not get its parent a
/// signal.
pub fn checkpoint_signals_only_a_process_that_waits_for_it(server: Server) {
    assert_eq!(server, Server::Ours);
    let (place, table, mut content) = place("btree");
    let service = place.start(server);
    update(&mut service.client(), &table, SHARED, "ours", &mut content);
    service.kill();
    let mut impostor = Impostor::with_open(&place.site.path("data/t.mapkeep"));
    let mut command = mapkeep();
    command.arg("checkpoint").arg("-c").arg(place.site.path("etc")).stderr(Stdio::piped());
    let mut asker = command.spawn().unwrap();
    let either = || {
        (impostor.parent.try_wait().unwrap().is_some() || asker.try_wait().unwrap().is_some()).then_some(())
    };
    let ended = poll(PATIENCE, either);
    let _ = asker.kill();
    let out = asker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(
        (ended, impostor.parent.try_wait().unwrap()),
        (Some(()), None),
        "the parent was signalled: {said}"
    );
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {} has the title of a mapkeep writer", impostor.pid)), "{said}");
    assert!(said.contains(&format!("process {}, is not a supervisor", impostor.parent.id())), "{said}");
    let pid = impostor.pid;
    drop(impostor);
    assert_eq!(process::wait_gone(&[pid], PATIENCE), []);
    assert_checkpoint(&place, 0, &["t.db: written"]);
    assert_eq!(place.listed(&table), listing(&content));
}
