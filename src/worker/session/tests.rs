//! Answers over fake tables, in both dialects. The notation `|` is one NUL byte.

mod changes;
mod later;
mod opens;
mod random;
mod remote;
mod sequences;

use std::borrow::Cow;

use mapkeep_query::TableError;

use super::fake::{Content, FakeTables};
use super::*;
use crate::flags::Flags;
use crate::wire::{Dialect, Limits, Parser, Progress};

const UTF8: Settings = Settings { smtputf8_enable: true };
const ASCII: Settings = Settings { smtputf8_enable: false };

fn tables() -> FakeTables {
    let entries: &[(&[u8], &[u8])] =
        &[(b"alice", b"x"), (b"m\xc3\xbcller", b"u"), (b"empty", b""), (b"raw", b"\xff")];
    FakeTables::default()
        .with_entries(b"hash:/h", true, entries)
        .with_entries(b"cdb:/h", false, entries)
        .with_entries(b"lmdb:/h", true, entries)
        .with_entries(b"texthash:/h", false, entries)
        .with_entries(b"unix:passwd.byname", false, &[(b"root", b"root:x:::::")])
        .with(b"static:foo", Content::Same(b"foo".to_vec()))
        .with(b"fail:x", Content::Fails(Failure::OnPurpose))
        .with(b"hash:/none", Content::Fails(Failure::Unavailable(Cow::Borrowed("no file yet"))))
        .with(b"btree:/torn", Content::Fails(Failure::Content(TORN)))
        .with(b"regexp:/r", Content::Fails(Failure::Unavailable(Cow::Borrowed("not supported"))))
}

const TORN: TableError = TableError::Damaged("the pages form a loop");

/// One connection to fake tables.
struct Conversation {
    service: Service,
    settings: Settings,
    tables: FakeTables,
    cursors: Cursors<usize, usize>,
    logged: Vec<String>,
}

impl Conversation {
    fn new() -> Conversation {
        let (service, settings) = (Service::Read, UTF8);
        Conversation { service, settings, tables: tables(), cursors: Cursors::default(), logged: Vec::new() }
    }

    fn ask_request(&mut self, request: &Request<'_>) -> Vec<u8> {
        self.answer(request).0
    }

    fn answered(&mut self, request: &Request<'_>) -> Answered<usize> {
        self.answer(request).1
    }

    fn answer(&mut self, request: &Request<'_>) -> (Vec<u8>, Answered<usize>) {
        let mut out = Vec::new();
        let logged = &mut self.logged;
        let mut log = |event: Event<'_>| logged.push(event.to_string());
        let cursors = &mut self.cursors;
        let tables = &self.tables;
        match answer(request, self.service, tables, &self.settings, cursors, &mut out, &mut log) {
            Answer::Ready(answered) => (out, answered),
            Answer::Pending(pending) => {
                assert!(out.is_empty(), "no part of the reply is there before the answer");
                later::resumed(tables, pending, out, &mut log)
            }
        }
    }

    fn ask(&mut self, text: &str) -> String {
        self.ask_bytes(&text.bytes().map(|byte| if byte == b'|' { 0 } else { byte }).collect::<Vec<u8>>())
    }

    fn ask_bytes(&mut self, bytes: &[u8]) -> String {
        match Parser::new(Limits::SERVICE).parse(bytes) {
            Progress::Request { request, .. } => {
                let reply = self.ask_request(&request);
                String::from_utf8_lossy(&reply).replace('\0', "|")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The reply to one request on a fresh connection.
fn ask(text: &str) -> String {
    Conversation::new().ask(text)
}

/// The log lines of one request on a fresh connection.
fn log_of(text: &str) -> Vec<String> {
    let mut conversation = Conversation::new();
    conversation.ask(text);
    conversation.logged
}

/// The flags in reply to open, which must be OK.
fn opened(table: &str, flags: u32, settings: Settings, dialect: Dialect) -> u32 {
    let attribute = if dialect == Dialect::Old { "flags" } else { "instance_flags" };
    let mut conversation = Conversation { settings, ..Conversation::new() };
    let reply = conversation.ask(&format!("request|open|table|{table}|{attribute}|{flags}||"));
    let flags = reply.strip_prefix("status|0|flags|").and_then(|rest| rest.strip_suffix("||"));
    flags.unwrap_or_else(|| panic!("{table}: {reply}")).parse().unwrap()
}

#[test]
fn lookup_answers_found_and_not_found_in_both_dialects() {
    for (request, reply) in [
        ("flags|524353|key|alice||", "status|0|value|x||"),
        ("flags|524353|key|nobody||", "status|1|value|||"),
        ("flags|524353|key|empty||", "status|0|value|||"),
        ("instance_flags|540736|flags|1589340|key|ALICE||", "status|0|flags|1589336|value|x||"),
        ("instance_flags|540736|flags|1589340|key|nobody||", "status|1|flags|1589340|value|||"),
    ] {
        assert_eq!(ask(&format!("request|lookup|table|hash:/h|{request}")), reply, "{request}");
    }
}

#[test]
fn lookup_hit_narrows_the_nul_modes_to_the_one_that_matched() {
    let new = |table: &str, flags: u32| {
        ask(&format!("request|lookup|table|{table}|instance_flags|0|flags|{flags}|key|alice||"))
    };
    assert_eq!(new("hash:/h", 28), "status|0|flags|24|value|x||");
    assert_eq!(new("hash:/h", 24), "status|0|flags|24|value|x||");
    assert_eq!(new("hash:/h", 20), "status|1|flags|20|value|||");
    assert_eq!(new("cdb:/h", 28), "status|0|flags|20|value|x||");
    assert_eq!(new("static:foo", 28), "status|0|flags|28|value|foo||");
    // Stock 3.12 panics when both are missing.
    assert_eq!(new("hash:/h", 16), "status|0|flags|24|value|x||");
    assert_eq!(new("cdb:/h", 0), "status|0|flags|20|value|x||");
}

#[test]
fn lookup_reply_always_has_the_class_so_that_clients_try_partial_keys() {
    let reply = ask("request|lookup|table|texthash:/h|instance_flags|64|flags|0|key|zzz||");
    assert_eq!(reply, "status|1|flags|16|value|||");
    let reply = ask("request|lookup|table|regexp:/r|instance_flags|64|flags|0|key|zzz||");
    assert_eq!(reply, "status|2|flags|32|value|||");
}

#[test]
fn lookup_folds_by_the_flag_that_fits_the_class() {
    let lookup = |table: &str, flags: Flags, key: &str| {
        ask(&format!("request|lookup|table|{table}|flags|{}|key|{key}||", flags.0))
    };
    let (found, absent) = ("status|0|value|x||", "status|1|value|||");
    assert_eq!(lookup("hash:/h", Flags::FOLD_FIX, "ALICE"), found);
    assert_eq!(lookup("hash:/h", Flags::NONE, "ALICE"), absent);
    assert_eq!(lookup("hash:/h", Flags::FOLD_MUL, "ALICE"), absent);
    assert_eq!(lookup("texthash:/h", Flags::FOLD_FIX, "Alice"), found);
}

#[test]
fn lookup_folds_beyond_ascii_only_with_the_utf8_layer() {
    let lookup = |flags: Flags, settings: Settings| {
        let mut conversation = Conversation { settings, ..Conversation::new() };
        conversation.ask(&format!("request|lookup|table|hash:/h|flags|{}|key|MÜLLER||", flags.0))
    };
    let both = Flags::FOLD_FIX | Flags::UTF8_REQUEST;
    assert_eq!(lookup(both, UTF8), "status|0|value|u||");
    assert_eq!(lookup(both, ASCII), "status|1|value|||");
    assert_eq!(lookup(Flags::FOLD_FIX, UTF8), "status|1|value|||");
}

#[test]
fn lookup_key_that_is_not_utf8_is_absent_with_a_warning() {
    let request = |attributes: &str| {
        let text = format!("request|lookup|table|hash:/h|{attributes}key|K||").replace('|', "\0");
        text.bytes().map(|byte| if byte == b'K' { 0xff } else { byte }).collect::<Vec<u8>>()
    };
    let warning = "hash:/h: non-UTF-8 key: malformed UTF-8 or invalid codepoint";
    let mut conversation = Conversation::new();
    assert_eq!(conversation.ask_bytes(&request("flags|524352|")), "status|1|value|||");
    assert_eq!(conversation.logged, [warning]);
    // A new client that saw UTF8_ACTIVE relies on the check, whatever is in main.cf now.
    let mut conversation = Conversation { settings: ASCII, ..Conversation::new() };
    let reply = conversation.ask_bytes(&request("instance_flags|524288|flags|1572892|"));
    assert_eq!(reply, "status|1|flags|1572892|value|||");
    assert_eq!(conversation.logged, [warning]);
    // The client did not ask for the check.
    let mut conversation = Conversation::new();
    assert_eq!(conversation.ask_bytes(&request("flags|64|")), "status|1|value|||");
    assert!(conversation.logged.is_empty());
}

#[test]
fn key_that_is_not_utf8_is_absent_in_tables_that_cannot_be_had() {
    let conversation = || {
        let away = || Content::Fails(Failure::Unavailable(Cow::Borrowed("away")));
        let tables = tables().with(b"mysql:/m", away()).with(b"nosuch:/m", away());
        Conversation { tables, ..Conversation::new() }
    };
    let request = |table: &[u8]| {
        [&b"request\0lookup\0table\0"[..], table, b"\0flags\x00524352\0key\0\xff\0\0"].concat()
    };
    for table in [&b"mysql:/m"[..], b"hash:/none", b"fail:x"] {
        assert_eq!(conversation().ask_bytes(&request(table)), "status|1|value|||");
    }
    // Stock knows no such type, and so checks nothing around it.
    assert_eq!(conversation().ask_bytes(&request(b"nosuch:/m")), "status|2|value|||");
    let opened = conversation().ask("request|open|table|mysql:/m|flags|524288||");
    assert_eq!(opened, format!("status|0|flags|{}||", 524_288 | Flags::UTF8_ACTIVE.0 | Flags::PATTERN.0));
}

#[test]
fn values_that_name_files_are_temporary_errors() {
    let mut conversation = Conversation::new();
    conversation.tables = tables().with_entries(b"inline:{a=/f}", false, &[(b"a", b"/f")]);
    // Listed, since the value of an entry would be mistaken for the contents of a file.
    let list = |table, flags| format!("request|sequence|table|{table}|flags|{flags}|function|0||");
    for table in ["inline:{a=/f}", "texthash:/h"] {
        assert_eq!(conversation.ask(&list(table, 2_097_216)), "status|2|key||value|||", "{table}");
        assert!(
            conversation.logged.iter().any(|line| line.contains("postmap -F")),
            "{:?}",
            conversation.logged
        );
        assert!(conversation.ask(&list(table, 64)).starts_with("status|0|"), "{table}");
    }
    // An indexed file has the contents.
    assert!(conversation.ask(&list("hash:/h", 2_097_216)).starts_with("status|0|"));
}

#[test]
fn lookup_value_that_is_not_utf8_is_a_configuration_error() {
    let mut conversation = Conversation::new();
    let reply = conversation.ask("request|lookup|table|hash:/h|flags|524352|key|raw||");
    assert_eq!(reply, "status|5|value|||");
    assert_eq!(conversation.logged, ["hash:/h: non-UTF-8 value: malformed UTF-8 or invalid codepoint"]);
    let reply = ask("request|lookup|table|hash:/h|flags|64|key|raw||");
    assert_eq!(reply, "status|0|value|\u{fffd}||");
    // That it was found shows how the keys are stored, as in stock 3.11.6.
    let request = "request|lookup|table|hash:/h|instance_flags|524352|flags|1572956|key|raw||";
    assert_eq!(ask(request), "status|5|flags|1572952|value|||");
}

#[test]
fn lookup_empty_key_is_absent_except_where_the_key_does_not_matter() {
    for (table, reply) in [
        ("static:foo", "status|0|value|foo||"),
        ("hash:/h", "status|1|value|||"),
        ("lmdb:/h", "status|1|value|||"),
        ("unix:passwd.byname", "status|1|value|||"),
        ("fail:x", "status|2|value|||"),
        ("hash:/none", "status|2|value|||"),
    ] {
        let asked = format!("request|lookup|table|{table}|flags|64|key|||");
        assert_eq!(ask(&asked), reply, "{table}");
    }
    let tables = FakeTables::default().with_entries(b"hash:/h", true, &[(b"", b"nothing")]);
    let mut conversation = Conversation { tables, ..Conversation::new() };
    assert_eq!(conversation.ask("request|lookup|table|hash:/h|flags|64|key|||"), "status|1|value|||");
}

#[test]
fn lookup_without_an_answer_is_temporary_and_logged_in_stocks_words() {
    for (table, line) in [
        ("hash:/none", Some("hash:/none is unavailable. no file yet")),
        ("btree:/torn", Some("btree:/torn: damaged table: the pages form a loop")),
        ("fail:x", None),
    ] {
        let asked = format!("request|lookup|table|{table}|flags|64|key|k||");
        assert_eq!(ask(&asked), "status|2|value|||", "{table}");
        assert_eq!(log_of(&asked), line.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn failure_statuses_never_kill_clients() {
    assert_eq!(Failure::Unavailable(Cow::Borrowed("why")).status(), Status::Retry);
    assert_eq!(Failure::from(TORN).status(), Status::Retry);
    assert_eq!(Failure::from(TableError::ItemTooLong).status(), Status::Retry);
    assert_eq!(Failure::from(TableError::AlwaysFails), Failure::OnPurpose);
    assert_eq!(Failure::OnPurpose.status(), Status::Retry);
    assert_eq!(Failure::from(TableError::NoSequence).status(), Status::Config);
    assert_eq!(Failure::ValueNotUtf8.status(), Status::Config);
    assert_eq!(Failure::Permanent("no such map".to_owned()).status(), Status::Config);
}

#[test]
fn failure_sent_to_another_process_has_the_same_status_and_log_line_there() {
    for failure in [
        Failure::Unavailable(Cow::Borrowed("its file does not exist")),
        Failure::Content(TableError::OutOfTime { line: 7 }),
        Failure::Content(TableError::ValueNamesFiles),
        Failure::OnPurpose,
        Failure::Permanent("no such map".to_owned()),
        Failure::Unsupported,
        Failure::ValueNotUtf8,
    ] {
        let (why, reason) = failure.report();
        let there = Failure::reported(why, &reason);
        let line = |failure| Event::Failed { table: b"regexp:/r", verb: Verb::Lookup, failure }.to_string();
        assert_eq!((there.status(), line(&there)), (failure.status(), line(&failure)));
    }
}

#[test]
fn approval_strips_proxy_prefixes_and_compares_exactly() {
    let status = |table: &str| ask(&format!("request|lookup|table|{table}|flags|64|key|alice||"));
    assert_eq!(status("proxy:hash:/h"), "status|0|value|x||");
    assert_eq!(status("proxy:proxy:hash:/h"), "status|0|value|x||");
    for denied in ["hash:/h ", "HASH:/h", "hash:/h/", "hash:/", ":x", "proxy:proxy::", "proxyhash:/h"] {
        assert_eq!(status(denied), "status|4|value|||", "{denied}");
    }
    for bad in ["", "proxy:", "proxy:hash", "hash"] {
        assert_eq!(status(bad), "status|3|value|||", "{bad}");
    }
}

#[test]
fn unapproved_table_is_denied_with_stocks_two_lines() {
    let asked = "request|open|table|proxy:hash:/tmp/\u{1}x|flags|0||";
    assert_eq!(ask(asked), "status|4|flags|0||");
    let lines = [
        "request for unapproved table: \"hash:/tmp/?x\"",
        "to approve this table for read-only access, list proxy:hash:/tmp/?x in main.cf:proxy_read_maps",
    ];
    assert_eq!(log_of(asked), lines);
    let mut writer = Conversation { service: Service::Write, ..Conversation::new() };
    let reply = writer.ask("request|lookup|table|hash:/w|instance_flags|0|flags|0|key|k||");
    assert_eq!(reply, "status|4|flags|0|value|||");
    let line = "to approve this table for read-write access, list proxy:hash:/w in main.cf:proxy_write_maps";
    assert_eq!(writer.logged[1], line);
}

#[test]
fn change_on_the_read_service_is_denied_before_approval() {
    let asked = "request|update|table|proxy:hash:/no|flags|64|key|k|value|v||";
    assert_eq!(ask(asked), "status|4||");
    assert_eq!(log_of(asked), ["refusing proxy:hash:/no update request on non-proxywrite service"]);
    let asked = "request|delete|table|hash|instance_flags|64|flags|64|key|k||";
    assert_eq!(ask(asked), "status|4|flags|0||");
    assert_eq!(log_of(asked), ["refusing hash delete request on non-proxywrite service"]);
}

#[test]
fn change_on_the_write_service_without_a_writer_is_a_configuration_error() {
    let mut writer = Conversation { service: Service::Write, ..Conversation::new() };
    let reply = writer.ask("request|delete|table|static:foo|flags|64|key|k||");
    assert_eq!(reply, "status|5||");
    assert_eq!(writer.logged, ["table static:foo: delete operation is not supported"]);
}
