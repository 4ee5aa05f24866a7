//! Each rule, broken in one way after the other, and what must be said about it.

use super::*;

/// One defect of the sound table `g/p/t` (or of the path to it), and what must be reported.
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

fn replace_by_file(bed: &Bed, name: &str) {
    bed.remove(name);
    bed.file(name, b"x");
}

fn long_path(levels: usize) -> String {
    format!("{}t", "d/".repeat(levels))
}

const NOT_DIRECTORY: &str = "correct the path";

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
    // Beneath a directory of a declared owner everything must be his: he could have moved it there.
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
        "@deep", "@deep", Rule::T1, "move the table to a directory that is less deep"),
    // T5, pseudo files.
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
        // Nothing would ever unblock it; a busy machine may be slow, though.
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

        // A remedy that is a command must cure exactly the reported defect.
        if let Some((_, command)) = text.split_once("run: ") {
            let status = Command::new("bash").args(["-c", command]).status().expect("bash");
            assert!(status.success(), "{command}");
            if let Err(next) = open_table(&anchor, &open, &owners, LIMIT) {
                assert_ne!(next, refusal, "{}: the remedy did not help", case.spoil);
            }
        }
    }
}
