//! Mounted files, directories and file systems.

use nix::errno::Errno;

use super::*;

#[test]
fn mount_points_are_refused_as_files_and_taken_as_directories() {
    let Some(bed) = sound() else { return };
    bed.in_mount_namespace("write_tests::mounts::in_mount_namespace");
}

/// Run by the test above in a mount namespace of its own.
#[test]
#[ignore = "runs in a mount namespace"]
fn in_mount_namespace() {
    let base = std::env::var("MAPKEEP_TEST_BED").expect("started by another test");
    let run = |command: &str| {
        let done = Command::new("bash").args(["-ec", command]).current_dir(&base).status().expect("bash");
        assert!(done.success(), "{command}");
    };
    let table = |path: &str| WriteFiles::of(format!("lmdb:{base}/{path}").as_bytes()).expect("lmdb");
    run("mkdir m && mount --bind g/p m");
    assert!(look(&table("m/y")).is_ok(), "a directory may be a mount point");
    run("touch g/p/z.lmdb && chown 64322 g/p/z.lmdb && mount --bind g/p/y.lmdb g/p/z.lmdb");
    let refusal = look(&table("g/p/z")).expect_err("a file may not");
    assert_eq!(refusal.rule(), Some(Rule::T5), "{refusal}");

    // Files cannot be created without free space, and can be once there is some.
    run("mkdir s && mount -t tmpfs -o nr_inodes=3,mode=0700,uid=64322 none s && touch s/a s/b");
    let anchor = Anchor::host().expect("anchor");
    let files = table("s/y");
    let create = || as_owner(|| place_of(&anchor, &files, OWNER).and_then(|place| place.create(b"y.lmdb")));
    let refusal = create().expect_err("no room");
    assert!(matches!(refusal, Refusal::Io { errno: Errno::ENOSPC, .. }), "{refusal}");
    run("rm s/a");
    assert!(create().is_ok());
}
