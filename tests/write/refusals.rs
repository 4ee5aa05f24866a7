//! Places where a table must not be written: refused with the component of the path, the rule and the remedy; the
//! service goes on with its other tables, and serves the table as soon as the place is in order.
//!
//! Only mapkeepd runs these: stock opens whatever the mail owner may open.

use crate::common::PATIENCE;
use crate::common::master::set_mode;
use crate::common::poll;
use crate::common::postfix::{Server, account};
use crate::common::writing::{Client, Content, OK, Place, RETRY, Request, file_of, give};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

const FLAGS: u32 = 0x8_0180;

/// A place that is wrong, and how to mend it.
struct Case {
    table: String,
    /// The component that the log must name.
    component: PathBuf,
    /// A word of the remedy.
    remedy: &'static str,
    mend: Box<dyn Fn()>,
    /// Whether a reload is needed after that.
    behind_a_link: bool,
}

fn content() -> Content {
    (0..20).map(|n| (format!("k{n}").into_bytes(), b"v".to_vec())).collect()
}

/// Every wrong place at once, beside a sound table.
pub fn wrong_places_are_refused(kind: &str, server: Server) {
    let place = Place::new();
    let sound = place.name(kind, "sound");
    let cases = cases(&place, kind);
    let mut names: Vec<&str> = cases.iter().map(|case| case.table.as_str()).collect();
    names.push(&sound);
    place.approve(&names, "");
    let service = place.start(server);
    let mut client = service.client();
    client.flags = FLAGS;
    for case in &cases {
        let request = Request { table: &case.table, flags: FLAGS };
        assert_eq!(client.ask(&request.open()).status(), OK, "{}", case.table);
        for question in
            [request.lookup(b"k1"), request.update(b"k1", b"new"), request.delete(b"k1"), request.first()]
        {
            let reply = client.ask(&question);
            assert_eq!(reply.status(), RETRY, "{}: {reply:?}", case.table);
        }
        let component = case.component.to_str().unwrap();
        let line = place.wait_for_log(0, &[&case.table, component, "(rule ", case.remedy]);
        assert!(line.contains("]: warning: "), "{line:?}");
        assert_eq!(client.update(&sound, case.table.as_bytes(), b"goes on"), OK);
    }
    for case in cases.iter().filter(|case| !case.behind_a_link) {
        (case.mend)();
        mended(&mut client, &case.table);
    }
    drop(client);
    service.stop();
    // The broker's Landlock domain does not include the target of another user's link.
    let service = place.start(server);
    let mut client = service.client();
    client.flags = FLAGS;
    for case in cases.iter().filter(|case| case.behind_a_link) {
        (case.mend)();
        assert_eq!(client.ask(&Request { table: &case.table, flags: FLAGS }.lookup(b"k1")).status(), RETRY);
        place.wait_for_log(0, &[&case.table, "Permission denied", "\"postfix reload\""]);
    }
    drop(client);
    service.stop();
    let service = place.start(server);
    let mut client = service.client();
    client.flags = FLAGS;
    for case in cases.iter().filter(|case| case.behind_a_link) {
        mended(&mut client, &case.table);
    }
    drop(client);
    service.stop();
    for case in &cases {
        assert!(place.listed(&case.table).contains(&b"mended\tyes".to_vec()), "{}", case.table);
        place.assert_sound(&case.table);
    }
}

/// Waits until the table takes an update; the service is the same as before.
fn mended(client: &mut Client, table: &str) {
    let request = Request { table, flags: FLAGS };
    let works = || (client.ask(&request.update(b"mended", b"yes")).status() == OK).then_some(());
    assert!(poll(PATIENCE, works).is_some(), "{table} is still refused");
    assert_eq!(client.value(table, b"mended").as_deref(), Some(&b"yes"[..]));
}

fn cases(place: &Place, kind: &str) -> Vec<Case> {
    let dir = |name: &str| place.dir(name);
    let in_dir = |dir: &Path| format!("{kind}:{}", dir.join("t").display());
    let made = |dir: &Path| {
        let table = in_dir(dir);
        place.make(&table, &content());
        (file_of(&table), table)
    };
    let mut cases = Vec::new();
    let mut add = |table: String, component: PathBuf, remedy, mend: Box<dyn Fn()>| {
        let behind_a_link = component.ends_with("symlink-dir");
        cases.push(Case { table, component, remedy, mend, behind_a_link });
    };

    // A directory of root's: a new file, and one that is there.
    for (name, exists) in [("root-new", false), ("root-old", true)] {
        let path = dir(name);
        let table = if exists { made(&path).1 } else { in_dir(&path) };
        chown(&path, Some(0), Some(0)).unwrap();
        set_mode(&path, 0o755);
        let mend = path.clone();
        add(table, path, "such as $data_directory", Box::new(move || give(&mend)));
    }
    // A file that does not belong to the owner of its directory.
    for (name, owner) in [("owner-root", "root"), ("owner-other", "daemon")] {
        let path = dir(name);
        let (file, table) = made(&path);
        let (uid, gid) = account(owner);
        chown(&file, Some(uid), Some(gid)).unwrap();
        let mend = file.clone();
        add(table, file, "chown", Box::new(move || give(&mend)));
    }
    // A directory that belongs to neither root nor the mail owner.
    let path = dir("dir-other");
    let (_, table) = made(&path);
    let (uid, gid) = account("daemon");
    chown(&path, Some(uid), Some(gid)).unwrap();
    let mend = path.clone();
    add(table, path, "such as $data_directory", Box::new(move || give(&mend)));
    // A second name of the file.
    let path = dir("linked");
    let (file, table) = made(&path);
    let second = path.join("second");
    fs::hard_link(&file, &second).unwrap();
    add(table, file, "-samefile", Box::new(move || fs::remove_file(&second).unwrap()));
    // Links in the place of the file, and of a directory on the way.
    let path = dir("symlink-file");
    let (file, table) = made(&path);
    let real = path.join("real");
    fs::rename(&file, &real).unwrap();
    symlink(&real, &file).unwrap();
    let mend = file.clone();
    add(table, file, "link", Box::new(move || fs::rename(&real, &mend).unwrap()));
    let path = dir("symlink-dir");
    let real = dir("symlink-real");
    fs::remove_dir(&path).unwrap();
    let table = in_dir(&path);
    place.make(&in_dir(&real), &content());
    symlink(&real, &path).unwrap();
    // Of root's it would be followed.
    lchown(&path, Some(account("daemon").0), None).unwrap();
    let mend = path.clone();
    add(
        table,
        path,
        "link",
        Box::new(move || {
            fs::remove_file(&mend).unwrap();
            fs::rename(&real, &mend).unwrap();
        }),
    );
    // Directories and files that others can write.
    for (name, mode) in [("group", 0o770), ("others", 0o707)] {
        let path = dir(name);
        let (_, table) = made(&path);
        set_mode(&path, mode);
        // Not the mail owner's own group, which has no other members.
        chown(&path, None, Some(account("daemon").1)).unwrap();
        let mend = path.clone();
        add(table, path, "chmod", Box::new(move || set_mode(&mend, 0o700)));
    }
    let path = dir("group-file");
    let (file, table) = made(&path);
    set_mode(&file, 0o620);
    chown(&file, None, Some(account("daemon").1)).unwrap();
    let mend = file.clone();
    add(table, file, "chmod", Box::new(move || set_mode(&mend, 0o600)));
    cases
}

/// The store and its log are checked like other files: one that is a link, or another user's, is not written.
pub fn stores_are_checked_like_tables(kind: &str, server: Server) {
    let place = Place::new();
    let target = place.site.path("target");
    fs::write(&target, "not to be written").unwrap();
    give(&target);
    let names = ["link", "hard", "log"].map(|name| place.name(kind, name));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    place.approve(&names, "");
    names.iter().for_each(|table| place.make(table, &content()));
    symlink(&target, place.data("link.mapkeep")).unwrap();
    fs::hard_link(&target, place.data("hard.mapkeep")).unwrap();
    symlink(&target, place.data("log.mapkeep-wal")).unwrap();
    let service = place.start(server);
    let mut client = service.client();
    client.flags = FLAGS;
    for table in &names {
        let request = Request { table, flags: FLAGS };
        assert_eq!(client.ask(&request.update(b"k1", b"new")).status(), RETRY, "{table}");
        place.wait_for_log(0, &["warning: ", table, "(rule "]);
    }
    for name in ["link.mapkeep", "hard.mapkeep", "log.mapkeep-wal"] {
        fs::remove_file(place.data(name)).unwrap();
    }
    names.iter().for_each(|table| mended(&mut client, table));
    assert_eq!(fs::read_to_string(&target).unwrap(), "not to be written");
    assert_eq!(fs::metadata(&target).unwrap().nlink(), 1);
}

/// Case 12: $data_directory is a link that root made in a directory of root, and its group, which has no other members,
/// may write.
pub fn links_of_root_lead_to_tables(kind: &str, server: Server) {
    let place = Place::new();
    let state = place.dir("state");
    set_mode(&state, 0o775);
    let link = place.site.path("lib");
    symlink(&state, &link).unwrap();
    let table = format!("{kind}:{}", link.join("t").display());
    let dotted = format!("{kind}:{}", link.join("../state/u").display());
    place.approve(&[&table, &dotted], "");
    let service = place.start(server);
    let mut client = service.client();
    client.flags = FLAGS;
    for table in [&table, &dotted] {
        assert_eq!(client.update(table, b"10.0.0.1", b"1;2;3"), OK, "{table}");
        assert_eq!(client.value(table, b"10.0.0.1").as_deref(), Some(&b"1;2;3"[..]), "{table}");
    }
    drop(client);
    service.stop();
    for table in [&table, &dotted] {
        assert!(place.listed(table).contains(&b"10.0.0.1\t1;2;3".to_vec()), "{table}");
    }
}
