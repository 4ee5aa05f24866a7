//! A stock proxymap(8) that the test starts itself, as master(8) would, and replaces when it dies: the one that
//! `MAPKEEP_LATER_STOCK` names, or /usr/lib/postfix/sbin/proxymap.

use crate::common::master::{Master, Site};
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, postfix};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread::JoinHandle;

/// A proxymap of Postfix 3.11 or later, to be compared with in the new dialect instead of the installed one.
static LATER: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("MAPKEEP_LATER_STOCK").map(PathBuf::from));

/// Whether stock speaks the new dialect.
pub fn is_later() -> bool {
    LATER.is_some()
}

/// A running stock server and a connection to it.
pub struct Stock<'s> {
    site: &'s Site,
    running: Option<Running<'s>>,
}

struct Running<'s> {
    wire: Wire,
    master: Master<'s>,
    status: JoinHandle<()>,
}

impl<'s> Stock<'s> {
    pub fn new(site: &'s Site) -> Self {
        Stock { site, running: None }
    }

    /// Ends the server. The next request meets a fresh one.
    pub fn stop(&mut self) {
        if let Some(Running { wire, master, status }) = self.running.take() {
            drop(wire);
            drop(master);
            let _ = status.join();
        }
    }

    /// Whether a server runs, with whatever state earlier requests have left in it.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// The reply to a request; `Closed` if the server exited on it.
    pub fn ask(&mut self, request: &[u8]) -> Received {
        let heard = match self.running().wire.send(request) {
            Ok(()) => self.running().wire.receive(PATIENCE),
            Err(_) => Received::Closed,
        };
        match heard {
            Received::Reply(_) => {}
            // It exits only after it has closed.
            Received::Closed => self.stop(),
            Received::Silence => panic!("stock neither answers nor ends: {}", request.escape_ascii()),
        }
        heard
    }

    /// A second connection to the running server.
    pub fn second_wire(&mut self) -> Wire {
        self.running().master.wire()
    }

    fn running(&mut self) -> &mut Running<'s> {
        let site = self.site;
        self.running.get_or_insert_with(|| {
            let installed = Path::new(postfix::STOCK_DAEMONS).join("proxymap");
            let program = LATER.clone().unwrap_or(installed);
            let master = site.start_program(&program, &["-n", "proxymap", "-t", "unix", "-u"]);
            // It reports before and after each request; unread reports would stop it.
            let mut reports = master.status.as_ref().unwrap().try_clone().unwrap();
            let status = std::thread::spawn(move || {
                let _ = std::io::copy(&mut reports, &mut std::io::sink());
            });
            Running { wire: master.wire(), master, status }
        })
    }
}

impl Drop for Stock<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
