//! What stands in an instance's directory: the chroot of its daemons, its programs, its configuration.

use super::{Instance, STOCK_DAEMONS, Server, Way, set_mode};
use crate::common::config::{BASE_MAIN_CF, MASTER_CF};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Instance {
    /// The files that Debian's start script copies into the queue directory for chrooted daemons.
    pub(super) fn fill_chroot(&self) {
        let etc = self.path("spool/etc");
        fs::create_dir(&etc).expect("etc in the chroot");
        set_mode(&etc, 0o755);
        for name in ["localtime", "services", "resolv.conf", "hosts", "host.conf", "nsswitch.conf"] {
            let from = Path::new("/etc").join(name);
            if from.is_file() {
                fs::copy(&from, etc.join(name)).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
                set_mode(&etc.join(name), 0o644);
            }
        }
    }

    /// Copies our programs into the tree, where every parent belongs to root wherever Cargo built them, and so that
    /// their processes can be distinguished from those of other instances. For `Way::Link`, also makes the daemon
    /// directory.
    pub(super) fn install_server(&self) {
        if self.server == Server::Ours {
            let programs = [
                env!("CARGO_BIN_EXE_mapkeepd"),
                env!("CARGO_BIN_EXE_mapkeep-worker"),
                env!("CARGO_BIN_EXE_mapkeep-writer"),
                env!("CARGO_BIN_EXE_mapkeep-gateway"),
                env!("CARGO_BIN_EXE_mapkeep-dialer"),
            ];
            for from in programs.map(Path::new) {
                let to = self.path("lib").join(from.file_name().expect("a program has a name"));
                fs::copy(from, &to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
                set_mode(&to, 0o755);
            }
        }
        if self.way == Way::Link {
            let daemons = self.path("daemons");
            fs::create_dir(&daemons).expect("a daemon directory");
            set_mode(&daemons, 0o755);
            for entry in fs::read_dir(STOCK_DAEMONS).expect("Postfix is installed").flatten() {
                let stock = if entry.file_name() == "proxymap" { self.server_path() } else { entry.path() };
                symlink(stock, daemons.join(entry.file_name())).expect("a link in the daemon directory");
            }
        }
    }

    pub(super) fn server_path(&self) -> PathBuf {
        match self.server {
            Server::Stock => Path::new(STOCK_DAEMONS).join("proxymap"),
            Server::Ours => self.path("lib/mapkeepd"),
        }
    }

    pub(super) fn write_config(&self) {
        let overridden =
            |line: &&str| self.settings.iter().any(|(name, _)| line.split(' ').next() == Some(name));
        let base = BASE_MAIN_CF.lines().filter(|line| !overridden(line));
        let mut main: String = base.flat_map(|line| [line, "\n"]).collect();
        let dir = self.dir.display();
        main += &format!("queue_directory = {dir}/spool\ndata_directory = {dir}/data\n");
        main += &format!("maillog_file = {dir}/log/maillog\n");
        let daemons = if self.way == Way::Link { self.path("daemons") } else { STOCK_DAEMONS.into() };
        main += &format!("daemon_directory = {}\n", daemons.display());
        for (name, value) in &self.settings {
            main += &format!("{name} = {value}\n");
        }
        let command = match self.way {
            Way::Link => "proxymap".to_string(),
            // The way back up from daemon_directory, then down along the absolute path.
            Way::Relative => format!("../../../..{}", self.server_path().display()),
        };
        let mut master = MASTER_CF.replace("@PORT@", &self.port.to_string()).replace("@PROXYMAP@", &command);
        self.services.iter().flat_map(|line| [line.as_str(), "\n"]).for_each(|text| master += text);
        for (name, text) in [("main.cf", main), ("master.cf", master)] {
            let file = self.path("etc").join(name);
            // Renamed into place, so that no daemon reads half a file; dated back, because Postfix reads a main.cf
            // that changed within the last second again and again until it is older.
            let fresh = self.path("etc").join(format!("{name}.new"));
            fs::write(&fresh, text).expect("configuration can be written");
            set_mode(&fresh, 0o644);
            let old = std::time::SystemTime::now() - Duration::from_secs(60);
            fs::File::options()
                .write(true)
                .open(&fresh)
                .and_then(|f| f.set_modified(old))
                .expect("a file date");
            fs::rename(&fresh, &file).expect("configuration can be put in place");
        }
    }
}
