//! Servers of socketmap and tcp tables, on a Unix-domain socket and on loopback. They do what the key says.

use crate::cases::{self, Act, Table};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Three servers, each of its own state.
pub struct Servers {
    /// Where a socketmap server listens;
    socket: PathBuf,
    /// another one, by its port;
    socketmap: u16,
    /// and one of tcp tables.
    tcp: u16,
}

/// The keys for which a connection has been closed, and the answer is still to come.
#[derive(Clone, Default)]
struct Closed(Arc<Mutex<BTreeSet<Vec<u8>>>>);

impl Servers {
    /// Starts them; the socket lies in this directory. They end with the program.
    pub fn start(directory: &Path) -> Servers {
        let socket = directory.join("servers-socketmap");
        let listener = UnixListener::bind(&socket).unwrap();
        crate::common::master::set_mode(&socket, 0o666);
        let state = Closed::default();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = state.clone();
                std::thread::spawn(move || {
                    let end: UnixStream = stream.try_clone().unwrap();
                    socketmap(stream, &state);
                    let _ = end.shutdown(Shutdown::Both);
                });
            }
        });
        let ports = [socketmap::<TcpStream> as fn(TcpStream, &Closed), tcp::<TcpStream>].map(|serve| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let state = Closed::default();
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let state = state.clone();
                    std::thread::spawn(move || {
                        let end = stream.try_clone().unwrap();
                        serve(stream, &state);
                        let _ = end.shutdown(Shutdown::Both);
                    });
                }
            });
            port
        });
        Servers { socket, socketmap: ports[0], tcp: ports[1] }
    }

    /// The tables that they answer for.
    pub fn tables(&self) -> impl Iterator<Item = (Table, String)> {
        let (port, tcp) = (self.socketmap, self.tcp);
        [
            (Table::Socketmap, format!("socketmap:unix:{}:map", self.socket.display())),
            // Below queue_directory.
            (Table::Socketmap, "socketmap:unix:private/servers-socketmap:map".to_owned()),
            (Table::Socketmap, format!("socketmap:inet:127.0.0.1:{port}:map")),
            (Table::Socketmap, format!("socketmap:inet:localhost:{port}:map")),
            (Table::Socketmap, format!("socketmap:inet:{port}:map")),
            (Table::Tcp, format!("tcp:127.0.0.1:{tcp}")),
            (Table::Tcp, format!("tcp:[127.0.0.1]:{tcp}")),
        ]
        .into_iter()
    }

    /// Tables that are made of these, a key, and what comes of it. And some without a server.
    pub fn composites(&self) -> impl Iterator<Item = (String, &'static str, Result<&'static str, u8>)> {
        let (one, tcp) =
            (format!("socketmap:unix:{}:map", self.socket.display()), format!("tcp:127.0.0.1:{}", self.tcp));
        [
            (format!("unionmap:{{static:s,{one}}}"), "ok", Ok("s,value")),
            (format!("unionmap:{{{one},{tcp}}}"), "ok", Ok("value,value")),
            (format!("unionmap:{{{tcp},static:s}}"), "notfound", Ok("s")),
            (format!("unionmap:{{static:t,{one}}}"), "temp", Err(2)),
            (format!("unionmap:{{static:u,{one}}}"), "perm", Err(5)),
            (format!("pipemap:{{inline:{{x=ok}},{one}}}"), "x", Ok("value")),
            (format!("pipemap:{{{one},static:v}}"), "ok", Ok("v")),
            (format!("pipemap:{{{tcp},inline:{{value=w}}}}"), "ok", Ok("w")),
            (format!("pipemap:{{{tcp},{one}}}"), "notfound", Err(1)),
            (format!("pipemap:{{{one},{tcp}}}"), "perm", Err(5)),
            ("socketmap:unix:/nonexistent/socket:map".to_owned(), "k", Err(2)),
            // Nobody has listened on the port of TCPMUX for decades.
            ("socketmap:inet:127.0.0.1:1:map".to_owned(), "k", Err(2)),
            ("socketmap:inet:nosuch.invalid:1:map".to_owned(), "k", Err(2)),
        ]
        .into_iter()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What to send for a key, and whether the connection goes on; nothing to send ends it. `asked` is what came for it.
fn act(table: Table, key: &[u8], asked: &[u8], closed: &Closed) -> (Option<Vec<u8>>, bool) {
    let framed = |payload: &[u8]| match table {
        Table::Socketmap => [format!("{}:", payload.len()).as_bytes(), payload, b","].concat(),
        Table::Tcp => [payload, b"\n"].concat(),
    };
    let case = cases::of(table).iter().find(|case| case.key.as_bytes() == key);
    match case.map(|case| &case.act) {
        Some(Act::Reply(payload)) => (Some(framed(payload)), true),
        Some(Act::Raw(bytes)) => (Some(bytes.clone()), false),
        Some(Act::Once(payload)) => {
            let mut closed = closed.0.lock().unwrap();
            match closed.remove(key) {
                true => (Some(framed(payload)), true),
                false => {
                    closed.insert(key.to_vec());
                    (None, false)
                }
            }
        }
        None => {
            let word = if table == Table::Tcp { "200" } else { "OK" };
            (Some(framed(format!("{word} {}", hex(asked)).as_bytes())), true)
        }
    }
}

/// Answers until the client goes, or a case has the connection closed.
fn socketmap<S: Read + Write>(stream: S, closed: &Closed) {
    let mut from = BufReader::new(stream);
    loop {
        let mut number = Vec::new();
        if from.read_until(b':', &mut number).unwrap_or_default() == 0 {
            return;
        }
        let length: usize = String::from_utf8_lossy(&number).trim_end_matches(':').parse().unwrap();
        let mut payload = vec![0; length];
        let mut comma = [0];
        if from.read_exact(&mut payload).and_then(|()| from.read_exact(&mut comma)).is_err() {
            return;
        }
        assert_eq!(comma, *b",");
        let key = payload.strip_prefix(b"map ").unwrap_or_default();
        let (bytes, goes_on) = act(Table::Socketmap, key, &payload, closed);
        if from.get_mut().write_all(&bytes.unwrap_or_default()).is_err() || !goes_on {
            return;
        }
    }
}

/// The same for tcp tables.
fn tcp<S: Read + Write>(stream: S, closed: &Closed) {
    let mut from = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).unwrap_or_default() == 0 {
            return;
        }
        let asked = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = asked.strip_prefix(b"get ").unwrap_or_default();
        let (bytes, goes_on) = act(Table::Tcp, key, asked, closed);
        if from.get_mut().write_all(&bytes.unwrap_or_default()).is_err() || !goes_on {
            return;
        }
    }
}
