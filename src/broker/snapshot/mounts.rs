//! Mount points on the way to a table, and what a copy makes of a file of the kernel's that looks like a stored one.

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use super::{Copy, Progress};
use mapkeep_broker_trust::testbed::{Bed, LIMIT, path_of};
use mapkeep_broker_trust::{Anchor, Owners, Rule, open_table};

#[test]
fn open_table_mount_points() {
    let Some(bed) = Bed::new() else { return };
    bed.in_mount_namespace("mounts::in_mount_namespace");
}

/// Run by the test above in a mount namespace of its own.
#[test]
#[ignore = "runs in a mount namespace"]
fn in_mount_namespace() {
    let base =
        std::path::PathBuf::from(std::env::var_os("MAPKEEP_TEST_BED").expect("started by another test"));
    let mount = |arguments: &[&str], target: &str| {
        let status = Command::new("mount").args(arguments).arg(base.join(target)).status().expect("mount");
        assert!(status.success());
    };
    let path = |name: &str| base.join(name).into_os_string().into_encoded_bytes();
    for name in ["d", "e", "k"] {
        fs::create_dir(base.join(name)).expect("directory");
    }
    for name in ["d/t", "e/t", "d/s"] {
        fs::write(base.join(name), b"k v\n").expect("file");
    }
    let open = |name: &str| open_table(&Anchor::host().expect("anchor"), &path(name), &Owners::root(), LIMIT);
    mount(&["--bind", &base.join("d").to_string_lossy()], "e");
    assert_eq!(path_of(&open("e/t").expect("a directory may be a mount point")), path("e/t"));
    mount(&["--bind", &base.join("d/t").to_string_lossy()], "d/s");
    let trusted = open("d/s").expect("a file may be one, too: only root mounts");
    assert_eq!((path_of(&trusted), trusted.status.size), (path("d/s"), 4));
    let opened = mapkeep_sys::status::of(trusted.file.as_fd()).expect("status");
    let behind = fs::metadata(base.join("d/t")).expect("metadata");
    assert_eq!(
        opened.ino,
        std::os::unix::fs::MetadataExt::ino(&behind),
        "what is mounted, not what is beneath"
    );
    fs::set_permissions(base.join("d/t"), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("chmod");
    assert_eq!(open("d/s").expect_err("the rules for files stay").rule(), Some(Rule::T4));
    mount(&["--bind", "/etc/shadow"], "d/t");
    assert_eq!(open("d/t").expect_err("shadow, mounted").rule(), Some(Rule::T6));
    mount(&["--bind", "/proc/version"], "d/s");
    assert_eq!(open("d/s").expect_err("the kernel's, mounted").rule(), Some(Rule::T5));
    // A second mount of proc has its own device number, so the walk takes its files for stored ones; the copy then
    // reads more bytes than their length of 0 and fails.
    mount(&["-t", "proc", "proc"], "k");
    let trusted = open("k/meminfo").expect("looks like an empty file");
    let kind = mapkeep_name::Kind::Texthash;
    let mut copy = Copy::begin(trusted, kind, LIMIT, None).expect("begin");
    loop {
        match copy.step(4096) {
            Ok(Progress::Done(_)) => panic!("a file that is longer than it says was copied"),
            Ok(_) => std::thread::yield_now(),
            Err(_) => break,
        }
    }
}
