//! Tables that a server answers for.

use super::*;

const TABLES: [&str; 2] = ["socketmap:unix:/s:m", "tcp:localhost:1"];

fn served() -> Conversation {
    let mut conversation = Conversation::new();
    for name in TABLES {
        conversation.tables = conversation.tables.with(name.as_bytes(), Content::Same(b"value".to_vec()));
    }
    conversation
}

#[test]
fn client_that_wants_no_unauthenticated_data_gets_temporary_errors() {
    let mut conversation = served();
    for table in TABLES {
        // NO_UNAUTH, which is one bit of PARANOID, in either word.
        for form in ["flags|8192", "instance_flags|8192|flags|64", "instance_flags|0|flags|8256"] {
            let lookup = conversation.ask(&format!("request|lookup|table|{table}|{form}|key|k||"));
            assert!(lookup.starts_with("status|2|") && lookup.ends_with("value|||"), "{lookup}");
            let line = conversation.logged.pop().unwrap();
            assert!(line.contains("not allowed for security-sensitive data"), "{line}");
            let sequence = conversation.ask(&format!("request|sequence|table|{table}|{form}|function|0||"));
            assert!(sequence.starts_with("status|2|"), "{sequence}");
            // The same as for any other table: a client learns of it by its lookups.
            let open = conversation.ask(&format!("request|open|table|{table}|flags|8192||"));
            assert_eq!(open, "status|0|flags|8224||");
        }
        for flags in [0x800, 0x1000, 0x1800] {
            let reply = conversation.ask(&format!("request|lookup|table|{table}|flags|{flags}|key|k||"));
            assert_eq!(reply, "status|0|value|value||", "the other bits of PARANOID say nothing here");
        }
    }
}

#[test]
fn refusal_comes_after_the_check_of_the_key() {
    let mut conversation = served();
    let flags = 0x8_2000;
    let request =
        [format!("request\0lookup\0table\0{}\0flags\0{flags}\0key\0", TABLES[0]).as_bytes(), b"\xff\0\0"]
            .concat();
    assert_eq!(conversation.ask_bytes(&request), "status|1|value|||");
}

#[test]
fn empty_key_is_asked_as_any_other() {
    let mut conversation = served();
    for table in TABLES {
        let reply = conversation.ask(&format!("request|lookup|table|{table}|flags|64|key|||"));
        assert_eq!(reply, "status|0|value|value||");
    }
}

#[test]
fn list_of_such_a_table_is_a_configuration_error() {
    let reply = served().ask(&format!("request|sequence|table|{}|flags|64|function|0||", TABLES[0]));
    assert_eq!(reply, "status|5|key||value|||");
}
