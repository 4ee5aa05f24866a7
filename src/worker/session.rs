//! From a request to a reply: approval, flags, case folding, UTF-8, and the six statuses.
//!
//! Purpose: everything that stock's proxymap decides about one request, over tables that it reaches
//! only through a trait. May: compute, and ask the tables. Never: read or write a connection, open
//! anything, or let a client's flags be more than hints.
//! Called by: serve, with each request that wire has parsed.
//!
//! Source of the rules: replies and log lines of Postfix 3.7.11 and 3.12. Where stock dies of a
//! request (a sequence on a table that has none, missing TRY flags, OPEN_LOCK with LOCK), this
//! answers something defined instead.

mod change;
mod cursors;
#[cfg(test)]
mod differential;
mod event;
#[cfg(test)]
mod fake;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use cursors::{CURSORS_MAX, Cursors};
pub use event::Event;
pub use source::{Failure, LookupTable, Nature, Sought, Tables};

use mapkeep_table::{Outcome, Step, TableError, Values, fold, text_of};

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

/// A lookup in this table was interrupted. The same request is to be given again later, and then goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused<I>(pub I);

/// Answers one request: appends exactly one reply to `out`, and hands what is worth a log line to
/// `log`. Total: every request that wire lets through gets a reply, whatever its bytes and flags.
///
/// # Errors
/// The table has been asked for as long as it may be in one turn; nothing has been appended.
pub fn answer<T: Tables>(
    request: &Request<'_>,
    service: Service,
    tables: &T,
    settings: &Settings,
    cursors: &mut CursorsOf<T>,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Result<Answered<T::Id>, Paused<T::Id>> {
    let dialect = request.dialect;
    let verb = request.call.verb();
    let changes = matches!(request.call, Call::Update { .. } | Call::Delete { .. });
    let answered = |table, flags| Ok(Answered { table, verb, dialect, flags });
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
    let flags = match request.call {
        Call::Open => {
            let flags = rules::open_flags(request.instance_flags, table.nature(), settings);
            encode_reply(&Reply::Open(Status::Ok, flags), dialect, out);
            return answered(None, flags);
        }
        Call::Lookup { key } => lookup(&asked, key, &table, out, log).ok_or(Paused(id))?,
        Call::Sequence { function } => sequence(&asked, function, id, &table, cursors, out, log),
        Call::Update { key, value } => change::update(&asked, key, value, &table, out, log),
        Call::Delete { key } => change::delete(&asked, key, &table, out, log),
    };
    answered(Some(id), flags)
}

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
    /// only a table whose answer ignores the key answers; but whoever may write can store one.
    fn may_find_empty_key(&self, nature: Nature) -> bool {
        self.service == Service::Write || rules::answers_empty_key(nature)
    }
}

/// The table name behind any number of `proxy:` prefixes.
pub(crate) fn without_proxy(mut name: &[u8]) -> &[u8] {
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

/// Answers a lookup. Returns the flags that a reply without an answer has; nothing if it was interrupted.
fn lookup(
    asked: &Asked<'_>,
    key: &[u8],
    table: &impl LookupTable,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Option<Flags> {
    let request = asked.request;
    let nature = table.nature();
    let flags = rules::later_flags(request.flags, nature);
    let utf8 = rules::utf8_is_checked(request, nature, asked.settings);
    if utf8 && std::str::from_utf8(key).is_err() {
        log(Event::KeyNotUtf8 { table: asked.name });
        encode_reply(&Reply::Lookup(Status::NoKey, flags, b""), request.dialect, out);
        return Some(flags);
    }
    let folds = rules::key_is_folded(request.flags, nature) && (utf8 || !nature.kind.is_composite());
    let folded = if folds { fold(key, utf8) } else { Cow::Borrowed(key) };
    let mut value = Vec::new();
    let sought = Sought {
        key: &folded,
        modes: rules::nul_modes(flags),
        substitution: rules::substitution(request),
        folding: rules::folding_of_members(request),
        utf8,
        values: rules::values(request),
    };
    let found = table.lookup(sought, &mut value);
    if found == Err(Failure::Paused) {
        return None;
    }
    // What is found shows how the table stores its keys, even where the value cannot be given.
    let flags_now = match &found {
        Ok(Outcome::Found(mode)) => rules::after_hit(flags, *mode, nature),
        _ => flags,
    };
    let text = text_of(&value);
    let outcome = match found {
        Ok(Outcome::Found(_)) if key.is_empty() && !asked.may_find_empty_key(nature) => Ok(Outcome::Absent),
        Ok(Outcome::Found(_)) if utf8 && std::str::from_utf8(text).is_err() => Err(Failure::ValueNotUtf8),
        other => other,
    };
    let reply = match &outcome {
        Ok(Outcome::Found(_)) => Reply::Lookup(Status::Ok, flags_now, text),
        Ok(Outcome::Absent) => Reply::Lookup(Status::NoKey, flags, b""),
        Err(failure) => {
            report(asked, failure, log);
            Reply::Lookup(failure.status(), flags_now, b"")
        }
    };
    encode_reply(&reply, request.dialect, out);
    Some(flags)
}

/// Answers a sequence request. What comes back is neither folded nor checked for UTF-8, as in stock. Returns the flags
/// that a reply without an answer has.
fn sequence<I: Copy + Eq, L: LookupTable>(
    asked: &Asked<'_>,
    function: Function,
    id: I,
    table: &L,
    cursors: &mut Cursors<I, L::Cursor>,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Flags {
    let request = asked.request;
    let flags = rules::later_flags(request.flags, table.nature());
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let step = if let Err(failure) = table.usable() {
        Err(failure)
    } else if !rules::has_sequence(table.nature()) {
        Err(Failure::Unsupported)
    } else {
        if function == Function::First {
            cursors.start(id);
        }
        match cursors.get(id) {
            Some(cursor) => table.step(cursor, &mut key, &mut value),
            None => Ok(Step::End),
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
            report(asked, failure, log);
            Reply::Sequence(failure.status(), flags, b"", b"")
        }
    };
    if step != Ok(Step::Record) {
        cursors.forget(id);
    }
    encode_reply(&reply, request.dialect, out);
    flags
}

/// Logs a failure, unless it is what the table is for.
fn report(asked: &Asked<'_>, failure: &Failure, log: &mut dyn FnMut(Event<'_>)) {
    if *failure != Failure::OnPurpose {
        log(Event::Failed { table: asked.name, verb: asked.request.call.verb(), failure });
    }
}
