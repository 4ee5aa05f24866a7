//! postscreen(8): clients that have passed its tests, in `postscreen_cache_map`, and its clean-up.

use crate::common::postfix::{Instance, Server};
use crate::common::{PATIENCE, poll};
use crate::site::{assert_content, assert_served, cache, keys, port, reload, stop, wait_for_clean_up};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// A connection that announces 192.0.2.`last` as its client, in the way of a proxy like haproxy.
fn connect_as(last: u8, port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 40000 {port}\r\n").as_bytes()).unwrap();
    stream
}

/// Comes as this client, behaves well, and expects this line in the log.
fn pass(mail: &Instance, last: u8, port: u16, words: &str) {
    let line = come(mail, last, port);
    assert!(line.contains(words), "{line}");
}

/// Comes as this client after a reload, until the cache has answered. A postscreen(8) from before the reload ends its last
/// sessions without a cache.
fn pass_after_reload(mail: &Instance, last: u8, port: u16) {
    let known = poll(PATIENCE, || come(mail, last, port).contains("PASS OLD").then_some(()));
    assert!(known.is_some(), "192.0.2.{last} is not known any more");
}

/// Connects as this client, behaves well, and returns the log line that confirms it.
fn come(mail: &Instance, last: u8, port: u16) -> String {
    let seen = mail.log_lines().len();
    // A postscreen that is just leaving because of a reload closes; clients come again.
    let stream = poll(PATIENCE, || greeted(last, port));
    let mut stream = stream.expect("postscreen(8) greets");
    stream.write_all(b"QUIT\r\n").unwrap();
    mail.wait_for_later_log(seen, &["/postscreen[", "PASS ", &format!("[192.0.2.{last}]")], PATIENCE)
}

/// A connection past its greeting. That may come in two parts, of which the first is a trap; the last begins with `220 `.
fn greeted(last: u8, port: u16) -> Option<TcpStream> {
    let mut stream = connect_as(last, port);
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(b"\n") || !heard.split(|b| *b == b'\n').any(|line| line.starts_with(b"220 ")) {
        match stream.read(&mut byte) {
            Ok(1) => heard.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error} after {:?}", heard.escape_ascii().to_string()),
        }
    }
    Some(stream)
}

/// Comes as this client and talks before it is greeted.
fn talk_early(mail: &Instance, last: u8, port: u16) {
    let seen = mail.log_lines().len();
    let mut stream = connect_as(last, port);
    stream.write_all(b"EHLO early.example\r\n").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    mail.wait_for_later_log(seen, &["/postscreen[", "PREGREET", &format!("[192.0.2.{last}]")], PATIENCE);
}

/// A client that has passed is not tested again, also after a reload; one that talks early is not let in. Passes that
/// have expired are removed by the clean-up, others stay.
pub fn passes_are_cached_and_cleaned_up(server: Server, kind: &str) {
    let mut mail = Instance::new(server);
    let port = port();
    let cache = cache(&mail, kind, "postscreen_cache");
    mail.service(&format!("127.0.0.1:{port} inet n - y - 1 postscreen"));
    mail.service("smtpd pass - - y - - smtpd");
    mail.service("dnsblog unix - - y - 0 dnsblog");
    mail.service("tlsproxy unix - - y - 0 tlsproxy");
    mail.set("postscreen_cache_map", &format!("proxy:{cache}"));
    mail.set("postscreen_access_list", "");
    mail.set("postscreen_upstream_proxy_protocol", "haproxy");
    mail.set("postscreen_greet_action", "drop");
    mail.set("postscreen_greet_wait", "1s");
    mail.start();
    for last in [2, 3] {
        pass(&mail, last, port, "PASS NEW");
        pass(&mail, last, port, "PASS OLD");
    }
    talk_early(&mail, 4, port);
    assert_served(&mail, "postscreen_cache");
    mail.set("postscreen_greet_ttl", "1s");
    mail.set("postscreen_cache_retention_time", "1s");
    mail.set("postscreen_cache_cleanup_interval", "2s");
    let seen = mail.log_lines().len();
    reload(&mail);
    pass_after_reload(&mail, 2, port);
    for last in [5, 6, 7] {
        pass(&mail, last, port, "PASS NEW");
    }
    let passed = mail.log_lines().len();
    wait_for_clean_up(&mail, passed, "/postscreen[", 2);
    let scans = wait_for_clean_up(&mail, seen, "/postscreen[", 2);
    assert!(scans.iter().any(|(_, dropped)| *dropped > 0), "{scans:?}");
    assert!(
        scans.iter().all(|(retained, _)| *retained >= 2),
        "a pass that has not expired was dropped: {scans:?}"
    );
    pass(&mail, 3, port, "PASS OLD");
    stop(&mail);
    let left = keys(&mail, &cache);
    let passes: Vec<&String> = left.iter().filter(|key| key.starts_with("192.")).collect();
    assert_eq!(passes.len(), 2, "{left:?}");
    assert!(["192.0.2.2", "192.0.2.3"].iter().all(|ip| left.iter().any(|key| key == ip)), "{left:?}");
    assert_content(&mail, &[]);
}
