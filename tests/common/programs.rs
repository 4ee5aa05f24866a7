//! The programs of a service in which the test program itself is the worker.

use super::master::set_mode;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes a directory with these programs, and in place of the worker among them this one.
pub fn with_this_as_worker<'p>(folder: &Path, programs: impl IntoIterator<Item = &'p str>) {
    fs::create_dir(folder).unwrap();
    set_mode(folder, 0o755);
    let own = std::env::current_exe().unwrap();
    for name in programs {
        // Cargo puts all of them beside mapkeepd.
        let built = Path::new(env!("CARGO_BIN_EXE_mapkeepd")).with_file_name(name);
        let from = if name == "mapkeep-worker" { &own } else { &built };
        // By another process, so that no child that is being started holds the copy open for writing.
        let copied = Command::new("cp").arg(from).arg(folder.join(name)).status().unwrap();
        assert!(copied.success(), "{name}");
    }
}
