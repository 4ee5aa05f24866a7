//! How much memory a pattern takes: by the counters of the allocator, so that this is the only test of its program.
#![cfg(test)]

use mapkeep_table_regex::posix::{Flags, Regex, allocated};

#[test]
fn size_is_what_regcomp_makes_of_a_pattern() {
    let flags = Flags { extended: true, ignore_case: true, newline: false };
    let size = |pattern: &str| {
        let before = allocated();
        let _regex = Regex::compile(pattern.as_bytes(), flags, false).unwrap();
        allocated() - before
    };
    assert!(size("abc") < 20_000, "{}", size("abc"));
    assert!((700_000..1_500_000).contains(&size("^(a?){1,50}b$")), "{}", size("^(a?){1,50}b$"));
}
