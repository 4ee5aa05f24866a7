//! Lists of the entries of a table.

use super::*;

#[test]
fn sequence_visits_every_entry_then_ends() {
    let mut conversation = Conversation::new();
    let mut step = |function: u8| {
        conversation.ask(&format!("request|sequence|table|hash:/h|flags|64|function|{function}||"))
    };
    assert_eq!(step(1), "status|1|key||value|||");
    assert_eq!(step(0), "status|0|key|alice|value|x||");
    assert_eq!(step(1), "status|0|key|müller|value|u||");
    assert_eq!(step(0), "status|0|key|alice|value|x||");
    assert_eq!(step(1), "status|0|key|müller|value|u||");
    assert_eq!(step(1), "status|0|key|empty|value|||");
    assert_eq!(step(1), "status|0|key|raw|value|\u{fffd}||");
    assert_eq!(step(1), "status|1|key||value|||");
    assert_eq!(step(1), "status|1|key||value|||");
}

#[test]
fn sequence_gives_its_cursor_back_at_the_end_and_after_a_failure() {
    let mut conversation = Conversation::new();
    let first = |table: &str| format!("request|sequence|table|{table}|flags|64|function|0||");
    conversation.ask(&first("fail:x"));
    conversation.ask(&first("hash:/none"));
    conversation.ask(&first("unix:passwd.byname"));
    let open = |conversation: &mut Conversation| {
        (0..10).filter(|id| conversation.cursors.get(*id).is_some()).count()
    };
    assert_eq!(open(&mut conversation), 0);
    conversation.ask(&first("hash:/h"));
    assert_eq!(open(&mut conversation), 1);
    for _ in 0..4 {
        conversation.ask("request|sequence|table|hash:/h|flags|64|function|1||");
    }
    assert_eq!(open(&mut conversation), 0);
}

#[test]
fn sequence_of_two_tables_keeps_them_apart() {
    let mut conversation = Conversation::new();
    let mut step = |table: &str, function: u8| {
        let head = format!("request|sequence|table|{table}|instance_flags|0|flags|28|");
        conversation.ask(&format!("{head}function|{function}||"))
    };
    assert_eq!(step("hash:/h", 0), "status|0|flags|28|key|alice|value|x||");
    assert_eq!(step("lmdb:/h", 0), "status|0|flags|28|key|alice|value|x||");
    assert_eq!(step("hash:/h", 1), "status|0|flags|28|key|müller|value|u||");
    assert_eq!(step("lmdb:/h", 1), "status|0|flags|28|key|müller|value|u||");
}

#[test]
fn sequence_of_a_type_without_entries_is_a_configuration_error() {
    for function in [0, 1] {
        let asked = format!("request|sequence|table|static:foo|flags|64|function|{function}||");
        assert_eq!(ask(&asked), "status|5|key||value|||");
        assert_eq!(log_of(&asked), ["table static:foo: sequence operation is not supported"]);
    }
    let asked = "request|sequence|table|hash:/none|flags|64|function|0||";
    assert_eq!(ask(asked), "status|2|key||value|||");
}
