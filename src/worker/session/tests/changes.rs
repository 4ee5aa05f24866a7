//! Updates, deletes and scans between them, on the writing service.

use std::sync::Mutex;

use super::*;

const LOCK: u32 = Flags::LOCK.0;
const UTF8_LOCK: u32 = Flags::LOCK.0 | Flags::UTF8_REQUEST.0;

/// A connection to the writing service.
fn writer() -> Conversation {
    let empty = |limit| Content::Changeable(Mutex::new(Vec::new()), limit);
    let busy = Failure::NotDone("another program holds its file locked".to_owned());
    let read_only = Failure::Unavailable(Cow::Borrowed("cdb:/c map requires O_RDONLY access mode"));
    let tables = FakeTables::default()
        .with(b"btree:/b", empty(None))
        .with(b"hash:/h", empty(None))
        .with(b"lmdb:/l", empty(Some(511)))
        .with(b"internal:i", empty(None))
        .with(b"static:foo", Content::Same(b"foo".to_vec()))
        .with(b"fail:x", Content::Fails(Failure::OnPurpose))
        .with(b"cdb:/c", Content::Fails(read_only))
        .with(b"environ:x", Content::Fails(Failure::Unavailable(Cow::Borrowed("not for writing"))))
        .with(b"hash:/busy", Content::Fails(busy));
    Conversation { service: Service::Write, tables, ..Conversation::new() }
}

impl Conversation {
    fn update(&mut self, table: &str, flags: u32, key: &str, value: &str) -> String {
        self.ask(&format!("request|update|table|{table}|flags|{flags}|key|{key}|value|{value}||"))
    }

    fn delete(&mut self, table: &str, flags: u32, key: &str) -> String {
        self.ask(&format!("request|delete|table|{table}|flags|{flags}|key|{key}||"))
    }

    fn lookup(&mut self, table: &str, flags: u32, key: &str) -> String {
        self.ask(&format!("request|lookup|table|{table}|flags|{flags}|key|{key}||"))
    }

    fn step(&mut self, table: &str, function: u8) -> String {
        self.ask(&format!("request|sequence|table|{table}|flags|{LOCK}|function|{function}||"))
    }

    /// The entries of a changeable table, as stored.
    fn stored(&self, table: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.tables.entries(table.as_bytes())
    }
}

/// One entry as `stored` returns it.
fn entry(key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (key.to_vec(), value.to_vec())
}

#[test]
fn update_replaces_and_delete_of_a_missing_key_reports_that() {
    for table in ["btree:/b", "hash:/h", "lmdb:/l", "internal:i"] {
        let mut writer = writer();
        assert_eq!(writer.update(table, LOCK, "a", "1"), "status|0||");
        assert_eq!(writer.update(table, LOCK, "a", "2"), "status|0||");
        assert_eq!(writer.lookup(table, LOCK, "a"), "status|0|value|2||");
        assert_eq!(writer.update(table, LOCK, "e", ""), "status|0||");
        assert_eq!(writer.lookup(table, LOCK, "e"), "status|0|value|||");
        assert_eq!(writer.delete(table, LOCK, "a"), "status|0||");
        assert_eq!(writer.delete(table, LOCK, "a"), "status|1||");
        assert_eq!(writer.lookup(table, LOCK, "a"), "status|1|value|||");
        assert!(writer.logged.is_empty());
    }
}

#[test]
fn update_stores_a_nul_byte_unless_the_client_wants_none() {
    let (try0, try1) = (LOCK | Flags::TRY0NULL.0, LOCK | Flags::TRY1NULL.0);
    let mut writer = writer();
    writer.update("btree:/b", LOCK, "both", "1");
    writer.update("btree:/b", try1, "nul", "2");
    writer.update("btree:/b", try0, "bare", "3");
    let bytes = [entry(b"bare", b"3"), entry(b"both\0", b"1\0"), entry(b"nul\0", b"2\0")];
    assert_eq!(writer.stored("btree:/b"), bytes);
    writer.update("internal:i", try1, "plain", "4");
    assert_eq!(writer.stored("internal:i"), [entry(b"plain", b"4")]);
    // What one way of storing has written, the other does not see.
    assert_eq!(writer.lookup("btree:/b", try0, "nul"), "status|1|value|||");
    assert_eq!(writer.delete("btree:/b", try1, "bare"), "status|1||");
    assert_eq!(writer.lookup("btree:/b", LOCK, "bare"), "status|0|value|3||");
}

#[test]
fn delete_takes_the_entry_with_nul_first() {
    let mut writer = writer();
    writer.update("hash:/h", LOCK | Flags::TRY0NULL.0, "k", "bare");
    writer.update("hash:/h", LOCK, "k", "nul");
    assert_eq!(writer.delete("hash:/h", LOCK, "k"), "status|0||");
    assert_eq!(writer.lookup("hash:/h", LOCK, "k"), "status|0|value|bare||");
    assert_eq!(writer.delete("hash:/h", LOCK, "k"), "status|0||");
    assert_eq!(writer.delete("hash:/h", LOCK, "k"), "status|1||");
}

#[test]
fn new_dialect_replies_show_what_was_forced_and_how_the_key_is_stored() {
    let mut writer = writer();
    let mut new = |verb: &str, flags: u32, rest: &str| {
        let head = format!("request|{verb}|table|btree:/b|instance_flags|0|flags|{flags}|");
        writer.ask(&format!("{head}{rest}||"))
    };
    // On record of 3.12: 28 with DUP_REPLACE and SYNC_UPDATE, and TRY1NULL chosen.
    assert_eq!(new("update", 28, "key|a|value|1"), "status|0|flags|408||");
    assert_eq!(new("update", 24, "key|a|value|1"), "status|0|flags|408||");
    assert_eq!(new("update", 20, "key|b|value|1"), "status|0|flags|404||");
    assert_eq!(new("update", 16, "key|c|value|1"), "status|0|flags|408||");
    assert_eq!(new("delete", 28, "key|a"), "status|0|flags|280||");
    assert_eq!(new("delete", 28, "key|b"), "status|0|flags|276||");
    assert_eq!(new("delete", 28, "key|b"), "status|1|flags|284||");
    assert_eq!(new("lookup", 28, "key|c"), "status|0|flags|24|value|1||");
    let replies = |writer: &mut Conversation, table: &str, verb: &str, rest: &str| {
        writer.ask(&format!("request|{verb}|table|{table}|instance_flags|0|flags|16|{rest}||"))
    };
    // A type without such a choice keeps the bits as they are.
    assert_eq!(replies(&mut writer, "internal:i", "update", "key|a|value|1"), "status|0|flags|400||");
    assert_eq!(replies(&mut writer, "cdb:/c", "update", "key|a|value|1"), "status|2|flags|412||");
    assert_eq!(replies(&mut writer, "static:foo", "delete", "key|a"), "status|5|flags|272||");
    assert_eq!(replies(&mut writer, "hash:/no", "update", "key|a|value|1"), "status|4|flags|0||");
}

#[test]
fn update_and_delete_fold_the_key_as_lookup_does() {
    let fold = UTF8_LOCK | Flags::FOLD_FIX.0;
    for table in ["btree:/b", "lmdb:/l", "internal:i"] {
        let mut writer = writer();
        writer.update(table, fold, "ÄPFEL", "1");
        assert_eq!(writer.lookup(table, UTF8_LOCK, "äpfel"), "status|0|value|1||");
        assert_eq!(writer.delete(table, UTF8_LOCK, "Äpfel"), "status|1||");
        assert_eq!(writer.delete(table, fold, "Äpfel"), "status|0||");
        // The value is never folded.
        writer.update(table, fold, "A", "B");
        assert_eq!(writer.lookup(table, LOCK, "a"), "status|0|value|B||");
        assert_eq!(writer.update(table, LOCK | Flags::FOLD_MUL.0, "C", "1"), "status|0||");
        assert_eq!(writer.lookup(table, LOCK, "c"), "status|1|value|||");
    }
}

#[test]
fn text_that_is_not_utf8_is_not_stored_and_the_client_gets_success() {
    let request = |verb: &str, table: &str, flags: &str, rest: &str| {
        let text = format!("request|{verb}|table|{table}|{flags}{rest}||").replace('|', "\0");
        text.bytes().map(|byte| if byte == b'%' { 0xff } else { byte }).collect::<Vec<u8>>()
    };
    let key = "non-UTF-8 key: malformed UTF-8 or invalid codepoint";
    let value = "non-UTF-8 value: malformed UTF-8 or invalid codepoint";
    for table in ["btree:/b", "static:foo", "cdb:/c"] {
        for (verb, rest, said) in
            [("update", "key|%|value|v", key), ("update", "key|k|value|%", value), ("delete", "key|%", key)]
        {
            let mut old = writer();
            let reply = old.ask_bytes(&request(verb, table, "flags|524352|", rest));
            assert_eq!(reply, "status|0||", "{table} {verb}");
            assert_eq!(old.logged, [format!("{table}: {said}")]);
            let mut new = writer();
            let flags = "instance_flags|524288|flags|524380|";
            let reply = new.ask_bytes(&request(verb, table, flags, rest));
            let forced = if verb == "update" { 524_380 + 384 } else { 524_380 + 256 };
            assert_eq!(reply, format!("status|0|flags|{forced}||"), "{table} {verb}");
            assert!(new.tables.entries(b"btree:/b").is_empty());
        }
    }
    // The client did not ask for the check.
    let mut writer = writer();
    let reply = writer.ask_bytes(&request("update", "btree:/b", "flags|64|", "key|%|value|%"));
    assert_eq!((reply.as_str(), writer.logged.len()), ("status|0||", 0));
    assert_eq!(writer.stored("btree:/b"), [entry(b"\xff\0", b"\xff\0")]);
}

#[test]
fn empty_keys_are_stored_where_the_format_has_them() {
    let bare = LOCK | Flags::TRY0NULL.0;
    for table in ["btree:/b", "lmdb:/l", "internal:i"] {
        let mut writer = writer();
        assert_eq!(writer.update(table, LOCK, "", "v"), "status|0||");
        assert_eq!(writer.lookup(table, LOCK, ""), "status|0|value|v||", "{table}");
        assert_eq!(writer.step(table, 0), "status|0|key||value|v||");
        assert_eq!(writer.delete(table, LOCK, ""), "status|0||");
        assert_eq!(writer.delete(table, LOCK, ""), "status|1||");
    }
    let mut writer = writer();
    assert_eq!(writer.update("btree:/b", bare, "", "v"), "status|0||");
    assert_eq!(writer.lookup("btree:/b", bare, ""), "status|0|value|v||");
    assert_eq!(writer.update("lmdb:/l", bare, "", "v"), "status|5||");
    let line = "table lmdb:/l: update operation failed: the format has no empty keys";
    assert_eq!(writer.logged, [line]);
    assert_eq!(writer.lookup("lmdb:/l", bare, ""), "status|1|value|||");
    assert_eq!(writer.delete("lmdb:/l", bare, ""), "status|1||");
}

#[test]
fn key_beyond_the_limit_is_a_configuration_error_with_table_length_and_limit() {
    let mut writer = writer();
    assert_eq!(writer.update("lmdb:/l", LOCK, &"k".repeat(510), "v"), "status|0||");
    assert_eq!(writer.update("lmdb:/l", LOCK, &"k".repeat(511), "v"), "status|5||");
    let line = "table lmdb:/l: update operation failed: a key of 512 bytes is longer than the 511 that can be \
                stored";
    assert_eq!(writer.logged, [line]);
    assert_eq!(writer.lookup("lmdb:/l", LOCK, &"k".repeat(511)), "status|1|value|||");
    assert_eq!(writer.delete("lmdb:/l", LOCK, &"k".repeat(511)), "status|1||");
}

#[test]
fn table_that_is_not_there_is_a_temporary_error_for_everything() {
    for (table, line) in [
        ("cdb:/c", "cdb:/c is unavailable. cdb:/c map requires O_RDONLY access mode"),
        ("environ:x", "environ:x is unavailable. not for writing"),
        ("hash:/busy", "operation failed: another program holds its file locked"),
        ("fail:x", ""),
    ] {
        let mut writer = writer();
        assert_eq!(writer.update(table, LOCK, "k", "v"), "status|2||", "{table}");
        assert_eq!(writer.delete(table, LOCK, "k"), "status|2||");
        assert_eq!(writer.lookup(table, LOCK, "k"), "status|2|value|||");
        // A scan that another process began must not be mistaken for one that has reached its end.
        assert_eq!(writer.step(table, 0), "status|2|key||value|||");
        assert_eq!(writer.step(table, 1), "status|2|key||value|||");
        let logged = writer.logged.iter().filter(|logged| !line.is_empty() && logged.contains(line)).count();
        assert_eq!(logged, if line.is_empty() { 0 } else { 5 }, "{:?}", writer.logged);
        assert!(writer.ask(&format!("request|open|table|{table}|flags|0||")).starts_with("status|0|"));
    }
}

#[test]
fn operation_that_a_type_does_not_have_is_a_configuration_error() {
    let mut writer = writer();
    assert_eq!(writer.update("static:foo", LOCK, "k", "v"), "status|5||");
    assert_eq!(writer.delete("static:foo", LOCK, "k"), "status|5||");
    assert_eq!(writer.step("static:foo", 0), "status|5|key||value|||");
    assert_eq!(writer.lookup("static:foo", LOCK, "k"), "status|0|value|foo||");
    let line = |verb: &str| format!("table static:foo: {verb} operation is not supported");
    assert_eq!(writer.logged, [line("update"), line("delete"), line("sequence")]);
}

#[test]
fn change_of_a_table_that_is_not_approved_is_denied_with_the_name_of_the_write_list() {
    let mut writer = writer();
    assert_eq!(writer.update("proxy:btree:/no", LOCK, "k", "v"), "status|4||");
    let lines = [
        "request for unapproved table: \"btree:/no\"",
        "to approve this table for read-write access, list proxy:btree:/no in main.cf:proxy_write_maps",
    ];
    assert_eq!(writer.logged, lines);
    assert_eq!(writer.delete("btree", LOCK, "k"), "status|3||");
    assert_eq!(writer.update("proxy:proxy:btree:/b", LOCK, "k", "v"), "status|0||");
}

#[test]
fn answers_that_do_not_hold_become_temporary_errors_of_the_same_shape() {
    for (request, instead) in [
        ("lookup|table|btree:/b|flags|64|key|a", Some("status|2|value|||")),
        ("lookup|table|btree:/b|instance_flags|0|flags|92|key|a", Some("status|2|flags|92|value|||")),
        ("update|table|btree:/b|flags|64|key|a|value|v", Some("status|2||")),
        ("update|table|btree:/b|instance_flags|0|flags|28|key|a|value|v", Some("status|2|flags|412||")),
        ("delete|table|btree:/b|flags|64|key|a", Some("status|2||")),
        ("delete|table|btree:/b|instance_flags|0|flags|28|key|a", Some("status|2|flags|284||")),
        ("sequence|table|btree:/b|flags|64|function|0", Some("status|2|key||value|||")),
        (
            "sequence|table|btree:/b|instance_flags|0|flags|28|function|0",
            Some("status|2|flags|28|key||value|||"),
        ),
        // These hold whatever becomes of the table.
        ("open|table|btree:/b|flags|0", None),
        ("update|table|btree:/no|flags|64|key|a|value|v", None),
        ("lookup|table|nothing|flags|64|key|a", None),
    ] {
        let mut writer = writer();
        let bytes = format!("request|{request}||").replace('|', "\0").into_bytes();
        let Progress::Request { request: parsed, .. } = Parser::new(Limits::SERVICE).parse(&bytes) else {
            panic!("{request}");
        };
        let answered = writer.answered(&parsed);
        assert_eq!(answered.table, instead.map(|_| 0), "{request}");
        if let Some(instead) = instead {
            let mut out = b"before".to_vec();
            answered.take_back(&mut out);
            assert_eq!(String::from_utf8(out).unwrap().replace('\0', "|"), format!("before{instead}"));
        }
    }
}
