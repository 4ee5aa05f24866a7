use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::MAX_WORK;
use crate::rules::pcre::Pcre;
use crate::rules::regexp::Posix;
use mapkeep_query::{Pause, Place};

fn table<L: Library>(text: &str) -> (Patterns<L>, Vec<(u32, Fault)>) {
    let mut complaints = Vec::new();
    let table = Patterns::build(text.as_bytes(), &mut complaints).unwrap();
    (table, complaints.iter().map(|complaint| (complaint.line, complaint.fault.clone())).collect())
}

fn get<L: Library>(table: &Patterns<L>, key: &str) -> Option<String> {
    let mut answer = Vec::new();
    let found = table.find(&Query::plain(key.as_bytes()), &mut answer).unwrap();
    found.then(|| String::from_utf8(answer).unwrap())
}

/// Asserts the answers of both kinds of table.
fn check(text: &str, expected: &[(&str, Option<&str>)]) {
    for (key, answer) in expected {
        assert_eq!(get(&table::<Posix>(text).0, key).as_deref(), *answer, "regexp {text:?} {key}");
        assert_eq!(get(&table::<Pcre>(text).0, key).as_deref(), *answer, "pcre {text:?} {key}");
    }
}

#[test]
fn find_first_rule_that_holds_answers() {
    let text = "# head\n/^a/ first\n!/b/ no b\n! !/b/\n  second $$\n";
    check(text, &[("Ab", Some("first")), ("c", Some("no b")), ("b", Some("second $"))]);
    check("", &[("a", None), ("", None)]);
    check("// x", &[("", Some("x"))]);
}

#[test]
fn find_groups_put_into_the_answer() {
    let text = "/^(.*)@((x)|y)$/ $2:${1} [$(3)]\n";
    check(text, &[("Joe@y", Some("y:Joe []")), ("Joe@X", Some("X:Joe [X]")), ("joe", None)]);
}

#[test]
fn find_blocks_entered_only_when_they_hold() {
    let text = "if /a/\nIF !/b/\n/./ a without b\nendif\n/c/ a, b and c\nEndif\n/./ else";
    let expected =
        [("a", Some("a without b")), ("abc", Some("a, b and c")), ("ab", Some("else")), ("x", Some("else"))];
    check(text, &expected);
    // A block without an end goes to the end of the table.
    check("if /a/\n/./ x", &[("a", Some("x")), ("b", None)]);
}

#[test]
fn find_second_pattern_only_in_regexp() {
    let text = "/a/!/b/ only a\n/(a)/i!!/B/i both $1\n!/a/!/b/ none";
    let (posix, complaints) = table::<Posix>(text);
    assert_eq!(complaints, []);
    for (key, answer) in [("A", Some("only a")), ("aB", Some("both a")), ("ab", None), ("c", Some("none"))] {
        assert_eq!(get(&posix, key).as_deref(), answer, "{key}");
    }
    let (pcre, complaints) = table::<Pcre>(text);
    assert_eq!(complaints, [1, 2, 3].map(|line| (line, Fault::UnknownOption)));
    assert_eq!(get(&pcre, "a"), None);
}

#[test]
fn build_faulty_rules_skipped_with_complaints() {
    let text = " orphan\nword\n!\n/a\n/a/q x\n/(a)/ $\n/(a)/ $2\n!/(a)/ $1\n/(a)/ $0\n/b/\nendif\nif /x/ y\n";
    let both = [
        (1, Fault::NothingToContinue),
        (2, Fault::UnknownRequest),
        (3, Fault::NoPattern),
        (4, Fault::NoClosingDelimiter),
        (5, Fault::UnknownOption),
        (6, Fault::BadSubstitution),
        (7, Fault::NoSuchGroup),
        (8, Fault::GroupOfNegated),
        (9, Fault::NoSuchGroup),
        (10, Fault::EmptyAnswer),
        (11, Fault::EndifWithoutIf),
        (12, Fault::ExtraText),
        (12, Fault::IfWithoutEndif),
    ];
    assert_eq!(table::<Posix>(text).1, both);
    assert_eq!(table::<Pcre>(text).1, both);
    check(text, &[("a", None), ("b", Some(""))]);

    // An `if` that is skipped leaves its block behind, whose end closes the block around it.
    let text = "if /a/\nif /(/\n/./ x\nendif\n/./ y\nendif\n";
    let (posix, complaints) = table::<Posix>(text);
    let expected = [
        (2, Fault::BadPattern { text: mapkeep_table_regex::posix::error_text(8), offset: None }),
        (2, Fault::Unconditional),
        (6, Fault::EndifWithoutIf),
    ];
    assert_eq!(complaints, expected);
    assert_eq!((get(&posix, "a").as_deref(), get(&posix, "b").as_deref()), (Some("x"), Some("y")));
    let (_, complaints) = table::<Pcre>(text);
    assert_eq!(
        complaints[0],
        (2, Fault::BadPattern { text: mapkeep_table_regex::pcre::error_text(114), offset: Some(1) })
    );
    assert_eq!(table::<Pcre>("/a/XX x").1, [(1, Fault::ObsoleteOption), (1, Fault::ObsoleteOption)]);
}

#[test]
fn build_pattern_too_complex_refuses_the_table() {
    let mut complaints = Vec::new();
    let table = Patterns::<Posix>::build(b"/a/ x\n/(a{1,255}){1,255}/ y\n", &mut complaints);
    assert_eq!(table.err(), Some(TableError::PatternTooComplex { line: 2 }));
    assert_eq!(complaints, []);
}

#[test]
fn build_patterns_too_large_together_refuse_the_table() {
    let _alone = crate::rules::MEMORY.lock();
    // Each for itself is allowed, and takes 5 MB; all would take 10 GB and 80 seconds.
    let text = "/^(a?){1,90}b7$/ x\n".repeat(2000);
    let error = Patterns::<Posix>::build(text.as_bytes(), &mut Vec::new()).err();
    assert!(matches!(error, Some(TableError::PatternsTooLarge { line: 15..40 })), "{error:?}");
    // So do rules that are skipped after that; with groups they take 33 MB each.
    let text = "/^(a?){1,90}b7$/ $9\n".repeat(2000);
    let error = Patterns::<Posix>::build(text.as_bytes(), &mut Vec::new()).err();
    assert!(matches!(error, Some(TableError::PatternsTooLarge { line: 3..10 })), "{error:?}");
    // 2.9 MB that would take gigabytes.
    let text = "/^(abcdefgh[x-z]){1,500}$/ x\n".repeat(100_000);
    let error = Patterns::<Pcre>::build(text.as_bytes(), &mut Vec::new()).err();
    assert!(matches!(error, Some(TableError::PatternsTooLarge { line: 100..20_000 })), "{error:?}");
}

#[test]
fn build_small_patterns_are_checked_together_and_counted() {
    let _alone = crate::rules::MEMORY.lock();
    // 32 KB each, of which some are looked at together; and again in steps of one. Other tests allocate, too.
    let text = format!("/^{}$/ x\n", "(a?)".repeat(25)).repeat(20_000);
    for enough in [false, true] {
        let mut building = Building::<Posix>::new();
        let error = loop {
            let asked = || enough;
            match building.step(text.as_bytes(), &mut Vec::new(), &mut Portion::until(&asked)) {
                Ok(Ok(_)) => break None,
                Ok(Err(later)) => building = later,
                Err(error) => break Some(error),
            }
        };
        assert!(matches!(error, Some(TableError::PatternsTooLarge { line: 1_000..20_000 })), "{error:?}");
    }
}

#[test]
fn build_step_is_one_pattern_if_the_caller_asks_for_it() {
    let text = "/a/ x\n/b/ y\nif /c/\n/d/ z\n/(e/ faulty\n";
    let (mut building, mut complaints, mut steps) = (Building::<Pcre>::new(), Vec::new(), 0);
    let table = loop {
        steps += 1;
        match building.step(text.as_bytes(), &mut complaints, &mut Portion::until(&|| true)).unwrap() {
            Ok(table) => break table,
            Err(later) => building = later,
        }
    };
    assert_eq!(steps, 6);
    assert_eq!(complaints.iter().map(|complaint| complaint.line).collect::<Vec<_>>(), [5, 3]);
    assert_eq!((get(&table, "cd").as_deref(), get(&table, "d")), (Some("z"), None));
}

#[test]
fn build_a_long_list_of_ordinary_patterns_is_loaded() {
    // 2.4 MB.
    let text: String = (0..40_000)
        .map(|number| format!("/^(.*[.@])?host{number}\\.example\\.(net|com)$/ REJECT {number}\n"))
        .collect();
    let table = table::<Pcre>(&text).0;
    assert_eq!(get(&table, "a.host39999.example.com").as_deref(), Some("REJECT 39999"));
}

#[test]
fn find_substitution_refused_rules_passed_over() {
    for text in ["/(a)/ sub $1\n/a/ plain $$\n", "if /a/\n/(a)/ $1\n/(a)/ plain $$\nendif\n"] {
        let (posix, pcre) = (table::<Posix>(text).0, table::<Pcre>(text).0);
        let query = Query { substitution: Substitution::Refused, ..Query::plain(b"a") };
        let mut answer = Vec::new();
        assert_eq!(posix.find(&query, &mut answer), Ok(true));
        assert_eq!(answer, b"plain $");
        answer.clear();
        assert_eq!(pcre.find(&query, &mut answer), Ok(true));
        assert_eq!(answer, b"plain $");
    }
}

/// Looks `key` up in turns, each of which ends before the rule of this number. Returns the answer, and the number of
/// turns.
fn find_in_turns<L: Library>(table: &Patterns<L>, key: &str, rules: u32) -> (Option<String>, u32) {
    let place = Cell::new(Place::default());
    for turn in 1.. {
        let left = Cell::new(rules + 2);
        let time_left = || {
            left.set(left.get() - 1);
            Duration::from_secs(u64::from(left.get()))
        };
        let pause = Pause { below: Duration::from_secs(2), place: &place };
        let query = Query { pause: Some(&pause), time_left: &time_left, ..Query::plain(key.as_bytes()) };
        let mut answer = Vec::new();
        match table.find(&query, &mut answer) {
            Err(TableError::Paused) => assert!(turn < 100, "it comes to no end"),
            found => return (found.unwrap().then(|| String::from_utf8(answer).unwrap()), turn),
        }
    }
    unreachable!()
}

#[test]
fn find_interrupted_lookup_gives_what_one_in_one_go_gives() {
    let text = "/^1/ one\n/(a)(b)/ $2$1\nif /c/\nif !/d/\n/./ c without d\nendif\n/e/ cde\nendif\n!/f/ no f\n/f/ f\n";
    let (posix, pcre) = (table::<Posix>(text).0, table::<Pcre>(text).0);
    for key in ["1", "ab", "c", "cd", "cde", "cdf", "x", "f"] {
        for rules in 1..8 {
            let whole = get(&posix, key);
            assert_eq!(find_in_turns(&posix, key, rules).0, whole, "regexp {key} {rules}");
            assert_eq!(find_in_turns(&pcre, key, rules).0, whole, "pcre {key} {rules}");
        }
    }
    // One rule in each turn: five are tried before the sixth, and the end of the block is none.
    assert_eq!(find_in_turns(&pcre, "cdf", 1), (Some("f".to_owned()), 7));
}

#[test]
fn find_work_of_all_turns_counts_together() {
    let text = "/x/ x\n".repeat(2_000);
    let (table, key) = (table::<Pcre>(&text).0, "a".repeat(200_000));
    let place = Cell::new(Place::default());
    let pause = Pause { below: Duration::from_secs(2), place: &place };
    let found = (0..2_000).find_map(|_| {
        let left = Cell::new(12);
        let time_left = || {
            left.set(left.get() - 1);
            Duration::from_secs(left.get())
        };
        let query = Query { pause: Some(&pause), time_left: &time_left, ..Query::plain(key.as_bytes()) };
        let found = table.find(&query, &mut Vec::new());
        (found != Err(TableError::Paused)).then_some(found)
    });
    assert_eq!(found, Some(Err(TableError::TooMuchWork { line: 1343 })));
}

#[test]
fn find_match_limit_is_an_error_never_a_miss() {
    let key = format!("{}!", "a".repeat(60));
    for text in ["#\n/^(a+)+$/ x\n/./ y", "#\n!/^(a+)+$/ x", "#\nif /^(a+)+$/\n/./ x\nendif\n/./ y"] {
        let found = table::<Pcre>(text).0.find(&Query::plain(key.as_bytes()), &mut Vec::new());
        assert_eq!(found, Err(TableError::Limit { line: 2 }), "{text}");
    }
    let found = table::<Pcre>("/(*UTF)a/ x").0.find(&Query::plain(b"\xff"), &mut Vec::new());
    assert_eq!(found, Err(TableError::Limit { line: 1 }));
}

#[test]
fn find_out_of_time_checked_before_each_rule() {
    let asked = Cell::new(0);
    let time_left = || {
        asked.set(asked.get() + 1);
        if asked.get() > 3 { Duration::ZERO } else { Duration::MAX }
    };
    let table = table::<Posix>(&"/x/ y\n".repeat(10)).0;
    let query = Query { time_left: &time_left, ..Query::plain(b"a") };
    assert_eq!(table.find(&query, &mut Vec::new()), Err(TableError::OutOfTime { line: 4 }));
}

#[test]
fn find_long_key_with_many_rules_is_given_up() {
    let table = table::<Posix>(&"/^x/ y\n".repeat(300)).0;
    let key = vec![b'a'; 1 << 20];
    let error = TableError::TooMuchWork { line: u32::try_from(MAX_WORK >> 20).unwrap() + 1 };
    assert_eq!(table.find(&Query::plain(&key), &mut Vec::new()), Err(error));
    assert_eq!(table.find(&Query::plain(&key[..1000]), &mut Vec::new()), Ok(false));
}

#[test]
fn find_key_with_nul_refused() {
    let (posix, pcre) = (table::<Posix>("/a/ x").0, table::<Pcre>("/a/ x").0);
    assert_eq!(posix.find(&Query::plain(b"a\0b"), &mut Vec::new()), Err(TableError::NulInKey));
    assert_eq!(pcre.find(&Query::plain(b"a\0b"), &mut Vec::new()), Err(TableError::NulInKey));
}
