//! The `mapkeepd` program: three lines, so that everything else lives in a room with rules.
fn main() -> std::process::ExitCode {
    mapkeep_broker::main()
}
