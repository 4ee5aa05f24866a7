//! Where tables and the files that decide may be: names and links of any shape, volumes, directories of other programs,
//! files that others could have written. Each with an innocent table beside it that answers all the time.

use crate::ask::{RETRY, found, lookup, until};
use crate::common::master::{Master, Site, set_mode};
use crate::common::postfix::account;
use crate::common::wire::Wire;
use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

/// A table `innocent` beside these, and a service that serves it.
fn service<'s>(site: &'s Site, tables: &[&str], lines: &str) -> (Master<'s>, Wire, String) {
    let innocent = site.table("texthash", "innocent", "k v\n");
    let all: Vec<&str> = tables.iter().copied().chain([innocent.as_str()]).collect();
    site.approve(&all, lines);
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&innocent, "k")), found("v"));
    (master, wire, innocent)
}

fn directory(site: &Site, name: &str, (uid, gid): (u32, u32), mode: u32) -> std::path::PathBuf {
    let path = site.path(name);
    fs::create_dir_all(&path).unwrap();
    chown(&path, Some(uid), Some(gid)).unwrap();
    set_mode(&path, mode);
    path
}

fn file(path: &Path, (uid, gid): (u32, u32), mode: u32) -> String {
    fs::write(path, "k v\n").unwrap();
    chown(path, Some(uid), Some(gid)).unwrap();
    set_mode(path, mode);
    format!("texthash:{}", path.display())
}

const ROOT: (u32, u32) = (0, 0);

/// Case 01, and its kin: whatever the name, the service lives, and what the walk finds is served.
pub fn names_of_any_shape_end_nothing() {
    let site = Site::new();
    let here = site.path("tables").display().to_string();
    site.table("texthash", "v", "k v\n");
    site.table("hash", "v2", "k v\n");
    fs::create_dir(site.path("tables/sub")).unwrap();
    symlink("../tables/sub/../v", site.path("etc/link")).unwrap();
    symlink("nowhere/../v", site.path("etc/dangling")).unwrap();
    symlink("loop", site.path("etc/loop")).unwrap();
    let served = [
        format!("texthash:{here}/../tables/v"),
        format!("texthash:{here}/sub/../v"),
        format!("texthash:{here}/./sub/.././sub/../v"),
        format!("texthash:{}", site.path("etc/link").display()),
        format!("hash:{here}/../tables/v2"),
        format!("unionmap:{{inline:{{x=y}},texthash:{here}/../tables/v}}"),
        format!("texthash:/..{here}/v"),
    ];
    let refused = [
        format!("texthash:{here}/none/../v"),
        format!("texthash:{here}/v/../v"),
        format!("texthash:{here}/sub/.."),
        format!("texthash:{here}/.."),
        format!("hash:{here}/.."),
        format!("texthash:{}", site.path("etc/dangling").display()),
        format!("texthash:{}", site.path("etc/loop").display()),
        format!("cidr:{here}/../none"),
        "texthash:..".to_owned(),
        "texthash:../v".to_owned(),
        "texthash:/".to_owned(),
        "texthash:/..".to_owned(),
        "texthash:/../../..".to_owned(),
        "texthash:/proc/self/root/etc/passwd".to_owned(),
        "texthash:/proc/self/fd/../maps".to_owned(),
        "texthash:/dev/stdin".to_owned(),
        "texthash:/dev/../dev/null".to_owned(),
        "texthash:/etc/postfix/../shadow".to_owned(),
        format!("texthash:/{}", "../".repeat(1300)),
        format!("texthash:/{}x", "a/".repeat(2000)),
        format!("texthash:/{}", "x".repeat(5000)),
        "texthash:".to_owned(),
        "hash:".to_owned(),
    ];
    let all: Vec<&str> = served.iter().chain(&refused).map(String::as_str).collect();
    let (mut master, mut wire, innocent) = service(&site, &all, "");
    let broker = master.only("broker");
    for table in &served {
        assert_eq!(wire.ask(&lookup(table, "k")), found("v"), "{table}");
    }
    for table in &refused {
        assert_eq!(wire.ask(&lookup(table, "k")), RETRY, "{table}");
    }
    // A change is noticed by the name as it is written.
    site.table("texthash", "v", "k new\n");
    until("name with ..", &mut wire, &lookup(&served[0], "k"), &found("v"), &found("new"));
    assert_eq!(wire.ask(&lookup(&innocent, "k")), found("v"));
    assert!(master.runs());
    assert_eq!(master.only("broker"), broker, "the broker is the same");
}

/// The mail owner renames what only root can read to the name of an approved table in his directory.
pub fn files_of_root_in_another_ones_directory_stay_unread() {
    let site = Site::new();
    let postfix = account("postfix");
    let data = directory(&site, "data", postfix, 0o755);
    let table = file(&data.join("cache"), postfix, 0o644);
    let nested = directory(&site, "data/nested", postfix, 0o755);
    let deep = file(&nested.join("t"), postfix, 0o644);
    fs::write(data.join("secret"), "k password\n").unwrap();
    set_mode(&data.join("secret"), 0o600);
    let hidden = directory(&site, "data/hidden", ROOT, 0o755);
    fs::write(hidden.join("t"), "k password\n").unwrap();
    set_mode(&hidden.join("t"), 0o600);
    let (_master, mut wire, innocent) = service(&site, &[&table, &deep], "");
    assert_eq!(wire.ask(&lookup(&table, "k")), found("v"));
    assert_eq!(wire.ask(&lookup(&deep, "k")), found("v"));
    let seen = site.log().len();
    fs::rename(data.join("secret"), data.join("cache")).unwrap();
    fs::rename(&nested, data.join("away")).unwrap();
    fs::rename(&hidden, &nested).unwrap();
    let why = "in a directory of uid";
    site.wait_for_log(seen, &["warning: ", &table, "belongs to uid 0", why, "(rule T4"]);
    site.wait_for_log(seen, &["warning: ", &deep, "belongs to uid 0", why, "(rule T2"]);
    for table in [&table, &deep, &innocent] {
        assert_eq!(wire.ask(&lookup(table, "k")), found("v"), "{table}");
    }
}

/// Case 02: a ConfigMap, mode 0777 and mounted for reading only.
pub fn volume_that_is_vouched_for_is_served() {
    let site = Site::new();
    let volume = directory(&site, "cm", ROOT, 0o777);
    fs::create_dir(volume.join("..1")).unwrap();
    fs::write(volume.join("..1/virtual"), "k v\n").unwrap();
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/virtual", volume.join("virtual")).unwrap();
    lchown(volume.join("..data"), Some(account("daemon").0), None).unwrap();
    let table = format!("texthash:{}", volume.join("virtual").display());
    let (master, mut wire, _) = service(&site, &[&table], "");
    assert_eq!(wire.ask(&lookup(&table, "k")), RETRY);
    let setting = format!("trusted_directories = {}", volume.display());
    let line = site.wait_for_log(0, &["error: ", &table, "(rule T2", &setting]);
    assert!(!line.text.contains("chmod"), "{line:?}");
    drop((wire, master));
    site.keep(&format!("{setting}\n"));
    let (_master, mut wire, _) = service(&site, &[&table], "");
    assert_eq!(wire.ask(&lookup(&table, "k")), found("v"));
    // As the kubelet does it.
    fs::create_dir(volume.join("..2")).unwrap();
    fs::write(volume.join("..2/virtual"), "k new\n").unwrap();
    symlink("..2", volume.join("..tmp")).unwrap();
    fs::rename(volume.join("..tmp"), volume.join("..data")).unwrap();
    until("volume swapped", &mut wire, &lookup(&table, "k"), &found("v"), &found("new"));
    // The rules for files stay.
    let seen = site.log().len();
    set_mode(&volume.join("..2/virtual"), 0o666);
    site.wait_for_log(seen, &["warning: ", &table, "(rule T4"]);
}

/// A setting that is too long for an argument of a program (128 KiB on Linux) nevertheless reaches the broker.
pub fn any_number_of_volumes_can_be_vouched_for() {
    let site = Site::new();
    let volume = directory(&site, "cm", ROOT, 0o777);
    fs::write(volume.join("virtual"), "k v\n").unwrap();
    let table = format!("texthash:{}", volume.join("virtual").display());
    let others: String =
        (0..6000).map(|number| format!("/srv/volumes/of/somebody/number/{number:05} ")).collect();
    assert!(others.len() > 200_000);
    site.keep(&format!("trusted_directories = {others}{}\n", volume.display()));
    let (_master, mut wire, _) = service(&site, &[&table], "");
    assert_eq!(wire.ask(&lookup(&table, "k")), found("v"));
}

/// Case 03: one file mounted over another.
pub fn single_file_that_is_mounted_is_served() {
    let site = Site::new();
    let host = site.path("host");
    fs::write(&host, "k mounted\n").unwrap();
    let table = site.table("texthash", "virtual", "k beneath\n");
    site.approve(&[&table], "");
    let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let target = site.path("tables/virtual");
    let words = ["-m", "/bin/sh", "-c", mount, host.to_str().unwrap(), target.to_str().unwrap()];
    let daemon = [env!("CARGO_BIN_EXE_mapkeepd"), "-n", "proxymap", "-t", "unix", "-u"];
    let words: Vec<&str> = words.into_iter().chain(daemon).collect();
    let master = site.start_program(Path::new("/usr/bin/unshare"), &words);
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&table, "k")), found("mounted"));
    fs::write(&host, "k new\n").unwrap();
    until("mounted file", &mut wire, &lookup(&table, "k"), &found("mounted"), &found("new"));
}

/// Case 04: /nix/store, root's, sticky, and a group may write.
pub fn shared_store_of_root_is_served() {
    let site = Site::new();
    let store = directory(&site, "store", (0, account("daemon").1), 0o1775);
    let direct = file(&store.join("x-virtual"), ROOT, 0o444);
    let world = directory(&site, "world", ROOT, 0o1777);
    let refused = file(&world.join("t"), ROOT, 0o444);
    symlink(store.join("x-virtual"), site.path("etc/virtual")).unwrap();
    let linked = format!("texthash:{}", site.path("etc/virtual").display());
    let (_master, mut wire, _) = service(&site, &[&direct, &linked, &refused], "");
    assert_eq!(wire.ask(&lookup(&direct, "k")), found("v"));
    assert_eq!(wire.ask(&lookup(&linked, "k")), found("v"));
    assert_eq!(wire.ask(&lookup(&refused, "k")), RETRY);
    site.wait_for_log(0, &["error: ", &refused, "is a shared directory", "(rule T2"]);
}

/// Cases 06 and 08: the remedy is a setting, and does not take the files from the program that owns them.
pub fn owners_are_named_with_the_line_to_write() {
    let site = Site::new();
    let list = account("daemon");
    let data = directory(&site, "mailman", list, 0o755);
    let named = file(&data.join("postfix_lmtp"), list, 0o644);
    let numbered = (4_000_123, 4_000_123);
    let nameless = file(&directory(&site, "volume", numbered, 0o755).join("virtual"), numbered, 0o644);
    site.keep("table_owners =\n  $mail_owner,\n  nobody\n");
    let (master, mut wire, _) = service(&site, &[&named, &nameless], "");
    for (table, line) in [
        (&named, "table_owners = $mail_owner, nobody daemon"),
        (&nameless, "table_owners = $mail_owner, nobody 4000123"),
    ] {
        assert_eq!(wire.ask(&lookup(table, "k")), RETRY);
        let said = site.wait_for_log(0, &["error: ", table, "(rule T2", &format!("mapkeep.cf: {line}")]);
        assert!(said.text.ends_with(line) && !said.text.contains("chown"), "{said:?}");
    }
    drop((wire, master));
    site.keep("table_owners = $mail_owner daemon 4000123\n");
    let (_master, mut wire, _) = service(&site, &[&named, &nameless], "");
    assert_eq!(wire.ask(&lookup(&named, "k")), found("v"));
    assert_eq!(wire.ask(&lookup(&nameless, "k")), found("v"));
}

/// Groups without other members, and files of root with several names.
pub fn what_serves_only_form_is_not_asked() {
    let site = Site::new();
    let postfix = account("postfix");
    let group = file(&directory(&site, "group", ROOT, 0o775).join("t"), ROOT, 0o664);
    let own = file(&directory(&site, "own", postfix, 0o775).join("t"), postfix, 0o664);
    let linked = file(&site.path("tables/linked"), ROOT, 0o644);
    fs::hard_link(site.path("tables/linked"), site.path("other-name")).unwrap();
    let open = file(&site.path("tables/open"), (0, account("postfix").1), 0o664);
    let (_master, mut wire, _) = service(&site, &[&group, &own, &linked, &open], "");
    for table in [&group, &own, &linked] {
        assert_eq!(wire.ask(&lookup(table, "k")), found("v"), "{table}");
    }
    assert_eq!(wire.ask(&lookup(&open, "k")), RETRY, "a group with members");
    site.wait_for_log(0, &["error: ", &open, "(rule T4"]);
}

/// Configuration files and programs that others could have written.
pub fn configuration_of_anybody_does_not_count() {
    let site = Site::new();
    let list = account("daemon");
    let theirs = file(&directory(&site, "theirs", list, 0o755).join("t"), list, 0o644);
    site.keep("table_owners = $mail_owner daemon\n");
    let lines = |site: &Site| {
        let innocent = site.table("texthash", "innocent", "k v\n");
        site.approve(&[&theirs, &innocent], "");
    };
    lines(&site);
    let master = site.start();
    let mut wire = master.wire();
    assert_eq!(wire.ask(&lookup(&theirs, "k")), found("v"));
    drop((wire, master));
    for name in ["etc/mapkeep.cf", "etc/main.cf"] {
        set_mode(&site.path(name), 0o666);
    }
    let seen = site.log().len();
    // The root directory of workers is the usual one, too; hence with a /run of its own.
    let words = ["-m", "/bin/sh", "-c", "mount -t tmpfs -o mode=755 none /run && exec \"$0\" \"$@\""];
    let daemon = [env!("CARGO_BIN_EXE_mapkeepd"), "-n", "proxymap", "-t", "unix", "-u"];
    let words: Vec<&str> = words.into_iter().chain(daemon).collect();
    let master = site.start_program(Path::new("/usr/bin/unshare"), &words);
    let mut wire = master.wire();
    let innocent = format!("texthash:{}", site.path("tables/innocent").display());
    assert_eq!(wire.ask(&lookup(&innocent, "k")), found("v"), "main.cf counts, as in stock");
    assert_eq!(wire.ask(&lookup(&theirs, "k")), RETRY, "its owner is declared in a file of anybody's");
    site.wait_for_log(
        seen,
        &["error: ", "mapkeep.cf is ignored", "everybody (mode 0666)", "make it writable by root only"],
    );
    site.wait_for_log(seen, &["warning: ", "main.cf decides what is served", "everybody (mode 0666)"]);
}

/// Programs that anybody could exchange are not started as root.
pub fn programs_of_anybody_are_not_started() {
    let site = Site::new();
    site.approve(&["inline:{a=b}"], "");
    let lib = site.path("lib");
    fs::create_dir(&lib).unwrap();
    for program in [
        env!("CARGO_BIN_EXE_mapkeepd"),
        env!("CARGO_BIN_EXE_mapkeep-worker"),
        env!("CARGO_BIN_EXE_mapkeep-gateway"),
    ] {
        // By another process: see missing_worker_program.
        assert!(Command::new("cp").arg(program).arg(&lib).status().unwrap().success());
    }
    let words = ["-n", "proxymap", "-t", "unix", "-u"];
    let program = lib.join("mapkeepd");
    for (path, mode) in [
        (&lib, 0o777),
        (&lib, 0o1777),
        (&lib.join("mapkeep-worker"), 0o757),
        (&lib.join("mapkeep-gateway"), 0o757),
    ] {
        set_mode(path, mode);
        crate::refusals::assert_refused(
            site.start_program(&program, &words),
            &[
                path.to_str().unwrap(),
                "could be replaced",
                "install them in a directory where only root can write",
            ],
        );
        set_mode(path, 0o755);
    }
    let owner = account("daemon").0;
    chown(&lib, Some(owner), None).unwrap();
    let master = site.start_program(&program, &words);
    assert_eq!(master.wire().ask(&lookup("inline:{a=b}", "a")), found("b"));
    site.wait_for_log(0, &["warning: ", lib.to_str().unwrap(), &format!("belongs to uid {owner}")]);
}
