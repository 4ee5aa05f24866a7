//! `mapkeep-writer`: the process that changes tables, started by mapkeepd.
fn main() {
    mapkeep_worker_writer::main()
}
