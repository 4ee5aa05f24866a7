//! Lookups compared with the installed `postmap -q KEY sqlite:FILE`: the same keys, templates and rows, once with
//! parameters and once escaped.
#![cfg(test)]

mod stock;

use std::sync::atomic::{AtomicUsize, Ordering};

use mapkeep_template::{Dialect, Results, SqlTemplate, Templates};
use stock::{LIMIT, Place, Settings, doubled, stock_is_here};

/// Keys of all shapes: with and without their parts, and what could be taken for syntax anywhere.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "a",
        "A",
        "u",
        "u@d.example",
        "U@D.Example",
        "@d.example",
        "@",
        "u@",
        "@@",
        "u@@d",
        "u@v@y.org",
        "o'k",
        "''",
        "'",
        "' OR '1'='1",
        "u'@d'.example'",
        "\"",
        "u@a.b.c.d.e.f.g.h.i.j",
        "u@.a.b",
        "u@a..b",
        "u@a.b.",
        "u@...",
        "u@.",
        "%",
        "%s",
        "%%",
        "u%d@x%1.y",
        "100%",
        "b\\s",
        "\\",
        "\\'",
        "?",
        "?1",
        "$1",
        ":a",
        "@1",
        "lonely",
        "é",
        "É@Ü.example",
        "日本@例え.テスト",
        "a,b",
        " ",
        " a ",
        "a b@c d",
        "\t",
        "\u{1}\u{2}\u{1f}\u{7f}",
        "a@b,c",
        "d.example",
        "--",
        "/*",
        ";",
        "a;b",
        "{a}",
        "[a]",
        "`a`",
        "\u{feff}",
        "u@\u{301}",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("k".repeat(4096));
    keys.push(format!("{}@{}", "'".repeat(2048), "a.".repeat(1024)));
    keys.push(format!("{}{}", "x@".repeat(2000), "y"));
    // Each byte that a line may have, in the local part and in the domain.
    keys.extend((1_u8..128).filter(|byte| *byte != b'\n').map(|byte| {
        let byte = char::from(byte);
        format!("u{byte}v@a{byte}b.c")
    }));
    keys
}

/// Queries that show what was filled in, and such that look for it.
const QUERIES: [&str; 26] = [
    "SELECT '<%s>'",
    "SELECT '<%u|%d>'",
    "SELECT '<%S|%U|%D>'",
    "SELECT '%%<%u>%%%%'",
    "SELECT '%1'",
    "SELECT '%3-%2-%1-%2'",
    "SELECT '%9'",
    "SELECT 'it''s %s''' || '%u'",
    "SELECT '%s' WHERE '%s' <> 'a'",
    "SELECT v FROM t WHERE k = '%s' ORDER BY n",
    "SELECT v FROM t WHERE k = '%u' OR k='%d' ORDER BY n",
    "SELECT v FROM t WHERE k LIKE '%%%u%%' ORDER BY n",
    "SELECT v FROM t WHERE k LIKE '%s' ORDER BY n DESC;",
    "SELECT w FROM t WHERE k IN ('%s', '%u', 'a') ORDER BY n",
    "SELECT v FROM t WHERE k = '%s' COLLATE nocase ORDER BY n",
    "SELECT v FROM t WHERE k = '%s' ORDER BY '%s', n",
    "SELECT n FROM t WHERE k = '%s' ORDER BY n",
    "SELECT v FROM t WHERE n = '%u'",
    "SELECT n FROM t WHERE n = '1' OR k='%s' ORDER BY n",
    "SELECT CASE '%u' WHEN 'a' THEN '%s' ELSE 'none' END",
    "SELECT '%s' AS x UNION ALL SELECT '%u' AS x",
    "SELECT length('%s') || substr('%s', 1, 3)",
    "SELECT v FROM t WHERE k='%s' LIMIT '2'",
    "SELECT upper('%s') -- the rest is a comment with '%u",
    "SELECT x'41' || '%s'",
    "SELECT 'fixed' FROM t WHERE n < 3",
];

#[test]
fn queries_agree_with_postmap() {
    if !stock_is_here() {
        return;
    }
    let (place, keys) = (Place::new(), keys());
    let found: usize = QUERIES.iter().map(|query| place.compare(query, Settings::default(), &keys)).sum();
    assert!(found > 2000, "only {found} answers were compared");
}

#[test]
fn result_formats_agree_with_postmap() {
    if !stock_is_here() {
        return;
    }
    let (place, keys) = (Place::new(), keys());
    let formats = [
        "%s", "<%s>", "%u", "%d", "%u at %d", "%S", "%U", "%D", "%s=%S", "%u%%%D", "%2.%1", "%3", "%U+%u",
        "fixed", "%%", "%d,%1", "%s %s",
    ];
    let mut found = 0;
    for query in [
        "SELECT v FROM t WHERE k IN ('%s', 'a', 'u@d.example') ORDER BY n",
        "SELECT v FROM t WHERE k = '%u' ORDER BY n",
        "SELECT '%s' UNION ALL SELECT '' UNION ALL SELECT NULL UNION ALL SELECT 'x@%d'",
    ] {
        for format in formats {
            let settings = Settings { result_format: Some(format), ..Settings::default() };
            found += place.compare(query, settings, &keys);
        }
    }
    assert!(found > 3000, "only {found} answers were compared");
}

#[test]
fn domain_lists_agree_with_postmap() {
    if !stock_is_here() {
        return;
    }
    let (place, keys) = (Place::new(), keys());
    for domain in [
        "",
        "d.example",
        "D.EXAMPLE y.org",
        "!d.example, y.org d",
        "!!d.example",
        "ü.example 例え.テスト",
        "{d.example}",
        "example",
        ".example",
        "d.example,,\ty.org",
    ] {
        place.compare("SELECT '<%s>'", Settings { domain, ..Settings::default() }, &keys);
    }
}

#[test]
fn expansion_limits_agree_with_postmap() {
    if !stock_is_here() {
        return;
    }
    let place = Place::new();
    let query = "SELECT v FROM t WHERE k = '%s' ORDER BY n";
    let templates = Templates::compile(&[query.as_bytes()], b"%s").unwrap();
    let template = SqlTemplate::of(&templates.queries()[0], Dialect::Sqlite);
    let key = templates.key(b"a").unwrap();
    let values = place.run(&template.statement(&key, &mut doubled, LIMIT).unwrap());
    for expansion_limit in [-1, 0, 1, 2, 3, 4] {
        let settings = Settings { expansion_limit, ..Settings::default() };
        let output = place.stock(&place.table(query, settings), &["a".to_owned()]);
        let failed = String::from_utf8_lossy(&output.stderr).contains("xpansion limit exceeded");
        let mut results = Results::new(expansion_limit, LIMIT);
        let added: Result<Vec<_>, _> =
            values.iter().map(|value| templates.add(&key, value.as_deref(), &mut results)).collect();
        assert_eq!(added.is_err(), failed, "expansion_limit = {expansion_limit}");
    }
}

#[test]
fn templates_that_stock_refuses_are_refused() {
    if !stock_is_here() {
        return;
    }
    let place = Place::new();
    let samples = [
        "%0", "%1", "%9", "%s", "%u", "%d", "%S", "%U", "%D", "%a", "%z", "%q", "%x", "%A", "%:", "%", "%%%",
        "% s", "%%s", "%é",
    ];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(sample) = samples.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Beside a letter that needs nothing, so that only the template counts.
                    for (query, format) in
                        [(format!("SELECT '{sample}'"), "%s"), ("SELECT 1".to_owned(), *sample)]
                    {
                        let settings = Settings { result_format: Some(format), ..Settings::default() };
                        let output = place.stock(&place.table(&query, settings), &["u@a.b".to_owned()]);
                        let refused = String::from_utf8_lossy(&output.stderr).contains("template");
                        let ours = Templates::compile(&[query.as_bytes()], format.as_bytes());
                        assert_eq!(ours.is_err(), refused, "{query} {format}");
                    }
                }
            });
        }
    });
}
