//! A server of socketmap or tcp tables that does as it is told, and counts who comes.

use crate::common::master::set_mode;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a connection looks whether the server is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Socketmap,
    Tcp,
}

/// Where it listens.
#[derive(Clone, Debug)]
enum Place {
    Unix(PathBuf),
    Tcp(u16),
}

/// How it treats who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers: the key with a word in front, or what a special key wants.
    Well,
    /// Reads, and says nothing.
    Frozen,
    /// Half an answer, and then the end.
    Half,
    /// What is no answer.
    Garbage,
    /// Answers once on each connection.
    Once,
    /// Closes each connection as it comes.
    HangsUp,
}

/// What a test sees of it.
#[derive(Debug, Default)]
struct Seen {
    /// When each connection was taken.
    came: Vec<Instant>,
    /// Connections that are open, and the most at a time.
    open: usize,
    most: usize,
    /// Questions that have come whole.
    asked: usize,
}

struct Shared {
    language: Language,
    manner: Mutex<Manner>,
    seen: Mutex<Seen>,
}

/// A server in threads of the test.
pub struct Server {
    place: Place,
    shared: Arc<Shared>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Server {
    /// One that listens at a path.
    pub fn at_path(language: Language, path: PathBuf) -> Server {
        Server::new(language, Place::Unix(path))
    }

    /// One that listens at a port of the loopback interface that nobody has.
    pub fn at_port(language: Language) -> Server {
        // A port that the kernel has given once is given to nobody else soon.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Server::new(language, Place::Tcp(port))
    }

    fn new(language: Language, place: Place) -> Server {
        let (manner, seen) = (Mutex::new(Manner::Well), Mutex::default());
        let mut server = Server { place, shared: Arc::new(Shared { language, manner, seen }), running: None };
        server.start();
        server
    }

    /// The name of its table; of a socketmap server, that of the map `map`.
    pub fn table(&self, map: &str) -> String {
        match (&self.place, self.shared.language) {
            (Place::Unix(path), Language::Socketmap) => format!("socketmap:unix:{}:{map}", path.display()),
            (Place::Tcp(port), Language::Socketmap) => format!("socketmap:inet:127.0.0.1:{port}:{map}"),
            (Place::Tcp(port), Language::Tcp) => format!("tcp:127.0.0.1:{port}"),
            (Place::Unix(_), Language::Tcp) => panic!("no name leads there"),
        }
    }

    /// What the log calls it.
    pub fn title(&self) -> String {
        match (&self.place, self.shared.language) {
            (Place::Unix(path), _) => format!("socketmap unix:{}", path.display()),
            (Place::Tcp(port), Language::Socketmap) => format!("socketmap inet:127.0.0.1:{port}"),
            (Place::Tcp(port), Language::Tcp) => format!("tcp inet:127.0.0.1:{port}"),
        }
    }

    /// Listens again.
    pub fn start(&mut self) {
        assert!(self.running.is_none());
        let listener = Listener::at(&self.place);
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&self.shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || accept(&listener, &shared, &stopped));
        self.running = Some((stop, thread));
    }

    /// Closes everything: nobody listens there any more.
    pub fn stop(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        if let Place::Unix(path) = &self.place {
            // The site may have gone before, with everything in it.
            let _ = std::fs::remove_file(path);
        }
    }

    /// From now on it does so, on all connections.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// When each connection was taken.
    pub fn came(&self) -> Vec<Instant> {
        self.shared.seen.lock().unwrap().came.clone()
    }

    /// Questions that have come.
    pub fn asked(&self) -> usize {
        self.shared.seen.lock().unwrap().asked
    }

    /// The most connections that were open at a time.
    pub fn most(&self) -> usize {
        self.shared.seen.lock().unwrap().most
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn at(place: &Place) -> Listener {
        match place {
            Place::Unix(path) => {
                let listener = UnixListener::bind(path).unwrap();
                set_mode(path, 0o666);
                listener.set_nonblocking(true).unwrap();
                Listener::Unix(listener)
            }
            Place::Tcp(port) => {
                let listener = TcpListener::bind(("127.0.0.1", *port)).unwrap();
                listener.set_nonblocking(true).unwrap();
                Listener::Tcp(listener)
            }
        }
    }

    fn accept(&self) -> std::io::Result<Connection> {
        let connection = match self {
            Listener::Unix(listener) => Connection::Unix(listener.accept()?.0),
            Listener::Tcp(listener) => Connection::Tcp(listener.accept()?.0),
        };
        connection.set_patience();
        Ok(connection)
    }
}

enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    fn set_patience(&self) {
        match self {
            Connection::Unix(stream) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LOOK)).unwrap();
            }
            Connection::Tcp(stream) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LOOK)).unwrap();
                // Small answers, one at a time.
                stream.set_nodelay(true).unwrap();
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.read(buffer),
            Connection::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // Whoever asked may have gone.
        let _ = match self {
            Connection::Unix(stream) => stream.write_all(bytes),
            Connection::Tcp(stream) => stream.write_all(bytes),
        };
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>, stop: &Arc<AtomicBool>) {
    let mut connections = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok(connection) => {
                let mut seen = shared.seen.lock().unwrap();
                seen.came.push(Instant::now());
                seen.open += 1;
                seen.most = seen.most.max(seen.open);
                drop(seen);
                let (shared, stop) = (Arc::clone(shared), Arc::clone(stop));
                connections.push(std::thread::spawn(move || {
                    converse(connection, &shared, &stop);
                    shared.seen.lock().unwrap().open -= 1;
                }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("accept: {error}"),
        }
    }
    connections.into_iter().for_each(|connection| connection.join().unwrap());
}

fn converse(mut connection: Connection, shared: &Shared, stop: &AtomicBool) {
    let (mut heard, mut chunk) = (Vec::new(), [0; 65536]);
    while !stop.load(Ordering::Relaxed) {
        let manner = || *shared.manner.lock().unwrap();
        if manner() == Manner::HangsUp {
            return;
        }
        match connection.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => heard.extend_from_slice(&chunk[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
        while let Some((map, key)) = shared.language.question(&mut heard) {
            shared.seen.lock().unwrap().asked += 1;
            let answer = shared.language.answer(&map, &key);
            match manner() {
                Manner::Well => connection.write(&answer),
                Manner::Frozen => {}
                Manner::Half => return connection.write(&answer[..answer.len() / 2]),
                Manner::Garbage => connection.write(b"\x00\xffgarbage of no language\n"),
                Manner::Once => return connection.write(&answer),
                Manner::HangsUp => return,
            }
        }
    }
}

impl Language {
    /// Takes the next question that is there as a whole: its map and its key.
    fn question(self, heard: &mut Vec<u8>) -> Option<(String, String)> {
        let (text, whole) = match self {
            Language::Socketmap => {
                let colon = heard.iter().position(|byte| *byte == b':')?;
                let length: usize = std::str::from_utf8(&heard[..colon]).unwrap().parse().unwrap();
                let whole = colon + 1 + length + 1;
                let text = heard.get(..whole)?;
                assert_eq!(text.last(), Some(&b','), "{}", text.escape_ascii());
                (String::from_utf8_lossy(&text[colon + 1..whole - 1]).into_owned(), whole)
            }
            Language::Tcp => {
                let end = heard.iter().position(|byte| *byte == b'\n')?;
                (String::from_utf8_lossy(&heard[..end]).into_owned(), end + 1)
            }
        };
        heard.drain(..whole);
        let (map, key) = text.split_once(' ').unwrap();
        Some((map.to_owned(), key.to_owned()))
    }

    fn answer(self, map: &str, key: &str) -> Vec<u8> {
        let text = match (self, key) {
            (Language::Socketmap, "absent") => "NOTFOUND ".to_owned(),
            (Language::Socketmap, "later") => "TEMP try again".to_owned(),
            (Language::Socketmap, "never") => "PERM it is broken".to_owned(),
            (Language::Socketmap, key) => format!("OK {map}-{key}"),
            (Language::Tcp, "absent") => "500 no".to_owned(),
            (Language::Tcp, "later") => "400 not now".to_owned(),
            (Language::Tcp, key) => format!("200 tcp-{key}"),
        };
        match self {
            Language::Socketmap => format!("{}:{text},", text.len()).into_bytes(),
            Language::Tcp => format!("{text}\n").into_bytes(),
        }
    }
}
