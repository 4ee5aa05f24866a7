//! Scenarios in which a server of the network answers for a table.

use super::assert_code;
use crate::common::postfix::{Instance, Server, account};
use crate::common::{PATIENCE, poll};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A socketmap server that only mail_owner's group may connect to.
struct Socketmap {
    ends: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    path: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Socketmap {
    fn start(path: &Path) -> Socketmap {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        chown(path, Some(0), Some(account("postfix").1)).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o660)).unwrap();
        let (ends, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, open) = (Arc::clone(&ends), Arc::clone(&connections));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                open.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || serve(stream));
            }
        });
        Socketmap { ends, connections, path: path.to_owned(), thread: Some(thread) }
    }
}

impl Drop for Socketmap {
    /// Closes the socket and every connection, as the end of a server does.
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers until the client goes.
fn serve(stream: UnixStream) {
    let mut from = BufReader::new(stream);
    loop {
        let mut number = Vec::new();
        if from.read_until(b':', &mut number).unwrap_or_default() == 0 {
            return;
        }
        let length: usize = String::from_utf8_lossy(&number).trim_end_matches(':').parse().unwrap();
        // With the comma.
        let mut payload = vec![0; length + 1];
        if from.read_exact(&mut payload).is_err() {
            return;
        }
        let reply = match String::from_utf8_lossy(&payload).trim_end_matches(',') {
            "users ann@relay.example" => "OK yes",
            "users busy@relay.example" => "TEMP come again",
            _ => "NOTFOUND ",
        };
        if from.get_mut().write_all(format!("{}:{reply},", reply.len()).as_bytes()).is_err() {
            return;
        }
    }
}

/// A socketmap table decides on relay recipients. While its server is away, nobody is refused for good, and tables without a
/// server go on.
pub fn recipients_that_a_server_knows(server: Server) {
    let mut mail = Instance::new(server);
    let path = mail.path("users.sock");
    let users = Socketmap::start(&path);
    let others = mail.table("hash", "others", "eve@other.example ok\n");
    mail.set("relay_domains", "relay.example other.example");
    mail.set(
        "relay_recipient_maps",
        &format!("proxy:{others}, proxy:socketmap:unix:{}:users", path.display()),
    );
    mail.start();
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    assert_code(&mut smtp, "bob@relay.example", 550, "User unknown in relay recipient table");
    assert_code(&mut smtp, "busy@relay.example", 451, "");
    assert_code(&mut smtp, "eve@other.example", 250, "");
    drop(users);
    assert_code(&mut smtp, "ann@relay.example", 451, "");
    assert_code(&mut smtp, "eve@other.example", 250, "");
    let _users = Socketmap::start(&path);
    let known = || {
        let code = smtp.rcpt("ann@relay.example").code;
        assert!(code == 250 || code == 451, "{code}");
        (code == 250).then_some(())
    };
    assert!(poll(PATIENCE, known).is_some(), "the server has come back");
    assert_code(&mut smtp, "bob@relay.example", 550, "");
}
