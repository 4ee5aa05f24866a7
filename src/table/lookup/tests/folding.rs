//! Case folding against the real `postmap`: every letter that its ICU folds otherwise is one that is listed here.
#![cfg(test)]

mod common;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::Command;

use common::{Scratch, have, run};
use mapkeep_query::casefold;

const POSTMAP: &str = "/usr/sbin/postmap";

/// Capitals of Unicode 16.0, which we know. ICU 72 (Unicode 15.0) to 75 do not fold them; later ones do.
const NEWER_THAN_ICU_72: [u32; 27] = [
    0x1C89, // Cyrillic capital letter Tje
    0xA7CB, 0xA7CC, 0xA7DA,
    0xA7DC, // Latin capitals: ram's horns, S with diagonal stroke, Lambda, Lambda with stroke
    0x10D50, 0x10D51, 0x10D52, 0x10D53, 0x10D54, 0x10D55, 0x10D56, 0x10D57, 0x10D58, 0x10D59,
    0x10D5A, // Garay
    0x10D5B, 0x10D5C, 0x10D5D, 0x10D5E, 0x10D5F, 0x10D60, 0x10D61, 0x10D62, 0x10D63, 0x10D64, 0x10D65,
];

/// What a texthash with one line for each of `keys` answers for each, when later lines of the same folded key are
/// ignored: the first key that is the same but for case.
fn ours(keys: &[String]) -> Vec<String> {
    let mut first = HashMap::new();
    let mut answer = |key: &String| {
        let folded = casefold(key.as_bytes()).into_owned();
        first.entry(folded).or_insert_with(|| key.clone()).clone()
    };
    keys.iter().map(&mut answer).collect()
}

/// Postfix's answers to the same question: postmap folds keys of the file and of the lookup, and keeps the first.
fn stocks(keys: &[String]) -> Vec<String> {
    let scratch = Scratch::new();
    let settings = "compatibility_level = 3.6\nsmtputf8_enable = yes\n";
    std::fs::write(scratch.path("main.cf"), settings).unwrap();
    let lines: String = keys.iter().map(|key| format!("{key} {key}\n")).collect();
    std::fs::write(scratch.path("t"), lines).unwrap();
    let mut command = Command::new(POSTMAP);
    command.arg("-c").arg(scratch.path("")).args(["-q", "-"]);
    command.arg(format!("texthash:{}", scratch.path("t").display()));
    let output = run(&mut command, (keys.join("\n") + "\n").as_bytes());
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = text.split_terminator('\n').map(|line| line.split_once('\t').unwrap()).collect();
    assert!(answers.iter().map(|(key, _)| *key).eq(keys.iter().map(String::as_str)));
    answers.into_iter().map(|(_, value)| value.to_string()).collect()
}

/// The ICU that Postfix is linked with is the one of Debian 12.
fn icu_72() -> bool {
    let linked = Command::new("ldd").arg(POSTMAP).output();
    linked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("libicuuc.so.72"))
}

#[test]
fn letters_that_stock_folds_otherwise_are_the_listed_ones() {
    if !have(POSTMAP) {
        return;
    }
    // All of the first two planes; no later one has letters with a case. The folded forms come first, including those
    // of several letters, so that each answer shows what a letter folds to.
    let letters: Vec<String> = ('\u{80}'..'\u{20000}').map(String::from).collect();
    let mut seen = HashSet::new();
    let folded =
        letters.iter().map(|letter| String::from_utf8(casefold(letter.as_bytes()).into_owned()).unwrap());
    let keys: Vec<String> =
        folded.chain(letters.iter().cloned()).filter(|key| seen.insert(key.clone())).collect();
    let (ours, stocks) = (ours(&keys), stocks(&keys));
    let changed = keys.iter().zip(&stocks).filter(|(key, stock)| key != stock).count();
    assert!(changed > 1400, "stock folded {changed} letters only");

    let different: BTreeSet<u32> = (keys.iter().zip(ours.iter().zip(&stocks)))
        .filter(|(_, (ours, stock))| ours != stock)
        .map(|(key, _)| u32::from(key.chars().next().unwrap()))
        .collect();
    let listed = BTreeSet::from(NEWER_THAN_ICU_72);
    let others: Vec<_> = different.difference(&listed).map(|letter| format!("{letter:X}")).collect();
    assert!(others.is_empty(), "docs/COMPATIBILITY.md does not list {others:?}");
    if icu_72() {
        assert_eq!(different, listed);
    }
}
