use super::*;
use crate::complaint::Complaint;
use crate::portion::Portion;

/// Indexes a text in steps, each of which ends as soon as it may; returns the number of steps.
fn in_steps(text: &[u8], complaints: &mut Vec<Complaint>) -> (Result<Index, TableError>, usize) {
    let mut builder = Builder::default();
    for steps in 1.. {
        match builder.step(text, complaints, &mut Portion::until(&|| true)) {
            Ok(Ok(index)) => return (Ok(index), steps),
            Ok(Err(later)) => builder = later,
            Err(error) => return (Err(error), steps),
        }
    }
    unreachable!()
}

fn build(text: &[u8], complaints: &mut Vec<Complaint>) -> Result<Index, TableError> {
    let built = Builder::default().step(text, complaints, &mut Portion::whole())?;
    Ok(built.unwrap_or_else(|_| panic!("the whole is not used up")))
}

fn table(text: &[u8]) -> (Result<Index, TableError>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    (build(text, &mut complaints), complaints)
}

fn get(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let index = table(text).0.unwrap();
    let mut answer = b"left over".to_vec();
    find(text, &index, key, &mut answer).unwrap().then_some(answer)
}

#[test]
fn find_stored_in_any_case_matches() {
    let text = "User@Example.COM one\nÜber two words\t\nstraße 3\nΣΊΣΥΦΟΣ 4\nİ 5\n".as_bytes();
    for (key, value) in [
        ("user@example.com", "one"),
        ("User@Example.COM", "one"),
        ("über", "two words"),
        ("strasse", "3"),
        ("σίσυφοσ", "4"),
        ("i\u{307}", "5"),
    ] {
        assert_eq!(get(text, key.as_bytes()).as_deref(), Some(value.as_bytes()), "{key}");
    }
    assert_eq!(get(text, b"USER@example.com"), None, "a key that nobody folded means just itself");
    assert_eq!(get(text, b"uber"), None);
    assert_eq!(get(text, b""), None);
}

#[test]
fn find_case_variants_exact_first_else_first_line() {
    let text = b"KEY 1\nKey 2\nkey 3\n";
    let (index, complaints) = table(text);
    let index = index.unwrap();
    let mut answer = Vec::new();
    for (key, value) in [(&b"KEY"[..], b"1"), (b"Key", b"2"), (b"key", b"3")] {
        assert_eq!(find(text, &index, key, &mut answer), Ok(true));
        assert_eq!(answer, value);
    }
    assert_eq!(find(text, &index, b"kEY", &mut answer), Ok(false));
    let folded_only = b"KEY 1\nKey 2\n";
    let index = table(folded_only).0.unwrap();
    assert_eq!(find(folded_only, &index, b"key", &mut answer), Ok(true));
    assert_eq!(answer, b"1");
    let expected = [2, 3].map(|line| Complaint { line, fault: Fault::CaseVariant });
    assert_eq!(complaints, expected);
}

#[test]
fn build_duplicate_keys_refused_with_lines() {
    let text = b"# head\nb 0\na 1\n\nc 2\nA 3\na\n 4\n";
    assert_eq!(table(text).0.unwrap_err(), TableError::DuplicateKey { first: 3, second: 7 });
}

#[test]
fn build_many_case_variants_refused() {
    let mut text = b"first line\n".to_vec();
    for number in 0..=64_u32 {
        let key = (0..7).map(|bit| if number >> bit & 1 == 0 { b'a' } else { b'A' });
        text.extend(key.chain(*b" v\n"));
    }
    assert_eq!(table(&text).0.unwrap_err(), TableError::TooManyCaseVariants { line: 2 });
}

#[test]
fn build_faulty_lines_skipped_with_complaint() {
    let text = b" orphan x\n more\nkey\n\"open quote\nalias: x\ncut v\0alue\nok 1\n\x00\n";
    let (index, complaints) = table(text);
    assert_eq!(index.unwrap().slots().len(), 3);
    let expected = [
        (1, Fault::NothingToContinue),
        (3, Fault::NoValue),
        (4, Fault::UnbalancedQuote),
        (5, Fault::KeyEndsInColon),
        (6, Fault::EmbeddedNul),
        (8, Fault::EmbeddedNul),
        (8, Fault::NoValue),
    ];
    let got: Vec<_> = complaints.iter().map(|complaint| (complaint.line, complaint.fault.clone())).collect();
    assert_eq!(got, expected);
    assert_eq!(get(text, b"cut").as_deref(), Some(&b"v"[..]));
    assert_eq!(get(text, b"orphan"), None);
}

#[test]
fn build_line_too_long_skipped() {
    let mut text = b"long ".to_vec();
    text.resize(crate::MAX_LINE + 10, b'x');
    text.extend(b"\nok 1\n");
    let (index, complaints) = table(&text);
    assert_eq!(index.unwrap().slots().len(), 1);
    assert_eq!(complaints, [Complaint { line: 1, fault: Fault::LineTooLong }]);
}

#[test]
fn find_continued_and_quoted_keys() {
    let text = b"\"a\n b\" value\n# comment\n  goes on\nq\\ r x\n";
    assert_eq!(get(text, b"\"a b\"").as_deref(), Some(&b"value  goes on"[..]));
    assert_eq!(get(text, b"q\\ r").as_deref(), Some(&b"x"[..]));
}

#[test]
fn find_not_utf8_bytes_match_by_ascii_case() {
    assert_eq!(get(b"\xffABC 1\n", b"\xffabc").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(b"\xffABC 1\n", b"\xfeabc"), None);
}

#[test]
fn step_file_order_faulty_lines_left_out() {
    let text = b"b 1\nbad\na 2\n  3\n\nc 4";
    let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
    let mut seen = Vec::new();
    while step(text, &mut cursor, &mut key, &mut value).unwrap() == Step::Record {
        seen.push((key.clone(), value.clone()));
    }
    let pair = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(seen, [pair(b"b", b"1"), pair(b"a", b"2  3"), pair(b"c", b"4")]);
    assert_eq!(step(text, &mut cursor, &mut key, &mut value), Ok(Step::End));
}

#[test]
fn in_steps_as_in_one_go() {
    let variants: String =
        (0..40).map(|at| format!("{}K{} v\n", "k".repeat(at), "k".repeat(40 - at))).collect();
    let many: String =
        (0..30_000).map(|number| format!("key{} {number}\n  more\n", number * 7919 % 30_000)).collect();
    let twice = format!("{many}key17 again\n# {}\nkey4 again\n", "-".repeat(200_000));
    let crowd: String = (0..70).map(|at| format!("{}K{} v\n", "k".repeat(at), "k".repeat(70 - at))).collect();
    for text in ["", "\n", "a b\n", " orphan\nb 1\na 1", &variants, &many, &twice, &crowd] {
        let (mut at_once, mut bit_by_bit) = (Vec::new(), Vec::new());
        let expected = build(text.as_bytes(), &mut at_once);
        let (found, _) = in_steps(text.as_bytes(), &mut bit_by_bit);
        let slots = |index: Result<Index, TableError>| {
            index.map(|index| index.slots().iter().map(|slot| (slot.hash(), slot.at())).collect::<Vec<_>>())
        };
        let (expected, found) = (slots(expected), slots(found));
        assert_eq!(expected, found);
        assert_eq!(at_once, bit_by_bit);
        if let Ok(slots) = found {
            assert!(slots.is_sorted_by_key(|(hash, _)| *hash));
        }
    }
}

#[test]
fn each_part_of_the_work_is_done_in_steps() {
    let lines: String =
        (0..100_000_u32).map(|number| format!("{:x} v\n", number.wrapping_mul(2_654_435_761))).collect();
    let steps = |text: &str| in_steps(text.as_bytes(), &mut Vec::new()).1;
    // Of 8 bytes an entry, moved once for each of the 17 doublings of the length of a run, a step moves 64 KiB.
    assert!(steps(&lines) > 100_000 * 8 * 17 / (64 << 10), "{}", steps(&lines));
    let comment = format!("a 1\n{}b 2\n", "# nothing\n".repeat(100_000));
    assert!(steps(&comment) > 10, "a line without an end: {}", steps(&comment));
    // Long keys of the same hash: each comparison is work.
    let long: String =
        (0..50).map(|at| format!("{}K{} v\n", "k".repeat(at), "k".repeat(70_000 - at))).collect();
    assert!(steps(&long) > 50 * 5, "{}", steps(&long));
}
