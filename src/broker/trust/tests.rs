//! Each rule against the file, its directory, the directory above and the links to it.
//!
//! The cases here are the particular ones; `tests/matrix.rs` has every defect at every place. Longer than 400 lines
//! because of the table of cases.

mod kin;
mod matrix;

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Instant;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::testbed::{Bed, LIMIT, OWNER, STRANGER};
use super::*;

/// One way to spoil the sound table `g/p/t` (or what leads to it), and what must be said about it.
struct Case {
    spoil: &'static str,
    act: fn(&Bed),
    /// What is opened, below the test directory, or absolute.
    open: &'static str,
    /// The component that must be named, likewise.
    component: &'static str,
    rule: Rule,
    remedy: &'static str,
}

const fn case(
    spoil: &'static str,
    act: fn(&Bed),
    open: &'static str,
    component: &'static str,
    rule: Rule,
    remedy: &'static str,
) -> Case {
    Case { spoil, act, open, component, rule, remedy }
}

fn fifo(bed: &Bed, name: &str) {
    bed.remove(name);
    mkfifo(&bed.path(name), Mode::from_bits_truncate(0o644)).expect("mkfifo");
}

fn socket(bed: &Bed, name: &str) {
    bed.remove(name);
    UnixListener::bind(bed.path(name)).expect("bind");
}

/// The null device, or a block device that does not exist: opening it for real would fail.
fn device(bed: &Bed, name: &str, kind: SFlag) {
    bed.remove(name);
    let number = if kind == SFlag::S_IFCHR { makedev(1, 3) } else { makedev(240, 77) };
    mknod(&bed.path(name), kind, Mode::from_bits_truncate(0o644), number).expect("mknod");
}

fn replace_by_file(bed: &Bed, name: &str) {
    bed.remove(name);
    bed.file(name, b"x");
}

fn long_path(levels: usize) -> String {
    format!("{}t", "d/".repeat(levels))
}

/// `l0` leads to the table through `count` links.
fn chain(bed: &Bed, count: usize) {
    for number in 1..count {
        bed.link(&format!("l{number}"), &format!("l{}", number - 1));
    }
    bed.link("g/p/t", &format!("l{}", count - 1));
}

const MOVE: &str =
    "unless a program makes it there, move the table, and its name in the configuration, to a directory";
const NAME_FILE: &str = "name the file that is meant, not the link";
const GROUP: &str = "if the group has nothing to write there, run: chmod go-w ";
const DECLARE: &str = "write in mapkeep.cf: table_owners = 64321";
const NOT_DIRECTORY: &str = "correct the path";
const REGULAR: &str = "name a regular file in the configuration";
const PLAIN: &str = "use a shorter path";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // T2, the directory and the one above.
    case("parent of a stranger", |b| b.owner("g/p", STRANGER), "g/p/t", "g/p", Rule::T2, DECLARE),
    case("grandparent of a stranger", |b| b.owner("g", STRANGER), "g/p/t", "g", Rule::T2, DECLARE),
    case("parent 0775", |b| b.mode("g/p", 0o775), "g/p/t", "g/p", Rule::T2, GROUP),
    case("grandparent 0775", |b| b.mode("g", 0o775), "g/p/t", "g", Rule::T2, GROUP),
    case("parent 0757", |b| b.mode("g/p", 0o757), "g/p/t", "g/p", Rule::T2, MOVE),
    case("grandparent 0757", |b| b.mode("g", 0o757), "g/p/t", "g", Rule::T2, MOVE),
    case("parent 0702", |b| b.mode("g/p", 0o702), "g/p/t", "g/p", Rule::T2, MOVE),
    case("grandparent 0720", |b| b.mode("g", 0o720), "g/p/t", "g", Rule::T2, GROUP),
    case("parent 2775", |b| b.mode("g/p", 0o2775), "g/p/t", "g/p", Rule::T2, GROUP),
    case("parent sticky 1777", |b| b.mode("g/p", 0o1777), "g/p/t", "g/p", Rule::T2, MOVE),
    case("grandparent sticky 1777", |b| b.mode("g", 0o1777), "g/p/t", "g", Rule::T2, MOVE),
    case("private file in a shared directory of root's", |b| { b.mode("g/p", 0o1775); b.mode("g/p/t", 0o640); },
        "g/p/t", "g/p/t", Rule::T4, MOVE),
    case("second name in a shared directory of root's",
        |b| { b.mode("g/p", 0o1775); fs::hard_link(b.path("g/p/t"), b.path("g/h")).expect("link"); },
        "g/p/t", "g/p/t", Rule::T4, MOVE),
    case("declared owner's file in a shared directory of root's",
        |b| { b.mode("g/p", 0o1775); b.owner("g/p/t", OWNER); }, "g/p/t", "g/p/t", Rule::T4, MOVE),
    case("link in a shared directory of root's", |b| { b.link("t", "g/p/l"); b.mode("g/p", 0o1775); },
        "g/p/l", "g/p/l", Rule::T3, NAME_FILE),
    case("shared directory of a declared owner", |b| { b.owner("g/p", OWNER); b.mode("g/p", 0o1775); },
        "g/p/t", "g/p", Rule::T2, MOVE),
    // Beneath a directory of a declared owner, all is his: he could have moved it there.
    case("root's file in a declared owner's directory", |b| b.owner("g/p", OWNER), "g/p/t", "g/p/t", Rule::T4,
        "keep a table of root in a directory of root"),
    case("root's directory in a declared owner's", |b| b.owner("g", OWNER), "g/p/t", "g/p", Rule::T2,
        "keep a table of root in a directory of root"),
    case("owner's file below root's directory in his own", |b| { b.owner("g", OWNER); b.owner("g/p/t", OWNER); },
        "g/p/t", "g/p", Rule::T2, "keep a table of root in a directory of root"),
    case("root's link in a declared owner's directory to root's file",
        |b| { b.directory("o"); b.link("../g/p/t", "o/l"); b.owner("o", OWNER); }, "o/l", "o", Rule::T3, NAME_FILE),
    case("root's file by .. from a declared owner's directory",
        |b| { b.directory("o/q"); b.owner("o", OWNER); }, "o/q/../../g/p/t", "o/q", Rule::T2,
        "keep a table of root in a directory of root"),
    case("parent a file", |b| replace_by_file(b, "g/p"), "g/p/t", "g/p", Rule::T2, NOT_DIRECTORY),
    case("grandparent a file", |b| replace_by_file(b, "g"), "g/p/t", "g", Rule::T2, NOT_DIRECTORY),
    case("parent a FIFO", |b| fifo(b, "g/p"), "g/p/t", "g/p", Rule::T2, NOT_DIRECTORY),
    case("grandparent a FIFO", |b| fifo(b, "g"), "g/p/t", "g", Rule::T2, NOT_DIRECTORY),
    case("parent a socket", |b| socket(b, "g/p"), "g/p/t", "g/p", Rule::T2, NOT_DIRECTORY),
    case("grandparent a socket", |b| socket(b, "g"), "g/p/t", "g", Rule::T2, NOT_DIRECTORY),
    case("parent a device", |b| device(b, "g/p", SFlag::S_IFCHR), "g/p/t", "g/p", Rule::T2, NOT_DIRECTORY),
    // T4, the file.
    case("file of a stranger", |b| b.owner("g/p/t", STRANGER), "g/p/t", "g/p/t", Rule::T4, DECLARE),
    case("file 0664", |b| b.mode("g/p/t", 0o664), "g/p/t", "g/p/t", Rule::T4, "run: chmod go-w "),
    case("file 0646", |b| b.mode("g/p/t", 0o646), "g/p/t", "g/p/t", Rule::T4, "run: chmod go-w "),
    case("file 0666", |b| b.mode("g/p/t", 0o666), "g/p/t", "g/p/t", Rule::T4, "run: chmod go-w "),
    case("file 0020", |b| b.mode("g/p/t", 0o020), "g/p/t", "g/p/t", Rule::T4, "run: chmod go-w "),
    case("file setuid", |b| b.mode("g/p/t", 0o4644), "g/p/t", "g/p/t", Rule::T4, "run: chmod u-s,g-s "),
    case("file setgid", |b| b.mode("g/p/t", 0o2644), "g/p/t", "g/p/t", Rule::T4, "run: chmod u-s,g-s "),
    case("file too long", |b| b.file("g/p/t", &vec![b'x'; LIMIT as usize + 1]), "g/p/t", "g/p/t", Rule::T4,
        "raise snapshot_limit"),
    case("file sparse, 1 TiB",
        |b| fs::File::create(b.path("g/p/t")).and_then(|file| file.set_len(1 << 40)).expect("sparse"),
        "g/p/t", "g/p/t", Rule::T4, "raise snapshot_limit"),
    case("file a FIFO", |b| fifo(b, "g/p/t"), "g/p/t", "g/p/t", Rule::T4, REGULAR),
    case("file a socket", |b| socket(b, "g/p/t"), "g/p/t", "g/p/t", Rule::T4, REGULAR),
    case("file a character device", |b| device(b, "g/p/t", SFlag::S_IFCHR), "g/p/t", "g/p/t", Rule::T4, REGULAR),
    case("file a block device", |b| device(b, "g/p/t", SFlag::S_IFBLK), "g/p/t", "g/p/t", Rule::T4, REGULAR),
    case("file a directory", |b| { b.remove("g/p/t"); b.directory("g/p/t"); },
        "g/p/t", "g/p/t", Rule::T4, REGULAR),
    case("file a directory by name", |_| (), "g/p", "g/p", Rule::T4, REGULAR),
    case("the null device", |_| (), "/dev/null", "/dev/null", Rule::T4, REGULAR),
    // T3, links to the file, its directory, the directory above.
    case("link of a stranger to the file", |b| { b.link("g/p/t", "l"); b.link_owner("l", STRANGER); },
        "l", "l", Rule::T3, NAME_FILE),
    case("link of a declared owner", |b| { b.link("g/p/t", "l"); b.link_owner("l", OWNER); },
        "l", "l", Rule::T3, NAME_FILE),
    case("link of a stranger to the parent", |b| { b.link("g/p", "l"); b.link_owner("l", STRANGER); },
        "l/t", "l", Rule::T3, NAME_FILE),
    case("link of a stranger to the grandparent", |b| { b.link("g", "l"); b.link_owner("l", STRANGER); },
        "l/p/t", "l", Rule::T3, NAME_FILE),
    case("link in a declared owner's directory",
        |b| { b.directory("o"); b.link("../g/p/t", "o/l"); b.owner("o", OWNER); },
        "o/l", "o", Rule::T3, NAME_FILE),
    case("link below a declared owner's directory",
        |b| { b.directory("o/q"); b.link("../../g/p/t", "o/q/l");
            b.owner("o", OWNER); b.owner("o/q", OWNER); },
        "o/q/l", "o", Rule::T3, NAME_FILE),
    case("directory link in a declared owner's directory",
        |b| { b.directory("o"); b.link("../g", "o/l"); b.owner("o", OWNER); },
        "o/l/p/t", "o", Rule::T3, NAME_FILE),
    case("second link of a stranger", |b| { b.link("m", "l"); b.link("g/p/t", "m"); b.link_owner("m", STRANGER); },
        "l", "m", Rule::T3, NAME_FILE),
    case("link that leads into a declared owner's link",
        |b| { b.directory("o"); b.link("../g/p/t", "o/m"); b.owner("o", OWNER); b.link("o/m", "l"); },
        "l", "o", Rule::T3, NAME_FILE),
    // The rules for files and directories hold behind links too.
    case("link in a shared directory", |b| { b.directory("s"); b.link("../g/p/t", "s/l"); b.mode("s", 0o1777); },
        "s/l", "s", Rule::T2, MOVE),
    case("link in a group's directory", |b| { b.directory("s"); b.link("../g/p/t", "s/l"); b.mode("s", 0o775); },
        "s/l", "s", Rule::T2, GROUP),
    case("link to a file in a writable directory", |b| { b.mode("g/p", 0o777); b.link("g/p/t", "l"); },
        "l", "g/p", Rule::T2, MOVE),
    case("link to a file below a writable directory", |b| { b.mode("g", 0o777); b.link("g/p/t", "l"); },
        "l", "g", Rule::T2, MOVE),
    case("absolute link to a file below a writable directory",
        |b| { b.mode("g", 0o777); b.link(b.path("g/p/t").to_str().expect("text"), "l"); },
        "l", "g", Rule::T2, MOVE),
    case("link that passes through a stranger's directory by ..",
        |b| { b.directory("s"); b.owner("s", STRANGER); b.link("s/../g/p/t", "l"); },
        "l", "s", Rule::T2, DECLARE),
    case("link to a writable file", |b| { b.mode("g/p/t", 0o666); b.link("g/p/t", "l"); },
        "l", "g/p/t", Rule::T4, "run: chmod go-w "),
    case("link to a stranger's file", |b| { b.owner("g/p/t", STRANGER); b.link("g/p/t", "l"); },
        "l", "g/p/t", Rule::T4, DECLARE),
    case("link to a FIFO", |b| { fifo(b, "g/p/t"); b.link("g/p/t", "l"); }, "l", "g/p/t", Rule::T4, REGULAR),
    case("link to a device", |b| b.link("/dev/zero", "l"), "l", "/dev/zero", Rule::T4, REGULAR),
    case("link to a directory", |b| b.link("g/p", "l"), "l", "g/p", Rule::T4, REGULAR),
    case("link to a directory by ..", |b| b.link("g/p/..", "l"), "l", "g", Rule::T4, REGULAR),
    case("link to the root", |b| b.link("/", "l"), "l", "/", Rule::T4, REGULAR),
    case("link above the root", |b| b.link("../../../../../..", "l"), "l", "/", Rule::T4, REGULAR),
    case("17 links", |b| chain(b, 17), "l0", "l16", Rule::T1, "name the file behind the links"),
    case("link to itself", |b| b.link("l", "l"), "l", "l", Rule::T1, "name the file behind the links"),
    // T1, the form of the path.
    case("last component ..", |_| (), "g/p/..", "g", Rule::T4, REGULAR),
    case("up from a file", |_| (), "g/p/t/../t", "g/p/t", Rule::T2, NOT_DIRECTORY),
    case("up out of a stranger's directory", |b| { b.directory("s"); b.owner("s", STRANGER); },
        "s/../g/p/t", "s", Rule::T2, DECLARE),
    case("trailing slash", |_| (), "g/p/t/", "g/p/t/", Rule::T1, "name a file"),
    case("65 directories", |b| { b.directory(&"d/".repeat(65)); b.file(&long_path(65), b""); },
        "@deep", "@deep", Rule::T1, "move the table nearer to /"),
    // T5, what only looks like a file.
    case("memory of the process", |_| (), "/proc/self/mem", "/proc", Rule::T5, "put the table into a file"),
    case("kernel log", |_| (), "/proc/kmsg", "/proc", Rule::T5, "put the table into a file"),
    case("kernel setting", |_| (), "/sys/kernel/mm/ksm/run", "/sys", Rule::T5, "put the table into a file"),
    case("link into proc", |b| b.link("/proc/self/environ", "l"), "l", "/proc", Rule::T5, "put the table into"),
    case("magic link in proc", |_| (), "/proc/self/exe", "/proc", Rule::T5, "put the table into a file"),
    // T6, account secrets.
    case("shadow", |_| (), "/etc/shadow", "/etc/shadow", Rule::T6, "remove the table"),
    case("shadow backup", |_| (), "/etc/shadow-", "/etc/shadow-", Rule::T6, "remove the table"),
    case("gshadow", |_| (), "/etc/gshadow", "/etc/gshadow", Rule::T6, "remove the table"),
    case("gshadow backup", |_| (), "/etc/gshadow-", "/etc/gshadow-", Rule::T6, "remove the table"),
    case("old passwords", |_| (), "/etc/security/opasswd", "/etc/security/opasswd", Rule::T6, "remove the table"),
    case("shadow, untidy path", |_| (), "//etc/.//./shadow", "/etc/shadow", Rule::T6, "remove the table"),
    case("link to shadow", |b| b.link("/etc/shadow", "l"), "l", "/etc/shadow", Rule::T6, "remove the table"),
    case("relative link to shadow", |b| b.link("../../etc/shadow", "l"), "l", "/etc/shadow", Rule::T6, "remove"),
    case("link to /etc", |b| b.link("/etc", "l"), "l/shadow", "/etc/shadow", Rule::T6, "remove the table"),
];

fn absolute(bed: &Bed, name: &str) -> Vec<u8> {
    if name.starts_with('/') { name.as_bytes().to_vec() } else { bed.bytes(name) }
}

#[test]
fn open_table_each_rule_broken_names_component_rule_and_remedy() {
    let cases = CASES.len() + matrix::count();
    assert!(cases >= 120, "{cases} cases");
    let owners = Owners::declared(&[OWNER]);
    for case in CASES {
        let Some(bed) = Bed::new() else { return };
        bed.directory("g/p");
        bed.file("g/p/t", b"key value\n");
        assert!(bed.open("g/p/t").is_ok(), "sound before: {}", case.spoil);
        (case.act)(&bed);
        let (open, component) = match case.open {
            // The base directory is two levels deep, so the 63rd of ours is the 65th.
            "@deep" => (bed.bytes(&long_path(65)), bed.bytes("d/".repeat(63).trim_end_matches('/'))),
            name => (absolute(&bed, name), absolute(&bed, case.component)),
        };
        let anchor = Anchor::host().expect("anchor");
        let begun = Instant::now();
        let refusal = open_table(&anchor, &open, &owners, LIMIT).expect_err(case.spoil);
        // Nothing would ever come along to unblock it; a busy machine may keep us waiting for a while.
        assert!(begun.elapsed().as_secs() < 60, "{}: blocked", case.spoil);
        assert_eq!(refusal.rule(), Some(case.rule), "{}: {refusal}", case.spoil);
        let (found, expected) = (refusal.component().to_vec(), component.clone());
        let expected = if case.open.contains("//") { b"/etc/shadow".to_vec() } else { expected };
        assert_eq!(found, expected, "{}: {refusal}", case.spoil);
        let text = refusal.to_string();
        assert!(text.starts_with(&format!("{} ", refusal::quoted(&found))), "{text}");
        assert!(text.contains(&format!("(rule {}: ", case.rule.name())), "{text}");
        assert!(text.contains(&format!("); {}", case.remedy)) || text.contains(case.remedy), "{text}");
        assert_eq!(identity_by_name(&anchor, &open, &owners, LIMIT), Err(refusal.clone()), "{}", case.spoil);

        // A remedy that is a command must cure exactly what was complained of.
        if let Some((_, command)) = text.split_once("run: ") {
            let status = Command::new("bash").args(["-c", command]).status().expect("bash");
            assert!(status.success(), "{command}");
            if let Err(next) = open_table(&anchor, &open, &owners, LIMIT) {
                assert_ne!(next, refusal, "{}: the remedy did not help", case.spoil);
            }
        }
    }
}

#[test]
fn open_table_malformed_path_is_refused() {
    let anchor = Anchor::host().expect("anchor");
    let long = [b"/".as_slice(), &[b'a'; 4096]].concat();
    for path in
        [b"".as_slice(), b"etc/passwd", b"./x", b"/etc/pass\0wd", b"/", b"/.", b"/etc/passwd/.", &long]
    {
        let refusal = open_table(&anchor, path, &Owners::root(), LIMIT).expect_err("malformed");
        assert_eq!(refusal.rule(), Some(Rule::T1), "{refusal}");
        assert!(refusal.to_string().len() < 400, "{refusal}");
    }
    let refusal = open_table(&anchor, &long, &Owners::root(), LIMIT).expect_err("long");
    assert!(refusal.to_string().contains(PLAIN), "{refusal}");
    for path in [b"/..".as_slice(), b"/./..", b"/etc/..", b"/../.."] {
        let refusal = open_table(&anchor, path, &Owners::root(), LIMIT).expect_err("root");
        assert_eq!(refusal.rule(), Some(Rule::T4), "{refusal}");
    }
}

#[test]
fn open_table_missing_component_is_named() {
    let Some(bed) = Bed::new() else { return };
    bed.directory("g");
    for (open, missing) in [("g/t", "g/t"), ("g/p/t", "g/p"), ("x/p/t", "x")] {
        assert_eq!(bed.open(open).expect_err("missing"), Refusal::Missing { component: bed.bytes(missing) });
    }
    bed.link("gone", "g/l");
    assert_eq!(bed.open("g/l").expect_err("dangling"), Refusal::Missing { component: bed.bytes("g/gone") });
}

#[test]
fn open_table_hard_link_to_shadow_is_refused_as_a_secret() {
    let Some(bed) = Bed::new() else { return };
    match fs::hard_link("/etc/shadow", bed.path("t")) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("SKIPPED: /run and /etc are not on one file system, or no /etc/shadow: {error}");
            return;
        }
    }
    let refusal = bed.open("t").expect_err("shadow by another name");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T6), bed.bytes("t").as_slice()));
}

#[test]
fn open_table_access_list_that_lets_others_write_is_refused() {
    let Some(bed) = Bed::new() else { return };
    for name in ["g/p", "g/p/t"] {
        bed.directory("g/p");
        bed.file("g/p/t", b"");
        let entry = format!("u:{STRANGER}:rw");
        let done = Command::new("setfacl").arg("-m").arg(entry).arg(bed.path(name)).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no setfacl, or no access lists in /run");
            return;
        }
        let refusal = bed.open("g/p/t").expect_err("access list");
        assert_eq!(refusal.component(), bed.bytes(name).as_slice());
        assert!(refusal.to_string().contains("chmod go-w"), "{refusal}");
        bed.remove("g");
    }
}

#[test]
fn open_table_sound_paths_are_accepted() {
    type Sound = (&'static str, fn(&Bed), &'static str, bool);
    let sound: &[Sound] = &[
        ("plain", |_| (), "g/p/t", false),
        ("untidy", |_| (), "./g//p/./t", false),
        ("private", |b| b.mode("g/p/t", 0o600), "g/p/t", false),
        ("file of the declared owner in root's directory", |b| b.owner("g/p/t", OWNER), "g/p/t", false),
        (
            "all of the declared owner",
            |b| ["g", "g/p", "g/p/t"].iter().for_each(|n| b.owner(n, OWNER)),
            "g/p/t",
            false,
        ),
        (
            "directory of the declared owner",
            |b| ["g/p", "g/p/t"].iter().for_each(|n| b.owner(n, OWNER)),
            "g/p/t",
            false,
        ),
        ("up and down", |_| (), "g/../g/p/../p/t", false),
        ("up above the root", |_| (), "../../../../run/@/g/p/t", false),
        ("up out of a link", |b| b.link("g/p", "l"), "l/../p/t", true),
        ("second name", |b| fs::hard_link(b.path("g/p/t"), b.path("h")).expect("link"), "g/p/t", false),
        ("shared directory of root's", |b| b.mode("g/p", 0o1775), "g/p/t", false),
        ("shared directory above", |b| b.mode("g", 0o1775), "g/p/t", false),
        ("link", |b| b.link("g/p/t", "l"), "l", true),
        ("link to the directory", |b| b.link("g/p", "l"), "l/t", true),
        ("link with slashes and dots", |b| b.link(".//g/./p/", "l"), "l/t", true),
        ("link up and down", |b| b.link("../p/../p/t", "g/p/l"), "g/p/l", true),
        ("absolute link", |b| b.link(b.path("g/p").to_str().expect("text"), "l"), "l/t", true),
        ("16 links", |b| chain(b, 16), "l0", true),
        ("empty file", |b| b.file("g/p/t", b""), "g/p/t", false),
        ("file at the limit", |b| b.file("g/p/t", &vec![0; LIMIT as usize]), "g/p/t", false),
    ];
    for (what, act, open, elsewhere) in sound {
        let Some(bed) = Bed::new() else { return };
        bed.directory("g/p");
        bed.file("g/p/t", b"key value\n");
        act(&bed);
        let base = bed.path("").file_name().expect("name").to_string_lossy().into_owned();
        let open = &open.replace('@', &base);
        let trusted = bed.open_for(open, &Owners::declared(&[OWNER])).expect(what);
        assert_eq!(trusted.resolved, bed.bytes("g/p/t"), "{what}");
        assert_eq!(trusted.elsewhere, *elsewhere, "{what}");
        let paths: Vec<&[u8]> = trusted.parents.iter().map(|directory| directory.path.as_slice()).collect();
        for directory in [b"/".to_vec(), b"/run".to_vec(), bed.bytes(""), bed.bytes("g"), bed.bytes("g/p")] {
            assert_eq!(paths.iter().filter(|path| **path == directory).count(), 1, "{what}");
        }
        let anchor = Anchor::host().expect("anchor");
        let owners = Owners::declared(&[OWNER]);
        let identity = identity_by_name(&anchor, &bed.bytes(open), &owners, LIMIT).expect(what);
        assert_eq!(identity, Identity::from(&trusted.status), "{what}");
    }
}

#[test]
fn open_table_descriptor_is_close_on_exec_and_read_only() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let Some(bed) = Bed::new() else { return };
    bed.file("t", b"");
    let trusted = bed.open("t").expect("sound");
    let flags = fcntl(&trusted.file, FcntlArg::F_GETFL).expect("flags");
    assert_eq!(flags & nix::libc::O_ACCMODE, nix::libc::O_RDONLY);
    let flags = fcntl(&trusted.file, FcntlArg::F_GETFD).expect("flags");
    assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
}

#[test]
fn open_found_file_exchanged_after_the_walk_is_not_opened() {
    type Exchange = (&'static str, fn(&Bed));
    let exchanges: [Exchange; 5] = [
        ("another sound file", |b| fs::rename(b.path("u"), b.path("t")).expect("rename")),
        ("nothing", |b| b.remove("t")),
        ("a link", |b| {
            b.remove("t");
            b.link("u", "t");
        }),
        ("a socket", |b| socket(b, "t")),
        ("a FIFO", |b| fifo(b, "t")),
    ];
    for (what, exchange) in exchanges {
        let Some(bed) = Bed::new() else { return };
        bed.file("t", b"good");
        bed.file("u", b"also good");
        let (anchor, owners) = (Anchor::host().expect("anchor"), Owners::root());
        let found = read::find(&anchor, &bed.bytes("t"), &owners, LIMIT).expect("sound");
        exchange(&bed);
        let refusal = read::open_found(&anchor, found, &owners, LIMIT).expect_err(what);
        assert_eq!(refusal, Refusal::Retry { component: bed.bytes("t") }, "{what}");
    }
}

#[test]
fn open_table_mounted_configuration_follows_the_swapped_link() {
    // As Kubernetes mounts a ConfigMap: t -> ..data/t, ..data -> ..1; an update renames a new ..data into place.
    let Some(bed) = Bed::new() else { return };
    bed.directory("m/..1");
    bed.file("m/..1/t", b"one");
    bed.link("..1", "m/..data");
    bed.link("..data/t", "m/t");
    let first = bed.open("m/t").expect("first");
    assert_eq!(first.resolved, bed.bytes("m/..1/t"));
    bed.directory("m/..2");
    bed.file("m/..2/t", b"two");
    bed.link("..2", "m/..data_tmp");
    fs::rename(bed.path("m/..data_tmp"), bed.path("m/..data")).expect("swap");
    bed.remove("m/..1");
    let second = bed.open("m/t").expect("second");
    assert_eq!(second.resolved, bed.bytes("m/..2/t"));
    assert!(second.parents.iter().any(|directory| directory.path == bed.bytes("m/..2")));
    assert_ne!(Identity::from(&first.status), Identity::from(&second.status));
}

#[test]
fn open_table_inside_another_root_stays_inside() {
    let Some(bed) = Bed::new() else { return };
    bed.directory("jail/etc/postfix");
    bed.file("jail/etc/postfix/t", b"");
    bed.file("jail/etc/shadow", b"");
    bed.link("/../../etc/postfix/t", "jail/l");
    let anchor =
        || Anchor::inside(open_directory(AT_FDCWD, &bed.bytes("jail")).expect("open")).expect("anchor");
    for path in [b"/etc/postfix/t".as_slice(), b"/l"] {
        let trusted = open_table(&anchor(), path, &Owners::root(), LIMIT).expect("inside");
        assert_eq!(trusted.resolved, b"/etc/postfix/t");
    }
    let refusal = open_table(&anchor(), b"/etc/shadow", &Owners::root(), LIMIT).expect_err("secret");
    assert_eq!(refusal.rule(), Some(Rule::T6));
    bed.link("etc/shadow", "jail/s");
    let refusal = open_table(&anchor(), b"/s", &Owners::root(), LIMIT).expect_err("secret behind a link");
    assert_eq!(refusal.rule(), Some(Rule::T6));
    bed.mode("jail", 0o777);
    let refusal = open_table(&anchor(), b"/l", &Owners::root(), LIMIT).expect_err("root of the walk");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T2), b"/".as_slice()));
}
