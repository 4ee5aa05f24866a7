//! `mapkeep-dialer`: the process whose forks connect to servers, started by mapkeepd.
use mapkeep_proto::{Launch, version_text};

fn main() {
    match mapkeep_process::launched("mapkeep-dialer", || version_text("mapkeep-dialer")) {
        (Launch::Dialer(launch), channel) => mapkeep_worker_dialer::main(launch, channel),
        _ => mapkeep_process::refuse("mapkeep-dialer", "the launch of another program"),
    }
}
