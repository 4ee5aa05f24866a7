//! The `mapkeep-worker` program: which of its two processes, and nothing else, so that everything lives in a room.
fn main() {
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("role=logger") => mapkeep_worker_logger::main(),
        _ => mapkeep_worker_lookup::main(),
    }
}
