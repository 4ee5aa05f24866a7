//! `mapkeep query`: asks the running service, as a Postfix program would.
//!
//! Purpose: show what Postfix gets to see for a key, and by the exit status whether it gets anything.
//! May: read the configuration to find the socket, connect, read keys from standard input, print. Never: read a
//! table itself; `postmap -q` without `proxy:` does that.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::{Client, ClientError, Status};
use crate::configuration::Source;
use crate::error::{Error, Exit};
use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;
use mapkeep_config_site::files::directory_or_default;
use mapkeep_config_site::place::usual;
use mapkeep_config_text::Service;

/// How long one answer may take. Tables behind a network may need their own time limits first.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const USAGE: &str = "usage: mapkeep query [-c CONFIG_DIR | --socket PATH] TYPE:NAME [--] KEY...
Looks up each KEY in the table TYPE:NAME of the running proxymap service, as a Postfix program does.
If the only KEY is `-`, keys are read from standard input, one on each line. Put `--` before keys that begin with a dash.
Prints the value; for several keys, each key that was found, a tab, and its value.
exit status: 0 found, 1 not found, 75 temporary error, 77 table not approved,
78 configuration error, 64 wrong usage, 69 no service";

/// The part of the statuses that a service decides.
impl Exit {
    /// What a status means for one key.
    fn of(status: Status) -> Exit {
        match status {
            Status::Ok => Exit::Success,
            Status::NoKey => Exit::Failure,
            Status::Retry => Exit::Temporary,
            Status::Deny => Exit::Denied,
            Status::Config => Exit::Config,
            Status::Bad => Exit::Unavailable,
        }
    }

    /// How bad it is. Of several keys, the worst one decides.
    fn rank(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Temporary => 2,
            Exit::Config => 3,
            Exit::Denied => 4,
            Exit::Unavailable | Exit::Usage | Exit::Output => 5,
        }
    }

    fn worse(self, other: Exit) -> Exit {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// Where the service listens.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    /// At this path.
    Socket(PathBuf),
    /// According to this configuration directory; without one, MAIL_CONFIG or the built-in default.
    Config(Option<PathBuf>),
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    address: Address,
    table: Vec<u8>,
    /// Nothing: from standard input.
    keys: Option<Vec<Vec<u8>>>,
}

/// Runs `mapkeep query` with the arguments after the word `query`.
pub(crate) fn run(args: &[OsString]) -> Result<Exit, Error> {
    ask(args, &mut io::stdin().lock(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// Does all of it, on the given streams.
fn ask(
    args: &[OsString],
    stdin: &mut dyn BufRead,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<Exit, Error> {
    let question = understand(args)?;
    let path = match &question.address {
        Address::Socket(path) => path.clone(),
        Address::Config(directory) => configured_socket(directory.clone())?,
    };
    let stop = |error: ClientError| no_service(&path, &error);
    let mut client = Client::connect(&path, TIMEOUT).map_err(stop)?;
    let (status, table) = client.open(&question.table).map_err(stop)?;
    let Some(mut table) = table else {
        return Err(Error::new(Exit::of(status), explain(status, &question.table)));
    };
    let broken_pipe = |error: io::Error| Error::new(Exit::Temporary, error);
    let mut exit = Exit::Success;
    let mut one = |key: &[u8], several: bool| -> Result<(), Error> {
        let (status, value) = client.lookup(&mut table, key).map_err(stop)?;
        exit = exit.worse(Exit::of(status));
        match status {
            Status::Ok => {
                if several {
                    stdout.write_all(key).and_then(|()| stdout.write_all(b"\t")).map_err(broken_pipe)?;
                }
                stdout.write_all(&value).and_then(|()| stdout.write_all(b"\n")).map_err(broken_pipe)
            }
            Status::NoKey => Ok(()),
            other => {
                let (key, why) = (key.escape_ascii(), explain(other, &question.table));
                writeln!(stderr, "mapkeep query: {key}: {why}").map_err(broken_pipe)
            }
        }
    };
    match &question.keys {
        Some(keys) => {
            for key in keys {
                one(key, keys.len() > 1)?;
            }
        }
        None => {
            for line in stdin.split(b'\n') {
                one(&line.map_err(broken_pipe)?, true)?;
            }
        }
    }
    stdout.flush().map_err(broken_pipe)?;
    Ok(exit)
}

/// Reads the command line.
fn understand(args: &[OsString]) -> Result<Question, Error> {
    let mut words = Parser::from_args(args);
    let (mut address, mut arguments, mut dashes) = (None, Vec::new(), false);
    loop {
        // What follows `--` is a key, whatever it looks like.
        dashes |= words.try_raw_args().is_some_and(|rest| rest.peek().is_some_and(|word| word == "--"));
        let (option, chosen) = match words.next()? {
            None => break,
            Some(Value(argument)) => {
                arguments.push(argument);
                continue;
            }
            Some(Short('c')) => ("-c", Address::Config(Some(words.value()?.into()))),
            Some(Long("socket")) => ("--socket", Address::Socket(words.value()?.into())),
            Some(other) => return Err(other.unexpected().into()),
        };
        if address.replace(chosen).is_some() {
            return Err(Error::word("give -c or --socket, and only once: unexpected", option));
        }
    }
    let (table, keys) = arguments.split_first().ok_or_else(|| Error::missing("the table, TYPE:NAME,"))?;
    if !table.as_bytes().contains(&b':') {
        return Err(Error::word("a table name must have the form TYPE:NAME, unlike", table));
    }
    let keys = match keys {
        [] => return Err(Error::missing("the key")),
        [only] if *only == "-" && !dashes => None,
        several => Some(several.iter().map(|key| key.as_bytes().to_vec()).collect()),
    };
    let address = address.unwrap_or(Address::Config(None));
    Ok(Question { address, table: table.as_bytes().to_vec(), keys })
}

/// Where Postfix clients look for the service, according to the configuration.
fn configured_socket(directory: Option<PathBuf>) -> Result<PathBuf, Error> {
    let advice = "name the socket with --socket PATH, or the configuration directory with -c DIR";
    let source = Source::new(&directory_or_default(directory));
    match source.and_then(|source| source.read_as_client(Service::Read)) {
        Ok(configuration) => Ok(usual(Service::Read, &configuration.settings)),
        Err(problem) => Err(Error::new(Exit::Config, format_args!("{problem}; {advice}"))),
    }
}

/// The message when the service has no answer, with the remedy.
fn no_service(path: &std::path::Path, error: &ClientError) -> Error {
    let exit = if matches!(error, ClientError::Nul) { Exit::Usage } else { Exit::Unavailable };
    let advice = match error {
        ClientError::Unreachable(cause) => match cause.kind() {
            io::ErrorKind::NotFound => {
                "\nIs Postfix running (`postfix status`), and is the service in master.cf (`postconf -M`)?"
            }
            io::ErrorKind::PermissionDenied => {
                "\nOnly root and the mail owner (`postconf -h mail_owner`) can access it: try again as root."
            }
            io::ErrorKind::ConnectionRefused => "\nNothing listens there any more: start or reload Postfix.",
            _ => "",
        },
        ClientError::Closed | ClientError::TimedOut | ClientError::Broken(_) => {
            "\nThe mail log says why (`postconf -h maillog_file`, or journalctl)."
        }
        ClientError::Garbled(_) => "\nIs this the socket of a proxymap service?",
        ClientError::Nul => "",
    };
    Error::new(exit, format_args!("{}: {error}{advice}", path.display()))
}

/// What a status other than "found" and "not found" means for the person who asked.
fn explain(status: Status, table: &[u8]) -> String {
    let table = table.escape_ascii();
    match status {
        Status::Ok | Status::NoKey => format!("{table}: done"),
        Status::Retry => format!("{table}: temporary error; the mail log says why"),
        Status::Deny => {
            format!(
                "{table}: not approved; list proxy:{table} in proxy_read_maps (`postconf proxy_read_maps`)"
            )
        }
        Status::Config => format!("{table}: configuration error; the mail log says which"),
        Status::Bad => format!("{table}: the service did not understand the request"),
    }
}

#[cfg(test)]
mod tests;
