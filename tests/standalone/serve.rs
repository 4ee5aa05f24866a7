//! One running `mapkeep serve`, its tree and its end.

use crate::common::master::{Site, set_mode};
use crate::common::process::{self, Process};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The name of the service, which differs from that of master(8)'s own.
pub const NAME: &str = "mapkeep";

/// The ids of the user and group of a name, from the account files.
pub fn ids(name: &str) -> (u32, u32) {
    let text = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).expect("the account exists");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// A tree with a private directory like Postfix's.
pub fn site() -> Site {
    let site = Site::new();
    let private = site.path("spool/private");
    chown(&private, Some(ids("postfix").0), Some(0)).unwrap();
    set_mode(&private, 0o700);
    site
}

/// main.cf that approves these tables, with the service's name.
pub fn approve(site: &Site, tables: &[&str], lines: &str) {
    site.approve(tables, &format!("proxymap_service_name = {NAME}\n{lines}"));
}

/// A started service. Dropping it ends it, and panics when a descendant stays.
pub struct Service<'s> {
    pub site: &'s Site,
    child: Child,
}

impl<'s> Service<'s> {
    /// `mapkeep serve -c DIR` and more words.
    pub fn start(site: &'s Site, words: &[&str]) -> Service<'s> {
        Service::start_through(site, "", words, Stdio::null(), &[])
    }

    /// As `start`; the shell runs `first` before, and `input` is its standard input.
    pub fn start_through(
        site: &'s Site,
        first: &str,
        words: &[&str],
        input: Stdio,
        environment: &[(&str, String)],
    ) -> Service<'s> {
        let errors = std::fs::File::create(site.path("stderr")).unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("{first} exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_mapkeep"))
            .args(["serve", "-c"])
            .arg(site.path("etc"))
            .args(words)
            .env_clear()
            .env("POSTLOG_SERVICE", site.path("spool/public/postlog"))
            .env("POSTLOG_HOSTNAME", "mx.example.org")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Service { site, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The socket of the usual place.
    pub fn socket(&self) -> PathBuf {
        self.site.path("spool/private").join(NAME)
    }

    /// Waits until the socket is there, and connects.
    pub fn wire(&self) -> Wire {
        wire_at(&self.socket())
    }

    /// The processes below the service.
    pub fn family(&self) -> Vec<Process> {
        process::descendants(self.pid())
    }

    /// The processes of one role.
    pub fn of_role(&self, role: &str) -> Vec<u32> {
        let title = format!("mapkeep: {role}");
        self.family().iter().filter(|p| p.command.starts_with(&title)).map(|p| p.pid).collect()
    }

    /// Asks for a reload and waits until the log says how it ended.
    pub fn reload(&self, outcome: &str) {
        let seen = self.site.log().len();
        process::signal("HUP", self.pid());
        self.site.wait_for_log(seen, &[outcome]);
    }

    /// A reload that must succeed; when it returns the new configuration answers all new clients.
    pub fn reload_well(&self) {
        self.reload("serving the new configuration");
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        poll(PATIENCE, || self.child.try_wait().unwrap()).expect("the service ends")
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if !self.runs() {
            return;
        }
        process::end_family(&mut self.child);
    }
}

/// A connection to the service at `socket`, as soon as something listens there.
pub fn wire_at(socket: &Path) -> Wire {
    poll(PATIENCE, || std::os::unix::net::UnixStream::connect(socket).ok())
        .unwrap_or_else(|| panic!("nothing listens at {}", socket.display()));
    Wire::open(socket)
}
