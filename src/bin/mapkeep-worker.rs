//! The `mapkeep-worker` program: three lines, so that everything else lives in a room with rules.
fn main() {
    mapkeep_worker::main()
}
