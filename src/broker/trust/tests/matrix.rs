//! Every defect at every place: rule by file, directory, directory above, link, link's target, and a change between
//! the look and the opening; once for tables of root and once for tables of a declared owner in his own directories.
//!
//! Each refusal must name component, rule and remedy; a remedy that is a command must cure it.

use std::process::Command;

use super::*;

/// The owners of the table `g/p/t` and its directories `g` and `g/p`.
const OWNERS: [(&str, u32); 2] = [("root", 0), ("declared owner", OWNER)];

/// A defect of one component, the rule that it breaks, and the remedy that must be named.
type Defect = (&'static str, fn(&Bed, &str), Rule, &'static str);

/// Defects of a directory.
const DIRECTORY: &[Defect] = &[
    ("of a stranger", |b, name| b.owner(name, STRANGER), Rule::T2, DECLARE),
    ("0775", |b, name| b.mode(name, 0o775), Rule::T2, GROUP),
    ("0757", |b, name| b.mode(name, 0o757), Rule::T2, MOVE),
    ("sticky 1777", |b, name| b.mode(name, 0o1777), Rule::T2, MOVE),
    ("sticky 1757", |b, name| b.mode(name, 0o1757), Rule::T2, MOVE),
];

/// Defects of the file.
const FILE: &[Defect] = &[
    ("of a stranger", |b, name| b.owner(name, STRANGER), Rule::T4, DECLARE),
    ("0664", |b, name| b.mode(name, 0o664), Rule::T4, "run: chmod go-w "),
    ("0646", |b, name| b.mode(name, 0o646), Rule::T4, "run: chmod go-w "),
    ("set-user-id", |b, name| b.mode(name, 0o4644), Rule::T4, "run: chmod u-s,g-s "),
    ("set-group-id", |b, name| b.mode(name, 0o2644), Rule::T4, "run: chmod u-s,g-s "),
    ("too long", |b, name| b.file(name, &vec![b'x'; LIMIT as usize + 1]), Rule::T4, "raise snapshot_limit"),
    ("a FIFO", fifo, Rule::T4, REGULAR),
    ("a socket", socket, Rule::T4, REGULAR),
    ("a device", |b, name| device(b, name, SFlag::S_IFCHR), Rule::T4, REGULAR),
];

/// Defects of a link.
const LINK: &[Defect] = &[
    ("of a stranger", |b, name| b.link_owner(name, STRANGER), Rule::T3, NAME_FILE),
    ("of a declared owner", |b, name| b.link_owner(name, OWNER), Rule::T3, NAME_FILE),
];

/// Where a defect is: its name, the links to make, what has the defect, what is opened.
struct Place {
    name: &'static str,
    links: &'static [(&'static str, &'static str)],
    spoilt: &'static str,
    open: &'static str,
    defects: &'static [Defect],
}

const PLACES: &[Place] = &[
    Place { name: "parent", links: &[], spoilt: "g/p", open: "g/p/t", defects: DIRECTORY },
    Place { name: "grandparent", links: &[], spoilt: "g", open: "g/p/t", defects: DIRECTORY },
    Place { name: "file", links: &[], spoilt: "g/p/t", open: "g/p/t", defects: FILE },
    Place {
        name: "link's target",
        links: &[("../g/p/t", "k/l")],
        spoilt: "g/p/t",
        open: "k/l",
        defects: FILE,
    },
    Place {
        name: "link's directory",
        links: &[("../g/p/t", "k/l")],
        spoilt: "k",
        open: "k/l",
        defects: DIRECTORY,
    },
    Place {
        name: "target's parent",
        links: &[("../g/p/t", "k/l")],
        spoilt: "g/p",
        open: "k/l",
        defects: DIRECTORY,
    },
    Place {
        name: "target's grandparent",
        links: &[("../g/p/t", "k/l")],
        spoilt: "g",
        open: "k/l",
        defects: DIRECTORY,
    },
    Place {
        name: "target of a directory link",
        links: &[("../g", "k/l")],
        spoilt: "g/p",
        open: "k/l/p/t",
        defects: DIRECTORY,
    },
    Place {
        name: "link to the file",
        links: &[("../g/p/t", "k/l")],
        spoilt: "k/l",
        open: "k/l",
        defects: LINK,
    },
    Place {
        name: "link to the parent",
        links: &[("../g/p", "k/l")],
        spoilt: "k/l",
        open: "k/l/t",
        defects: LINK,
    },
    Place {
        name: "link to the grandparent",
        links: &[("../g", "k/l")],
        spoilt: "k/l",
        open: "k/l/p/t",
        defects: LINK,
    },
    Place {
        name: "second link",
        links: &[("../g/p/t", "k/m"), ("m", "k/l")],
        spoilt: "k/m",
        open: "k/l",
        defects: LINK,
    },
];

/// The sound table of this owner, in directories of his, and a directory of root for links.
fn sound(owner: u32) -> Option<Bed> {
    let bed = Bed::new()?;
    bed.directory("g/p");
    bed.directory("k");
    bed.file("g/p/t", b"key value\n");
    for name in ["g", "g/p", "g/p/t"] {
        bed.owner(name, owner);
    }
    Some(bed)
}

/// How many cases there are, the races included.
pub(super) fn count() -> usize {
    let places: usize = PLACES.iter().map(|place| place.defects.len()).sum();
    (places + RACES.len()) * OWNERS.len()
}

#[test]
fn open_table_each_defect_at_each_place_is_named_and_cured() {
    let owners = Owners::declared(&[OWNER]);
    for place in PLACES {
        for (defect, spoil, rule, remedy) in place.defects {
            for (whose, owner) in OWNERS {
                let what = format!("table of {whose}: {} {defect}", place.name);
                let Some(bed) = sound(owner) else { return };
                for (target, link) in place.links {
                    bed.link(target, link);
                }
                assert!(bed.open_for(place.open, &owners).is_ok(), "sound before: {what}");
                spoil(&bed, place.spoilt);

                let refusal = bed.open_for(place.open, &owners).expect_err(&what);
                assert_eq!(refusal.rule(), Some(*rule), "{what}: {refusal}");
                assert_eq!(refusal.component(), bed.bytes(place.spoilt).as_slice(), "{what}: {refusal}");
                let text = refusal.to_string();
                assert!(text.contains(&format!("(rule {}: ", rule.name())), "{what}: {text}");
                assert!(text.contains(remedy), "{what}: {text}");
                if let Some((_, command)) = text.split_once("run: ") {
                    let status = Command::new("bash").args(["-c", command]).status().expect("bash");
                    assert!(status.success(), "{what}: {command}");
                    let cured = bed.open_for(place.open, &owners);
                    assert!(cured.is_ok(), "{what}: the remedy did not help: {cured:?}");
                }
            }
        }
    }
}

/// A change between the check and the opening, and the rule that refuses it; without one, the result is
/// [`Refusal::Retry`].
type Race = (&'static str, fn(&Bed), Option<Rule>);

/// Puts `other` in the place of `name`.
fn exchange(bed: &Bed, other: &str, name: &str) {
    fs::rename(bed.path(name), bed.path("away")).expect("rename");
    fs::rename(bed.path(other), bed.path(name)).expect("rename");
}

const RACES: &[Race] = &[
    (
        "file exchanged for a stranger's",
        |b| {
            b.file("k/e", b"evil");
            b.owner("k/e", STRANGER);
            exchange(b, "k/e", "g/p/t");
        },
        None,
    ),
    (
        "file exchanged for one that anybody writes",
        |b| {
            b.file("k/e", b"evil");
            b.mode("k/e", 0o666);
            exchange(b, "k/e", "g/p/t");
        },
        None,
    ),
    (
        "file exchanged for a link",
        |b| {
            b.link("/etc/passwd", "k/e");
            exchange(b, "k/e", "g/p/t");
        },
        None,
    ),
    (
        "file exchanged for a FIFO",
        |b| {
            mkfifo(&b.path("k/e"), Mode::from_bits_truncate(0o644)).expect("mkfifo");
            exchange(b, "k/e", "g/p/t");
        },
        None,
    ),
    (
        "file exchanged for a directory",
        |b| {
            b.directory("k/e");
            exchange(b, "k/e", "g/p/t");
        },
        None,
    ),
    ("file removed", |b| b.remove("g/p/t"), None),
    ("file opened to everybody", |b| b.mode("g/p/t", 0o666), None),
    ("file given away", |b| b.owner("g/p/t", STRANGER), None),
    (
        "file grown",
        |b| fs::write(b.path("g/p/t"), vec![b'x'; LIMIT as usize + 1]).expect("write"),
        Some(Rule::T4),
    ),
];

#[test]
fn open_table_changes_between_look_and_opening_are_noticed() {
    let owners = Owners::declared(&[OWNER]);
    for (what, change, rule) in RACES {
        for (whose, owner) in OWNERS {
            let Some(bed) = sound(owner) else { return };
            let anchor = Anchor::host().expect("anchor");
            let found = read::find(&anchor, &bed.bytes("g/p/t"), &owners, LIMIT).expect("sound");
            change(&bed);
            let refusal = read::open_found(&anchor, found, &owners, LIMIT).expect_err(what);
            assert_eq!(refusal.rule(), *rule, "table of {whose}: {what}: {refusal}");
            assert_eq!(refusal.component(), bed.bytes("g/p/t").as_slice(), "{whose}: {what}: {refusal}");
            let retry = matches!(refusal, Refusal::Retry { .. });
            assert!(rule.is_some() || retry, "table of {whose}: {what}: {refusal}");
        }
    }
}

#[test]
fn open_table_directories_exchanged_during_the_walk_lead_nowhere_else() {
    // The walk holds a descriptor of what it has checked: a directory put in its place is not entered.
    for (whose, owner) in OWNERS {
        for swapped in ["g/p", "g"] {
            let Some(bed) = sound(owner) else { return };
            let (anchor, owners) = (Anchor::host().expect("anchor"), Owners::declared(&[OWNER]));
            let found = read::find(&anchor, &bed.bytes("g/p/t"), &owners, LIMIT).expect("sound");
            let expected = Identity::from(&found.status);
            bed.directory("k/e/p");
            bed.file("k/e/t", b"evil");
            bed.file("k/e/p/t", b"evil");
            bed.mode("k/e", 0o777);
            exchange(&bed, "k/e", swapped);
            let trusted =
                read::open_found(&anchor, found, &owners, LIMIT).expect("the file that was checked");
            let opened = Identity::from(&trusted.status);
            assert_eq!((opened.dev, opened.ino), (expected.dev, expected.ino), "table of {whose}: {swapped}");
            let refusal = bed.open_for("g/p/t", &owners).expect_err("the exchanged one");
            assert_eq!(refusal.component(), bed.bytes(swapped).as_slice(), "{refusal}");
        }
    }
}

#[test]
fn open_table_of_the_mail_owner_in_his_own_directory_is_read() {
    use std::io::Read as _;
    let Some(bed) = Bed::new() else { return };
    let user = nix::unistd::User::from_name("postfix").ok().flatten();
    let mail_owner = user.map_or(OWNER, |user| user.uid.as_raw());
    bed.directory("data");
    bed.file("data/verify_cache.db", b"key value\n");
    bed.owner("data", mail_owner);
    bed.owner("data/verify_cache.db", mail_owner);
    bed.mode("data", 0o700);
    bed.mode("data/verify_cache.db", 0o600);
    let owners = Owners::declared(&[mail_owner]);
    let trusted = bed.open_for("data/verify_cache.db", &owners).expect("the mail owner's");
    let mut content = String::new();
    fs::File::from(trusted.file).read_to_string(&mut content).expect("read");
    assert_eq!(content, "key value\n");

    // Only because he is declared: if he is not, the directory is refused, and so are files of other users.
    let refusal = bed.open("data/verify_cache.db").expect_err("not declared");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T2), bed.bytes("data").as_slice()));
    bed.owner("data/verify_cache.db", STRANGER);
    let refusal = bed.open_for("data/verify_cache.db", &owners).expect_err("a stranger's file");
    let component = bed.bytes("data/verify_cache.db");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T4), component.as_slice()));
}
