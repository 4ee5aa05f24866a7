//! Each rule against the file, its directory, the directory above and the links to it.
//!
//! `tests/cases.rs` breaks each rule, `tests/matrix.rs` has every defect at every place; here is the rest.

mod cases;
mod kin;
mod matrix;

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Instant;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::testbed::{Bed, LIMIT, OWNER, STRANGER, path_of};
use super::*;

fn fifo(bed: &Bed, name: &str) {
    bed.remove(name);
    mkfifo(&bed.path(name), Mode::from_bits_truncate(0o644)).expect("mkfifo");
}

fn socket(bed: &Bed, name: &str) {
    bed.remove(name);
    UnixListener::bind(bed.path(name)).expect("bind");
}

/// The null device, or a block device that does not exist, so that opening it would fail.
fn device(bed: &Bed, name: &str, kind: SFlag) {
    bed.remove(name);
    let number = if kind == SFlag::S_IFCHR { makedev(1, 3) } else { makedev(240, 77) };
    mknod(&bed.path(name), kind, Mode::from_bits_truncate(0o644), number).expect("mknod");
}

/// `l0` leads to the table through `count` links.
fn chain(bed: &Bed, count: usize) {
    for number in 1..count {
        bed.link(&format!("l{number}"), &format!("l{}", number - 1));
    }
    bed.link("g/p/t", &format!("l{}", count - 1));
}

const MOVE: &str = "unless a program creates it there, move the table to a directory";
const NAME_FILE: &str = "name the target of the link";
const GROUP: &str = "if the group does not need to write there, run: chmod go-w ";
const DECLARE: &str = "write in mapkeep.cf: table_owners = 64321";
const REGULAR: &str = "name a regular file in the configuration";
const PLAIN: &str = "use a shorter path";

fn absolute(bed: &Bed, name: &str) -> Vec<u8> {
    if name.starts_with('/') { name.as_bytes().to_vec() } else { bed.bytes(name) }
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
        assert_eq!(path_of(&trusted), bed.bytes("g/p/t"), "{what}");
        assert_eq!(trusted.elsewhere, *elsewhere, "{what}");
        let anchor = Anchor::host().expect("anchor");
        let owners = Owners::declared(&[OWNER]);
        let (found, trouble) = holders(&anchor, &bed.bytes(open), &owners);
        let holder = |(directory, name): &Holder| directory.path == bed.bytes("g/p") && name == b"t";
        assert_eq!((trouble, found.iter().filter(|found| holder(found)).count()), (None, 1), "{what}");
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
    assert_eq!(path_of(&first), bed.bytes("m/..1/t"));
    bed.directory("m/..2");
    bed.file("m/..2/t", b"two");
    bed.link("..2", "m/..data_tmp");
    fs::rename(bed.path("m/..data_tmp"), bed.path("m/..data")).expect("swap");
    bed.remove("m/..1");
    let second = bed.open("m/t").expect("second");
    assert_eq!(path_of(&second), bed.bytes("m/..2/t"));
    let (holders, _) = holders(&Anchor::host().expect("anchor"), &bed.bytes("m/t"), &Owners::root());
    assert!(holders.iter().any(|(directory, _)| directory.path == bed.bytes("m/..2")));
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
        assert_eq!(path_of(&trusted), bed.bytes("jail/etc/postfix/t"));
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
