//! Excuses for well-formed requests, each no wider than its line.

use super::case::{Case, without_flags};
use super::{FOLD_FIX, STAND_IN, UTF8_ACTIVE};
use crate::common::wire::{Received, attribute};
use crate::questions::{Mode, RHS_IS_FILE, UTF8_REQUEST, What};
use crate::stock::is_later;
use crate::tables::Trait;
use mapkeep_name::Kind;
use std::collections::BTreeSet;
use std::sync::LazyLock;

impl Case<'_> {
    /// From 3.11 on each reply carries flags, those of what stock cannot open included.
    pub(super) fn differs_by_surrogate(&self) -> bool {
        let table = self.question.table;
        let closed_to_stock = !table.available || table.trait_ == Trait::RootOnly;
        is_later() && closed_to_stock && self.differs_by_flags(STAND_IN)
    }

    /// The whole line of the account from stock, its name from us.
    pub(super) fn is_account(&self) -> bool {
        let fields = match self.question.table.kind {
            Kind::Passwd => ":x:::::",
            Kind::Group => ":x::",
            _ => return false,
        };
        let (Received::Reply(stock), Received::Reply(ours)) = (self.stock, self.ours) else { return false };
        let line = attribute(stock, "value").unwrap_or_default();
        let name = line.split(':').next().unwrap_or_default();
        line.contains(':') && without_flags(ours) == format!("status|0|value|{name}{fields}||")
    }

    /// The answers of a table whose only entry is `alice x`.
    pub(super) fn is_only_entry(&self) -> bool {
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
    pub(super) fn has_entry_of_capitals(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let entries = [("alice", "x"), ("bob@example.com", "y"), ("mixedcase", "z")];
        let mut entries = entries.iter().filter(|entry| key.eq_ignore_ascii_case(entry.0.as_bytes()));
        entries.any(|(_, value)| self.ours_is(&format!("status|0|value|{value}||")))
    }

    /// Stock returns the contents of the files that values name, or leaves out entries whose file does not exist, or
    /// refuses the whole table.
    pub(super) fn names_files(&self) -> bool {
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

    /// Stock checks and folds UTF-8 if the request that opened the table, from whichever client, asked for it and did
    /// not claim that it had been done already. Our answer is stock's if that request had the flags of this one,
    /// without the claim.
    pub(super) fn is_late_utf8(&self) -> bool {
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

    /// For a table of a type that it does not know, stock has no UTF-8 checks, and its reply to `open` shows that.
    pub(super) fn lacks_plugin(&self) -> bool {
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

    /// Stock's composites leave folding to their members, which keep the flags of the request that opened them. Our
    /// answer is stock's if that request had the flags of this one.
    pub(super) fn is_late_folding(&self) -> bool {
        let folds = self.question.flags & FOLD_FIX != 0;
        let late = self.mode == Mode::AsClients && self.question.table.kind.is_composite() && folds;
        late && self.ours_is_known(self.question.flags, 0)
    }

    /// A key that equals a stored one but for case in the sense of Unicode, while the client asked for the folding of ASCII
    /// only.
    pub(super) fn is_text_folded(&self) -> bool {
        let What::Lookup(key) = &self.question.what else { return false };
        let entries = [("M\u{dc}LLER", "u"), ("STRASSE", "s"), ("stra\u{df}e", "s")];
        let mut entries = entries.iter().filter(|entry| entry.0.as_bytes() == key);
        // As a member, too: the union adds `x` to each answer.
        let union = self.question.table.name.starts_with("unionmap:{inline:{{m\u{fc}ller");
        let stock_has_none = match union {
            true => {
                matches!(self.stock, Received::Reply(stock) if without_flags(stock) == "status|0|value|x||")
            }
            false => self.is_text() && self.stock_has_no_key(),
        };
        let more = if union { ",x" } else { "" };
        stock_has_none && entries.any(|(_, value)| self.ours_is(&format!("status|0|value|{value}{more}||")))
    }
}

/// Types of tables that are plugins of Debian's Postfix, and that this build does not serve.
pub(super) const PLUGINS: [&str; 5] = ["ldap", "mongodb", "mysql", "pgsql", "sqlite"];

/// The types that the installed Postfix knows.
pub(super) static INSTALLED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let listed = std::process::Command::new("postconf").arg("-m").output().expect("postconf -m");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
});

/// Whether stock knows the type of this table. For a later stock it is not known what it was built with.
fn is_installed(name: &str) -> bool {
    !is_later() && name.split(':').next().is_some_and(|kind| INSTALLED.contains(kind))
}
