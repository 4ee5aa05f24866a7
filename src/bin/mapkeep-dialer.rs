//! `mapkeep-dialer`: the process whose forks connect to servers, started by mapkeepd.
fn main() {
    mapkeep_worker_dialer::main()
}
