//! Each rule, broken in one way after the other: directory, directories above, files.

use super::*;

/// A defect of one component, the rule that it breaks, and the remedy that must be named.
type Defect = (&'static str, fn(&Bed, &str), Rule, &'static str);

const AWAY: &str = "name a file in a directory of uid 64322 alone, such as $data_directory";

const DIRECTORY: &[Defect] = &[
    ("of root", |b, n| b.owner(n, 0), Rule::W1, AWAY),
    ("of a stranger", |b, n| b.owner(n, STRANGER), Rule::W2, AWAY),
    ("0775", |b, n| b.mode(n, 0o775), Rule::W5, "run: chmod go-w "),
    ("0757", |b, n| b.mode(n, 0o757), Rule::W5, "run: chmod go-w "),
    ("sticky 1777", |b, n| b.mode(n, 0o1777), Rule::W5, AWAY),
    ("sticky 1770", |b, n| b.mode(n, 0o1770), Rule::W5, AWAY),
    ("0555", |b, n| b.mode(n, 0o555), Rule::W5, "run: chmod u+rwx "),
    ("a file", replace_by_file, Rule::W4, "correct the path"),
    ("a FIFO", fifo, Rule::W4, "correct the path"),
    ("a link of a stranger", link_of_a_stranger, Rule::W4, "name the directory behind the link"),
    ("a link of the user's", link_of_the_user, Rule::W4, "name the directory behind the link"),
];

const ABOVE: &[Defect] = &[
    ("of a stranger", |b, n| b.owner(n, STRANGER), Rule::W5, AWAY),
    ("0775", |b, n| b.mode(n, 0o775), Rule::W5, "run: chmod go-w "),
    ("0757", |b, n| b.mode(n, 0o757), Rule::W5, "run: chmod go-w "),
    ("sticky 1777", |b, n| b.mode(n, 0o1777), Rule::W5, AWAY),
    ("0700", |b, n| b.mode(n, 0o700), Rule::W5, AWAY),
    (
        "of the owner, without search",
        |b, n| {
            b.owner(n, OWNER);
            b.mode(n, 0o655);
        },
        Rule::W5,
        "run: chmod u+x ",
    ),
    ("a file", replace_by_file, Rule::W4, "correct the path"),
    ("a link of a stranger", link_of_a_stranger, Rule::W4, "name the directory behind the link"),
    ("a link of the user's", link_of_the_user, Rule::W4, "name the directory behind the link"),
];

const FILE: &[Defect] = &[
    ("of root", |b, n| b.owner(n, 0), Rule::W2, "find out what it is, and move it away"),
    ("of a stranger", |b, n| b.owner(n, STRANGER), Rule::W2, "find out what it is, and move it away"),
    ("0620", |b, n| b.mode(n, 0o620), Rule::W5, "if nobody else needs to write it, run: chmod go-w "),
    ("0602", |b, n| b.mode(n, 0o602), Rule::W5, "run: chmod go-w "),
    ("set-user-id", |b, n| b.mode(n, 0o4600), Rule::W5, "run: chmod u-s,g-s "),
    ("set-group-id", |b, n| b.mode(n, 0o2600), Rule::W5, "run: chmod u-s,g-s "),
    ("0000", |b, n| b.mode(n, 0o000), Rule::W5, "run: chmod u+r"),
    (
        "with a second name",
        |b, n| fs::hard_link(b.path(n), b.path("second")).expect("link"),
        Rule::W3,
        "first find out what the other names are: find \"$(stat -c %m ",
    ),
    (
        "a link to the real one",
        move_behind_link,
        Rule::W4,
        "find out where it leads, and name the table there",
    ),
    ("a dangling link", dangling, Rule::W4, "find out where it leads, and name the table there"),
    ("a FIFO", fifo, Rule::W5, "find out what it is, and move it away if nothing needs it"),
    ("a socket", socket, Rule::W5, "find out what it is, and move it away if nothing needs it"),
    (
        "a directory",
        replace_by_directory,
        Rule::W5,
        "find out what it is, and move it away if nothing needs it",
    ),
];

/// Defects of the files that must also be written.
const TRUTH: &[Defect] = &[("0400", |b, n| b.mode(n, 0o400), Rule::W5, "run: chmod u+rw ")];

fn replace_by_file(bed: &Bed, name: &str) {
    bed.remove(name);
    bed.file(name, b"x");
}

fn move_behind_link(bed: &Bed, name: &str) {
    fs::rename(bed.path(name), bed.path("real")).expect("rename");
    bed.link(bed.path("real").to_str().expect("text"), name);
}

fn link_of_a_stranger(bed: &Bed, name: &str) {
    move_behind_link(bed, name);
    bed.link_owner(name, STRANGER);
}

fn link_of_the_user(bed: &Bed, name: &str) {
    move_behind_link(bed, name);
    bed.link_owner(name, OWNER);
}

fn dangling(bed: &Bed, name: &str) {
    bed.remove(name);
    bed.link("nowhere", name);
}

#[test]
fn each_rule_broken_names_component_rule_and_remedy() {
    let both: &[&[Defect]] = &[FILE, TRUTH];
    let places: [(&str, &str, &[&[Defect]]); 6] = [
        ("g/p", "g/p/x", &[DIRECTORY]),
        ("g", "g/p/x", &[ABOVE]),
        ("g/p/x.db", "g/p/x", &[FILE]),
        ("g/p/x.mapkeep", "g/p/x", both),
        ("g/p/x.mapkeep-wal", "g/p/x", both),
        ("g/p/y.lmdb", "g/p/y.lmdb", both),
    ];
    let mut count = 0;
    for (component, table, defects) in places {
        for (what, spoil, rule, remedy) in defects.iter().copied().flatten() {
            let Some(bed) = sound() else { return };
            let files = table_of(&bed, table);
            assert!(look(&files).is_ok(), "sound before");
            spoil(&bed, component);
            let refusal = look(&files).expect_err(what);
            let text = refusal.to_string();
            assert_eq!(refusal.rule(), Some(*rule), "{component} {what}: {text}");
            assert_eq!(refusal.component(), bed.bytes(component), "{component} {what}: {text}");
            assert!(text.contains(&format!("(rule {}: {}); ", rule.name(), rule.sentence())), "{text}");
            assert!(text.contains(remedy), "{component} {what}: {text}");
            assert_eq!(as_owner(|| open_all(&files)).expect_err(what), refusal, "{component} {what}");
            count += 1;

            // A remedy that is a command must cure exactly the reported defect.
            if let Some((_, command)) = text.split_once("run: ") {
                let status = Command::new("bash").args(["-c", command]).status().expect("bash");
                assert!(status.success(), "{command}");
                if let Err(next) = look(&files) {
                    assert_ne!(next, refusal, "{component} {what}: the remedy did not help");
                }
            }
        }
    }
    assert!(count >= 70, "{count} cases");
}
