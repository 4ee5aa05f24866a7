use std::cell::RefCell;

use super::*;
use mapkeep_query::Folding;

type Owned = Table<Vec<u8>>;

/// Looks `key` up with all members available, except those of an unknown type.
fn ask(name: &str, query: &Query<'_>) -> Result<Option<String>, TableError> {
    let composite = Composite::parse(name.as_bytes())?;
    let tables: Vec<_> = composite
        .leaves()
        .iter()
        .map(|leaf| {
            let (kind, rest) = (Kind::of(leaf), mapkeep_proto::split(leaf).1);
            Owned::from_name(kind, rest).map_err(|_| TableError::NoMember)
        })
        .collect();
    let resolve = |number: usize| tables[number].as_ref().map_err(|error| *error);
    let mut answer = b"left over".to_vec();
    let outcome = composite.lookup_with(query, &resolve, &mut answer)?;
    let answer = String::from_utf8(answer).unwrap();
    assert!(outcome != Outcome::Absent || answer.is_empty());
    Ok((outcome != Outcome::Absent).then_some(answer))
}

fn get(name: &str, key: &str) -> Result<Option<String>, TableError> {
    ask(name, &Query::plain(key.as_bytes()))
}

fn found(text: &str) -> Result<Option<String>, TableError> {
    Ok(Some(text.to_owned()))
}

#[test]
fn union_answers_joined_as_stock() {
    assert_eq!(get("unionmap:{inline:{a=1},inline:{b=2},static:{x y}}", "a"), found("1,x y"));
    assert_eq!(get("unionmap:{inline:{a=},inline:{a=1},inline:{a=}}", "a"), found("1,"));
    assert_eq!(get("unionmap:{inline:{a=},inline:{b=1}}", "a"), Ok(None));
    assert_eq!(get("unionmap:{inline:{a=},inline:{b=1}}", "c"), Ok(None));
    assert_eq!(get("unionmap:{static:y,fail:x}", "a"), Err(TableError::AlwaysFails));
    assert_eq!(get("unionmap:{static:y,nosuch:x}", "a"), Err(TableError::NoMember));
    assert_eq!(get("unionmap:{pipemap:{inline:{a=b},inline:{b=c}} debug:static:q}", "a"), found("c,q"));
}

#[test]
fn pipe_answer_is_the_next_key() {
    assert_eq!(get("pipemap:{inline:{a=b},inline:{b=c}}", "a"), found("c"));
    assert_eq!(get("pipemap:{inline:{a=b},inline:{b=c}}", "b"), Ok(None));
    assert_eq!(get("pipemap:{inline:{a=},static:x}", "a"), found("x"));
    assert_eq!(get("pipemap:{static:x,inline:{x=}}", "a"), found(""));
    assert_eq!(get("pipemap:{inline:{a=b},fail:x}", "z"), Ok(None));
    assert_eq!(get("pipemap:{inline:{a=b},fail:x}", "a"), Err(TableError::AlwaysFails));
    assert_eq!(get("debug:proxy:pipemap:{regexp:{{/^(.)/ $1$1}}}", "abc"), found("aa"));
}

#[test]
fn substitution_refused_reaches_members() {
    let query = Query { substitution: crate::Substitution::Refused, ..Query::plain(b"abc") };
    assert_eq!(ask("pipemap:{regexp:{{/(b)/ $1}{/./ x}}}", &query).ok(), None);
    assert_eq!(ask("pipemap:{regexp:{{/(b)/ $1} {/./ x}}}", &query), found("x"));
}

#[test]
fn folding_each_member_by_its_class() {
    let name = "pipemap:{static:AB,regexp:{{/AB/i found}}}";
    assert_eq!(get(name, "x"), found("found"));
    let query = Query { folding: Folding { fixed: true, pattern: true }, ..Query::plain(b"x") };
    assert_eq!(ask(name, &query), Ok(None));
    let query = Query { folding: Folding { fixed: true, pattern: false }, ..Query::plain(b"x") };
    assert_eq!(ask(name, &query), found("found"));
}

#[test]
fn folding_answer_of_one_member_is_folded_for_the_next() {
    let folding = Folding { fixed: true, pattern: false };
    let name = "pipemap:{inline:{key=Alice},inline:{alice=x}}";
    assert_eq!(ask(name, &Query { folding, ..Query::plain(b"KEY") }), found("x"));
    assert_eq!(get(name, "KEY"), Ok(None));
}

#[test]
fn folding_composite_itself_folds_with_utf8_only() {
    let query =
        |utf8| Query { folding: Folding { fixed: true, pattern: false }, utf8, ..Query::plain(b"ALICE") };
    // The first member says which keys the union has; the pattern gets what the union has made of the key.
    let union = "unionmap:{inline:{alice=x},regexp:{{/ALICE/i capitals}}}";
    assert_eq!(ask(union, &query(false)), found("x,capitals"));
    assert_eq!(ask(union, &query(true)), found("x"));
    let nested = "pipemap:{static:ALICE,unionmap:{inline:{alice=x},regexp:{{/ALICE/i capitals}}}}";
    assert_eq!(ask(nested, &query(false)), found("x,capitals"));
    assert_eq!(ask(nested, &query(true)), found("x"));
}

#[test]
fn folding_without_utf8_folds_ascii_only() {
    let query = |utf8| {
        let folding = Folding { fixed: true, pattern: false };
        Query { folding, utf8, ..Query::plain("M\u{dc}LLER".as_bytes()) }
    };
    // A pattern that tells cases apart shows what it is asked for.
    let name = "pipemap:{inline:{{m\u{fc}ller=u}},static:U}";
    assert_eq!(ask(name, &query(true)), found("U"));
    let pattern = Query { folding: Folding { fixed: false, pattern: true }, ..query(false) };
    assert_eq!(ask("unionmap:{regexp:{{/^m\u{dc}ller$/i ascii}}}", &pattern), found("ascii"));
}

#[test]
fn values_that_name_files_are_no_answers() {
    let files = |key| Query { values: crate::Values::FileContent, ..Query::plain(key) };
    for table in ["static:/f", "inline:{a=/f}", "regexp:{{/a/ /f}}", "cidr:{{1.1.1.1 /f}}", "randmap:{/f}"] {
        let key = if table.starts_with("cidr") { &b"1.1.1.1"[..] } else { b"a" };
        for name in [format!("unionmap:{{internal:x {table}}}"), format!("pipemap:{{{table} static:x}}")] {
            assert_eq!(ask(&name, &files(key)), Err(TableError::ValueNamesFiles), "{name}");
        }
    }
    assert_eq!(
        ask("pipemap:{inline:{a=/f} static:x}", &files(b"b")),
        Ok(None),
        "what is not there names no file"
    );
}

#[test]
fn utf8_keys_and_answers_of_members_checked() {
    let query = |key, utf8| Query { utf8, ..Query::plain(key) };
    let table = Owned::from_name(Kind::Static, b"\xff").unwrap();
    let composite = Composite::parse(b"unionmap:{static:x}").unwrap();
    let (resolve, mut answer) = (|_| Ok(&table), Vec::new());
    let outcome = composite.lookup_with(&query(b"a", true), &resolve, &mut answer);
    assert_eq!((outcome, answer.as_slice()), (Err(TableError::NotUtf8), &b""[..]));
    let outcome = composite.lookup_with(&query(b"a", false), &resolve, &mut answer);
    assert_eq!((outcome, answer.as_slice()), (Ok(Outcome::Found(NulMode::Bare)), &b"\xff"[..]));
    assert_eq!(ask("unionmap:{static:x}", &query(b"\xff", true)), Ok(None));
}

#[test]
fn resolve_called_only_for_members_that_are_reached() {
    let composite = Composite::parse(b"pipemap:{inline:{a=b},static:x}").unwrap();
    let table = Owned::from_name(Kind::Inline, b"{a=b}").unwrap();
    let asked = RefCell::new(Vec::new());
    let resolve = |number| {
        asked.borrow_mut().push(number);
        if number == 0 { Ok(&table) } else { Err(TableError::NoMember) }
    };
    assert_eq!(composite.lookup_with(&Query::plain(b"z"), &resolve, &mut vec![]), Ok(Outcome::Absent));
    assert_eq!(*asked.borrow(), [0]);
    let outcome = composite.lookup_with(&Query::plain(b"a"), &resolve, &mut vec![]);
    assert_eq!(outcome, Err(TableError::NoMember));
    let query = Query { time_left: &|| std::time::Duration::ZERO, ..Query::plain(b"a") };
    let outcome = composite.lookup_with(&query, &resolve, &mut vec![]);
    assert_eq!(outcome, Err(TableError::OutOfTime { line: 0 }));
}

#[test]
fn parse_nesting_bounded() {
    assert!(matches!(Composite::parse(b"hash:/a"), Err(TableError::WrongKind)));
    let nested = |levels: usize| [b"debug:".repeat(levels), b"static:x".to_vec()].concat();
    assert!(Composite::parse(&nested(MAX_NESTING)).is_ok());
    assert!(matches!(Composite::parse(&nested(MAX_NESTING + 1)), Err(TableError::BadName(_))));
    assert!(matches!(Composite::parse(&nested(1_000_000)), Err(TableError::BadName(_))));
}
