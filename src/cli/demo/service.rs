//! The running service of the demo.

use super::{Site, failure};
use crate::error::Error;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the start may take.
const START: Duration = Duration::from_secs(15);

/// mapkeepd and all that it started; ended on drop.
#[derive(Debug)]
pub(crate) struct Service {
    daemon: Child,
    log: std::path::PathBuf,
}

impl Service {
    /// Starts it and waits until it serves.
    pub(crate) fn start(program: &Path, site: &Site) -> Result<Service, Error> {
        let log = site.folder().join("log");
        let to = File::create(&log)?;
        let daemon = Command::new(program)
            .args(["serve", "--stderr", "-c"])
            .arg(site.folder())
            .arg("--socket")
            .arg(site.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to)
            .spawn()?;
        let mut service = Service { daemon, log };
        let start = Instant::now();
        // The announcement is the sign that a locked-down worker has the connection.
        while crate::client::Client::connect(&site.socket(), START).is_err() {
            if service.daemon.try_wait()?.is_some() || start.elapsed() > START {
                return Err(failure(format!("the service did not start. It logged:\n{}", service.text())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(service)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Stops it as `systemctl stop` would, and returns what it logged.
    pub(crate) fn stop(&mut self) -> Result<String, Error> {
        self.end();
        self.daemon.wait()?;
        Ok(self.text())
    }

    fn end(&self) {
        if let Ok(pid) = i32::try_from(self.daemon.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.end();
            let _ = self.daemon.wait();
        }
    }
}
