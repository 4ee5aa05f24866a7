//! The `mapkeepd` program: which of its three processes, and nothing else, so that everything lives in a room.
fn main() -> std::process::ExitCode {
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("role=broker") => mapkeep_broker_reading::main(),
        Some("role=write_broker") => mapkeep_broker_writing::main(),
        _ => mapkeep_broker_supervisor::main(),
    }
}
