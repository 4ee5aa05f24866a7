//! The client against a small server in a thread that checks each request byte for byte.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::*;

/// Long enough for a loaded machine; only a failing test ever waits for it.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server for one connection: sends the announcement, then for each exchange expects the first text and sends the
/// second. `|` is one NUL byte. Returns how many exchanges took place.
pub(crate) struct Server {
    pub(crate) path: PathBuf,
    directory: PathBuf,
    thread: Option<JoinHandle<usize>>,
}

impl Server {
    pub(crate) fn start(test: &str, hello: &str, exchanges: &[(&str, &str)]) -> Server {
        let directory = std::env::temp_dir().join(format!("mapkeep-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("private")).unwrap();
        let path = directory.join("private/proxymap");
        let listener = UnixListener::bind(&path).unwrap();
        let bytes = |text: &str| text.replace('|', "\0").into_bytes();
        let hello = bytes(hello);
        let exchanges: Vec<(Vec<u8>, Vec<u8>)> =
            exchanges.iter().map(|(request, reply)| (bytes(request), bytes(reply))).collect();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream.write_all(&hello).unwrap();
            let mut done = 0;
            for (request, reply) in exchanges {
                let mut got = vec![0; request.len()];
                if stream.read_exact(&mut got).is_err() || got != request {
                    break;
                }
                stream.write_all(&reply).unwrap();
                done += 1;
            }
            done
        });
        Server { path, directory, thread: Some(thread) }
    }

    /// Waits until the server has seen the end of the connection.
    pub(crate) fn exchanges(mut self) -> usize {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) const HELLO: &str = "protocol|proxymap_protocol||";

#[test]
fn old_dialect_sends_what_postmap_sends() {
    let server = Server::start(
        "client-old",
        HELLO,
        &[
            ("request|open|table|hash:/m/rcpt|flags|0||", "status|0|flags|28||"),
            ("request|lookup|table|hash:/m/rcpt|flags|524353|key|alice||", "status|0|value|x||"),
            ("request|lookup|table|hash:/m/rcpt|flags|524353|key|über||", "status|1|value|||"),
        ],
    );
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    let (status, table) = client.open(b"hash:/m/rcpt").unwrap();
    let mut table = table.unwrap();
    assert_eq!((status, table.dialect, table.flags), (Status::Ok, Dialect::Old, 28));
    assert_eq!(client.lookup(&mut table, b"Alice").unwrap(), (Status::Ok, b"x".to_vec()));
    assert_eq!(client.lookup(&mut table, "Über".as_bytes()).unwrap(), (Status::NoKey, Vec::new()));
    drop(client);
    assert_eq!(server.exchanges(), 3);
}

#[test]
fn old_dialect_leaves_keys_of_pattern_tables_alone() {
    let server = Server::start(
        "client-pattern",
        HELLO,
        &[
            ("request|open|table|regexp:/r|flags|0||", "status|0|flags|32||"),
            ("request|lookup|table|regexp:/r|flags|524353|key|Alice||", "status|2|value|||"),
        ],
    );
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    let mut table = client.open(b"regexp:/r").unwrap().1.unwrap();
    assert_eq!(client.lookup(&mut table, b"Alice").unwrap().0, Status::Retry);
    drop(client);
    assert_eq!(server.exchanges(), 2);
}

#[test]
fn new_dialect_is_tried_after_the_old_and_replays_the_flags() {
    let server = Server::start(
        "client-new",
        HELLO,
        &[
            ("request|open|table|T:|flags|0||", "status|3|flags|0||"),
            ("request|open|table|T:|instance_flags|540737||", "status|0|flags|1589341||"),
            (
                "request|lookup|table|T:|instance_flags|540737|flags|1589341|key|ALICE||",
                "status|0|flags|1589337|value|x||",
            ),
            (
                "request|lookup|table|T:|instance_flags|540737|flags|1589337|key|bob||",
                "status|5|flags|1589337|value|||",
            ),
        ],
    );
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    let mut table = client.open(b"T:").unwrap().1.unwrap();
    assert_eq!(table.dialect, Dialect::New);
    assert_eq!(client.lookup(&mut table, b"ALICE").unwrap(), (Status::Ok, b"x".to_vec()));
    assert_eq!(table.flags, 1_589_337);
    assert_eq!(client.lookup(&mut table, b"bob").unwrap().0, Status::Config);
    drop(client);
    assert_eq!(server.exchanges(), 4);
}

#[test]
fn denied_open_gives_no_table_and_no_second_try() {
    let exchanges = [("request|open|table|T:|flags|0||", "status|4|flags|0||")];
    let server = Server::start("client-denied", HELLO, &exchanges);
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    let (status, table) = client.open(b"T:").unwrap();
    assert!(status == Status::Deny && table.is_none());
    drop(client);
    assert_eq!(server.exchanges(), 1);
}

#[test]
fn connect_refuses_another_announcement() {
    for (number, hello) in ["protocol|other_protocol||", "220 smtp||", "protocol|proxymap_protocol|x|y||"]
        .into_iter()
        .enumerate()
    {
        let server = Server::start(&format!("client-hello-{number}"), hello, &[]);
        let refused = Client::connect(&server.path, TIMEOUT);
        assert!(matches!(refused, Err(ClientError::Garbled(_))), "{hello}: {refused:?}");
    }
}

#[test]
fn connect_without_announcement_is_closed_or_unreachable() {
    let server = Server::start("client-silent", "", &[]);
    assert!(matches!(Client::connect(&server.path, TIMEOUT), Err(ClientError::Closed)));
    let gone = server.path.clone();
    assert_eq!(server.exchanges(), 0);
    assert!(matches!(Client::connect(&gone, TIMEOUT), Err(ClientError::Unreachable(_))));
}

#[test]
fn garbled_replies_are_errors() {
    for (number, reply) in [
        "status|9|flags|0||",
        "status||flags|0||",
        "flags|0|status|0||",
        "status|0|flags|many||",
        "status|0||",
        "status|0|flags|0|extra|1||",
        "status|0|flags|0|||",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("client-garbled-{number}");
        let server = Server::start(&name, HELLO, &[("request|open|table|T:|flags|0||", reply)]);
        let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
        let refused = client.open(b"T:");
        assert!(matches!(refused, Err(ClientError::Garbled(_))), "{reply}: {refused:?}");
    }
}

#[test]
fn reply_cut_short_is_closed() {
    let exchanges = [("request|open|table|T:|flags|0||", "status|0|fla")];
    let server = Server::start("client-cut", HELLO, &exchanges);
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    assert!(matches!(client.open(b"T:"), Err(ClientError::Closed)));
}

#[test]
fn silence_ends_at_the_time_limit() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut client = Client { stream: BufReader::new(ours) };
    assert!(matches!(client.open(b"T:"), Err(ClientError::TimedOut)));
}

#[test]
fn nul_in_a_name_or_key_is_not_sent() {
    let exchanges = [("request|open|table|T:|flags|0||", "status|0|flags|16||")];
    let server = Server::start("client-nul", HELLO, &exchanges);
    let mut client = Client::connect(&server.path, TIMEOUT).unwrap();
    assert!(matches!(client.open(b"T:\0x"), Err(ClientError::Nul)));
    let mut table = client.open(b"T:").unwrap().1.unwrap();
    assert!(matches!(client.lookup(&mut table, b"a\0b"), Err(ClientError::Nul)));
    drop(client);
    assert_eq!(server.exchanges(), 1);
}
