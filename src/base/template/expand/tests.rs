use super::*;
use crate::quote::unquoted;

fn expanded(query: &str, result: &str, key: &str) -> Option<String> {
    let templates = Templates::compile(&[query.as_bytes()], result.as_bytes()).unwrap();
    let key = templates.key(key.as_bytes())?;
    let mut out = Vec::new();
    templates.query(0, &key, &mut unquoted, 1000, &mut out).unwrap();
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn key_fills_a_query() {
    for (query, key, expected) in [
        ("%s|%u|%d|%S|%U|%D|%%", "u@v@y.org", "u@v@y.org|u@v|y.org|u@v@y.org|u@v|y.org|%"),
        ("%u", "no-domain", "no-domain"),
        ("%u", "u@", "u"),
        ("%2.%1", "u@b..c.", "b.c"),
        ("%9%8%7%6%5%4%3%2%1", "u@0.a.b.c.d.e.f.g.h.i", "abcdefghi"),
        ("fixed", "x", "fixed"),
    ] {
        assert_eq!(expanded(query, "%s", key).as_deref(), Some(expected), "{query} {key}");
    }
}

#[test]
fn key_without_a_needed_part_asks_nothing() {
    for (query, result, key) in [
        ("%s", "%s", ""),
        ("%d", "%s", "u"),
        ("%d", "%s", "u@"),
        ("%u", "%s", "@d"),
        ("%u", "%s", "@"),
        ("%3", "%s", "u@b..c"),
        ("%1", "%s", "u@..."),
        ("%s", "%D", "u"),
        ("%s", "%U", "@d"),
        ("%s", "%2", "u@d"),
    ] {
        assert_eq!(expanded(query, result, key), None, "{query} {result} {key}");
    }
    // What a value has to have does not matter for the key.
    assert!(expanded("%s", "%u%d", "k").is_some());
}

#[test]
fn add_skips_and_joins_as_stock_does() {
    let templates = Templates::compile(&[b"%s"], b"%s%%%d-%S").unwrap();
    let key = templates.key(b"K").unwrap();
    let mut results = Results::new(0, 100);
    let mut add = |value: Option<&[u8]>| templates.add(&key, value, &mut results).unwrap();
    assert_eq!(add(None), Added::Skipped);
    assert_eq!(add(Some(b"")), Added::SkippedEmpty);
    assert_eq!(add(Some(b"\0x@y")), Added::SkippedEmpty);
    assert_eq!(add(Some(b"no domain")), Added::Skipped);
    assert_eq!(add(Some(b"a@b,c\0d")), Added::Yes);
    assert_eq!(add(Some(b"@b")), Added::Yes);
    assert_eq!(results.finish().unwrap(), b"a@b,c%b,c-K,@b%b-K");
    assert_eq!(Results::new(0, 100).finish(), None);
}

#[test]
fn add_beyond_a_limit_fails_the_lookup() {
    let templates = Templates::compile(&[b"%s"], b"%s").unwrap();
    let key = templates.key(b"K").unwrap();
    let mut results = Results::new(2, 100);
    let mut add = |value: &[u8]| templates.add(&key, Some(value), &mut results);
    assert_eq!((add(b"a"), add(b""), add(b"b")), (Ok(Added::Yes), Ok(Added::SkippedEmpty), Ok(Added::Yes)));
    assert_eq!(add(b"c").unwrap_err().to_string(), "there are more than 2 values (expansion_limit)");
    for none in [0, -1] {
        let mut results = Results::new(none, 5);
        let mut add = |value: &[u8]| templates.add(&key, Some(value), &mut results);
        assert_eq!((add(b"ab"), add(b"cd")), (Ok(Added::Yes), Ok(Added::Yes)));
        assert_eq!(add(b""), Ok(Added::SkippedEmpty));
        assert_eq!(add(b"e"), Err(ResultError::TooLong(5)));
    }
}

#[test]
fn query_longer_than_its_limit_is_refused() {
    let templates = Templates::compile(&[b"base", b"%s%s%s"], b"%s").unwrap();
    let key = templates.key(&[b'k'; 100]).unwrap();
    let query = |limit| templates.query(1, &key, &mut unquoted, limit, &mut Vec::new());
    assert_eq!((query(300), query(299)), (Ok(()), Err(TooLong)));
    let error = Templates::compile(&[b"a", b"%"], b"%s").unwrap_err();
    assert_eq!((error.0, error.1), (Side::Query, 1));
    assert_eq!(Templates::compile(&[], b"%x").unwrap_err().0, Side::Result);
}
