//! `pcre:` patterns that mean something else in another version of PCRE2 (its NEWS of 10.43 to 10.46), against the real
//! `postmap`: each pattern is accepted by both or refused by both, and matches the same keys.
#![cfg(test)]

mod common;

use std::process::Command;

use common::{Scratch, have, run};
use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Outcome};
use mapkeep_table_lookup::Table;

const POSTMAP: &str = "/usr/sbin/postmap";

/// Patterns and the change that they are about.
const PATTERNS: [&str; 26] = [
    // 10.43: a quantifier without a lower bound; before, these are the characters themselves.
    "^a{,3}$",
    "^(aa){,2}b$",
    "^a{,}$",
    "[0-9]{,3}spam",
    // 10.43: blanks within braces.
    "^a{ 1, 3 }$",
    "^a{1,3 }$",
    "^a{ 2}$",
    "^\\x{ 41 }$",
    "^\\o{ 101 }$",
    "^(?<n>a)\\k{ n }$",
    "^(a)\\g{ 1 }$",
    "^\\p{ L }$",
    // 10.43: lookbehind of a bounded variable length.
    "(?<=a{1,3})b",
    "(?<!spam|ha+)b",
    "(?<=ab?)c",
    // 10.43: the restrictions to ASCII.
    "^(?r)a",
    "^(?aD)\\d",
    "^(?a)a",
    "^(?aT:a)",
    // 10.45: extended classes, substring scans, returned groups, escapes.
    "^(?[ [a-c] - [b] ])$",
    "^(a)(*scs:(1)a)$",
    "^(a)(?1(1))$",
    "^\\N{U+61}$",
    "^[a-\\d]$",
    "^\\x{}$",
    "^[[:alpha:]-z]$",
];

const KEYS: [&str; 30] = [
    "a",
    "aa",
    "aaa",
    "aaaa",
    "aab",
    "b",
    "ab",
    "aaab",
    "a{,3}",
    "(aa){,2}b",
    "aa{,2}b",
    "a{,}",
    "spam",
    "1spam",
    "5{,3}spam",
    "a{ 1, 3 }",
    "a{1,3 }",
    "a{ 2}",
    "A",
    "x{ 41 }",
    "ac",
    "abc",
    "spamb",
    "hab",
    "c",
    "1",
    "-",
    "z",
    "x{}",
    "xb",
];

/// The answer of stock for all keys to one rule, and whether it refused the pattern.
fn stock(scratch: &Scratch) -> (Vec<u8>, bool) {
    let mut command = Command::new(POSTMAP);
    command.arg("-c").arg(scratch.path("")).args(["-u", "-q", "-"]);
    command.arg(format!("pcre:{}", scratch.path("t").display()));
    let output = run(&mut command, (KEYS.join("\n") + "\n").as_bytes());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("fatal"), "{errors}");
    (output.stdout, errors.contains("error in regex"))
}

#[test]
fn patterns_whose_meaning_depends_on_the_version_answered_as_stock() {
    if !have(POSTMAP) || !have("/usr/lib/postfix/postfix-pcre.so") {
        return;
    }
    let scratch = Scratch::new();
    let (mut found, mut refused) = (0, 0);
    for pattern in PATTERNS {
        let text = format!("/{pattern}/ REJECT\n");
        std::fs::write(scratch.path("t"), &text).unwrap();
        let mut complaints = Vec::new();
        let table = Table::from_snapshot(Kind::Pcre, text.as_bytes(), &mut complaints).unwrap();
        let mut ours = String::new();
        for key in KEYS {
            let mut answer = Vec::new();
            let outcome = table.lookup(key.as_bytes(), NulModes::BOTH, &mut answer).unwrap();
            if outcome != Outcome::Absent {
                ours += &format!("{key}\t{}\n", String::from_utf8(answer).unwrap());
                found += 1;
            }
        }
        let (theirs, error) = stock(&scratch);
        assert_eq!(
            ours,
            String::from_utf8(theirs).unwrap(),
            "{pattern} with PCRE2 {}",
            mapkeep_table_lookup::pcre_version()
        );
        assert_eq!(!complaints.is_empty(), error, "{pattern}: {complaints:?}");
        refused += usize::from(error);
    }
    assert!(found > 10, "{found} keys matched");
    // What PCRE2 10.42 of Debian 12 says, from pcre2pattern(3): characters, not quantifiers; no variable lookbehind.
    if mapkeep_table_lookup::pcre_version().contains("10.42") {
        let text = "/^a{,3}$/ REJECT\n/(?<=a{1,3})b/ REJECT\n/^a{ 1, 3 }$/ REJECT\n";
        let table = Table::from_snapshot(Kind::Pcre, text.as_bytes(), &mut Vec::new()).unwrap();
        for (key, hit) in
            [("aaa", false), ("a{,3}", true), ("aaab", false), ("aa", false), ("a{ 1, 3 }", true)]
        {
            let outcome = table.lookup(key.as_bytes(), NulModes::BOTH, &mut Vec::new()).unwrap();
            assert_eq!(outcome != Outcome::Absent, hit, "{key}");
        }
        assert!(refused > 8, "{refused} patterns refused");
    }
}
