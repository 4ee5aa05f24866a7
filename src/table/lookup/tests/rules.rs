//! `cidr:`, `regexp:` and `pcre:` tables against the real `postmap`: rules made from a grammar, and odd ones.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::numbers::Numbers;
use common::{Scratch, have, run};
use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Outcome};
use mapkeep_table_lookup::Table;

const POSTMAP: &str = "/usr/sbin/postmap";

/// Files made for each kind of table. Each is asked for every key.
const FILES: usize = 120;

const PATTERN_KEYS: [&[u8]; 24] = [
    b"a",
    b"A",
    b"b",
    b"ab",
    b"aab",
    b"abc",
    b"abcd",
    b"AbCd",
    b"xyz",
    b"x y",
    b"user@example.com",
    b"a/b",
    b"a!b",
    b"$1",
    b"a.b",
    b"a\\b",
    b"1",
    b"aaaa",
    b"\xc3\xa4",
    b"\xff",
    b"(a)",
    b"a|b",
    b"12ab34",
    b"_",
];

const PATTERNS: [&str; 36] = [
    "a",
    "b",
    "^a",
    "b$",
    "(a)(b)?",
    "(a|ab)(c|bcd)(d*)",
    "^(.*)@(.*)$",
    ".",
    "^$",
    "",
    "[a-c]+",
    "[^a]",
    "a\\/b",
    "x y",
    "(x)|(y)",
    "a{2}",
    "a{2,}b",
    "(a)\\1",
    "\\.",
    "a\\\\b",
    "^[[:alpha:]]+$",
    "[[:digit:]]",
    "(",
    ")",
    "[",
    "a**",
    "*a",
    "((a)|b)*",
    "\\(a\\)",
    "a+",
    "a|b",
    "\u{e4}",
    "#",
    "(?:a)b",
    "(?i)A",
    "\\$1",
];

const ANSWERS: [&str; 22] = [
    "text",
    "OK",
    "REJECT no way",
    "$1",
    "${1}",
    "$(1)",
    "<$1:$2>",
    "$2",
    "$3x",
    "$3-x",
    "$$",
    "$",
    "$x",
    "$0",
    "${1",
    "",
    "two  words",
    "# no comment",
    "$1x",
    "${2}x$$",
    "a!b",
    "$1,$1",
];

fn pattern(numbers: &mut Numbers, flags: &[&str]) -> String {
    let delimiter =
        if numbers.once_in(6) { numbers.pick(&["!", "~", "{", ":", "#x", "|", "\""]) } else { "/" };
    let negated = if numbers.once_in(4) { numbers.pick(&["!", "!!", "! ", "!!!"]) } else { "" };
    // A line must not begin with #, and a `!` would be a negation.
    let delimiter = delimiter.trim_start_matches(['#', '!']);
    let delimiter = if delimiter.is_empty() { "/" } else { delimiter };
    let end = if numbers.once_in(40) { "" } else { delimiter };
    let letters = if numbers.once_in(3) { numbers.pick(flags) } else { "" };
    format!("{negated}{delimiter}{}{end}{letters}", numbers.pick(&PATTERNS))
}

fn pattern_line(numbers: &mut Numbers, flags: &[&str]) -> String {
    match numbers.below(20) {
        0 => format!("{} {}", numbers.pick(&["if", "IF", "If", "iff"]), pattern(numbers, flags)),
        1 => format!("if{}", pattern(numbers, flags)),
        2 | 3 => numbers.pick(&["endif", "ENDIF", "endif x", "Endif#", "endiff"]).to_owned(),
        4 => numbers
            .pick(&["# comment", "", "   ", "  # indented comment", "word", " more", "\t", "!", "\\a\\ x"])
            .to_owned(),
        5 => format!("{}{} {}", pattern(numbers, flags), pattern(numbers, flags), numbers.pick(&ANSWERS)),
        6 => format!("{}\n  {}", pattern(numbers, flags), numbers.pick(&ANSWERS)),
        7 => format!("{}!/{}/ {}", pattern(numbers, flags), numbers.pick(&PATTERNS), numbers.pick(&ANSWERS)),
        _ => format!(
            "{}{}{}",
            pattern(numbers, flags),
            numbers.pick(&[" ", "\t", "  "]),
            numbers.pick(&ANSWERS)
        ),
    }
}

fn cidr_line(numbers: &mut Numbers) -> String {
    let network = |numbers: &mut Numbers| {
        let network = numbers.pick(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.2.3",
            "0.0.0.0/0",
            "10.1.2.3/32",
            "192.168.0.0/16",
            "[10.0.0.0]/8",
            "[10.0.0.0/8]",
            "::/0",
            "::1",
            "[::1]",
            "2001:db8::/32",
            "[2001:DB8::1]/128",
            "fe80::/10",
            "10.1.2.4/30",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "1.2.3",
            "abc",
            "::ffff:10.1.2.3",
            "10.0.0.0/08",
            "128.0.0.0/1",
            "::/1",
            "[::1",
            "01.2.3.4",
            "10.0.0.0/8/8",
            "1:2:3:4:5:6:7::",
            "1::2:3:4:5:6:7:8",
            "::1.2.3.4",
        ]);
        let negated = if numbers.once_in(4) { numbers.pick(&["!", "!!", "! ", "! !"]) } else { "" };
        format!("{negated}{network}")
    };
    match numbers.below(14) {
        0 | 1 => format!("{}{}", numbers.pick(&["if ", "IF ", "if", "if  ", "iff "]), network(numbers)),
        2 | 3 => numbers.pick(&["endif", "ENDIF", "endif x", "endif "]).to_owned(),
        4 => numbers.pick(&["# comment", "", "   ", "word", "if", " more", "endif\n\n"]).to_owned(),
        5 => network(numbers),
        6 => format!("{}\n\t{}", network(numbers), numbers.pick(&ANSWERS)),
        _ => format!("{} {}", network(numbers), numbers.pick(&ANSWERS)),
    }
}

const CIDR_KEYS: [&[u8]; 22] = [
    b"10.1.2.3",
    b"10.1.2.4",
    b"10.1.2.7",
    b"10.1.9.9",
    b"10.9.9.9",
    b"192.168.1.1",
    b"1.2.3.4",
    b"200.1.1.1",
    b"0.0.0.0",
    b"255.255.255.255",
    b"::1",
    b"::",
    b"2001:db8::1",
    b"2001:0DB8:0:0::1",
    b"fe80::1",
    b"8000::",
    b"::ffff:10.1.2.3",
    b"1:2:3:4:5:6:7:0",
    b"[::1]",
    b"10.1.2",
    b"abc",
    b"::0102:0304",
];

/// The answers of stock for all keys at once. -u: keys need not be UTF-8.
fn stock(scratch: &Scratch, name: &str, keys: &[&[u8]]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut command = Command::new(POSTMAP);
    command.arg("-c").arg(scratch.path("")).args(["-u", "-q", "-", name]);
    let mut input = keys.join(&b"\n"[..]);
    input.push(b'\n');
    let output = run(&mut command, &input);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("fatal"), "{name}: {errors}");
    let lines = output.stdout.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let tab = line.iter().position(|byte| *byte == b'\t').unwrap();
            (line[..tab].to_vec(), line[tab + 1..line.len() - 1].to_vec())
        })
        .collect()
}

/// Compares all answers for one table; the number of keys that were found.
fn compare(table: &Table<&[u8]>, stock: &BTreeMap<Vec<u8>, Vec<u8>>, keys: &[&[u8]], text: &str) -> usize {
    let mut answer = Vec::new();
    for key in keys {
        let outcome = table.lookup(key, NulModes::BOTH, &mut answer).unwrap();
        let ours = matches!(outcome, Outcome::Found(_)).then_some(&answer);
        let key_text = String::from_utf8_lossy(key);
        assert_eq!(ours, stock.get(*key), "key {key_text} ({ours:?}) in\n{text}");
    }
    stock.len()
}

fn check_files(kind: Kind, name: &str, keys: &[&[u8]], mut line: impl FnMut(&mut Numbers) -> String) {
    if !have(POSTMAP) {
        return;
    }
    if name == "pcre" && !have("/usr/lib/postfix/postfix-pcre.so") {
        return;
    }
    let scratch = Scratch::new();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut found = 0;
    for _ in 0..FILES {
        let lines: Vec<_> = (0..=numbers.below(14)).map(|_| line(&mut numbers)).collect();
        let text = lines.join("\n");
        std::fs::write(scratch.path("t"), &text).unwrap();
        let table = Table::from_snapshot(kind, text.as_bytes(), &mut Vec::new()).unwrap();
        let answers = stock(&scratch, &format!("{name}:{}", scratch.path("t").display()), keys);
        found += compare(&table, &answers, keys, &text);
    }
    // The rules are such that both hits and misses were compared.
    let asked = FILES * keys.len();
    assert!(found > asked / 10 && found < asked * 9 / 10, "{found} of {asked}");
}

#[test]
fn regexp_files_answered_as_stock() {
    let flags = ["i", "m", "x", "ii", "im", "q", "xi"];
    check_files(Kind::Regexp, "regexp", &PATTERN_KEYS, |numbers| pattern_line(numbers, &flags));
}

#[test]
fn pcre_files_answered_as_stock() {
    let flags = ["i", "m", "s", "x", "A", "E", "U", "X", "iA", "q", "sm", "xU"];
    check_files(Kind::Pcre, "pcre", &PATTERN_KEYS, |numbers| pattern_line(numbers, &flags));
}

#[test]
fn cidr_files_answered_as_stock() {
    check_files(Kind::Cidr, "cidr", &CIDR_KEYS, cidr_line);
}

/// Keys of several lines, as header_checks get them; they cannot go through the standard input of postmap.
#[test]
fn keys_of_several_lines_answered_as_stock() {
    if !have(POSTMAP) || !have("/usr/lib/postfix/postfix-pcre.so") {
        return;
    }
    let scratch = Scratch::new();
    let text = "/^b/m second\n/a.b/s one line\n/a$/ before the end\n/a$/E at the end\n/x.y/m dot\n/c$/m line end\n\
                /^d/A d\n/e.f/ any\n/^(.*)\n/ $1\n";
    std::fs::write(scratch.path("t"), text).unwrap();
    for (kind, name) in [(Kind::Regexp, "regexp"), (Kind::Pcre, "pcre")] {
        let table = Table::from_snapshot(kind, text.as_bytes(), &mut Vec::new()).unwrap();
        let full = format!("{name}:{}", scratch.path("t").display());
        for key in ["a\nb", "a\n", "x\ny", "c\nz", "\nd", "e\nf", "q\n\n", "\na", "x\nc\nx", "a\n\n", "c\n"] {
            let mut command = Command::new(POSTMAP);
            command.arg("-c").arg(scratch.path("")).args(["-u", "-q", key, &full]);
            let output = run(&mut command, b"");
            let mut answer = Vec::new();
            let found = table.lookup(key.as_bytes(), NulModes::BOTH, &mut answer).unwrap();
            if found != Outcome::Absent {
                answer.push(b'\n');
            }
            let (ours, theirs) = (String::from_utf8_lossy(&answer), String::from_utf8_lossy(&output.stdout));
            assert_eq!(ours, theirs, "{name} {key:?}");
        }
    }
}

/// Rules in the name: also where Postfix has a syntax error.
#[test]
fn inline_rules_answered_as_stock() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    for name in [
        "regexp:{{/a(b)/ x $1, y}}",
        "regexp:{ {/x/ y}, {if /a/} {/b/ $$}\n{endif}}",
        "regexp:{{/a{1}/ x}}",
        "regexp:{{# c} {  /a/ q  }}",
        "regexp:{{/a/ x\n y}}",
        "regexp:{{/x/ x\n/a/ y}}",
        "regexp:{{ endif } {foo} {/a/ r}}",
        "regexp:{}",
        "regexp:{{}}",
        "cidr:{{1.0.0.0/8 yes} {!1.2.0.0/16 no}}",
        "cidr:{}",
    ] {
        let (kind, rest) = mapkeep_name::split(name.as_bytes());
        let keys: [&[u8]; 5] = [b"abc", b"x", b"b", b"1.2.3.4", b"2.2.2.2"];
        let kind = if kind == b"cidr" { Kind::Cidr } else { Kind::Regexp };
        let table = Table::from_name(kind, rest).unwrap();
        compare(&table, &stock(&scratch, name, &keys), &keys, name);
    }
    for name in ["{/a/ x}", "{{/a/ x} junk}", "{{/a/ x}} ", "{{/a\\{/ x}}", "{{/a/ x}{/b/ y}}", "{{/a/ x}"] {
        assert!(Table::<&[u8]>::from_name(Kind::Regexp, name.as_bytes()).is_err());
        let mut command = Command::new(POSTMAP);
        command.arg("-c").arg(scratch.path("")).args(["-q", "a", &format!("regexp:{name}")]);
        assert!(String::from_utf8_lossy(&run(&mut command, b"").stderr).contains("fatal"), "{name}");
    }
}

/// Where we differ on purpose.
#[test]
fn differences_are_those_that_are_meant() {
    if !have(POSTMAP) {
        return;
    }
    let scratch = Scratch::new();
    // Postfix, the answer; we, none.
    let cases = [
        (Kind::Cidr, "cidr", "0.0.0.0/4294967296 x\n", &b"1.2.3.4"[..], &b"x"[..]),
        (Kind::Regexp, "regexp", "/(a)/ $4294967297\n", b"a", b"a"),
    ];
    for (kind, name, text, key, theirs) in cases {
        std::fs::write(scratch.path("t"), text).unwrap();
        let answers = stock(&scratch, &format!("{name}:{}", scratch.path("t").display()), &[key]);
        assert_eq!(answers.get(key).map(Vec::as_slice), Some(theirs), "{text}");
        let mut complaints = Vec::new();
        let table = Table::from_snapshot(kind, text.as_bytes(), &mut complaints).unwrap();
        assert_eq!(complaints.len(), 1);
        assert_eq!(table.lookup(key, NulModes::BOTH, &mut Vec::new()), Ok(Outcome::Absent));
    }
}
