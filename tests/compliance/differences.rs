//! The differences that docs/COMPATIBILITY.md lists, each with its words there and the replies that it allows.
//!
//! Called by `compare`. May: read docs/COMPATIBILITY.md.

use crate::common::wire::{Heard, attribute, text};
use crate::compare::{Known, Tally};
use crate::questions::{BULK_UPDATE, LOCK, Mode, OPEN_LOCK, Question, RHS_IS_FILE, UTF8_REQUEST, What};
use crate::stock::is_later;
use crate::tables::Trait;
use mapkeep_proto::Kind;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

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
    /// Stock's replies to other questions.
    pub known: &'c Known,
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
pub const FIRST_OPENER: &str = "stock 3.7's are those of the request that first opened the table";
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
const FILES: &str = "SRC_RHS_IS_FILE in a request for a table of a text type";
const UTF8_OF_REQUEST: &str = "UTF-8 is checked as the flags of each request say";
const NO_PLUGIN: &str = "The same goes for types whose Postfix plugin is not installed";
const FOLDING_OF_REQUEST: &str =
    "Members of `unionmap` and `pipemap` fold keys as the flags of each request say";
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
                && (c.stock == &Heard::Closed || began_again)
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
        line: "written with capitals are found by a folded key; stock's proxymap never finds them",
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
    Difference { line: "Numbers are digits that fit in 32 bits", fits: |c| c.has_odd_number() },
    Difference {
        line: "Over a limit, the connection is closed. Stock has none.",
        fits: |c| c.is_over_a_limit() && matches!(c.stock, Heard::Reply(_)) && c.ours == &Heard::Closed,
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
        fits: |c| c.hides_its_dialect() && c.status(c.stock) == Some("3") && c.ours == &Heard::Closed,
    },
    Difference { line: UTF8_OF_REQUEST, fits: |c| c.is_late_utf8() },
    Difference { line: NO_PLUGIN, fits: |c| c.lacks_plugin() },
    Difference { line: FOLDING_OF_REQUEST, fits: |c| c.is_late_folding() },
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
        // The reply to `open` is a status and flags.
        let open = matches!(self.question.what, What::Open) && self.statuses() == (Some("0"), Some("0"));
        within && (open || without_flags(stock) == without_flags(ours))
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
        let taken = self.stock == &Heard::Closed || self.stock_serves();
        !plain && taken && (self.status(self.ours) == Some("3") || self.ours == &Heard::Closed)
    }

    fn is_over_a_limit(&self) -> bool {
        let raw = self.raw();
        raw.len() > 65_536 || raw.split('|').step_by(2).any(|name| name.len() > 64)
    }

    /// Whether ours is what stock says to the same question with these flags, but for `more` flags in the reply to `open`.
    fn ours_is_known(&self, flags: u32, more: u32) -> bool {
        let Heard::Reply(ours) = self.ours else { return false };
        let Some(known) = self.known.reply(self.question, flags) else { return false };
        match (&self.question.what, flags_of(self.ours), flags_in(known)) {
            (What::Open, Some(ours), Some(known)) => ours == known | more,
            _ => without_flags(ours) == without_flags(known),
        }
    }

    fn stock_has_no_key(&self) -> bool {
        self.status(self.stock) == Some("1")
    }

    fn is_text(&self) -> bool {
        matches!(self.question.table.kind, Kind::Texthash | Kind::Inline)
    }

    /// What a table gives whose only entry is `alice x`.
    fn is_only_entry(&self) -> bool {
        match &self.question.what {
            What::Open => self.class_differs(),
            What::Lookup(key) => {
                let found = key.eq_ignore_ascii_case(b"alice") && self.ours_is("status|0|value|x||");
                found || self.ours_is("status|1|value|||")
            }
            What::Sequence(_) => {
                self.ours_is("status|0|key|alice|value|x||") || self.ours_is("status|1|key||value|||")
            }
            _ => false,
        }
    }

    /// The entry of a table of capitals for the key, in whatever case it was sent.
    fn has_entry_of_capitals(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let entries = [("alice", "x"), ("bob@example.com", "y"), ("mixedcase", "z")];
        let mut entries = entries.iter().filter(|entry| key.eq_ignore_ascii_case(entry.0.as_bytes()));
        entries.any(|(_, value)| self.ours_is(&format!("status|0|value|{value}||")))
    }

    /// Stock gives the content of the files that values name, or leaves out entries whose file is not there, or refuses the
    /// whole table.
    fn names_files(&self) -> bool {
        let kind = self.question.table.kind;
        let (in_file, composite) = (kind.has_file() && kind.is_source_text(), kind.is_composite());
        if self.question.flags & RHS_IS_FILE == 0 || !(kind.is_source_text() || composite) {
            return false;
        }
        let refused = !in_file && self.stock_is_unavailable();
        match &self.question.what {
            What::Open => refused && self.class_differs(),
            What::Lookup(_) if refused => self.ours_is("status|1|value|||"),
            What::Lookup(_) => self.stock_serves() && self.ours_is("status|2|value|||"),
            What::Sequence(_) if refused => {
                let end = self.is_next_alone() && self.ours_is("status|1|key||value|||");
                end || self.ours_is("status|5|key||value|||")
            }
            What::Sequence(_) => self.stock_serves() && self.ours_is("status|2|key||value|||"),
            _ => false,
        }
    }

    /// Stock checks and folds UTF-8 if the request that opened the table, for whichever client, asked for it, and not
    /// when that client claimed that it was done already. Ours is what stock says where that request had the flags of this
    /// one, without the claim.
    fn is_late_utf8(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let flags = self.question.flags;
        if is_later() {
            // From 3.11 on clients do part of the work, and say so.
            let replies = self.statuses();
            let is_utf8 = std::str::from_utf8(key).is_ok();
            let foreign_key = !is_utf8 && matches!(replies, (Some("0" | "2"), Some("1")));
            let foreign_value = replies == (Some("0"), Some("5"));
            let folded = !key.is_ascii() && is_utf8 && replies == (Some("1"), Some("0"));
            let unchecked = self.mode == Mode::AsClients || flags & UTF8_ACTIVE != 0;
            return unchecked
                && flags & (UTF8_REQUEST | UTF8_ACTIVE) != 0
                && (foreign_key || foreign_value || folded);
        }
        let claimed = flags & UTF8_ACTIVE != 0;
        let composite = self.question.table.kind.is_composite();
        flags & UTF8_REQUEST != 0
            && (self.mode == Mode::AsClients || claimed)
            && (!key.is_ascii() || composite || self.status(self.ours) == Some("5"))
            && self.ours_is_known(flags & !UTF8_ACTIVE, 0)
    }

    /// Around a table of a type that it does not know stock has no UTF-8 checks, and its reply to `open` says so.
    fn lacks_plugin(&self) -> bool {
        let name = &self.question.table.name;
        let plugin = PLUGINS.iter().any(|kind| name.starts_with(&format!("{kind}:")));
        if !plugin || is_installed(name) || self.question.flags & UTF8_REQUEST == 0 {
            return false;
        }
        match &self.question.what {
            What::Open => self.differs_by_flags(UTF8_ACTIVE),
            What::Lookup(key) => {
                let foreign = std::str::from_utf8(key).is_err();
                foreign && self.status(self.stock) == Some("2") && self.ours_is("status|1|value|||")
            }
            _ => false,
        }
    }

    /// Stock's composites leave folding to their members, which keep the flags of the request that opened them. Ours is what
    /// stock says where that request had the flags of this one.
    fn is_late_folding(&self) -> bool {
        let folds = self.question.flags & FOLD_FIX != 0;
        let late = self.mode == Mode::AsClients && self.question.table.kind.is_composite() && folds;
        late && self.ours_is_known(self.question.flags, 0)
    }

    /// A key that equals a stored one but for case in the sense of Unicode, while the client asked for the folding of ASCII
    /// only.
    fn is_text_folded(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let entries = [("M\u{dc}LLER", "u"), ("STRASSE", "s"), ("stra\u{df}e", "s")];
        let mut entries = entries.iter().filter(|entry| entry.0.as_bytes() == key);
        // As a member, too: the union adds `x` to each answer.
        let union = self.question.table.name.starts_with("unionmap:{inline:{{m\u{fc}ller");
        let stock_has_none = match union {
            true => matches!(self.stock, Heard::Reply(stock) if without_flags(stock) == "status|0|value|x||"),
            false => self.is_text() && self.stock_has_no_key(),
        };
        let more = if union { ",x" } else { "" };
        stock_has_none && entries.any(|(_, value)| self.ours_is(&format!("status|0|value|{value}{more}||")))
    }

    /// A request of odd form, other than `open`, without flags in the third place, where they tell the dialect.
    fn hides_its_dialect(&self) -> bool {
        let raw = self.raw();
        let parts: Vec<&str> = raw.split('|').collect();
        let shows = parts.get(2) == Some(&"table")
            && matches!(parts.get(4), Some(&("flags" | "instance_flags")))
            && !raw.ends_with("|flags||");
        !raw.is_empty() && parts.get(1) != Some(&"open") && !shows
    }
}

/// Types of tables that are plugins of Debian's Postfix, and that this build does not serve.
const PLUGINS: [&str; 5] = ["ldap", "mongodb", "mysql", "pgsql", "sqlite"];

/// The types that the installed Postfix knows.
static INSTALLED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let listed = std::process::Command::new("postconf").arg("-m").output().expect("postconf -m");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
});

/// Whether stock knows the type of this table. Of a later stock nobody knows what it was built with.
fn is_installed(name: &str) -> bool {
    !is_later() && name.split(':').next().is_some_and(|kind| INSTALLED.contains(kind))
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
        Heard::Reply(reply) => flags_in(reply),
        _ => None,
    }
}

fn flags_in(reply: &str) -> Option<u32> {
    attribute(reply, "flags")?.parse().ok()
}
