//! Excuses for requests of odd form.

use super::case::Case;
use crate::common::wire::Received;
use crate::stock::is_later;

impl Case<'_> {
    /// A request of odd form in the dialect that this stock does not know.
    pub(super) fn is_of_other_dialect(&self) -> bool {
        let raw = self.raw();
        !raw.is_empty() && raw.contains("|instance_flags|") != is_later()
    }

    pub(super) fn has_odd_number(&self) -> bool {
        let raw = self.raw();
        let Some((_, rest)) = raw.split_once("|flags|") else { return false };
        let number = rest.split('|').next().unwrap_or_default();
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u32>().is_ok();
        // Stock accepts them, or exits if all flags are set at once; to us they are malformed.
        let taken = self.stock == &Received::Closed || self.stock_serves();
        !plain && taken && (self.status(self.ours) == Some("3") || self.ours == &Received::Closed)
    }

    pub(super) fn is_over_a_limit(&self) -> bool {
        let raw = self.raw();
        let parts: Vec<&str> = raw.split('|').collect();
        parts.chunks(2).any(|pair| match pair {
            [name, _] if name.len() > 64 => true,
            ["table", value] => value.len() > 64 << 10,
            ["key", value] => value.len() > 256 << 10,
            _ => false,
        })
    }

    /// A request of odd form, other than `open`, without flags in the third place, where they tell the dialect.
    pub(super) fn hides_its_dialect(&self) -> bool {
        let raw = self.raw();
        let parts: Vec<&str> = raw.split('|').collect();
        let shows = parts.get(2) == Some(&"table")
            && matches!(parts.get(4), Some(&("flags" | "instance_flags")))
            && !raw.ends_with("|flags||");
        !raw.is_empty() && parts.get(1) != Some(&"open") && !shows
    }
}
