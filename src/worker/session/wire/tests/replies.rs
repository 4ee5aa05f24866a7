//! Replies against recorded traffic of Postfix 3.7.11 and 3.12. `|` is one NUL byte.

use super::*;

/// The bytes of a reply.
pub(super) fn encoded(reply: &Reply<'_>, dialect: Dialect) -> String {
    let mut out = Vec::new();
    encode_reply(reply, dialect, &mut out);
    String::from_utf8(out).unwrap().replace('\0', "|")
}

#[test]
fn announcement_is_what_clients_wait_for() {
    assert_eq!(&ANNOUNCEMENT[..], bytes("protocol|proxymap_protocol||"));
}

#[test]
fn encode_matches_recorded_replies_of_the_old_dialect() {
    let none = Flags::NONE;
    for (reply, recorded) in [
        (Reply::Open(Status::Ok, Flags(28)), "status|0|flags|28||"),
        (Reply::Open(Status::Deny, none), "status|4|flags|0||"),
        (Reply::Lookup(Status::Ok, Flags(28), b"x"), "status|0|value|x||"),
        (Reply::Lookup(Status::NoKey, none, b""), "status|1|value|||"),
        (Reply::Lookup(Status::Deny, none, b""), "status|4|value|||"),
        (Reply::Change(Status::Ok, none), "status|0||"),
        (Reply::Change(Status::NoKey, none), "status|1||"),
        (Reply::Change(Status::Deny, none), "status|4||"),
        (Reply::Sequence(Status::Ok, none, b"k2", b""), "status|0|key|k2|value|||"),
        (Reply::Sequence(Status::NoKey, none, b"", b""), "status|1|key||value|||"),
        (Reply::Unrecognized, "status|3||"),
    ] {
        assert_eq!(encoded(&reply, Dialect::Old), recorded);
    }
}

#[test]
fn encode_matches_recorded_replies_of_the_new_dialect() {
    let flags = Flags(1_589_340);
    for (reply, recorded) in [
        (Reply::Open(Status::Ok, flags), "status|0|flags|1589340||"),
        (Reply::Open(Status::Bad, Flags::NONE), "status|3|flags|0||"),
        (Reply::Lookup(Status::Ok, Flags(1_589_336), b"x"), "status|0|flags|1589336|value|x||"),
        (Reply::Lookup(Status::NoKey, flags, b""), "status|1|flags|1589340|value|||"),
        (Reply::Lookup(Status::Deny, Flags::NONE, b""), "status|4|flags|0|value|||"),
        (Reply::Change(Status::Ok, Flags(408)), "status|0|flags|408||"),
        (Reply::Sequence(Status::Ok, Flags(1), b"k", b"v"), "status|0|flags|1|key|k|value|v||"),
        (Reply::Unrecognized, "status|3||"),
    ] {
        assert_eq!(encoded(&reply, Dialect::New), recorded);
    }
}

#[test]
fn encode_values_end_at_their_first_nul() {
    let mut out = Vec::new();
    encode_reply(&Reply::Lookup(Status::Ok, Flags::NONE, b"a\0\0b"), Dialect::Old, &mut out);
    assert_eq!(out, bytes("status|0|value|a||"));
}
