//! What serves although it once did not: groups of nobody else, volumes that the administrator vouches for, single files
//! that are mounted; and how close to that nothing serves.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;

use super::*;

const PASSWD: &str =
    "root:x:0:0::/root:/bin/sh\nowner:x:64322:64322::/:/bin/false\nstranger:x:64321:64321::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nowner:x:64322:\nbuild:x:64400:\nadmins:x:64401:root\nusers:x:64402:stranger\n\
                     own:x:64403:owner\n";

fn owners() -> Owners {
    Owners::declared(&[OWNER]).among(Rc::new(People::new(PASSWD, GROUP, "passwd: files systemd\n")))
}

fn group(bed: &Bed, name: &str, gid: u32, mode: u32) {
    chown(bed.path(name), None, Some(gid)).expect("chgrp");
    bed.mode(name, mode);
}

fn table(owner: u32) -> Option<Bed> {
    let bed = Bed::new()?;
    bed.directory("g/p");
    bed.file("g/p/t", b"key value\n");
    for name in ["g", "g/p", "g/p/t"] {
        bed.owner(name, owner);
    }
    Some(bed)
}

#[test]
fn open_table_group_without_other_members_may_write() {
    for name in ["g", "g/p", "g/p/t"] {
        for (owner, gid, good) in [
            (0, 0, true),
            (0, 64400, true),
            (0, 64401, true),
            (0, 64402, false),
            (0, OWNER, false),
            (0, 64403, false),
            (0, 4711, false),
            (OWNER, OWNER, true),
            (OWNER, 64403, true),
            (OWNER, 0, true),
            (OWNER, 64402, false),
        ] {
            let Some(bed) = table(owner) else { return };
            group(&bed, name, gid, if name == "g/p/t" { 0o664 } else { 0o2775 });
            let opened = bed.open_for("g/p/t", &owners());
            assert_eq!(opened.is_ok(), good, "{name} of {owner}, group {gid}: {opened:?}");
            // If the members of the group are not known, somebody else may be one.
            assert!(bed.open_for("g/p/t", &Owners::declared(&[OWNER])).is_err());
            bed.mode(name, 0o777);
            assert!(bed.open_for("g/p/t", &owners()).is_err(), "everybody");
        }
    }
}

#[test]
fn open_table_access_list_is_noticed_behind_a_group_without_other_members() {
    for name in ["g", "g/p", "g/p/t"] {
        let Some(bed) = table(0) else { return };
        bed.mode(name, 0o775);
        assert!(bed.open_for("g/p/t", &owners()).is_ok());
        // setfacl(1) is not installed everywhere: setxattr(2) by number, with what acl(5) has for u::rwx, u:64321:rwx,
        // g::r-x, m::rwx, o::r-x.
        let program = format!(
            "my $acl = pack('V(vvV)5', 2, 1,7,-1, 2,7,{STRANGER}, 4,5,-1, 16,7,-1, 32,5,-1); my $path = shift; \
             my $name = 'system.posix_acl_access'; exit(syscall(188, $path, $name, $acl, length $acl, 0) != 0)"
        );
        let set = Command::new("perl").args(["-e", &program]).arg(bed.path(name)).status();
        if !set.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no perl, or no access lists in /run");
            return;
        }
        let refusal = bed.open_for("g/p/t", &owners()).expect_err("access list");
        assert_eq!(refusal.component(), bed.bytes(name).as_slice());
    }
}

#[test]
fn open_table_in_a_trusted_directory() {
    // A ConfigMap: mode 0777, links with any owner.
    let Some(bed) = Bed::new() else { return };
    bed.directory("cm/..2024");
    bed.file("cm/..2024/t", b"k v\n");
    bed.link("..2024", "cm/..data");
    bed.link("..data/t", "cm/t");
    bed.mode("cm", 0o777);
    bed.link_owner("cm/..data", STRANGER);
    let path = bed.path("cm");
    let refusal = bed.open("cm/t").expect_err("0777");
    let text = refusal.to_string();
    assert!(
        text.ends_with(&format!("write in mapkeep.cf: trusted_directories = {}", path.display())),
        "{text}"
    );
    assert!(!text.contains("chmod"), "cannot be done in a volume that is read-only: {text}");
    let vouched = |paths: String| Owners::declared(&[OWNER]).with_settings("$mail_owner", &paths);
    let cm = vouched(format!("/nowhere {}/", path.display()));
    assert_eq!(path_of(&bed.open_for("cm/t", &cm).expect("vouched for")), bed.bytes("cm/..2024/t"));
    let above = vouched(bed.path("").display().to_string());
    assert!(bed.open_for("cm/t", &above).is_ok(), "with all beneath it");
    for other in [format!("{}x", path.display()), format!("{}/..2024", path.display()), "/".to_owned()] {
        assert!(bed.open_for("cm/t", &vouched(other)).is_err());
    }
    // The rules for files, and for the targets of links, still apply.
    bed.mode("cm/..2024/t", 0o666);
    assert_eq!(bed.open_for("cm/t", &cm).expect_err("0666").rule(), Some(Rule::T4));
    bed.mode("cm/..2024/t", 0o644);
    bed.owner("cm/..2024/t", STRANGER);
    assert_eq!(bed.open_for("cm/t", &cm).expect_err("a stranger's").rule(), Some(Rule::T4));
    bed.directory("s");
    bed.mode("s", 0o777);
    bed.file("s/t", b"");
    bed.link("../s/t", "cm/u");
    let refusal = bed.open_for("cm/u", &cm).expect_err("not vouched for");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T2), bed.bytes("s").as_slice()));
    bed.link("/etc/shadow", "cm/s");
    assert_eq!(bed.open_for("cm/s", &cm).expect_err("shadow").rule(), Some(Rule::T6));
}

#[test]
fn refusal_of_an_owner_names_the_line_to_write() {
    let Some(bed) = table(STRANGER) else { return };
    let text = |owners: &Owners| bed.open_for("g/p/t", owners).expect_err("a stranger's").to_string();
    let known = owners().with_settings("$mail_owner, 1001", "");
    let (named, numbered) = (text(&known), text(&Owners::root().with_settings("", "")));
    assert!(named.ends_with("write in mapkeep.cf: table_owners = $mail_owner, 1001 stranger"), "{named}");
    assert!(numbered.ends_with("write in mapkeep.cf: table_owners = 64321"), "{numbered}");
    assert!(!named.contains("chown"), "{named}");
}

#[test]
fn holders_are_the_directories_that_the_rules_lead_to() {
    let anchor = Anchor::host().expect("anchor");
    let Some(bed) = table(0) else { return };
    bed.directory("far/q");
    bed.file("far/q/t", b"");
    let found = |open: &str, owners: &Owners| {
        let (found, _) = holders(&anchor, &bed.bytes(open), owners);
        let shown = |(directory, name): (Directory, Vec<u8>)| {
            let path = String::from_utf8(directory.path).expect("text");
            let base = bed.path("").display().to_string();
            (
                path.replace(&format!("{base}/"), "").replace(&base, "."),
                String::from_utf8(name).expect("text"),
            )
        };
        found.into_iter().map(shown).collect::<Vec<_>>()
    };
    let one = |directory: &str, name: &str| (directory.to_owned(), name.to_owned());
    let root = Owners::root();
    assert_eq!(found("g/p/t", &root), [one("g/p", "t")]);
    assert_eq!(found("g/p/none", &root), [one("g/p", "none")]);
    assert_eq!(found("g/../g/p/./t", &root), [one("g/p", "t")]);
    assert_eq!(found("g/none/t", &root), []);
    bed.link("../far/q/t", "g/l");
    bed.link("far/q", "d");
    assert_eq!(found("g/l", &root), [one("g", "l"), one("far/q", "t")]);
    assert_eq!(found("d/t", &root), [one("far/q", "t")]);
    // A mode may be corrected later; but the walk enters nothing that others can exchange.
    bed.mode("far/q", 0o777);
    assert_eq!(found("d/t", &root), [one("far/q", "t")]);
    bed.mode("far", 0o777);
    assert_eq!(found("d/t", &root), []);
    bed.mode("far", 0o755);
    // Links that break the rules are not followed, and directories of other users are not entered.
    bed.link_owner("g/l", STRANGER);
    assert_eq!(found("g/l", &root), [one("g", "l")]);
    bed.link_owner("d", STRANGER);
    assert_eq!(found("d/t", &root), []);
    bed.owner("g/p", STRANGER);
    assert_eq!(found("g/p/t", &root), []);
    // In a declared owner's directory, root's directories are refused.
    bed.owner("g", OWNER);
    bed.owner("g/p", 0);
    assert_eq!(found("g/p/t", &Owners::declared(&[OWNER])), []);
}

#[test]
fn path_of_any_shape_is_at_most_refused() {
    let Some(bed) = table(0) else { return };
    let anchor = Anchor::host().expect("anchor");
    let base = bed.bytes("");
    let name = base.rsplit(|byte| *byte == b'/').next().expect("a name").to_vec();
    bed.link("..", "l");
    // The first six lead back to where they start.
    let steps: [Vec<u8>; 10] = [
        b"g/..".to_vec(),
        b".".to_vec(),
        b"".to_vec(),
        b"g/p/../..".to_vec(),
        [b"../", name.as_slice()].concat(),
        [b"l/", name.as_slice()].concat(),
        b"none/..".to_vec(),
        b"g/p/t/..".to_vec(),
        b"\xff\n".to_vec(),
        b"../../../../..".to_vec(),
    ];
    let mut seed = 1_u64;
    let mut served = 0;
    for _ in 0..2000 {
        let mut path = base.clone();
        for _ in 0..5 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            path = [&path, b"/".as_slice(), &steps[(seed >> 33) as usize % steps.len()]].concat();
        }
        path.extend_from_slice(b"/g/p/t");
        let opened = open_table(&anchor, &path, &Owners::root(), LIMIT);
        let real = fs::canonicalize(std::ffi::OsStr::from_bytes(&path)).ok();
        let real = real.map(|real| real.into_os_string().into_encoded_bytes());
        served += usize::from(opened.is_ok());
        assert_eq!(opened.ok().map(|trusted| path_of(&trusted)), real, "{}", path.escape_ascii());
        let _ = holders(&anchor, &path, &Owners::root());
    }
    assert!(served > 100, "{served}");
    for path in [vec![b'/'; 4096], [b"/".as_slice(), &b"../".repeat(1365)].concat(), b"/a\0/..".to_vec()] {
        assert!(open_table(&anchor, &path, &Owners::root(), LIMIT).is_err());
    }
}
