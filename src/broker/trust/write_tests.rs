//! Each rule for tables that are written against the file, its directory and the directories above. In `defects.rs`:
//! each rule broken; in `races.rs`: files that are swapped meanwhile; in `mounts.rs`: what is mounted.
//!
//! Looked at with the rights of root, as `mapkeep tables` does, and with those of the tables' user, as the broker does:
//! both must say the same.

mod defects;
mod mounts;
mod races;

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::testbed::{Bed, OWNER, STRANGER, as_owner};
use super::*;

/// `g/p` is the owner's directory in one of root; it has a complete btree table and a complete lmdb table.
fn sound() -> Option<Bed> {
    let bed = Bed::new()?;
    bed.directory("g/p");
    bed.owner("g/p", OWNER);
    for name in ["x.db", "x.mapkeep", "x.mapkeep-wal", "y.lmdb"] {
        owned(&bed, &format!("g/p/{name}"));
    }
    Some(bed)
}

/// A file of the owner.
fn owned(bed: &Bed, name: &str) {
    bed.file(name, b"content");
    bed.owner(name, OWNER);
    bed.mode(name, 0o600);
}

fn files(bed: &Bed, kind: &str, path: &str) -> WriteFiles {
    let name = [kind.as_bytes(), b":", &bed.bytes(path)].concat();
    WriteFiles::of(&name).expect("a type that is written")
}

/// Every table that has the file `name`.
fn table_of(bed: &Bed, open: &str) -> WriteFiles {
    match open.strip_suffix(".lmdb") {
        Some(path) => files(bed, "lmdb", path),
        None => files(bed, "btree", open),
    }
}

fn look(files: &WriteFiles) -> Result<(u64, u64), Refusal> {
    inspect(&Anchor::host().expect("anchor"), files, OWNER)
}

/// Opens every file of the table as the broker does.
fn open_all(files: &WriteFiles) -> Result<Vec<WriteOpened>, Refusal> {
    let anchor = Anchor::host().expect("anchor");
    let place = place_of(&anchor, files, OWNER)?;
    let mut opened = Vec::new();
    for file in files.lasting() {
        opened.extend(place.open(&files.name(*file), file.access())?);
    }
    Ok(opened)
}

fn replace_by_directory(bed: &Bed, name: &str) {
    bed.remove(name);
    bed.directory(name);
}

fn fifo(bed: &Bed, name: &str) {
    bed.remove(name);
    mkfifo(&bed.path(name), Mode::S_IRUSR).expect("mkfifo");
}

fn socket(bed: &Bed, name: &str) {
    bed.remove(name);
    UnixListener::bind(bed.path(name)).expect("bind");
}

#[test]
fn sound_tables_pass_and_open_as_wanted() {
    let Some(bed) = sound() else { return };
    for (what, act) in [
        ("0755", (|_| ()) as fn(&Bed)),
        ("0700", |b| b.mode("g/p", 0o700)),
        ("above of the owner", |b| b.owner("g", OWNER)),
        ("a link of root's in root's directories", |b| {
            b.link("g/p", "l");
            assert!(look(&table_of(b, "l/x")).is_ok());
            assert!(look(&table_of(b, "g/../l/x")).is_ok());
            assert_eq!(look(&table_of(b, "l/x")), look(&table_of(b, "g/p/x")));
            as_owner(|| assert_eq!(open_all(&table_of(b, "l/x")).expect("through the link").len(), 3));
        }),
        ("files that others may read", |b| b.mode("g/p/x.db", 0o644)),
        ("database that its owner only reads", |b| b.mode("g/p/x.db", 0o400)),
    ] {
        act(&bed);
        assert!(look(&table_of(&bed, "g/p/x")).is_ok(), "{what}");
        let opened = as_owner(|| open_all(&table_of(&bed, "g/p/x"))).expect(what);
        let modes: Vec<_> = opened
            .iter()
            .map(|one| fcntl(&one.file, FcntlArg::F_GETFL).expect("flags") & nix::libc::O_ACCMODE)
            .collect();
        assert_eq!(modes, [nix::libc::O_RDONLY, nix::libc::O_RDWR, nix::libc::O_RDWR], "{what}");
        for one in &opened {
            let flags = FdFlag::from_bits_retain(fcntl(&one.file, FcntlArg::F_GETFD).expect("flags"));
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
        assert!(as_owner(|| open_all(&table_of(&bed, "g/p/y.lmdb"))).is_ok(), "{what}");
    }
    // No file of the table exists yet: they can be created.
    assert!(look(&table_of(&bed, "g/p/fresh")).is_ok());
    assert_eq!(as_owner(|| open_all(&table_of(&bed, "g/p/fresh"))).expect("nothing").len(), 0);
}

#[test]
fn malformed_paths_are_refused() {
    let Some(bed) = sound() else { return };
    for (name, rule) in [
        ("btree:g/p/x", Rule::T1),
        ("hash:/../x", Rule::W1),
        ("hash:/var/../x", Rule::W1),
        ("hash:/..", Rule::W1),
        ("lmdb:/a\0b", Rule::T1),
        ("hash:/x", Rule::W1),
        ("hash:/etc/shadow", Rule::T6),
        ("lmdb:/proc/self/x", Rule::T5),
        ("btree:/etc/postfix/x", Rule::W1),
        ("btree:/tmp/x", Rule::W1),
    ] {
        let refusal = look(&WriteFiles::of(name.as_bytes()).expect("written")).expect_err(name);
        assert_eq!(refusal.rule(), Some(rule), "{name}: {refusal}");
    }
    let missing = look(&table_of(&bed, "g/none/x")).expect_err("missing");
    assert_eq!(missing, Refusal::Missing { component: bed.bytes("g/none") });
}

#[test]
fn links_that_others_could_have_made_or_moved_are_refused() {
    type Case = (&'static str, fn(&Bed));
    let cases: [Case; 3] = [
        ("in a directory of the user's", |b| {
            b.directory("o");
            b.owner("o", OWNER);
            b.link("../g/p", "o/l");
        }),
        ("below one of his", |b| {
            b.directory("o/q");
            b.owner("o", OWNER);
            b.link("../../g/p", "o/q/l");
            fs::rename(b.path("o/q/l"), b.path("o/l")).expect("rename");
            b.link("../g", "o/m");
        }),
        ("in a directory that his group writes", |b| {
            b.directory("o");
            b.mode("o", 0o775);
            b.link("../g/p", "o/l");
        }),
    ];
    for (what, act) in cases {
        let Some(bed) = sound() else { return };
        act(&bed);
        chown(bed.path("o"), None, Some(OWNER)).expect("chgrp");
        let people = People::new("owner:x:64322:64322::/:/bin/false\n", "owner:x:64322:\n", "");
        let anchor = Anchor::host().expect("anchor").among(Rc::new(people));
        let refusal = inspect(&anchor, &table_of(&bed, "o/l/x"), OWNER).expect_err(what);
        assert_eq!(
            (refusal.rule(), refusal.component()),
            (Some(Rule::W4), bed.bytes("o").as_slice()),
            "{what}"
        );
    }
}

#[test]
fn group_without_other_members_may_write() {
    let people = || {
        People::new(
            "owner:x:64322:64322::/:/bin/false\neve:x:64323:64323::/:/bin/sh\n",
            "owner:x:64322:\nroot:x:0:\nboth:x:64400:owner,eve\n",
            "passwd: files\n",
        )
    };
    let look = |bed: &Bed| {
        let anchor = Anchor::host().expect("anchor").among(Rc::new(people()));
        inspect(&anchor, &table_of(bed, "g/p/x"), OWNER)
    };
    for name in ["g", "g/p", "g/p/x.db", "g/p/x.mapkeep"] {
        for (gid, good) in [(OWNER, true), (0, true), (64400, false), (64323, false), (4711, false)] {
            let Some(bed) = sound() else { return };
            chown(bed.path(name), None, Some(gid)).expect("chgrp");
            bed.mode(name, 0o775);
            let found = look(&bed);
            match good {
                true => assert!(found.is_ok(), "{name} group {gid}: {found:?}"),
                false => assert_eq!(found.expect_err("group").rule(), Some(Rule::W5), "{name} group {gid}"),
            }
            bed.mode(name, 0o777);
            assert_eq!(look(&bed).expect_err("everybody").rule(), Some(Rule::W5));
        }
    }
}

#[test]
fn remedy_shows_the_other_names_of_a_file() {
    let Some(bed) = sound() else { return };
    fs::hard_link(bed.path("g/p/x.db"), bed.path("second")).expect("link");
    let text = look(&table_of(&bed, "g/p/x")).unwrap_err().to_string();
    let (_, command) = text.split_once("the other names are: ").expect("a command");
    let (command, _) = command.split_once(';').expect("and what follows");
    let run = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output().expect("sh");
        String::from_utf8(output.stdout).expect("names")
    };
    // All names of a file are on its file system. Its mount point may be `/` here, which takes long to search.
    let (place, rest) =
        command.strip_prefix("find ").and_then(|rest| rest.split_once(" -xdev")).expect("find");
    let place = run(&format!("echo {place}"));
    assert!(bed.path("").starts_with(place.trim_end()), "{place}");
    let found = run(&format!("find {} -xdev{rest}", bed.path("").display()));
    let mut names: Vec<&str> = found.lines().collect();
    names.sort_unstable();
    assert_eq!(names, [bed.path("g/p/x.db").to_str().unwrap(), bed.path("second").to_str().unwrap()]);
}

#[test]
fn hard_link_to_shadow_is_refused_as_a_secret() {
    let Some(bed) = sound() else { return };
    bed.remove("g/p/x.db");
    match fs::hard_link("/etc/shadow", bed.path("g/p/x.db")) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("SKIPPED: /run and /etc are not on one file system, or no /etc/shadow: {error}");
            return;
        }
    }
    let refusal = look(&table_of(&bed, "g/p/x")).expect_err("shadow by another name");
    assert_eq!((refusal.rule(), refusal.component()), (Some(Rule::T6), bed.bytes("g/p/x.db").as_slice()));
}

#[test]
fn created_file_is_new_private_and_owned_by_the_owner() {
    let Some(bed) = sound() else { return };
    let anchor = Anchor::host().expect("anchor");
    let files = table_of(&bed, "g/p/x");
    let made = as_owner(|| {
        let place = place_of(&anchor, &files, OWNER).expect("place");
        assert_eq!(
            place.create(b"x.db").expect_err("there is one"),
            Refusal::Retry { component: bed.bytes("g/p/x.db") }
        );
        place.create(b"new").expect("create")
    });
    assert_eq!((made.status.mode & 0o7777, made.status.uid, made.status.size), (0o600, OWNER, 0));
    // Not through a link, whatever that leads to.
    bed.link("elsewhere", "g/p/link");
    as_owner(|| {
        let place = place_of(&anchor, &files, OWNER).expect("place");
        assert!(matches!(place.create(b"link"), Err(Refusal::Retry { .. })));
    });
    assert!(!bed.path("g/p/elsewhere").exists());
    // Created with the rights of root it is root's file, which is never handed out.
    let place = place_of(&anchor, &files, OWNER).expect("place");
    assert_eq!(place.create(b"roots").expect_err("of root").rule(), Some(Rule::W2));
}
