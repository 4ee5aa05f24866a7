//! The command on a private configuration directory whose service is chrooted, so that the directories above it
//! do not matter and no right of root is needed.

mod same;
mod servers;
mod write;

use super::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

/// A configuration directory with a queue directory, removed when dropped.
struct Scene {
    base: PathBuf,
}

impl Scene {
    /// `main` follows what each main.cf needs.
    fn new(main: &str) -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // For root, below directories of root: the configuration itself must be root's alone.
        let parent = if nix::unistd::geteuid().is_root() { "/run".into() } else { std::env::temp_dir() };
        let base = parent.join(format!("mapkeep-tables-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let scene = Scene { base };
        scene.directory("");
        scene.directory("bin");
        for program in
            ["mapkeep", "mapkeepd", "mapkeep-worker", "mapkeep-writer", "mapkeep-gateway", "mapkeep-dialer"]
        {
            scene.file(&format!("bin/{program}"), "", 0o755);
        }
        scene.directory("queue");
        scene.directory("queue/t");
        scene.directory("queue/etc");
        let queue = scene.base.join("queue");
        let head = format!("compatibility_level = 3.6\nqueue_directory = {}\n", queue.display());
        scene.file("main.cf", &(head + main), 0o644);
        scene.file(
            "master.cf",
            "proxymap unix - - y - - proxymap\nproxywrite unix - - y - 1 proxymap\n",
            0o644,
        );
        let me = nix::unistd::geteuid();
        scene.file("mapkeep.cf", &format!("table_owners = {me}\nsnapshot_limit = 1k\n"), 0o644);
        scene
    }

    fn directory(&self, name: &str) {
        let path = self.base.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.base.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs the command: exit status and standard output.
    fn run(&self, words: &[&str]) -> (Exit, String) {
        let mut stdout = Vec::new();
        let here = ["-c".into(), self.base.as_os_str().to_owned()];
        let words: Vec<OsString> = words.iter().map(OsString::from).chain(here).collect();
        let program = self.base.join("bin/mapkeep");
        let exit = list(&words, &program, &mut stdout).unwrap();
        (exit, String::from_utf8(stdout).unwrap())
    }

    fn json(&self, words: &[&str]) -> (Exit, Value) {
        let (exit, text) = self.run(&[&["--json"], words].concat());
        (exit, serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

/// Tables in every state, the first of them named twice.
fn full_scene() -> Scene {
    let scene = Scene::new(
        "virtual_alias_maps = proxy:hash:/t/good $more\n\
         more = proxy:texthash:/t/group, proxy:hash:/t/missing\n  proxy:lmdb:/none/x\n\
         sender_bcc_maps = proxy:hash:/t/good\n\
         alias_maps = proxy:hash:/t/aliases\n\
         transport_maps = proxy:texthash:/etc/shadow proxy:mysql:/t/my.cf proxy:texthash:/t/large\n\
         relocated_maps = proxy:static:{gone away} proxy:inline:{x} proxy:texthash:/t/link proxy:fail:\n\
         canonical_maps = proxy:texthash:t/relative proxy:unix:shadow.byname proxy:texthash:/t/dir\n\
         proxy_write_maps = proxy:btree:/t/cache\n\
         sender_canonical_maps = proxy:hash:/t/all-aliases\n\
         recipient_bcc_maps = proxy:environ:x proxy:hsah:/t/good proxy:cidr:{{192.0.2.0/24 OK}} proxy:regexp:/t/group\n  \
         proxy:unionmap:{static:a,texthash:/t/target} proxy:unionmap:{static:a,texthash:/t/group}\n  \
         proxy:pipemap:{static:a,debug:hash:/t/missing} proxy:unionmap:{static}\nvirtual_alias_domains =\n",
    );
    scene.file("queue/t/good.db", "content", 0o640);
    scene.file("queue/t/group", "a b\n", 0o666);
    scene.file("queue/t/large", &"a b\n".repeat(300), 0o644);
    scene.file("queue/etc/shadow", "root:!\n", 0o600);
    scene.file("queue/t/target", "a b\n", 0o644);
    scene.file("queue/t/all-aliases", "root: alice\n", 0o644);
    symlink("target", scene.base.join("queue/t/link")).unwrap();
    scene.directory("queue/t/dir");
    scene
}

fn table<'j>(json: &'j Value, name: &str) -> &'j Value {
    json["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap_or(&Value::Null)
}

#[test]
fn each_table_is_shown_with_its_state() {
    let scene = full_scene();
    let (exit, json) = scene.json(&[]);
    assert_eq!(exit, Exit::Failure);
    for (name, state, rule) in [
        ("hash:/t/good", "served", ""),
        ("static:{gone away}", "served", ""),
        ("fail:", "served", ""),
        ("inline:{x}", "bad-name", ""),
        ("texthash:/t/group", "refused", "T4"),
        ("texthash:/t/dir", "refused", "T4"),
        ("texthash:/etc/shadow", "refused", "T6"),
        ("texthash:t/relative", "refused", "T1"),
        ("texthash:/t/large", "too-large", "T4"),
        ("hash:/t/missing", "missing", ""),
        ("lmdb:/none/x", "missing", ""),
        ("hash:/t/aliases", "missing", ""),
        ("mysql:/t/my.cf", "not-served", ""),
        ("unix:shadow.byname", "not-served", ""),
        ("environ:x", "not-served", ""),
        ("hsah:/t/good", "unknown-type", ""),
        ("cidr:{{192.0.2.0/24 OK}}", "served", ""),
        ("regexp:/t/group", "refused", "T4"),
        ("unionmap:{static:a,texthash:/t/target}", "served", ""),
        ("unionmap:{static:a,texthash:/t/group}", "refused", "T4"),
        ("pipemap:{static:a,debug:hash:/t/missing}", "missing", ""),
        ("unionmap:{static}", "bad-name", ""),
    ] {
        let table = table(&json, name);
        assert_eq!(table["state"], state, "{name}: {table}");
        assert_eq!(table["rule"].as_str().unwrap_or_default(), rule, "{name}");
        assert_eq!(table["problem"].is_null(), state == "served", "{name}");
        assert_eq!(table["remedy"].is_null(), state == "served", "{name}");
    }
    // A link is trusted if it is root's: then it depends on who runs the test.
    let link = if nix::unistd::geteuid().is_root() { "served" } else { "refused" };
    assert_eq!(table(&json, "texthash:/t/link")["state"], link);
}

#[test]
fn each_object_has_every_key_in_the_documented_order() {
    let (_, json) = full_scene().json(&[]);
    let keys = |value: &Value| {
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.join(" ")
    };
    assert_eq!(
        keys(&json),
        "service list config_directory postfix chroot certain contents_looked_at served obstacles write_served \
         write_obstacles tables write_tables complaints"
    );
    let tables = json["tables"].as_array().unwrap();
    assert!(tables.len() > 13, "{}", tables.len());
    let of_table =
        "table state named_by file owner uid mode size servers component rule rule_text note problem remedy";
    let written = &json["write_tables"][0];
    assert_eq!(keys(written), format!("{of_table} written_by files"));
    assert_eq!(keys(&written["files"][0]), "file owner uid mode size");
    for table in tables {
        assert_eq!(keys(table), of_table);
        let places = table["named_by"].as_array().unwrap();
        assert!(!places.is_empty(), "{table}");
        for place in places {
            assert_eq!(keys(place), "consumer parameter file line list_file");
        }
    }
    assert_eq!((&json["service"], &json["list"]), (&"proxymap".into(), &"proxy_read_maps".into()));
}

#[test]
fn file_owner_mode_and_places_are_shown() {
    let scene = full_scene();
    let (_, json) = scene.json(&[]);
    let good = table(&json, "hash:/t/good");
    assert_eq!(
        (&good["file"], &good["mode"], &good["size"]),
        (&"/t/good.db".into(), &"0640".into(), &7.into())
    );
    assert_eq!(good["uid"], nix::unistd::geteuid().as_raw());
    let main = scene.base.join("main.cf");
    let places: Vec<_> = good["named_by"].as_array().unwrap().iter().collect();
    assert_eq!(places.len(), 2);
    for (place, consumer, line) in [(places[0], "virtual_alias_maps", 3), (places[1], "sender_bcc_maps", 6)] {
        assert_eq!((&place["consumer"], &place["parameter"]), (&consumer.into(), &consumer.into()));
        assert_eq!((&place["line"], &place["file"]), (&line.into(), &main.to_str().unwrap().into()));
    }
    let through = &table(&json, "hash:/t/missing")["named_by"][0];
    assert_eq!((&through["consumer"], &through["parameter"]), (&"virtual_alias_maps".into(), &"more".into()));
    assert_eq!(through["line"], 4);
    let unix = &table(&json, "unix:passwd.byname")["named_by"][0];
    assert!(unix["file"].is_null() && unix["line"].is_null(), "{unix}");
}

#[test]
fn remedy_names_the_command_where_there_is_one() {
    let (_, json) = full_scene().json(&[]);
    let remedy = |name: &str| table(&json, name)["remedy"].as_str().unwrap().to_owned();
    assert_eq!(remedy("hash:/t/missing"), "run: postmap hash:/t/missing");
    assert_eq!(remedy("hash:/t/aliases"), "run: postalias hash:/t/aliases");
    assert_eq!(
        remedy("hash:/t/all-aliases"),
        "run: postalias hash:/t/all-aliases",
        "by the form of its source"
    );
    assert_eq!(remedy("texthash:/t/group"), "if nobody else needs to write it, run: chmod go-w /t/group");
    assert!(remedy("texthash:/t/large").contains("snapshot_limit"));
    assert_eq!(remedy("mysql:/t/my.cf"), "stay with stock's proxymap for now");
    assert_eq!(remedy("pipemap:{static:a,debug:hash:/t/missing}"), "run: postmap hash:/t/missing");
    let member = table(&json, "unionmap:{static:a,texthash:/t/group}");
    assert_eq!(member["component"], "/t/group");
    assert!(member["problem"].as_str().unwrap().ends_with(" (a member, texthash:/t/group)"), "{member}");
    // The parent is what is missing here.
    assert_eq!(table(&json, "lmdb:/none/x")["component"], "/none");
    assert!(!remedy("lmdb:/none/x").contains("postmap"));
}

#[test]
fn text_fits_and_agrees_with_json() {
    let scene = full_scene();
    let (exit, text) = scene.run(&[]);
    assert_eq!(exit, Exit::Failure);
    for line in text.lines() {
        let words = line.split_whitespace().count();
        assert!(line.chars().count() <= 100 || words == 1, "{line}");
    }
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("hash:/t/good ").ends_with(" served"), "{text}");
    assert!(line("texthash:/t/group ").ends_with(" refused"), "{text}");
    for part in [
        "    named by virtual_alias_maps, main.cf:3\n    named by sender_bcc_maps, main.cf:6\n    file     \
         /t/good.db (owner ",
        "    named by virtual_alias_maps through more, main.cf:4\n",
        "mode 0640, 7 bytes)\n",
        "    rule     T4: a table must be a regular file",
        "    remedy   if nobody else needs to write it, run: chmod go-w /t/group\n",
        "    why      /t/missing.db does not exist\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
}

#[test]
fn obstacles_to_a_start_are_shown() {
    let scene = Scene::new("alias_maps =\nproxy_read_maps = static:a proxy:static:b\nproxy_write_maps =\n");
    let (exit, text) = scene.run(&[]);
    assert_eq!(exit, Exit::Success, "{text}");
    assert!(
        text.ends_with("\nCan be served: 1 of 1 for proxymap, 0 of 0 for proxywrite. No content was read.\n"),
        "{text}"
    );
    // An id that is in use, an unusable root directory, and a missing program.
    let keep = scene.base.join("mapkeep.cf");
    let before = fs::read_to_string(&keep).unwrap();
    fs::write(&keep, format!("{before}broker_account = 1\n")).unwrap();
    fs::remove_file(scene.base.join("bin/mapkeep-writer")).unwrap();
    let (exit, json) = scene.json(&[]);
    assert_eq!((exit, &json["served"], &json["write_served"]), (Exit::Failure, &0.into(), &0.into()));
    let told = |value: &Value| value.as_array().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    let (read, write) = (told(&json["obstacles"]), told(&json["write_obstacles"]));
    assert!(read.len() == 1 && read[0].contains("id 1 belongs to"), "{read:?}");
    assert!(write.len() == 2 && write[1].contains("/bin/mapkeep-writer: No such file"), "{write:?}");
    fs::write(&keep, format!("{before}chroot_directory = {}\n", scene.base.join("queue").display())).unwrap();
    // Where lines end depends on the length of the path.
    let text = scene.run(&[]).1.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("The service cannot start: ") && text.contains("/queue: "), "{text}");
    assert!(text.contains("Can be served: 0 of 1 for proxymap (it cannot start), 0 of 0"), "{text}");
}

#[test]
fn complaints_carry_file_and_line_and_leave_the_list_uncertain() {
    let scene = Scene::new("nothing here\nalias_maps = proxy:static:a ${\nproxy_read_maps = $alias_maps\n");
    let (exit, json) = scene.json(&[]);
    assert_eq!((exit, &json["certain"]), (Exit::Failure, &false.into()));
    let main = scene.base.join("main.cf");
    let complaints = json["complaints"].as_array().unwrap();
    let places: Vec<_> = complaints.iter().map(|complaint| complaint["line"].as_u64().unwrap()).collect();
    assert!(places.contains(&3) && places.contains(&4), "{complaints:?}");
    assert!(complaints.iter().all(|complaint| complaint["file"] == main.to_str().unwrap()), "{complaints:?}");
    assert_eq!(complaints[0]["severity"], "error");
    let (_, text) = scene.run(&[]);
    assert!(text.contains("\n  main.cf:3: error: no \"=\" after \"nothing\""), "{text}");
}

#[test]
fn master_cf_overrides_count() {
    let scene = Scene::new("alias_maps =\n");
    let entry = "\nproxymap unix - - y - - proxymap -o { proxy_read_maps = proxy:static:mine }\n";
    scene.file("master.cf", entry, 0o644);
    let (exit, json) = scene.json(&[]);
    assert_eq!(exit, Exit::Success);
    let place = &table(&json, "static:mine")["named_by"][0];
    assert_eq!((&place["parameter"], &place["line"]), (&"proxy_read_maps".into(), &2.into()));
    assert!(place["file"].as_str().unwrap().ends_with("/master.cf"), "{place}");
}

#[test]
fn hostile_names_cannot_break_the_output() {
    let scene = Scene::new("alias_maps = proxy:static:\"\\\x1b[2J\u{9b}\n");
    let main = scene.base.join("main.cf");
    let mut bytes = fs::read(&main).unwrap();
    bytes.extend_from_slice(b"sender_bcc_maps = proxy:static:\xff\n");
    fs::write(&main, bytes).unwrap();
    let (_, text) = scene.run(&[]);
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    assert!(text.contains("static:\"\\\\u{1b}[2J\\u{9b} "), "{text}");
    let (_, raw) = scene.run(&["--json"]);
    assert!(!raw.contains(|letter: char| letter.is_control() && letter != '\n'), "{raw:?}");
    let (_, json) = scene.json(&[]);
    assert_eq!(table(&json, "static:\"\\\u{1b}[2J\u{9b}")["state"], "served");
    assert_eq!(table(&json, "static:\u{fffd}")["state"], "served");
}

#[test]
fn file_that_the_kernel_will_not_show_is_unreadable() {
    let long = format!("texthash:/t/{}", "x".repeat(300));
    let (exit, json) = Scene::new(&format!("alias_maps = proxy:{long}\n")).json(&[]);
    let table = table(&json, &long);
    assert_eq!((exit, &table["state"]), (Exit::Failure, &"unreadable".into()));
    assert!(table["problem"].as_str().unwrap().starts_with("cannot be examined: "), "{table}");
    assert!(table["rule"].is_null() && table["owner"].is_null(), "{table}");
}

#[test]
fn text_long_name_is_cut_and_json_is_not() {
    let long = format!("static:{}", "x".repeat(300));
    let scene = Scene::new(&format!("alias_maps = proxy:{long}\n"));
    let (_, text) = scene.run(&[]);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("x... served\n"), "{text}");
    assert_eq!(table(&scene.json(&[]).1, &long)["state"], "served");
}

#[test]
fn unreadable_configuration_and_wrong_usage_stop() {
    let stopped = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        list(&words, Path::new("/bin/mapkeep"), &mut Vec::new()).unwrap_err()
    };
    let stop = stopped(&["-c", "/nonexistent"]);
    assert_eq!(stop.exit, Exit::Config);
    let text = stop.message("mapkeep tables");
    assert!(text.starts_with("mapkeep tables: /nonexistent/main.cf: "), "{text}");
    for words in [&["-c"][..], &["--frob"], &["--json=x"], &["-c", "/a", "-c", "/b"], &["hash:/x"]] {
        assert_eq!(stopped(words).exit, Exit::Usage, "{words:?}");
    }
    let scene = Scene::new("");
    fs::remove_file(scene.base.join("mapkeep.cf")).unwrap();
    fs::create_dir(scene.base.join("mapkeep.cf")).unwrap();
    let stop = stopped(&["-c", scene.base.to_str().unwrap()]);
    assert_eq!(stop.exit, Exit::Config);
}
