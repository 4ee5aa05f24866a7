//! A process that answers for tables, in the place of a rules worker and as tests want it to: late, in another order, with
//! garbage, never.
//!
//! Purpose: a lookup worker sees of any process that answers for tables, a rules worker or a gateway to a database, only a
//! stream of questions and answers (src/base/proto/question.rs). A program that calls [`play`] and stands beside a copy of
//! mapkeepd under the name `mapkeep-worker` is the product's lookup worker and logger, and this stand-in where a rules
//! worker is wanted. mapkeepd starts it, looks at its lock and hands it its streams as it does with the product's own.
//! Never: ships.

mod orders;
mod process;
mod streams;

use mapkeep_proto::{Duty, Launch, version_text};
use mapkeep_sandbox::Role;
use std::collections::BTreeSet;
use std::time::Duration;

/// The name under which it stands beside mapkeepd.
const PROGRAM: &str = "mapkeep-worker";
/// The name of a directory for the programs of a service whose requests wait for an answer for [`SOON`] at most.
pub const IMPATIENT: &str = "impatient";
/// How long that is. In any other directory it is as long as in the product.
pub const SOON: Duration = Duration::from_secs(1);

/// The programs of a reading service, as the table of roles has them.
#[must_use]
pub fn programs() -> BTreeSet<&'static str> {
    Role::ALL.into_iter().filter(|role| role.serves(false)).map(|role| role.row().program).collect()
}

/// Runs the process for which mapkeepd has started this program. Returns if something else has started it.
pub fn play() {
    if !mapkeep_process::is_launched() {
        return;
    }
    let (launch, channel) = match mapkeep_process::launched(PROGRAM, || version_text(PROGRAM)) {
        (Launch::Worker(launch), channel) => (launch, channel),
        (Launch::Logger(launch), channel) => mapkeep_worker_logger::main(launch, channel),
        _ => mapkeep_process::refuse(PROGRAM, "the launch of another program"),
    };
    if launch.duty == Duty::Rules {
        process::main(&launch, channel);
    }
    let own = std::env::current_exe().unwrap_or_default();
    match own.parent().and_then(|folder| folder.file_name()) {
        Some(folder) if folder == IMPATIENT => {
            mapkeep_worker_lookup::main_with_patience(&launch, channel, SOON)
        }
        _ => mapkeep_worker_lookup::main(&launch, channel),
    }
}
