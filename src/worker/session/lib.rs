//! From a request to a reply: approval, flags, case folding, UTF-8, and the six statuses.
//!
//! Purpose: everything that stock's proxymap decides about one request, over tables that it reaches only through a
//! trait. May: compute, and ask the tables. Never: read or write a connection, open anything, or let a client's flags
//! be more than hints.
//!
//! Source of the rules: replies and log lines of Postfix 3.7.11 and 3.12. Where stock dies on a
//! request (a sequence on a table that has none, missing TRY flags, OPEN_LOCK with LOCK), this
//! answers something defined instead.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

pub mod client;
pub mod clients;
pub mod flags;
pub mod wire;

mod change;
mod cursors;
#[cfg(test)]
mod differential;
mod event;
#[cfg(test)]
mod fake;
mod pending;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use cursors::{CURSORS_MAX, Cursors};
pub use event::Event;
pub use pending::{Pending, resume};
pub use source::{Failure, Got, LookupTable, Nature, Search, Servers, Sought, Tables, outcome_of};

use mapkeep_query::{Step, TableError, Values, fold};
use pending::Form;

use crate::flags::Flags;
use crate::wire::{Call, Dialect, Function, Reply, Request, Status, Verb, encode_reply};

/// Which of the two services the connection was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// proxymap: read-only, tables from `proxy_read_maps`.
    Read,
    /// proxywrite: one updater, tables from `proxy_write_maps`.
    Write,
}

/// What of main.cf the answers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `smtputf8_enable`: whether a client that asks for UTF-8 checks gets them.
    pub smtputf8_enable: bool,
}

/// The position of a sequence in the tables `T`.
type CursorsOf<T> = Cursors<<T as Tables>::Id, <T as Tables>::Cursor>;

/// What has been answered: enough to say "try again" in its place, should it turn out not to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<I> {
    /// The table that the answer depends on; none for refusals and for open, which stay right whatever happens to it.
    pub table: Option<I>,
    verb: Verb,
    dialect: Dialect,
    flags: Flags,
}

impl<I> Answered<I> {
    /// Appends the reply that the client gets when the answer does not hold: a temporary error.
    pub fn take_back(&self, out: &mut Vec<u8>) {
        encode_reply(&Reply::empty(self.verb, Status::Retry, self.flags), self.dialect, out);
    }

    /// Which request it was.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }
}

/// What has become of a request.
#[derive(Debug)]
pub enum Answer<I, S> {
    /// Its reply is there.
    Ready(Answered<I>),
    /// Another process has to answer first.
    Pending(Pending<I, S>),
}

/// Answers one request: appends exactly one reply to `out`, at once or when it is resumed, and passes events worth a
/// log line to `log`. Total: every request that wire accepts gets a reply, whatever its bytes and flags.
pub fn answer<T: Tables>(
    request: &Request<'_>,
    service: Service,
    tables: &T,
    settings: &Settings,
    cursors: &mut CursorsOf<T>,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Answer<T::Id, T::Search> {
    let dialect = request.dialect;
    let verb = request.call.verb();
    let changes = matches!(request.call, Call::Update { .. } | Call::Delete { .. });
    let answered = |table, flags| Answer::Ready(Answered { table, verb, dialect, flags });
    if changes && service == Service::Read {
        // Before approval, and with the name as the client sent it: so does stock.
        log(Event::ReadOnly { table: request.table, verb });
        encode_reply(&Reply::refusal(verb, Status::Deny), dialect, out);
        return answered(None, Flags::NONE);
    }
    let name = without_proxy(request.table);
    let (id, table) = match approved(name, service, tables, log) {
        Ok(found) => found,
        Err(status) => {
            encode_reply(&Reply::refusal(verb, status), dialect, out);
            return answered(None, Flags::NONE);
        }
    };
    let asked = Asked { request, name, service, settings };
    let got = match request.call {
        Call::Open => {
            let flags = rules::open_flags(request.instance_flags, table.nature(), settings);
            encode_reply(&Reply::Open(Status::Ok, flags), dialect, out);
            return answered(None, flags);
        }
        Call::Lookup { key } => lookup(&asked, key, &table, out, log),
        Call::Sequence { function } => sequence(&asked, function, id, &table, cursors, out, log),
        Call::Update { key, value } => Got::Now(change::update(&asked, key, value, &table, out, log)),
        Call::Delete { key } => Got::Now(change::delete(&asked, key, &table, out, log)),
    };
    match got {
        Got::Now(flags) => answered(Some(id), flags),
        Got::Later((form, search)) => Answer::Pending(Pending::new(id, form, search)),
    }
}

/// The flags of a reply without an answer; or the state of a request that has to wait.
type Ready<L> = Got<Flags, (Form, <L as LookupTable>::Search)>;

/// What every part of one answer needs to know.
struct Asked<'a> {
    request: &'a Request<'a>,
    /// The table without `proxy:` prefixes.
    name: &'a [u8],
    service: Service,
    settings: &'a Settings,
}

impl Asked<'_> {
    /// Whether an empty key may have a value. Snapshots are made by postmap, whose indexes have no empty keys, so that
    /// only a table that ignores the key has an answer; but a client that may write can store one.
    fn may_find_empty_key(&self, nature: Nature) -> bool {
        self.service == Service::Write || rules::answers_empty_key(nature)
    }
}

/// The table name behind any number of `proxy:` prefixes.
pub fn without_proxy(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_prefix(b"proxy:") {
        name = rest;
    }
    name
}

/// The table of this name, if the configuration approves it: BAD without a type, else DENY.
fn approved<'t, T: Tables>(
    name: &[u8],
    service: Service,
    tables: &'t T,
    log: &mut dyn FnMut(Event<'_>),
) -> Result<(T::Id, T::Table<'t>), Status> {
    if !name.contains(&b':') {
        log(Event::NoType { table: name });
        return Err(Status::Bad);
    }
    tables.find(name).ok_or_else(|| {
        log(Event::Unapproved { table: name });
        log(Event::HowToApprove { table: name, service });
        Status::Deny
    })
}

/// Answers a lookup.
fn lookup<L: LookupTable>(
    asked: &Asked<'_>,
    key: &[u8],
    table: &L,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Ready<L> {
    let request = asked.request;
    let nature = table.nature();
    let flags = rules::later_flags(request.flags, nature);
    let utf8 = rules::utf8_is_checked(request, nature, asked.settings);
    if utf8 && std::str::from_utf8(key).is_err() {
        log(Event::KeyNotUtf8 { table: asked.name });
        encode_reply(&Reply::Lookup(Status::NoKey, flags, b""), request.dialect, out);
        return Got::Now(flags);
    }
    let folds = rules::key_is_folded(request.flags, nature) && (utf8 || !nature.kind.is_composite());
    let folded = if folds { fold(key, utf8) } else { Cow::Borrowed(key) };
    let may_be_found = !key.is_empty() || asked.may_find_empty_key(nature);
    let form = Form { utf8, may_be_found, ..Form::of(request, flags, nature) };
    let sought = Sought {
        key: &folded,
        modes: rules::nul_modes(flags),
        substitution: rules::substitution(request),
        folding: rules::folding_of_members(request),
        utf8,
        values: rules::values(request),
        servers: rules::servers(request),
    };
    let mut value = Vec::new();
    let refusal = rules::refusal(request, nature);
    let found = match refusal.map_or_else(|| table.lookup(sought, &mut value), Err) {
        Ok(Got::Later(search)) => return Got::Later((form, search)),
        Ok(Got::Now(outcome)) => Ok(outcome),
        Err(failure) => Err(failure),
    };
    form.reply_to_lookup(asked.name, found, &value, out, log);
    Got::Now(flags)
}

/// Answers a sequence request. What comes back is neither folded nor checked for UTF-8, as in stock.
fn sequence<I: Copy + Eq, L: LookupTable>(
    asked: &Asked<'_>,
    function: Function,
    id: I,
    table: &L,
    cursors: &mut Cursors<I, L::Cursor>,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Ready<L> {
    let request = asked.request;
    let flags = rules::later_flags(request.flags, table.nature());
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let refusal = rules::refusal(request, table.nature());
    let step = match refusal.map_or_else(|| table.usable(), Err) {
        Err(failure) => Err(failure),
        Ok(Got::Later(search)) => {
            return Got::Later((Form::of(request, flags, table.nature()), search));
        }
        Ok(Got::Now(())) if !rules::has_sequence(table.nature()) => Err(Failure::Unsupported),
        Ok(Got::Now(())) => {
            if function == Function::First {
                cursors.start(id);
            }
            match cursors.get(id) {
                Some(cursor) => table.step(cursor, &mut key, &mut value),
                None => Ok(Step::End),
            }
        }
    };
    let names_files = rules::values(request) == Values::FileContent && table.nature().kind.is_source_text();
    let step = match step {
        Ok(Step::Record) if names_files => Err(Failure::Content(TableError::ValueNamesFiles)),
        other => other,
    };
    let reply = match &step {
        Ok(Step::Record) => Reply::Sequence(Status::Ok, flags, &key, &value),
        Ok(Step::End) => Reply::Sequence(Status::NoKey, flags, b"", b""),
        Err(failure) => {
            report(asked.name, Verb::Sequence, failure, log);
            Reply::Sequence(failure.status(), flags, b"", b"")
        }
    };
    if step != Ok(Step::Record) {
        cursors.forget(id);
    }
    encode_reply(&reply, request.dialect, out);
    Got::Now(flags)
}

/// Logs a failure, unless it is what the table is for.
fn report(table: &[u8], verb: Verb, failure: &Failure, log: &mut dyn FnMut(Event<'_>)) {
    if *failure != Failure::OnPurpose {
        log(Event::Failed { table, verb, failure });
    }
}
