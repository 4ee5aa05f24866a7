//! `mapkeep demo`: starts the whole service on sample tables, queries it and shows its processes.

mod confinement;
mod programs;
mod service;
mod site;

use crate::client::{Client, ClientError, Status};
use crate::error::{Error, Exit};
use crate::words::none;
use lexopt::Parser;
use service::Service;
use site::Site;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long one answer may take, and a change to be served.
const TIMEOUT: Duration = Duration::from_secs(10);

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        failure(format_args!("asking the service: {error}"))
    }
}

/// Why the demo cannot continue.
fn failure(text: impl fmt::Display) -> Error {
    Error::new(Exit::Failure, text)
}

pub(crate) const USAGE: &str = "usage: mapkeep demo
Starts the whole sandboxed service on sample tables in a temporary directory, queries it, and shows the answers, the
refusals and the live confinement of each process. It changes no Postfix configuration, and removes its directory.
exit status: 0 all went well, 1 something failed, 64 wrong usage";

/// Runs the demo; cleans up whatever happens.
pub(crate) fn run(words: &[OsString]) -> Result<Exit, Error> {
    none(Parser::from_args(words))?;
    show(&mut io::stdout().lock())?;
    Ok(Exit::Success)
}

fn show(out: &mut dyn Write) -> Result<(), Error> {
    let programs = programs::find(out)?;
    let site = Site::make()?;
    let root = nix::unistd::geteuid().is_root();
    writeln!(out, "mapkeep demo, in {}", site.folder().display())?;
    if !root {
        writeln!(out, "{}", confinement::WITHOUT_ROOT)?;
    }
    let mut service = Service::start(&programs, &site)?;
    ask_all(out, &site)?;
    freshness(out, &site)?;
    confinement::show(out, service.pid())?;
    if root {
        crash(out, &site, service.pid())?;
    }
    let log = service.stop()?;
    writeln!(out, "\n== What the service logged")?;
    for line in log.lines() {
        writeln!(out, "  {line}")?;
    }
    drop(site);
    writeln!(out, "\nAll processes have ended and the directory is gone.")?;
    Ok(())
}

fn ask_all(out: &mut dyn Write, site: &Site) -> Result<(), Error> {
    writeln!(out, "\n== Answers, as a Postfix client gets them")?;
    for (table, key) in site.questions() {
        one(out, site, &table, key)?;
    }
    writeln!(out, "\n== Refusals")?;
    for (table, key) in site.refused() {
        one(out, site, &table, key)?;
    }
    Ok(())
}

fn one(out: &mut dyn Write, site: &Site, table: &str, key: &str) -> Result<(), Error> {
    let verdict = match lookup(site, table, key)? {
        (Status::Ok, value) => format!("\"{}\"", String::from_utf8_lossy(&value)),
        (Status::NoKey, _) => "not found".to_owned(),
        (Status::Retry, _) => "temporary error (the log says why)".to_owned(),
        (Status::Deny, _) => "denied: not in proxy_read_maps".to_owned(),
        (Status::Bad, _) => "bad request".to_owned(),
        (Status::Config, _) => "configuration error".to_owned(),
    };
    let table = table.replace(&format!("{}/", site.folder().display()), "");
    writeln!(out, "  {table:<40} {key:<22} {verdict}")?;
    Ok(())
}

/// One question on a connection of its own, like a short-lived Postfix program.
fn lookup(site: &Site, table: &str, key: &str) -> Result<(Status, Vec<u8>), Error> {
    let mut client = Client::connect(&site.socket(), TIMEOUT)?;
    match client.open(table.as_bytes())? {
        (_, Some(mut table)) => Ok(client.lookup(&mut table, key.as_bytes())?),
        (status, None) => Ok((status, Vec::new())),
    }
}

/// Edits a table and counts how long the old answer is still given, on one connection.
fn freshness(out: &mut dyn Write, site: &Site) -> Result<(), Error> {
    let table = site.text_table();
    let mut client = Client::connect(&site.socket(), TIMEOUT)?;
    let (_, Some(mut open)) = client.open(table.as_bytes())? else {
        return Err(failure("the text table cannot be opened"));
    };
    let before = client.lookup(&mut open, b"fresh@example.org")?.0;
    site.edit_text_table()?;
    let start = Instant::now();
    while client.lookup(&mut open, b"fresh@example.org")?.0 != Status::Ok {
        if start.elapsed() > TIMEOUT {
            return Err(failure("the edited table is not served"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    writeln!(out, "\n== Fresh without a restart")?;
    writeln!(
        out,
        "  a line added to the text table: {before:?} before, served {} ms after the edit, on the same connection",
        start.elapsed().as_millis()
    )?;
    Ok(())
}

/// Kills the lookup worker and counts how long the service is away.
fn crash(out: &mut dyn Write, site: &Site, service: u32) -> Result<(), Error> {
    let Some(worker) = confinement::lookup_worker(service) else { return Ok(()) };
    let pid = nix::unistd::Pid::from_raw(worker);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).map_err(io::Error::from)?;
    let start = Instant::now();
    let (table, key) = (site.text_table(), "postmaster@example.org");
    loop {
        match lookup(site, &table, key) {
            Ok((Status::Ok, _)) => break,
            _ if start.elapsed() > TIMEOUT => {
                return Err(failure("no worker has replaced the one that was killed"));
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    writeln!(out, "\n== A worker killed")?;
    writeln!(out, "  worker {worker} killed; the next one answers after {} ms", start.elapsed().as_millis())?;
    Ok(())
}
