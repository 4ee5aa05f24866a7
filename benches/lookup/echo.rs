//! The floor: an epoll server that answers every read with the same bytes.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv, send};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const ANNOUNCEMENT: &[u8] = b"protocol\0proxymap_protocol\0\0";
/// As long as the answers of the tables.
const ANSWER: &[u8] = b"status\x000\0value\0value12345\0\0";

/// Serves for ever.
pub fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
    let mut clients: Vec<Option<UnixStream>> = vec![None];
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
        for event in &events[..count] {
            let index = usize::try_from(event.data()).unwrap();
            if index == 0 {
                while let Ok((client, _)) = listener.accept() {
                    let _ = send(client.as_raw_fd(), ANNOUNCEMENT, MsgFlags::MSG_NOSIGNAL);
                    let token = clients.len() as u64;
                    epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, token)).unwrap();
                    clients.push(Some(client));
                }
                continue;
            }
            let Some(client) = &clients[index] else { continue };
            let quiet = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match recv(client.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(_) => clients[index] = None,
                Ok(_) => drop(send(client.as_raw_fd(), ANSWER, quiet)),
            }
        }
    }
}

/// The server as a process of its own, ended on drop.
pub struct Echo {
    child: Child,
    socket: PathBuf,
}

impl Echo {
    pub fn start(socket: &Path) -> Echo {
        let own = std::env::current_exe().unwrap();
        let child = Command::new(own).arg("echo").arg(socket).spawn().unwrap();
        let echo = Echo { child, socket: socket.to_owned() };
        super::common::poll(super::common::PATIENCE, || UnixStream::connect(socket).ok()).unwrap();
        echo
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
