//! The differences that docs/COMPATIBILITY.md lists, each with its words there and the replies that it allows.
//!
//! Called by `compare`. May: read docs/COMPATIBILITY.md.

use crate::common::wire::{Heard, attribute, text};
use crate::compare::Tally;
use crate::questions::{BULK_UPDATE, LOCK, Mode, OPEN_LOCK, Question, RHS_IS_FILE, UTF8_REQUEST, What};
use crate::stock::is_later;
use crate::tables::Trait;
use mapkeep_proto::Kind;
use std::fmt;

const FIXED: u32 = 0x10;
const FOLD_FIX: u32 = 0x4000;
const UTF8_ACTIVE: u32 = 0x10_0000;
const PATTERN: u32 = 0x20;
/// Class, TRY0NULL and TRY1NULL, MULTI_WRITER: what the type of a table implies.
const OF_TYPE: u32 = 0x4_003C;

/// What the flags in replies of stock's stand-in for a table that it cannot open have otherwise: nothing of the type, and
/// that it is one (bit 22 in 3.12; bit 0 in 3.11, a slip by the looks of it).
const STAND_IN: u32 = OF_TYPE | OPEN_LOCK | LOCK | 0x40_0001;

/// A question and both replies.
pub struct Case<'c> {
    pub question: &'c Question<'c>,
    pub mode: Mode,
    pub stock: &'c Heard,
    pub ours: &'c Heard,
}

/// An allowed difference.
struct Difference {
    /// Words of its line in docs/COMPATIBILITY.md.
    line: &'static str,
    fits: fn(&Case<'_>) -> bool,
}

pub const NO_REQUEST: &str =
    "An empty list, or one that does not begin with `request`, closes the connection";
pub const OWN_PLACE: &str = "Each connection has its own place in a table";
const NO_TRY: &str = "A lookup without TRY flags tries both ways of storing keys";
const CLASS_OF_TABLE: &str = "the flags in a reply name the class of the table, whatever the client's did";
/// Seen of stock from 3.11 on only.
const OF_LATER_STOCK: [&str; 2] = [NO_TRY, CLASS_OF_TABLE];
const LOCKS: &str = "OPEN_LOCK together with LOCK becomes LOCK; stock panics";
const BULK: &str = "BULK_UPDATE on lmdb is ignored; stock dies";
const EMPTY_LMDB: &str = "An empty key in lmdb is not found; stock dies";
const NO_SEQUENCE: &str = "is answered CONFIG; stock dies";
const CDB_SEQUENCE: &str = "`sequence` on `cdb` gives the entries; stock dies";
const NEXT: &str = "`sequence` NEXT without FIRST, or after the end, is answered NOKEY";

/// Each is looked for in this order; the first that fits is counted.
const DIFFERENCES: &[Difference] = &[
    Difference { line: LOCKS, fits: |c| c.stock_died_of(LOCKS) && c.ours_is_sound() },
    Difference { line: BULK, fits: |c| c.stock_died_of(BULK) && c.ours_is_sound() },
    Difference {
        line: EMPTY_LMDB,
        fits: |c| {
            // Or what any key gets of a table that is refused.
            let refused = c.has(Trait::Writable) && c.ours_is("status|2|value|||");
            c.stock_died_of(EMPTY_LMDB) && (refused || c.ours_is("status|1|value|||"))
        },
    },
    Difference { line: NEXT, fits: |c| c.is_next_alone() && c.ours_is("status|1|key||value|||") },
    Difference {
        line: NO_SEQUENCE,
        fits: |c| c.stock_died_of(NO_SEQUENCE) && c.ours_is("status|5|key||value|||"),
    },
    Difference { line: CDB_SEQUENCE, fits: |c| c.stock_died_of(CDB_SEQUENCE) && c.ours_is_sound() },
    Difference {
        line: "A table that the mail owner cannot read (mode 0600 of root) is served",
        fits: |c| c.has(Trait::RootOnly) && c.stock_is_unavailable() && c.ours_is_sound(),
    },
    Difference {
        line: "Files that somebody else could have written are refused",
        fits: |c| c.has(Trait::Writable) && c.status(c.ours) == Some("2") && c.stock_serves(),
    },
    Difference {
        line: "SRC_RHS_IS_FILE is ignored",
        fits: |c| {
            // Stock leaves out each entry of a text file, and refuses the types whose content is in the name.
            let texts =
                matches!(c.question.table.kind, Kind::Texthash | Kind::Cidr | Kind::Regexp | Kind::Pcre);
            let empty = texts && c.statuses() == (Some("1"), Some("0"));
            let differs = (empty || c.stock_is_unavailable()) && c.ours_is_sound();
            c.question.flags & RHS_IS_FILE != 0 && (differs || (is_later() && c.differs_by_flags(STAND_IN)))
        },
    },
    Difference {
        line: "An unavailable table keeps the class of its type in the reply to `open` (FIXED); stock says PATTERN",
        fits: |c| !c.question.table.available && c.class_differs() || c.differs_by_surrogate(),
    },
    Difference {
        line: "give the name and empty fields (`root:x:::::`, `mail:x::`)",
        fits: |c| c.is_account(),
    },
    Difference {
        line: "written with capitals are found by a folded key; stock's proxymap never finds them",
        fits: |c| c.has(Trait::Capitals) && c.statuses() == (Some("1"), Some("0")),
    },
    Difference {
        line: "Entries of `hash`, `texthash` and `inline` are listed in the order of this reader",
        fits: |c| {
            let unordered = matches!(c.question.table.kind, Kind::Hash | Kind::Texthash | Kind::Inline);
            unordered && c.is_sequence() && c.statuses() == (Some("0"), Some("0"))
        },
    },
    Difference { line: "Numbers are digits that fit in 32 bits", fits: |c| c.has_odd_number() },
    Difference {
        line: "Over a limit, the connection is closed. Stock has none.",
        fits: |c| c.is_over_a_limit() && c.ours == &Heard::Closed,
    },
    Difference {
        line: "Both dialects are understood, request by request; each version of stock knows its own.",
        fits: |c| {
            // Later stock calls whatever is in the old dialect malformed, in its own shape.
            let answered = c.ours_is_sound() || (is_later() && matches!(c.ours, Heard::Reply(_)));
            c.is_of_other_dialect() && c.status(c.stock) == Some("3") && answered
        },
    },
    Difference {
        line: NO_TRY,
        fits: |c| {
            is_later() && c.raw().contains("|flags|0|key|") && c.stock == &Heard::Closed && c.ours_is_sound()
        },
    },
    Difference {
        line: CLASS_OF_TABLE,
        fits: |c| is_later() && !c.raw().is_empty() && c.differs_by_flags(FIXED | PATTERN),
    },
    Difference {
        line: "A malformed request that ends before its dialect shows closes the connection",
        fits: |c| !c.raw().is_empty() && c.status(c.stock) == Some("3") && c.ours == &Heard::Closed,
    },
    Difference { line: "UTF-8 is checked as the flags of each request say", fits: |c| c.is_late_utf8() },
    Difference {
        line: "Members of `unionmap` and `pipemap` fold keys as the flags of each request say",
        fits: |c| c.is_late_folding(),
    },
    Difference {
        line: "Stored keys of `texthash` and `inline` match by Unicode case folding",
        fits: |c| c.is_text_folded(),
    },
];

impl Case<'_> {
    fn stock_died_of(&self, line: &str) -> bool {
        self.stock == &Heard::Closed && expected_death(self.question) == Some(line)
    }

    fn has(&self, wanted: Trait) -> bool {
        self.question.table.trait_ == wanted
    }

    fn ours_is(&self, reply: &str) -> bool {
        matches!(self.ours, Heard::Reply(ours) if without_flags(ours) == reply)
    }

    /// The reply of a table that serves.
    fn ours_is_sound(&self) -> bool {
        matches!(self.status(self.ours), Some("0" | "1"))
    }

    fn stock_serves(&self) -> bool {
        matches!(self.status(self.stock), Some("0" | "1"))
    }

    /// The reply of stock's stand-in for a table that it cannot open.
    fn stock_is_unavailable(&self) -> bool {
        match self.question.what {
            What::Open => flags_of(self.stock).is_some_and(|flags| flags & PATTERN != 0),
            _ => self.status(self.stock) == Some("2"),
        }
    }

    fn is_sequence(&self) -> bool {
        matches!(self.question.what, What::Sequence(_))
    }

    fn is_next_alone(&self) -> bool {
        matches!(self.question.what, What::Sequence(1)) && !self.question.in_sequence
    }

    fn status<'h>(&self, heard: &'h Heard) -> Option<&'h str> {
        match heard {
            Heard::Reply(reply) => attribute(reply, "status"),
            _ => None,
        }
    }

    /// Stock's and ours.
    fn statuses(&self) -> (Option<&str>, Option<&str>) {
        (self.status(self.stock), self.status(self.ours))
    }

    /// Replies to `open` that differ by nothing but what the type implies.
    fn class_differs(&self) -> bool {
        let (Some(stock), Some(ours)) = (flags_of(self.stock), flags_of(self.ours)) else { return false };
        // For lmdb, OPEN_LOCK becomes LOCK.
        let of_type =
            if self.question.table.kind == Kind::Lmdb { OF_TYPE | OPEN_LOCK | LOCK } else { OF_TYPE };
        matches!(self.question.what, What::Open)
            && stock & PATTERN != 0
            && ours & FIXED != 0
            && stock & !of_type == ours & !of_type
    }

    /// From 3.11 on each reply carries flags, those of what stock cannot open included.
    fn differs_by_surrogate(&self) -> bool {
        let table = self.question.table;
        let closed_to_stock = !table.available || table.trait_ == Trait::RootOnly;
        is_later() && closed_to_stock && self.differs_by_flags(STAND_IN)
    }

    /// Whether the replies are the same but for these flags.
    fn differs_by_flags(&self, bits: u32) -> bool {
        let (Heard::Reply(stock), Heard::Reply(ours)) = (self.stock, self.ours) else { return false };
        let flags = [self.stock, self.ours].map(flags_of);
        let within = matches!(flags, [Some(stock), Some(ours)] if (stock ^ ours) & !bits == 0);
        within && (without_flags(stock) == without_flags(ours))
    }

    /// A request of odd form in the dialect that this stock does not know.
    fn is_of_other_dialect(&self) -> bool {
        let raw = self.raw();
        !raw.is_empty() && raw.contains("|instance_flags|") != is_later()
    }

    /// The whole line of the account from stock, its name from us.
    fn is_account(&self) -> bool {
        let fields = match self.question.table.kind {
            Kind::Passwd => ":x:::::",
            Kind::Group => ":x::",
            _ => return false,
        };
        let (Heard::Reply(stock), Heard::Reply(ours)) = (self.stock, self.ours) else { return false };
        let line = attribute(stock, "value").unwrap_or_default();
        let name = line.split(':').next().unwrap_or_default();
        line.contains(':') && without_flags(ours) == format!("status|0|value|{name}{fields}||")
    }

    /// The text of a request of odd form; else nothing.
    fn raw(&self) -> String {
        match &self.question.what {
            What::Raw(bytes) => text(bytes),
            _ => String::new(),
        }
    }

    fn has_odd_number(&self) -> bool {
        let raw = self.raw();
        let Some((_, rest)) = raw.split_once("|flags|") else { return false };
        let number = rest.split('|').next().unwrap_or_default();
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u32>().is_ok();
        // Stock takes them, or dies of all flags at once; to us they are malformed.
        !plain && matches!(self.status(self.ours), Some("3") | None)
    }

    fn is_over_a_limit(&self) -> bool {
        let raw = self.raw();
        raw.len() > 65_536 || raw.split('|').step_by(2).any(|name| name.len() > 64)
    }

    /// Stock checks and folds UTF-8 if the request that opened the table, for whichever client, asked for it, and not
    /// when that client claimed that it was done already.
    fn is_late_utf8(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let flags = self.question.flags;
        let unchecked = self.mode == Mode::AsClients || flags & UTF8_ACTIVE != 0;
        let replies = self.statuses();
        let is_utf8 = std::str::from_utf8(key).is_ok();
        // From 3.11 on clients do part of the work, and say so.
        let asked = if is_later() { UTF8_REQUEST | UTF8_ACTIVE } else { UTF8_REQUEST };
        let foreign_key = !is_utf8 && matches!(replies, (Some("0" | "2"), Some("1")));
        let foreign_value = replies == (Some("0"), Some("5"));
        let folded = !key.is_ascii() && is_utf8 && replies == (Some("1"), Some("0"));
        unchecked && flags & asked != 0 && (foreign_key || foreign_value || folded)
    }

    /// Stock's composites leave folding to their members, which keep the flags of the request that opened them.
    fn is_late_folding(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let composite = matches!(self.question.table.kind, Kind::Unionmap | Kind::Pipemap);
        let capitals = key.iter().any(u8::is_ascii_uppercase);
        let folds = self.question.flags & FOLD_FIX != 0;
        self.mode == Mode::AsClients && composite && capitals && folds && self.stock_serves()
    }

    /// A key that equals a stored one but for case in the sense of Unicode.
    fn is_text_folded(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let foreign = ["M\u{dc}LLER", "STRASSE", "stra\u{df}e"].iter().any(|text| text.as_bytes() == key);
        let text = matches!(self.question.table.kind, Kind::Texthash | Kind::Inline);
        foreign && text && self.statuses() == (Some("1"), Some("0"))
    }
}

/// The words for which stock is expected to die of a question.
pub fn expected_death(question: &Question<'_>) -> Option<&'static str> {
    let (flags, kind) = (question.flags, question.table.kind);
    let has = |bits: u32| flags & bits == bits;
    if !question.reaches_table() {
        return None;
    }
    match &question.what {
        _ if has(LOCK | OPEN_LOCK) => Some(LOCKS),
        _ if has(BULK_UPDATE) && kind == Kind::Lmdb => Some(BULK),
        What::Lookup(key) if key.is_empty() && kind == Kind::Lmdb => Some(EMPTY_LMDB),
        What::Sequence(0 | 1) if has_no_sequence(kind) => Some(NO_SEQUENCE),
        What::Sequence(0 | 1) if kind == Kind::Cdb && question.table.available => Some(CDB_SEQUENCE),
        What::Sequence(1) if !question.in_sequence && matches!(kind, Kind::Hash | Kind::Btree) => Some(NEXT),
        _ => None,
    }
}

/// Types whose entries stock cannot list.
fn has_no_sequence(kind: Kind) -> bool {
    let patterns = matches!(kind, Kind::Cidr | Kind::Regexp | Kind::Pcre);
    let composites = matches!(kind, Kind::Randmap | Kind::Unionmap | Kind::Pipemap);
    patterns || composites || matches!(kind, Kind::Static | Kind::Passwd | Kind::Group)
}

/// The line that allows a difference.
pub fn allowing(case: &Case<'_>) -> Option<&'static str> {
    DIFFERENCES.iter().find(|difference| (difference.fits)(case)).map(|difference| difference.line)
}

/// The lines that no question has shown.
pub fn unseen(tally: &Tally) -> Vec<&'static str> {
    let lines = DIFFERENCES.iter().map(|difference| difference.line).chain([NO_REQUEST, OWN_PLACE]);
    lines.filter(|line| !tally.allowed.contains_key(line) && !OF_LATER_STOCK.contains(line)).collect()
}

/// Fails when docs/COMPATIBILITY.md lacks the words of an allowed difference.
pub fn assert_documented() {
    let lines = DIFFERENCES.iter().map(|difference| difference.line).chain([NO_REQUEST, OWN_PLACE]);
    assert_on_page(&lines.collect::<Vec<_>>());
}

/// Fails when docs/COMPATIBILITY.md lacks one of these.
pub fn assert_on_page(lines: &[&str]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMPATIBILITY.md");
    let page = std::fs::read_to_string(path).unwrap();
    let missing: Vec<&&str> = lines.iter().filter(|line| !page.contains(**line)).collect();
    assert!(missing.is_empty(), "{path} does not say: {missing:#?}");
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |heard: &Heard| format!("{heard:?}").chars().take(120).collect::<String>();
        let request: String =
            crate::common::wire::text(&self.question.bytes(None)).chars().take(200).collect();
        write!(
            f,
            "{:?} {request}\n    stock {}\n    ours  {}",
            self.mode,
            short(self.stock),
            short(self.ours)
        )
    }
}

/// A reply without the flags that all replies have in the new dialect.
fn without_flags(reply: &str) -> String {
    match reply.split_once("|flags|").map(|(status, rest)| (status, rest.split_once('|'))) {
        Some((status, Some((_, rest)))) if is_later() => format!("{status}|{rest}"),
        _ => reply.to_owned(),
    }
}

/// The flags in a reply.
pub fn flags_of(heard: &Heard) -> Option<u32> {
    match heard {
        Heard::Reply(reply) => attribute(reply, "flags")?.parse().ok(),
        _ => None,
    }
}
