mod recursive;

use super::*;
use crate::Table;
use mapkeep_query::{Folding, NulMode, NulModes, Outcome, Query};

type Owned = Table<Vec<u8>>;

/// Looks `key` up with all members available, except those of an unknown type.
fn ask(name: &str, query: &Query<'_>) -> Result<Option<String>, TableError> {
    let composite = Composite::parse(name.as_bytes())?;
    let tables: Vec<_> = composite
        .leaves()
        .iter()
        .map(|leaf| {
            let (kind, rest) = (Kind::of(leaf), mapkeep_name::split(leaf).1);
            Owned::from_name(kind, rest).map_err(|_| TableError::NoMember)
        })
        .collect();
    let mut answer = b"left over".to_vec();
    let outcome =
        at_once(&composite, query, &mut answer, |number| tables[number].as_ref().map_err(|error| *error))?;
    let answer = String::from_utf8(answer).unwrap();
    assert!(outcome != Outcome::Absent || answer.is_empty());
    Ok((outcome != Outcome::Absent).then_some(answer))
}

/// Looks up with all members there, which `table` gives.
fn at_once<'t>(
    composite: &Composite,
    query: &Query<'_>,
    answer: &mut Vec<u8>,
    table: impl Fn(usize) -> Result<&'t Owned, TableError>,
) -> Result<Outcome, TableError> {
    let ask = |leaf: Leaf<'_>, answer: &mut Vec<u8>| {
        let query = Query { key: leaf.key, modes: leaf.modes, ..*query };
        table(leaf.number)?.lookup_with(&query, answer).map(Some)
    };
    let outcome = composite.go_on(&mut composite.walk(query), answer, ask)?;
    Ok(outcome.expect("no member is put off"))
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
    let query = Query { substitution: mapkeep_query::Substitution::Refused, ..Query::plain(b"abc") };
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
    // The first member decides which keys the union has; the pattern gets the key as folded by the union.
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
    // A case-sensitive pattern shows which key it gets.
    let name = "pipemap:{inline:{{m\u{fc}ller=u}},static:U}";
    assert_eq!(ask(name, &query(true)), found("U"));
    let pattern = Query { folding: Folding { fixed: false, pattern: true }, ..query(false) };
    assert_eq!(ask("unionmap:{regexp:{{/^m\u{dc}ller$/i ascii}}}", &pattern), found("ascii"));
}

#[test]
fn values_that_name_files_are_not_answers() {
    let files = |key| Query { values: mapkeep_query::Values::FileContent, ..Query::plain(key) };
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
    let mut answer = Vec::new();
    let outcome = at_once(&composite, &query(b"a", true), &mut answer, |_| Ok(&table));
    assert_eq!((outcome, answer.as_slice()), (Err(TableError::NotUtf8), &b""[..]));
    let outcome = at_once(&composite, &query(b"a", false), &mut answer, |_| Ok(&table));
    assert_eq!((outcome, answer.as_slice()), (Ok(Outcome::Found(NulMode::Bare)), &b"\xff"[..]));
    assert_eq!(ask("unionmap:{static:x}", &query(b"\xff", true)), Ok(None));
}

#[test]
fn leaf_asked_only_when_reached_and_again_after_it_was_put_off() {
    let composite = Composite::parse(b"pipemap:{inline:{a=b},static:x}").unwrap();
    let table = Owned::from_name(Kind::Inline, b"{a=b}").unwrap();
    let mut asked = Vec::new();
    let mut answer = Vec::new();
    let mut walk = composite.walk(&Query::plain(b"a"));
    assert!(walk.leaf().is_none(), "not begun");
    for puts_off in [true, true, false] {
        let outcome = composite.go_on(&mut walk, &mut answer, |leaf, answer| {
            asked.push((leaf.number, leaf.key.to_vec()));
            match (puts_off, leaf.number) {
                (true, _) => Ok(None),
                (false, 0) => {
                    table.lookup_with(&Query { key: leaf.key, ..Query::plain(b"") }, answer).map(Some)
                }
                (false, _) => Err(TableError::NoMember),
            }
        });
        assert_eq!(outcome, if puts_off { Ok(None) } else { Err(TableError::NoMember) });
        assert_eq!(answer, b"");
        assert_eq!(walk.held(), 1);
    }
    let expected = [(0, b"a"), (0, b"a"), (0, b"a"), (1, b"b")].map(|(leaf, key)| (leaf, key.to_vec()));
    assert_eq!(asked, expected);
    let outcome = at_once(&composite, &Query::plain(b"z"), &mut answer, |number| match number {
        0 => Ok(&table),
        _ => Err(TableError::NoMember),
    });
    assert_eq!(outcome, Ok(Outcome::Absent));
}

#[test]
fn answers_that_are_too_long_together_are_an_error() {
    let composite = Composite::parse(b"unionmap:{static:a static:b}").unwrap();
    let most = mapkeep_query::MAX_ITEM;
    for (second, expected) in
        [(most / 2 - 1, Ok(Some(Outcome::Found(NulMode::Bare)))), (most / 2, Err(TableError::ItemTooLong))]
    {
        let (mut answer, mut walk) = (Vec::new(), composite.walk(&Query::plain(b"k")));
        let outcome = composite.go_on(&mut walk, &mut answer, |leaf, answer| {
            answer.resize(if leaf.number == 0 { most / 2 } else { second }, b'x');
            Ok::<_, TableError>(Some(Outcome::Found(NulMode::Bare)))
        });
        assert_eq!(outcome, expected);
    }
}

#[test]
fn members_leaves_of_the_whole_tree() {
    let name = b"unionmap:{proxy:hash:/a pipemap:{inline:{a=b c=d}, debug:proxy:cdb:/b} hash:/a}";
    let expected = ["hash:/a", "inline:{a=b c=d}", "cdb:/b", "hash:/a"].map(|leaf| leaf.as_bytes().to_vec());
    assert_eq!(Composite::parse(name).unwrap().leaves(), expected);
    assert_eq!(mapkeep_name::leaves(name).unwrap(), expected);
    assert!(matches!(Composite::parse(b"unionmap:{pipemap:{}}"), Err(TableError::BadName(_))));
    assert!(matches!(Composite::parse(b"hash:/a"), Err(TableError::WrongKind)));
}

#[test]
fn parse_nesting_bounded() {
    let nested = |levels: usize| [b"debug:".repeat(levels), b"static:x".to_vec()].concat();
    assert!(Composite::parse(&nested(MAX_NESTING)).is_ok());
    assert!(matches!(Composite::parse(&nested(MAX_NESTING + 1)), Err(TableError::BadName(_))));
    assert!(matches!(Composite::parse(&nested(1_000_000)), Err(TableError::BadName(_))));
}
