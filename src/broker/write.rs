//! The broker of the writing service.

use mapkeep_proto::Arguments;
use std::error::Error;

/// Prepares, locks down and serves until the supervisor says that it is over.
pub(crate) fn run(_arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    Err("being written".into())
}
