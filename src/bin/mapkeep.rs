//! The `mapkeep` program: three lines, so that everything else lives in a room with rules.
fn main() -> std::process::ExitCode {
    mapkeep_cli::main()
}
