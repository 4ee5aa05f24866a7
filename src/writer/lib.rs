//! The writer: the one process that changes tables.

/// Entry point of the `mapkeep-writer` program.
pub fn main() -> ! {
    std::process::exit(1)
}
