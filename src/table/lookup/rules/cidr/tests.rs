use super::*;

fn table(text: &str) -> (Cidr, Vec<(u32, Fault)>) {
    let mut complaints = Vec::new();
    let mut building = Building::new();
    let table = loop {
        match building.step(text.as_bytes(), &mut complaints, &mut Portion::until(&|| true)).unwrap() {
            Ok(table) => break table,
            Err(later) => building = later,
        }
    };
    (table, complaints.iter().map(|complaint| (complaint.line, complaint.fault.clone())).collect())
}

fn get(table: &Cidr, key: &str) -> Option<String> {
    let mut answer = Vec::new();
    let found = table.find(&Query::plain(key.as_bytes()), &mut answer).unwrap();
    found.then(|| String::from_utf8(answer).unwrap())
}

fn check(text: &str, expected: &[(&str, Option<&str>)]) {
    let table = table(text).0;
    for (key, answer) in expected {
        assert_eq!(get(&table, key).as_deref(), *answer, "{text:?} {key}");
    }
}

#[test]
fn find_first_rule_not_the_longest_prefix() {
    let text = "10.1.0.0/16 a\n10.0.0.0/8 b\n10.2.0.0/16 c\n10.1.0.0/16 d\n0.0.0.0/0 e\n::1 f  \n";
    check(
        text,
        &[
            ("10.1.2.3", Some("a")),
            ("10.2.0.0", Some("b")),
            ("11.0.0.1", Some("e")),
            ("::1", Some("f")),
            ("::2", None),
        ],
    );
}

#[test]
fn find_negation_own_family_only() {
    check("!10.0.0.0/8 out\n", &[("11.0.0.1", Some("out")), ("10.0.0.1", None), ("::1", None)]);
    check("!::/0 out\n", &[("::1", None), ("1.1.1.1", None)]);
    check("if !10.0.0.0/8\n::/0 six\n0.0.0.0/0 four\nendif", &[("::1", None), ("1.1.1.1", Some("four"))]);
}

#[test]
fn find_blocks_keep_the_order_of_rules() {
    let text = "if 10.0.0.0/8\n10.1.1.1 a\nif ::/0\n10.0.0.0/8 never\n::1 x\nendif\n10.1.1.1 b\n10.1.1.2 c\nendif\n\
                10.1.1.3 d\nif ::/0\n::1 y\nendif\n10.1.1.2 e\n11.1.1.1 f\n";
    check(
        text,
        &[
            ("10.1.1.1", Some("a")),
            ("10.1.1.2", Some("c")),
            ("10.1.1.3", Some("d")),
            ("11.1.1.1", Some("f")),
            ("::1", Some("y")),
        ],
    );
    // A rule in the block must not hold outside of it, nor the other way round.
    check("if 1.0.0.0/8\n2.2.2.2 in\nendif\n2.2.2.2 after\n", &[("2.2.2.2", Some("after"))]);
    check("if 1.0.0.0/8\n2.2.2.2 in\n", &[("2.2.2.2", None)]);
}

#[test]
fn find_other_keys_absent() {
    let table = table("0.0.0.0/0 a\n::/0 b\n").0;
    for key in [
        "",
        "abc",
        "[1.2.3.4]",
        "1.2.3",
        "01.2.3.4",
        " 1.2.3.4",
        "1.2.3.4/32",
        "::g",
        "fe80::1%lo",
        "0x1.1.1.1",
    ] {
        assert_eq!(get(&table, key), None, "{key}");
    }
    assert_eq!(get(&table, "::FFFF:1.2.3.4").as_deref(), Some("b"));
}

#[test]
fn build_faulty_rules_skipped_with_complaints() {
    let text = "abc x\n1.1.1.1\n1.1.1.1/4294967296 x\n1.1.1.1/8 x\nendif\nif 1.1.1.1/8\n9.9.9.9 in\nendif x\nif 2.2.2.2\n";
    let (table, complaints) = table(text);
    let host_bits = Fault::HostBits { network: "1.0.0.0".parse().unwrap(), length: 8 };
    let expected = [
        (1, Fault::BadAddress),
        (2, Fault::NoAnswer),
        (3, Fault::BadPrefixLength),
        (4, host_bits.clone()),
        (5, Fault::EndifWithoutIf),
        (6, host_bits),
        (6, Fault::Unconditional),
        (8, Fault::ExtraTextSkipped),
        (9, Fault::IfWithoutEndif),
    ];
    assert_eq!(complaints, expected);
    assert_eq!((get(&table, "9.9.9.9").as_deref(), get(&table, "1.1.1.1")), (Some("in"), None));
}

#[test]
fn find_out_of_time_reported() {
    let query = Query { time_left: &|| std::time::Duration::ZERO, ..Query::plain(b"1.1.1.1") };
    let found = table("#\n1.1.1.1 x\n").0.find(&query, &mut Vec::new());
    assert_eq!(found, Err(TableError::OutOfTime { line: 2 }));
}
