//! What the flags of a request mean for its table, and which flags go back.
//!
//! Every rule is total: any combination of bits gives a defined answer. Source: open replies of
//! Postfix 3.7.11 for each local type and 25 flag words, and recorded traffic of 3.12.

use mapkeep_name::{Class, Kind};
use mapkeep_query::{Folding, NulMode, NulModes, Substitution, Values};
use std::borrow::Cow;

use super::{Failure, Nature, Servers, Settings};
use crate::flags::Flags;
use crate::wire::{Dialect, Request};

/// Both ways of storing keys.
const BOTH_MODES: Flags = Flags(Flags::TRY0NULL.0 | Flags::TRY1NULL.0);

/// The flags in reply to open: what was requested, plus what the type implies.
///
/// New-dialect clients abort when a requested bit is missing (OPEN_LOCK excepted), or when OPEN_LOCK and LOCK come
/// together. An unavailable table gets the flags of its type: stock returns PATTERN, after which clients never ask for
/// partial keys, not even once the file exists.
pub(super) fn open_flags(requested: Flags, nature: Nature, settings: &Settings) -> Flags {
    let mut flags = later_flags(requested, nature);
    if nature.kind == Kind::Lmdb {
        flags = flags | Flags::MULTI_WRITER;
        if flags.contains(Flags::OPEN_LOCK) {
            // Safe concurrent writers need no lock for life, only one around each operation.
            flags = flags.without(Flags::OPEN_LOCK) | Flags::LOCK;
        }
    }
    if settings.smtputf8_enable && requested.contains(Flags::UTF8_REQUEST) && nature.checks_utf8 {
        flags = flags | Flags::UTF8_ACTIVE;
    }
    flags
}

/// The flags in reply to later requests: the request's own, plus the class of the table, since clients
/// send partial keys only while FIXED is set.
pub(super) fn later_flags(requested: Flags, nature: Nature) -> Flags {
    let class = match nature.class {
        Class::Fixed => Flags::FIXED,
        Class::Pattern => Flags::PATTERN,
    };
    let mut flags = requested | class;
    if nature.kind.has_nul_modes() && !flags.intersects(BOTH_MODES) {
        // Stock 3.12 panics when a client leaves both out of a lookup.
        flags = flags | BOTH_MODES;
    }
    if flags.contains(Flags::OPEN_LOCK | Flags::LOCK) {
        // Stock panics on this pair in a request, new clients on this pair in a reply.
        flags = flags.without(Flags::OPEN_LOCK);
    }
    flags
}

/// The flags after a hit: the table stores keys in the mode that matched, so the client need not have
/// the other one tried again.
pub(super) fn after_hit(flags: Flags, mode: NulMode, nature: Nature) -> Flags {
    match mode {
        _ if !nature.kind.has_nul_modes() => flags,
        NulMode::WithNul => flags.without(Flags::TRY0NULL),
        NulMode::Bare => flags.without(Flags::TRY1NULL),
    }
}

/// The flags in reply to an update: duplicates are replaced and changes are on disk before the answer, whatever the client
/// asked for.
pub(super) fn update_flags(requested: Flags, nature: Nature) -> Flags {
    later_flags(requested, nature) | Flags::SYNC_UPDATE | Flags::DUP_REPLACE
}

/// The flags in reply to a delete.
pub(super) fn delete_flags(requested: Flags, nature: Nature) -> Flags {
    later_flags(requested, nature) | Flags::SYNC_UPDATE
}

/// How an update stores key and value. Where the client leaves it open, with a NUL byte, as Postfix does on Linux.
pub(super) fn stored_mode(flags: Flags, nature: Nature) -> NulMode {
    match nature.kind.has_nul_modes() && flags.contains(Flags::TRY1NULL) {
        true => NulMode::WithNul,
        false => NulMode::Bare,
    }
}

/// Which ways of storing keys to try.
pub(super) fn nul_modes(flags: Flags) -> NulModes {
    NulModes { bare: flags.contains(Flags::TRY0NULL), with_nul: flags.contains(Flags::TRY1NULL) }
}

/// Whether keys and values of this request must be UTF-8: the client asked for it when it opened the table, or it
/// relies on the check because an open reply promised it.
pub(super) fn utf8_is_checked(request: &Request<'_>, nature: Nature, settings: &Settings) -> bool {
    let asked = settings.smtputf8_enable && request.instance_flags.contains(Flags::UTF8_REQUEST);
    let relied = request.dialect == Dialect::New && request.flags.contains(Flags::UTF8_ACTIVE);
    (asked || relied) && nature.checks_utf8
}

/// Whether the key is folded before the lookup. FOLD_FIX does not apply to tables of patterns, nor FOLD_MUL to tables
/// of exact keys. The class is that of the table, not the one that the client claims (stock 3.12 believes the client,
/// whose flags are a copy of our reply anyway).
pub(super) fn key_is_folded(requested: Flags, nature: Nature) -> bool {
    match nature.class {
        Class::Fixed => requested.contains(Flags::FOLD_FIX),
        Class::Pattern => requested.contains(Flags::FOLD_MUL),
    }
}

/// How the members of a composite table fold: each by its own class. They have the flags of the instance, which the request
/// in the old dialect has among its own.
pub(super) fn folding_of_members(request: &Request<'_>) -> Folding {
    let flags = request.instance_flags;
    Folding { fixed: flags.contains(Flags::FOLD_FIX), pattern: flags.contains(Flags::FOLD_MUL) }
}

/// What the client treats values as, according to the flags of the instance; if either word has the flag, text that
/// names files would be mistaken for their contents.
pub(super) fn values(request: &Request<'_>) -> Values {
    match (request.instance_flags | request.flags).contains(Flags::SRC_RHS_IS_FILE) {
        true => Values::FileContent,
        false => Values::Text,
    }
}

/// Whether rules that put parts of the key into the answer count: NO_REGSUB in either flag word refuses them. Stock
/// looks at it when the table is opened, and the first client decides for all.
pub(super) fn substitution(request: &Request<'_>) -> Substitution {
    match (request.instance_flags | request.flags).contains(Flags::NO_REGSUB) {
        true => Substitution::Refused,
        false => Substitution::Allowed,
    }
}

/// Whether the client accepts tables that a server answers for: NO_UNAUTH in either flag word forbids them. Stock
/// checks it when the table is opened, and the first client decides for all.
pub(super) fn servers(request: &Request<'_>) -> Servers {
    match (request.instance_flags | request.flags).contains(Flags::NO_UNAUTH) {
        true => Servers::Refused,
        false => Servers::Believed,
    }
}

/// Why nothing is asked of the table, if the client does not believe the server that answers for it.
pub(super) fn refusal(request: &Request<'_>, nature: Nature) -> Option<Failure> {
    let refused = nature.kind.is_remote() && servers(request) == Servers::Refused;
    let why = "tables that a server answers for are not allowed for security-sensitive data";
    refused.then_some(Failure::Unavailable(Cow::Borrowed(why)))
}

/// Whether an empty key can have a value.
pub(super) fn answers_empty_key(nature: Nature) -> bool {
    // The others may have a pattern or a member that an empty key matches, or a server that knows it.
    matches!(
        nature.kind,
        Kind::Static
            | Kind::Randmap
            | Kind::Regexp
            | Kind::Pcre
            | Kind::Unionmap
            | Kind::Pipemap
            | Kind::Debug
            | Kind::Socketmap
            | Kind::Tcp
    )
}

/// Whether the entries of a table can be listed. Stock exits when a client tries to list a type that cannot.
pub(super) fn has_sequence(nature: Nature) -> bool {
    matches!(
        nature.kind,
        Kind::Hash
            | Kind::Btree
            | Kind::Lmdb
            | Kind::Cdb
            | Kind::Texthash
            | Kind::Inline
            | Kind::Internal
            | Kind::Fail
            | Kind::Unknown
    )
}
