//! The differences that docs/COMPATIBILITY.md lists, each with its words there and the replies that it allows.

mod answers;
mod case;
mod deaths;
mod odd;

use crate::common::wire::Received;
use crate::compare::Tally;
use crate::questions::{BULK_UPDATE, LOCK, OPEN_LOCK};
use crate::stock::is_later;
use crate::tables::Trait;
use answers::{INSTALLED, PLUGINS};
pub use case::{Case, flags_of};
pub use deaths::expected_death;
use mapkeep_name::Kind;

const FIXED: u32 = 0x10;
const FOLD_FIX: u32 = 0x4000;
const UTF8_ACTIVE: u32 = 0x10_0000;
const PATTERN: u32 = 0x20;
/// Class, TRY0NULL and TRY1NULL, MULTI_WRITER: what the type of a table implies.
const OF_TYPE: u32 = 0x4_003C;

/// What the flags in replies of stock's stand-in for a table that it cannot open have otherwise: nothing of the type, and
/// that it is one (bit 22 in 3.12; bit 0 in 3.11, a slip by the looks of it).
const STAND_IN: u32 = OF_TYPE | OPEN_LOCK | LOCK | 0x40_0001;

/// An allowed difference.
struct Difference {
    /// Words of its line in docs/COMPATIBILITY.md.
    line: &'static str,
    fits: fn(&Case<'_>) -> bool,
}

pub const NO_REQUEST: &str =
    "After an empty list, or one that does not begin with `request`, the connection is closed";
pub const FIRST_OPENER: &str = "stock 3.7's are those of the request that first opened the table";
pub const OWN_PLACE: &str = "Each connection has its own scan position in a table";
const NO_TRY: &str = "A lookup without TRY flags tries both ways of storing keys";
const CLASS_OF_TABLE: &str =
    "the flags in a reply state the class of the table, whatever the client's flags said";
/// Seen of stock from 3.11 on only.
const OF_LATER_STOCK: [&str; 2] = [NO_TRY, CLASS_OF_TABLE];
const LOCKS: &str = "OPEN_LOCK together with LOCK counts as LOCK; stock panics";
const BULK: &str = "BULK_UPDATE on lmdb is ignored; stock dies";
const EMPTY_LMDB: &str = "An empty key in lmdb is not found; stock dies";
const NO_SEQUENCE: &str = "is answered CONFIG; stock dies";
const CDB_SEQUENCE: &str = "`sequence` on `cdb` gives the entries; stock dies";
const FILES: &str = "SRC_RHS_IS_FILE in a request for a table of a text type";
const UTF8_OF_REQUEST: &str = "UTF-8 is checked according to the flags of each request";
const NO_PLUGIN: &str = "The same goes for types whose Postfix plugin is not installed";
const FOLDING_OF_REQUEST: &str =
    "Members of `unionmap` and `pipemap` fold keys according to the flags of each request";
const NEXT: &str = "`sequence` NEXT without FIRST, or after the end, is answered NOKEY";

/// Each is looked for in this order; the first that fits is counted.
const DIFFERENCES: &[Difference] = &[
    Difference {
        line: LOCKS,
        // What LOCK alone would have had.
        fits: |c| c.stock_died_of(LOCKS) && c.ours_is_known(c.question.flags & !OPEN_LOCK, 0),
    },
    Difference {
        line: BULK,
        fits: |c| c.stock_died_of(BULK) && c.ours_is_known(c.question.flags & !BULK_UPDATE, BULK_UPDATE),
    },
    Difference {
        line: EMPTY_LMDB,
        fits: |c| {
            // Or what any key gets of a table that is refused.
            let refused = c.has(Trait::Writable) && c.ours_is("status|2|value|||");
            c.stock_died_of(EMPTY_LMDB) && (refused || c.ours_is("status|1|value|||"))
        },
    },
    Difference {
        line: NEXT,
        fits: |c| {
            let began_again = c.question.table.kind == Kind::Lmdb && c.status(c.stock) == Some("0");
            // Or what every request gets of a table that is refused.
            let refused = c.has(Trait::Writable) && c.ours_is("status|2|key||value|||");
            c.is_next_alone()
                && (c.stock_died_of(NEXT) || began_again)
                && (refused || c.ours_is("status|1|key||value|||"))
        },
    },
    Difference {
        line: NO_SEQUENCE,
        fits: |c| c.stock_died_of(NO_SEQUENCE) && c.ours_is("status|5|key||value|||"),
    },
    Difference {
        line: CDB_SEQUENCE,
        fits: |c| {
            let empty = c.question.table.name.ends_with("-empty") || c.is_next_alone();
            c.stock_died_of(CDB_SEQUENCE) && c.status(c.ours) == Some(if empty { "1" } else { "0" })
        },
    },
    Difference {
        line: "A table that the mail owner cannot read (mode 0600 of root) is served",
        fits: |c| c.has(Trait::RootOnly) && c.stock_is_unavailable() && c.is_only_entry(),
    },
    Difference {
        line: "Files that somebody else could have written are refused",
        fits: |c| {
            let refusal = if c.is_sequence() { "status|2|key||value|||" } else { "status|2|value|||" };
            c.has(Trait::Writable) && c.ours_is(refusal) && c.stock_serves()
        },
    },
    Difference { line: FILES, fits: |c| c.names_files() },
    Difference {
        line: "An unavailable table keeps the class of its type in the reply to `open` (FIXED); stock says PATTERN",
        fits: |c| !c.question.table.available && c.class_differs() || c.differs_by_surrogate(),
    },
    Difference {
        line: "give the name and empty fields (`root:x:::::`, `mail:x::`)",
        fits: |c| c.is_account(),
    },
    Difference {
        line: "written with capital letters are found by a folded key; stock's proxymap never finds them",
        fits: |c| c.is_text() && c.has(Trait::Capitals) && c.stock_has_no_key() && c.has_entry_of_capitals(),
    },
    Difference {
        line: "Entries of `hash`, `texthash` and `inline` are listed in the order of this reader",
        // That they are the same entries is compared where a whole table is walked.
        fits: |c| {
            let unordered = matches!(c.question.table.kind, Kind::Hash | Kind::Texthash | Kind::Inline);
            unordered && c.is_sequence() && c.statuses() == (Some("0"), Some("0"))
        },
    },
    Difference { line: "Numbers consist of digits and must fit in 32 bits", fits: |c| c.has_odd_number() },
    Difference {
        line: "Over a limit, the connection is closed. Stock has none.",
        fits: |c| c.is_over_a_limit() && matches!(c.stock, Received::Reply(_)) && c.ours == &Received::Closed,
    },
    Difference {
        line: "Both dialects are understood, request by request; each version of stock knows only its own.",
        fits: |c| {
            // Later stock calls whatever is in the old dialect malformed, in its own shape.
            let answered = c.ours_is_sound() || (is_later() && matches!(c.ours, Received::Reply(_)));
            c.is_of_other_dialect() && c.status(c.stock) == Some("3") && answered
        },
    },
    Difference {
        line: NO_TRY,
        fits: |c| {
            is_later()
                && c.raw().contains("|flags|0|key|")
                && c.stock == &Received::Closed
                && c.ours_is_sound()
        },
    },
    Difference {
        line: CLASS_OF_TABLE,
        fits: |c| is_later() && !c.raw().is_empty() && c.differs_by_flags(FIXED | PATTERN),
    },
    Difference {
        line: "If a malformed request ends before its dialect is known, the connection is closed",
        fits: |c| c.hides_its_dialect() && c.status(c.stock) == Some("3") && c.ours == &Received::Closed,
    },
    Difference { line: UTF8_OF_REQUEST, fits: |c| c.is_late_utf8() },
    Difference { line: NO_PLUGIN, fits: |c| c.lacks_plugin() },
    Difference { line: FOLDING_OF_REQUEST, fits: |c| c.is_late_folding() },
    Difference {
        line: "Stored keys of `texthash` and `inline` match by Unicode case folding",
        fits: |c| c.is_text_folded(),
    },
];

/// The line that allows a difference.
pub fn allowing(case: &Case<'_>) -> Option<&'static str> {
    DIFFERENCES.iter().find(|difference| (difference.fits)(case)).map(|difference| difference.line)
}

/// The lines that no question has shown.
pub fn unseen(tally: &Tally) -> Vec<&'static str> {
    let lines =
        DIFFERENCES.iter().map(|difference| difference.line).chain([NO_REQUEST, OWN_PLACE, FIRST_OPENER]);
    let possible = |line: &&str| match *line {
        NO_PLUGIN => PLUGINS.iter().any(|kind| *kind != "mongodb" && !INSTALLED.contains(*kind)),
        line => !OF_LATER_STOCK.contains(&line),
    };
    lines.filter(|line| possible(line) && !tally.allowed.contains_key(line)).collect()
}

/// Fails when docs/COMPATIBILITY.md lacks the words of an allowed difference.
pub fn assert_documented() {
    let lines =
        DIFFERENCES.iter().map(|difference| difference.line).chain([NO_REQUEST, OWN_PLACE, FIRST_OPENER]);
    assert_on_page(&lines.collect::<Vec<_>>());
}

/// Fails when docs/COMPATIBILITY.md lacks one of these.
pub fn assert_on_page(lines: &[&str]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMPATIBILITY.md");
    let page = std::fs::read_to_string(path).unwrap();
    let missing: Vec<&&str> = lines.iter().filter(|line| !page.contains(**line)).collect();
    assert!(missing.is_empty(), "{path} does not say: {missing:#?}");
}
