//! `mapkeep-gateway`: the process that asks one database or server of the network, started by mapkeepd.
use mapkeep_proto::{Launch, version_text};

fn main() {
    match mapkeep_process::launched("mapkeep-gateway", || version_text("mapkeep-gateway")) {
        (Launch::Gateway(launch), channel) => mapkeep_worker_gateway::main(&launch, channel),
        _ => mapkeep_process::refuse("mapkeep-gateway", "the launch of another program"),
    }
}
