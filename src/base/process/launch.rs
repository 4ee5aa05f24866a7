//! How a process learns what it is: from the message that the supervisor has left in its channel.

use crate::{CHANNEL, NO_OUTPUT};
use mapkeep_proto::{ByHand, Decode, Launch, SupervisorToProcess, WRONG_USAGE};
use mapkeep_sys::channel::{Channel, Received};
use mapkeep_sys::mapping::Mapping;
use mapkeep_sys::{exit, inherit, title};
use std::error::Error;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// The beginning of the title of each process that mapkeepd starts; the title is its only argument.
pub const TITLE: &str = "mapkeep: ";

/// Whether this process has such a title.
#[must_use]
pub fn is_launched() -> bool {
    std::env::args_os().next().is_some_and(|title| title.to_string_lossy().starts_with(TITLE))
}

/// The launch that mapkeepd has sent to this process, and the channel on which it came. For a user who starts `program`
/// by hand, prints an answer at the terminal and exits; `version` is what `--version` prints.
///
/// Must be called first, with one thread.
pub fn launched(program: &str, version: impl FnOnce() -> String) -> (Launch, OwnedFd) {
    if !is_launched() {
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        answer(ByHand::of(program, version, &words.collect::<Vec<_>>()));
    }
    title::name_process();
    receive().unwrap_or_else(|problem| refuse(program, &problem.to_string()))
}

/// Exits with a line that says that this process was not started by mapkeepd.
pub fn refuse(program: &str, problem: &str) -> ! {
    answer(ByHand::Refuse(format!(
        "{program}: descriptor {CHANNEL}: {problem}; only mapkeepd can start this program"
    )))
}

fn answer(said: ByHand) -> ! {
    let (printed, status) = match said {
        ByHand::Say(text) => (writeln!(std::io::stdout(), "{text}"), 0),
        ByHand::Refuse(line) => (writeln!(std::io::stderr(), "{line}"), WRONG_USAGE),
    };
    exit::now(if printed.is_ok() { status } else { NO_OUTPUT })
}

fn receive() -> Result<(Launch, OwnedFd), Box<dyn Error>> {
    let channel = Channel::from_descriptor(inherit::take(CHANNEL)?);
    let mut buffer = [0; 64];
    let (length, descriptors) = match channel.receive(&mut buffer)? {
        Received::Message(length, descriptors) => (length, descriptors),
        Received::Empty | Received::Closed | Received::Oversized => return Err("no launch message".into()),
    };
    let SupervisorToProcess::Launch { size } =
        SupervisorToProcess::decode(buffer.get(..length).unwrap_or_default())?;
    let [memory] = descriptors.as_slice() else { return Err("a launch message without its memfd".into()) };
    let launch = Launch::decode(Mapping::of(memory.as_fd(), size)?.as_ref())?;
    Ok((launch, channel.into_descriptor()))
}
