//! The dictionary flags of the proxymap protocol.
//!
//! Purpose: names for the bits that Postfix clients send and that replies carry back, and the masks that separate them
//! in the dialect of Postfix 3.10 and earlier. May: compute. Never: act on a flag.
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
    /// Warn about duplicate keys while building a table.
    pub const DUP_WARN: Flags = Flags(0x1);
    /// Ignore duplicate keys while building a table.
    pub const DUP_IGNORE: Flags = Flags(0x2);
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
    /// Log each operation; retired in Postfix 3.11.
    pub const DEBUG: Flags = Flags(0x200);
    /// Leave out pattern rules that substitute text from the key.
    pub const NO_REGSUB: Flags = Flags(0x800);
    /// Open the table in the client, not through a proxy. No legitimate request has it.
    pub const NO_PROXY: Flags = Flags(0x1000);
    /// Refuse tables whose answers come from an unauthenticated peer.
    pub const NO_UNAUTH: Flags = Flags(0x2000);
    /// Fold the case of keys for tables with exact keys.
    pub const FOLD_FIX: Flags = Flags(0x4000);
    /// Fold the case of keys for tables with patterns.
    pub const FOLD_MUL: Flags = Flags(0x8000);
    /// Hold an exclusive lock for as long as the table is open.
    pub const OPEN_LOCK: Flags = Flags(0x1_0000);
    /// Write many entries in one transaction.
    pub const BULK_UPDATE: Flags = Flags(0x2_0000);
    /// The table has safe concurrent writers (lmdb, memcache).
    pub const MULTI_WRITER: Flags = Flags(0x4_0000);
    /// The client wants UTF-8 checks and Unicode case folding.
    pub const UTF8_REQUEST: Flags = Flags(0x8_0000);
    /// The server does UTF-8 checks and Unicode case folding for this table.
    pub const UTF8_ACTIVE: Flags = Flags(0x10_0000);
    /// The source text names files whose content is the value.
    pub const SRC_RHS_IS_FILE: Flags = Flags(0x20_0000);
    /// The table could not be opened and a stand-in answers; Postfix 3.12 and later.
    pub const SURROGATE: Flags = Flags(0x40_0000);

    /// The flags of tables that steer privileged actions.
    pub const PARANOID: Flags = Flags(0x3800);

    /// Old dialect: what a client takes over from an open reply. It ignores every other bit.
    pub const OLD_IMPLEMENTATION: Flags = Flags(0x4_0030);
    /// Old dialect: what may differ from one request to the next on the same table.
    pub const OLD_REQUEST: Flags = Flags(0x8_f9c3);
    /// Old dialect: what a client sends with open, and what tells instances of a table apart.
    pub const OLD_INSTANCE: Flags = Flags(!(0x4_0030 | 0x8_f9c3));

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
    fn masks_of_the_old_dialect_partition_all_bits() {
        // The decimal and hexadecimal values that the fact sheet records.
        assert_eq!(Flags::OLD_IMPLEMENTATION.0, 262_192);
        assert_eq!(Flags::OLD_REQUEST.0, 588_227);
        assert_eq!(Flags::OLD_INSTANCE.0, 0xFFF3_060C);
        assert!(!Flags::OLD_IMPLEMENTATION.intersects(Flags::OLD_REQUEST));
        let every = Flags::OLD_IMPLEMENTATION | Flags::OLD_REQUEST | Flags::OLD_INSTANCE;
        assert_eq!(every.0, u32::MAX);
    }

    #[test]
    fn masks_are_made_of_the_named_bits() {
        let implementation = Flags::FIXED | Flags::PATTERN | Flags::MULTI_WRITER;
        assert_eq!(implementation, Flags::OLD_IMPLEMENTATION);
        assert_eq!(Flags::NO_REGSUB | Flags::NO_PROXY | Flags::NO_UNAUTH, Flags::PARANOID);
        let request = Flags::DUP_WARN
            | Flags::DUP_IGNORE
            | Flags::LOCK
            | Flags::DUP_REPLACE
            | Flags::SYNC_UPDATE
            | Flags::PARANOID
            | Flags::FOLD_FIX
            | Flags::FOLD_MUL
            | Flags::UTF8_REQUEST;
        assert_eq!(request, Flags::OLD_REQUEST);
    }

    #[test]
    fn contains_wants_all_bits_and_intersects_one() {
        let both = Flags::TRY0NULL | Flags::TRY1NULL;
        assert!(both.contains(Flags::TRY0NULL));
        assert!(!Flags::TRY0NULL.contains(both));
        assert!(Flags::TRY0NULL.intersects(both));
        assert_eq!(both.without(Flags::TRY1NULL), Flags::TRY0NULL);
    }
}
