//! `mapkeep-writer`: the process that changes tables, started by mapkeepd.
use mapkeep_proto::{Launch, version_text};

fn main() {
    match mapkeep_process::launched("mapkeep-writer", || version_text("mapkeep-writer")) {
        (Launch::Writer(launch), channel) => mapkeep_worker_writer::main(&launch, channel),
        _ => mapkeep_process::refuse("mapkeep-writer", "the launch of another program"),
    }
}
