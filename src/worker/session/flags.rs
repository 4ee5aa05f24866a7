//! The dictionary flags of the proxymap protocol.
//!
//! Purpose: names for those bits of Postfix clients' requests, and of replies, that mean something here. May: compute. Never: act
//! on a flag.
//!
//! Source of the values: observed in requests and replies of Postfix 3.7.11 and 3.12, and by name in
//! the table names that its log shows (for example `hash:/x(0,lock|fold_fix|utf8_request)`).
//! A client may set any bit. Session treats them all as hints, never as something that must hold.

use std::ops::BitOr;

/// A set of dictionary flags: 32 bits, written as unsigned decimal text on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// No flag at all: in replies, "no table was reached" (refused or malformed requests).
    pub const NONE: Flags = Flags(0);
    /// Look for keys stored without a NUL byte at the end.
    pub const TRY0NULL: Flags = Flags(0x4);
    /// Look for keys stored with a NUL byte at the end.
    pub const TRY1NULL: Flags = Flags(0x8);
    /// The table has exact keys: clients send partial keys (`user@`, `@domain`, parent domains) too.
    pub const FIXED: Flags = Flags(0x10);
    /// The table has patterns: clients send the full key only.
    pub const PATTERN: Flags = Flags(0x20);
    /// Lock the file around each operation.
    pub const LOCK: Flags = Flags(0x40);
    /// An update replaces an existing entry.
    pub const DUP_REPLACE: Flags = Flags(0x80);
    /// An update is on disk before it is answered.
    pub const SYNC_UPDATE: Flags = Flags(0x100);
    /// Leave out pattern rules that substitute text from the key.
    pub const NO_REGSUB: Flags = Flags(0x800);
    /// Refuse data from unauthenticated servers.
    pub const NO_UNAUTH: Flags = Flags(0x2000);
    /// Fold the case of keys for tables with exact keys.
    pub const FOLD_FIX: Flags = Flags(0x4000);
    /// Fold the case of keys for tables with patterns.
    pub const FOLD_MUL: Flags = Flags(0x8000);
    /// Hold an exclusive lock for as long as the table is open.
    pub const OPEN_LOCK: Flags = Flags(0x1_0000);
    /// The table has safe concurrent writers (lmdb, memcache).
    pub const MULTI_WRITER: Flags = Flags(0x4_0000);
    /// The client wants UTF-8 checks and Unicode case folding.
    pub const UTF8_REQUEST: Flags = Flags(0x8_0000);
    /// The server does UTF-8 checks and Unicode case folding for this table.
    pub const UTF8_ACTIVE: Flags = Flags(0x10_0000);
    /// The source text names files whose contents are the value.
    pub const SRC_RHS_IS_FILE: Flags = Flags(0x20_0000);
    /// Whether every bit of `wanted` is set.
    #[must_use]
    pub const fn contains(self, wanted: Flags) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether at least one bit of `wanted` is set.
    #[must_use]
    pub const fn intersects(self, wanted: Flags) -> bool {
        self.0 & wanted.0 != 0
    }

    /// These flags without the bits of `unwanted`.
    #[must_use]
    pub const fn without(self, unwanted: Flags) -> Flags {
        Flags(self.0 & !unwanted.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_wants_all_bits_and_intersects_one() {
        let both = Flags::TRY0NULL | Flags::TRY1NULL;
        assert!(both.contains(Flags::TRY0NULL));
        assert!(!Flags::TRY0NULL.contains(both));
        assert!(Flags::TRY0NULL.intersects(both));
        assert_eq!(both.without(Flags::TRY1NULL), Flags::TRY0NULL);
    }
}
