//! Where the service listens when nobody says where, and what it refuses.

use crate::ask::{found, lookup};
use crate::common::master::{Site, set_mode};
use crate::common::{PATIENCE, poll, process};
use crate::serve::{NAME, Service, approve, ids, site, wire_at};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

const TABLE: &str = "inline:{a=b}";

fn approved() -> Site {
    let site = site();
    approve(&site, &[TABLE], "");
    site
}

/// The socket is mail_owner's, mode 0666, and nothing else of the directory has changed.
fn assert_like_master(path: &Path) {
    let found = fs::symlink_metadata(path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o666);
    assert_eq!((found.uid(), found.gid()), ids("postfix"));
}

pub fn usual_socket_has_owner_and_mode_of_master() {
    let site = approved();
    let mut service = Service::start(&site, &[]);
    assert_eq!(service.wire().ask(&lookup(TABLE, "a")), found("b"));
    assert_like_master(&service.socket());
    let folder = fs::metadata(site.path("spool/private")).unwrap();
    assert_eq!(
        (folder.uid(), folder.mode() & 0o7777),
        (ids("postfix").0, 0o700),
        "the directory is as it was"
    );
    let family: Vec<u32> = service.family().iter().map(|p| p.pid).collect();
    assert_eq!(family.len(), 3, "logger, broker, lookup worker");
    process::signal("TERM", service.pid());
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(process::wait_gone(&family, PATIENCE), []);
}

pub fn socket_in_a_directory_of_root_gets_the_owner_too() {
    let site = approved();
    chown(site.path("spool/private"), Some(0), Some(0)).unwrap();
    let service = Service::start(&site, &[]);
    assert_eq!(service.wire().ask(&lookup(TABLE, "a")), found("b"));
    assert_like_master(&service.socket());
}

pub fn name_of_master_cf_is_refused() {
    let site = approved();
    let line = format!("# one comment\n{NAME} unix - - n - - proxymap\n");
    fs::write(site.path("etc/master.cf"), &line).unwrap();
    let path = site.path("spool/private").join(NAME);
    // By the usual place, by name, and by a detour.
    let detour = site.path("spool/public/../private").join(NAME);
    for words in
        [vec![], vec!["--socket", path.to_str().unwrap()], vec!["--socket", detour.to_str().unwrap()]]
    {
        let seen = site.log().len();
        let mut service = Service::start(&site, &words);
        assert_eq!(service.wait().code(), Some(1), "{words:?}");
        let said = site.wait_for_log(seen, &["fatal: ", &format!("\"{NAME}\" of master.cf (line 2)")]);
        assert_eq!(site.errors(), format!("mapkeepd: {}\n", said.text), "as at the terminal");
        for remedy in ["proxymap_service_name", "remove the service", "--socket"] {
            assert!(said.text.contains(remedy), "{said:?}");
        }
        assert!(!path.exists(), "nothing was bound");
    }
    // A public service of that name has another path.
    fs::write(site.path("etc/master.cf"), line.replace("unix - -", "unix n -")).unwrap();
    assert_eq!(Service::start(&site, &[]).wire().ask(&lookup(TABLE, "a")), found("b"));
}

pub fn missing_directory_is_refused_with_remedy() {
    let site = approved();
    let folder = site.path("spool/private");
    fs::remove_dir(&folder).unwrap();
    let mut service = Service::start(&site, &[]);
    assert_eq!(service.wait().code(), Some(1));
    site.wait_for_log(0, &["fatal: ", folder.to_str().unwrap(), "postfix check"]);
    assert!(!folder.exists());
}

pub fn stale_socket_is_replaced_and_a_live_one_is_not() {
    let site = approved();
    let path = site.path("spool/private").join(NAME);
    let live = UnixListener::bind(&path).unwrap();
    set_mode(&path, 0o666);
    let number = fs::metadata(&path).unwrap().ino();
    let mut refused = Service::start(&site, &[]);
    assert_eq!(refused.wait().code(), Some(1));
    site.wait_for_log(0, &["fatal: ", path.to_str().unwrap(), "another service is listening"]);
    assert_eq!(fs::metadata(&path).unwrap().ino(), number);
    drop(live);
    // A child that another test is just starting may hold it for another moment.
    let dead = || UnixStream::connect(&path).err();
    assert_eq!(poll(PATIENCE, dead).unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
    // Now no process listens; the file is root's, and mail_owner, who owns the directory, may remove it.
    let service = Service::start(&site, &[]);
    site.wait_for_log(0, &["proxymap is up with 1 table, "]);
    assert_eq!(wire_at(&path).ask(&lookup(TABLE, "a")), found("b"));
    assert_like_master(&service.socket());
}

/// mail_owner may put what it likes into its own directory: no file of root's changes by that.
pub fn link_in_the_mail_owners_directory_gains_nothing() {
    let site = approved();
    let secret = site.path("secret");
    fs::write(&secret, "root's\n").unwrap();
    set_mode(&secret, 0o600);
    let path = site.path("spool/private").join(NAME);
    symlink(&secret, &path).unwrap();
    let mut service = Service::start(&site, &[]);
    assert_eq!(service.wait().code(), Some(1));
    site.wait_for_log(0, &["fatal: ", path.to_str().unwrap(), "Address already in use"]);
    let found = fs::metadata(&secret).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o600));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "root's\n");
}

/// A service without a configuration would listen at the default path, where another one may already listen.
pub fn configuration_that_cannot_be_read_is_refused_at_the_terminal() {
    let site = approved();
    let path = site.path("spool/private").join(NAME);
    for (file, what) in
        [("etc/main.cf", "No such file or directory"), ("etc/master.cf", "not a regular file")]
    {
        let file = site.path(file);
        fs::remove_file(&file).unwrap();
        if file.ends_with("master.cf") {
            fs::create_dir(&file).unwrap();
        }
        let mut service = Service::start(&site, &[]);
        assert_eq!(service.wait().code(), Some(1), "{file:?}");
        let said = site.errors();
        assert!(said.starts_with(&format!("mapkeepd: fatal: {}: {what}", file.display())), "{said}");
        assert!(said.contains("-c") && said.lines().count() == 1, "{said}");
        assert!(!path.exists(), "nothing was bound");
        let _ = fs::remove_dir(&file);
        approve(&site, &[TABLE], "");
    }
}
