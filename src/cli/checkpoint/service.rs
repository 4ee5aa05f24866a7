//! A proxywrite service that lives as long as the command, on a socket that nobody knows.
//!
//! May: start, signal and await `mapkeepd serve`. Never: wait without a bound.

use mapkeep_config_site::checks::own_path;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to write its checkpoints and exit after it has been told to.
const LEAVE: Duration = Duration::from_secs(60);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// The service. Dropping it ends it.
pub(super) struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    /// Starts it. What it has to say goes to standard error.
    pub(super) fn start(directory: &Path) -> io::Result<Service> {
        let daemon = own_path().map_err(io::Error::other)?.with_file_name("mapkeepd");
        let socket = PathBuf::from(format!("/run/mapkeep-checkpoint-{}", std::process::id()));
        let child = Command::new(&daemon)
            .args(["serve", "-n", "proxywrite", "--stderr", "-c"])
            .arg(directory)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", daemon.display())))?;
        Ok(Service { child, socket })
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Tells it to write its checkpoints and exit; kills it if it takes too long.
    fn end(&mut self) -> io::Result<()> {
        match kill(self.pid(), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        let until = Instant::now().checked_add(LEAVE);
        while self.child.try_wait()?.is_none() {
            if until.is_none_or(|until| Instant::now() >= until) {
                // Its processes die with it, and its stores lose nothing by that.
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be awaited.
        let _ = self.end();
        let _ = std::fs::remove_file(&self.socket);
    }
}
