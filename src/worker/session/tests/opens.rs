//! The flags of the reply to open.

use super::*;

#[test]
fn open_flags_are_those_of_stock() {
    for (table, requested, reply) in [
        ("hash:/h", 0, 28),
        ("hash:/h", 540_736, 1_589_340),
        ("hash:/h", 65_536, 65_564),
        ("hash:/h", 4, 20),
        ("hash:/h", 8, 24),
        ("cdb:/h", 64, 92),
        ("lmdb:/h", 0, 262_172),
        ("lmdb:/h", 65_536, 262_236),
        ("lmdb:/h", 540_736, 1_851_484),
        ("texthash:/h", 0, 16),
        ("static:foo", 540_736, 1_589_328),
        ("unix:passwd.byname", 0, 16),
        ("fail:x", 540_736, 1_589_344),
        ("regexp:/r", 540_736, 1_589_344),
    ] {
        assert_eq!(opened(table, requested, UTF8, Dialect::Old), reply, "{table} {requested}");
        assert_eq!(opened(table, requested, UTF8, Dialect::New), reply, "{table} {requested}");
    }
}

#[test]
fn open_without_smtputf8_leaves_utf8_active_clear() {
    assert_eq!(opened("hash:/h", 540_736, ASCII, Dialect::New), 540_736 | 28);
}

#[test]
fn open_unavailable_table_keeps_the_class_of_its_type() {
    // Stock returns PATTERN here, after which clients never ask for partial keys again.
    assert_eq!(opened("hash:/none", 0, UTF8, Dialect::Old), 28);
    assert_eq!(opened("btree:/torn", 540_736, UTF8, Dialect::New), 1_589_340);
}

#[test]
fn open_reply_of_the_new_dialect_contains_every_requested_bit() {
    for table in ["hash:/h", "lmdb:/h", "static:foo", "fail:x", "regexp:/r", "hash:/none"] {
        for bit in 0..32 {
            let requested = 1_u32 << bit;
            let reply = opened(table, requested, UTF8, Dialect::New);
            if requested == Flags::OPEN_LOCK.0 && table.starts_with("lmdb") {
                assert_eq!(reply & (Flags::OPEN_LOCK | Flags::LOCK).0, Flags::LOCK.0);
            } else {
                assert_eq!(reply & requested, requested, "{table} bit {bit}");
            }
        }
    }
}

#[test]
fn open_never_replies_open_lock_with_lock() {
    let both = (Flags::OPEN_LOCK | Flags::LOCK).0;
    for table in ["hash:/h", "lmdb:/h", "static:foo", "fail:x", "hash:/none"] {
        for requested in [both, u32::MAX, Flags::OPEN_LOCK.0] {
            for dialect in [Dialect::Old, Dialect::New] {
                assert_ne!(opened(table, requested, UTF8, dialect) & both, both, "{table} {requested}");
            }
        }
    }
}
