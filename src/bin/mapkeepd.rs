//! The `mapkeepd` program: which of its processes, and nothing else, so that everything lives in a room.
use mapkeep_proto::{Launch, version_text};

fn main() -> std::process::ExitCode {
    if !mapkeep_process::is_launched() {
        return mapkeep_broker_supervisor::main();
    }
    match mapkeep_process::launched("mapkeepd", || version_text("mapkeepd")) {
        (Launch::Broker(launch), channel) => mapkeep_broker_reading::main(launch, channel),
        (Launch::WriteBroker(launch), channel) => mapkeep_broker_writing::main(launch, channel),
        _ => mapkeep_process::refuse("mapkeepd", "the launch of another program"),
    }
}
