//! The `mapkeep-worker` program: which of its processes, and nothing else, so that everything lives in a room.
use mapkeep_proto::Launch;

fn main() {
    match mapkeep_process::launched("mapkeep-worker", mapkeep_worker_lookup::version) {
        (Launch::Worker(launch), channel) => mapkeep_worker_lookup::main(&launch, channel),
        (Launch::Logger(launch), channel) => mapkeep_worker_logger::main(launch, channel),
        _ => mapkeep_process::refuse("mapkeep-worker", "the launch of another program"),
    }
}
