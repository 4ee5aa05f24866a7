//! Updates and deletes, on the writing service.
//!
//! Source of the rules: replies and log lines of stock's proxywrite 3.7.11, asked with each kind of table; the flags in
//! replies of the new dialect from recorded traffic of 3.12.

use mapkeep_query::Outcome;

use super::{Asked, Event, LookupTable, Nature, fold, report, rules};
use crate::flags::Flags;
use crate::wire::{Reply, Status, encode_reply};
use std::borrow::Cow;

/// Answers an update. Returns the flags that a reply without success has.
pub(super) fn update(
    asked: &Asked<'_>,
    key: &[u8],
    value: &[u8],
    table: &impl LookupTable,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Flags {
    let request = asked.request;
    let nature = table.nature();
    let flags = rules::update_flags(request.flags, nature);
    let utf8 = rules::utf8_is_checked(request, nature, asked.settings);
    let (status, after) = if utf8 && !is_utf8(key) {
        log(Event::KeyNotUtf8 { table: asked.name });
        // Nothing is stored, and the client gets a success status, as in stock.
        (Status::Ok, flags)
    } else if utf8 && !is_utf8(value) {
        log(Event::ValueNotUtf8 { table: asked.name });
        (Status::Ok, flags)
    } else {
        let mode = rules::stored_mode(flags, nature);
        match table.put(&folded(asked, key, nature, utf8), value, mode) {
            Ok(()) => (Status::Ok, rules::after_hit(flags, mode, nature)),
            Err(failure) => {
                report(asked.name, request.call.verb(), &failure, log);
                (failure.status(), flags)
            }
        }
    };
    encode_reply(&Reply::Change(status, after), request.dialect, out);
    flags
}

/// Answers a delete. Returns the flags that a reply without success has.
pub(super) fn delete(
    asked: &Asked<'_>,
    key: &[u8],
    table: &impl LookupTable,
    out: &mut Vec<u8>,
    log: &mut dyn FnMut(Event<'_>),
) -> Flags {
    let request = asked.request;
    let nature = table.nature();
    let flags = rules::delete_flags(request.flags, nature);
    let utf8 = rules::utf8_is_checked(request, nature, asked.settings);
    let (status, after) = if utf8 && !is_utf8(key) {
        log(Event::KeyNotUtf8 { table: asked.name });
        (Status::Ok, flags)
    } else {
        match table.remove(&folded(asked, key, nature, utf8), rules::nul_modes(flags)) {
            Ok(Outcome::Found(mode)) => (Status::Ok, rules::after_hit(flags, mode, nature)),
            Ok(Outcome::Absent) => (Status::NoKey, flags),
            Err(failure) => {
                report(asked.name, request.call.verb(), &failure, log);
                (failure.status(), flags)
            }
        }
    };
    encode_reply(&Reply::Change(status, after), request.dialect, out);
    flags
}

fn is_utf8(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
}

/// The key as it is stored, NUL byte aside.
fn folded<'k>(asked: &Asked<'_>, key: &'k [u8], nature: Nature, utf8: bool) -> Cow<'k, [u8]> {
    match rules::key_is_folded(asked.request.flags, nature) {
        true => fold(key, utf8),
        false => Cow::Borrowed(key),
    }
}
