//! The programs of a service in which the test program itself is the worker.

use super::master::set_mode;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes a directory with mapkeepd and what it starts, and with this program under the name of the worker.
pub fn with_this_as_worker(folder: &Path) {
    fs::create_dir(folder).unwrap();
    set_mode(folder, 0o755);
    let own = std::env::current_exe().unwrap();
    let programs = [
        (Path::new(env!("CARGO_BIN_EXE_mapkeepd")), "mapkeepd"),
        (Path::new(env!("CARGO_BIN_EXE_mapkeep-gateway")), "mapkeep-gateway"),
        (&own, "mapkeep-worker"),
    ];
    for (from, name) in programs {
        // By another process, so that no child that is being started holds the copy open for writing.
        let copied = Command::new("cp").arg(from).arg(folder.join(name)).status().unwrap();
        assert!(copied.success(), "{name}");
    }
}
