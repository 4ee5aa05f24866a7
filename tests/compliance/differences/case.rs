//! A question with both replies, and what can be seen of them.

use super::deaths::expected_death;
use super::{FIXED, OF_TYPE, PATTERN};
use crate::common::wire::{Received, attribute, text};
use crate::compare::Known;
use crate::questions::{LOCK, Mode, OPEN_LOCK, Question, What};
use crate::stock::is_later;
use crate::tables::Trait;
use mapkeep_name::Kind;
use std::fmt;

/// A question and both replies.
pub struct Case<'c> {
    pub question: &'c Question<'c>,
    pub mode: Mode,
    /// Stock's replies to other questions.
    pub known: &'c Known,
    pub stock: &'c Received,
    pub ours: &'c Received,
}

impl Case<'_> {
    pub(super) fn stock_died_of(&self, line: &str) -> bool {
        self.stock == &Received::Closed && expected_death(self.question) == Some(line)
    }

    pub(super) fn has(&self, wanted: Trait) -> bool {
        self.question.table.trait_ == wanted
    }

    pub(super) fn ours_is(&self, reply: &str) -> bool {
        matches!(self.ours, Received::Reply(ours) if without_flags(ours) == reply)
    }

    /// The reply of a table that serves.
    pub(super) fn ours_is_sound(&self) -> bool {
        matches!(self.status(self.ours), Some("0" | "1"))
    }

    pub(super) fn stock_serves(&self) -> bool {
        matches!(self.status(self.stock), Some("0" | "1"))
    }

    /// The reply of stock's stand-in for a table that it cannot open.
    pub(super) fn stock_is_unavailable(&self) -> bool {
        match self.question.what {
            What::Open => flags_of(self.stock).is_some_and(|flags| flags & PATTERN != 0),
            _ => self.status(self.stock) == Some("2"),
        }
    }

    pub(super) fn stock_has_no_key(&self) -> bool {
        self.status(self.stock) == Some("1")
    }

    pub(super) fn is_sequence(&self) -> bool {
        matches!(self.question.what, What::Sequence(_))
    }

    pub(super) fn is_next_alone(&self) -> bool {
        matches!(self.question.what, What::Sequence(1)) && !self.question.in_sequence
    }

    pub(super) fn status<'h>(&self, heard: &'h Received) -> Option<&'h str> {
        match heard {
            Received::Reply(reply) => attribute(reply, "status"),
            _ => None,
        }
    }

    /// Stock's and ours.
    pub(super) fn statuses(&self) -> (Option<&str>, Option<&str>) {
        (self.status(self.stock), self.status(self.ours))
    }

    /// Replies to `open` that differ by nothing but what the type implies.
    pub(super) fn class_differs(&self) -> bool {
        let (Some(stock), Some(ours)) = (flags_of(self.stock), flags_of(self.ours)) else { return false };
        // For lmdb, OPEN_LOCK becomes LOCK.
        let of_type =
            if self.question.table.kind == Kind::Lmdb { OF_TYPE | OPEN_LOCK | LOCK } else { OF_TYPE };
        matches!(self.question.what, What::Open)
            && stock & PATTERN != 0
            && ours & FIXED != 0
            && stock & !of_type == ours & !of_type
    }

    /// Whether the replies are the same but for these flags.
    pub(super) fn differs_by_flags(&self, bits: u32) -> bool {
        let (Received::Reply(stock), Received::Reply(ours)) = (self.stock, self.ours) else { return false };
        let flags = [self.stock, self.ours].map(flags_of);
        let within = matches!(flags, [Some(stock), Some(ours)] if (stock ^ ours) & !bits == 0);
        // The reply to `open` is a status and flags.
        let open = matches!(self.question.what, What::Open) && self.statuses() == (Some("0"), Some("0"));
        within && (open || without_flags(stock) == without_flags(ours))
    }

    /// The text of a request of odd form; else nothing.
    pub(super) fn raw(&self) -> String {
        match &self.question.what {
            What::Raw(bytes) => text(bytes),
            _ => String::new(),
        }
    }

    /// Whether our answer is stock's to the same question with these flags, except for `more` flags in the reply to
    /// `open`.
    pub(super) fn ours_is_known(&self, flags: u32, more: u32) -> bool {
        let Received::Reply(ours) = self.ours else { return false };
        let Some(known) = self.known.reply(self.question, flags) else { return false };
        match (&self.question.what, flags_of(self.ours), flags_in(known)) {
            (What::Open, Some(ours), Some(known)) => ours == known | more,
            _ => without_flags(ours) == without_flags(known),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.question.table.kind, Kind::Texthash | Kind::Inline)
    }
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |heard: &Received| format!("{heard:?}").chars().take(120).collect::<String>();
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
pub(super) fn without_flags(reply: &str) -> String {
    match reply.split_once("|flags|").map(|(status, rest)| (status, rest.split_once('|'))) {
        Some((status, Some((_, rest)))) if is_later() => format!("{status}|{rest}"),
        _ => reply.to_owned(),
    }
}

/// The flags in a reply.
pub fn flags_of(heard: &Received) -> Option<u32> {
    match heard {
        Received::Reply(reply) => flags_in(reply),
        _ => None,
    }
}

fn flags_in(reply: &str) -> Option<u32> {
    attribute(reply, "flags")?.parse().ok()
}
