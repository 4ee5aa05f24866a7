use super::*;
use crate::expand::Templates;
use Dialect::{Mysql, Pgsql, Sqlite};

/// The template with `{...}` for each parameter and `<...>` for each escaped value.
fn shape(text: &str, dialect: Dialect) -> String {
    let template = SqlTemplate::compile(text.as_bytes(), dialect).unwrap();
    let letter = |variable: &Variable| match variable {
        Variable::Key => "s".to_owned(),
        Variable::KeyUser => "u".to_owned(),
        Variable::KeyDomain => "d".to_owned(),
        Variable::KeyLabel(number) => number.to_string(),
        other => panic!("{other:?} in a query"),
    };
    let text = |text: &Vec<u8>| String::from_utf8(text.clone()).unwrap();
    let piece = |piece: &Piece| match piece {
        Piece::Text(bytes) => text(bytes),
        Piece::Variable(variable) => format!("%{}", letter(variable)),
    };
    let part = |part: &SqlPart| match part {
        SqlPart::Text(bytes) => text(bytes),
        SqlPart::Escaped(variable) => format!("<{}>", letter(variable)),
        SqlPart::Parameter(pieces) => format!("{{{}}}", pieces.iter().map(piece).collect::<String>()),
    };
    template.parts().iter().map(part).collect()
}

fn whys(text: &str, dialect: Dialect) -> Vec<Place> {
    let template = SqlTemplate::compile(text.as_bytes(), dialect).unwrap();
    template.occurrences().iter().map(|found| found.place).collect()
}

#[test]
fn plain_literals_become_parameters_in_every_dialect() {
    for dialect in [Mysql, Pgsql, Sqlite] {
        for (text, expected) in [
            ("SELECT v FROM t WHERE k='%s'", "SELECT v FROM t WHERE k={%s}"),
            ("SELECT v FROM t WHERE k = '%s' AND d='%d';", "SELECT v FROM t WHERE k = {%s} AND d={%d};"),
            ("SELECT v FROM t WHERE k LIKE '%%%u''s@%d%%'", "SELECT v FROM t WHERE k LIKE {%%u's@%d%}"),
            ("SELECT f('%u', 'x', '%d')", "SELECT f({%u}, 'x', {%d})"),
            ("SELECT '%s' AS v WHERE 1", "SELECT {%s} AS v WHERE 1"),
            ("SELECT a||'%2.%1'||b FROM t", "SELECT a||{%2.%1}||b FROM t"),
            (
                "SELECT v FROM t WHERE k IN ('%s','@%d') LIMIT 1",
                "SELECT v FROM t WHERE k IN ({%s},{@%d}) LIMIT 1",
            ),
            ("SELECT \"v\" FROM t WHERE \"k\" = '%s'", "SELECT \"v\" FROM t WHERE \"k\" = {%s}"),
            (
                "SELECT (SELECT a FROM b ORDER BY c) FROM t WHERE k='%s'",
                "SELECT (SELECT a FROM b ORDER BY c) FROM t WHERE k={%s}",
            ),
        ] {
            assert_eq!(shape(text, dialect), expected, "{dialect:?}");
        }
    }
}

#[test]
fn literals_that_mean_something_else_are_escaped() {
    use Place::{Escaped, Parameter};
    for (text, dialect, expected) in [
        ("SELECT v FROM t WHERE k=%s", Sqlite, vec![Escaped(Why::Unquoted)]),
        ("SELECT v FROM t WHERE k=\"%s\"", Mysql, vec![Escaped(Why::OtherQuotes)]),
        ("SELECT v FROM `%d` WHERE k='%s'", Mysql, vec![Escaped(Why::OtherQuotes), Escaped(Why::Unclear)]),
        ("SELECT v FROM [%d]", Sqlite, vec![Escaped(Why::OtherQuotes)]),
        ("SELECT v FROM t WHERE k=E'%s'", Pgsql, vec![Escaped(Why::Prefixed)]),
        ("SELECT v FROM t WHERE k=_utf8 '%s'", Mysql, vec![Escaped(Why::Prefixed)]),
        ("SELECT v FROM t WHERE d > date '%s'", Pgsql, vec![Escaped(Why::Prefixed)]),
        ("SELECT v FROM t WHERE k='%s' COLLATE nocase", Sqlite, vec![Escaped(Why::Followed)]),
        ("SELECT '%s'v", Sqlite, vec![Escaped(Why::Followed)]),
        ("SELECT v FROM t WHERE k='\\%s'", Mysql, vec![Escaped(Why::Backslash)]),
        ("SELECT v FROM t WHERE k='a' '%s'", Mysql, vec![Escaped(Why::Beside)]),
        ("SELECT v FROM t WHERE k='%s' 'a'", Mysql, vec![Escaped(Why::Beside)]),
        ("SELECT v FROM t WHERE k='%s' \"a\"", Mysql, vec![Escaped(Why::Beside)]),
        (
            "SELECT v FROM t WHERE k='%s' ORDER BY f(x, '%u')",
            Mysql,
            vec![Parameter(1), Escaped(Why::Ordering)],
        ),
        ("SELECT v FROM t WHERE a='%s' LIMIT '%1'", Pgsql, vec![Parameter(1), Escaped(Why::Ordering)]),
        ("SELECT 1 -- '%s'", Sqlite, vec![Escaped(Why::Unclear)]),
        ("SELECT /* it's */ '%s'", Pgsql, vec![Escaped(Why::Unclear)]),
        ("SELECT 1; SELECT '%s'", Mysql, vec![Escaped(Why::Unclear)]),
        ("SELECT '%s", Sqlite, vec![Escaped(Why::Unclear)]),
        ("SELECT a FROM t WHERE b='\\' AND k='%s'", Mysql, vec![Escaped(Why::Unclear)]),
        ("SELECT @'%s'", Mysql, vec![Escaped(Why::Prefixed)]),
        ("SELECT '%s' WHERE a=%u", Pgsql, vec![Escaped(Why::Another), Escaped(Why::Unquoted)]),
    ] {
        assert_eq!(whys(text, dialect), expected, "{text}");
    }
}

#[test]
fn parameters_of_the_template_itself_leave_no_place_for_ours() {
    for (text, dialect) in [
        ("SELECT v FROM t WHERE k='%s' AND a=?", Mysql),
        ("SELECT v FROM t WHERE k='%s' AND a=$1", Pgsql),
        ("SELECT v FROM t WHERE k='%s' AND a=$$x$$", Pgsql),
        ("SELECT v FROM t WHERE k='%s' AND a=:a", Sqlite),
        ("SELECT v FROM t WHERE k='%s' AND 1 -- so on", Mysql),
    ] {
        assert_eq!(whys(text, dialect), [Place::Escaped(Why::Another)], "{text}");
        assert!(!SqlTemplate::compile(text.as_bytes(), dialect).unwrap().is_fixed());
    }
    assert_eq!(whys("SELECT v FROM t WHERE j ? 'a' AND k='%s'", Pgsql), [Place::Parameter(1)]);
}

#[test]
fn statement_has_the_texts_of_its_parameters() {
    let text = b"SELECT v FROM t WHERE k='%u''%%' AND d='%d' ORDER BY x='%s'";
    let templates = Templates::compile(&[text], b"%s").unwrap();
    let key = templates.key(b"o'x@d.e").unwrap();
    let mut doubled = |text: &[u8], out: &mut Vec<u8>| {
        for byte in text {
            out.push(*byte);
            out.extend((*byte == b'\'').then_some(b'\''));
        }
    };
    let template = SqlTemplate::of(&templates.queries()[0], Pgsql);
    let made = template.statement(&key, &mut doubled, 200).unwrap();
    let sql = String::from_utf8(made.sql.clone()).unwrap();
    assert_eq!(sql, "SELECT v FROM t WHERE k=$1 AND d=$2 ORDER BY x='o''x@d.e'");
    assert_eq!(made.parameters, [b"o'x'%".to_vec(), b"d.e".to_vec()]);
    let size = made.sql.len() + 5 + 3;
    assert!(template.statement(&key, &mut doubled, size).is_ok());
    assert_eq!(template.statement(&key, &mut doubled, size - 1), Err(TooLong));

    let stock = SqlTemplate::without_parameters(&templates.queries()[0], Pgsql);
    let made = stock.statement(&key, &mut doubled, 200).unwrap();
    let sql = String::from_utf8(made.sql).unwrap();
    assert_eq!(sql, "SELECT v FROM t WHERE k='o''x''%' AND d='d.e' ORDER BY x='o''x@d.e'");
    assert!(made.parameters.is_empty());
    assert!(SqlTemplate::compile(b"SELECT f('%s')", Sqlite).unwrap().is_fixed());
}
