//! Tables that are written: a private configuration whose mail owner is an account that every machine has.

use super::*;
use std::os::unix::fs::{MetadataExt, chown};

/// The account that writes, and its id: an unprivileged one for root, else one's own. `None` if that has no name.
fn account() -> Option<(String, u32)> {
    let me = nix::unistd::geteuid();
    let wanted = if me.is_root() { 65_534 } else { me.as_raw() };
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let name = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2] == wanted.to_string()).then(|| fields[0].to_owned())
    });
    if name.is_none() {
        eprintln!("SKIPPED: uid {wanted} has no name in /etc/passwd");
    }
    name.map(|name| (name, wanted))
}

fn give(scene: &Scene, name: &str, uid: u32) {
    chown(scene.base.join(name), Some(uid), None).unwrap();
}

/// `queue/w` is the writer's directory; `lists` are lines of main.cf.
fn scene(lists: &str) -> Option<(Scene, String, u32)> {
    let (name, uid) = account()?;
    let scene = Scene::new(&format!("mail_owner = {name}\nproxy_read_maps = proxy:static:a\n{lists}"));
    scene.directory("queue/w");
    give(&scene, "queue/w", uid);
    Some((scene, name, uid))
}

fn write_table<'j>(json: &'j Value, name: &str) -> &'j Value {
    let tables = json["write_tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or(&Value::Null)
}

#[test]
fn tables_that_are_written_are_shown_with_their_state() {
    let lists = "proxy_write_maps = proxy:btree:/w/fresh proxy:hash:/w/whole proxy:lmdb:/w/l\n  \
                 proxy:hash:/w/bad proxy:btree:/w/whole proxy:btree:/none/x proxy:internal:i proxy:cdb:/w/c\n  \
                 proxy:mysql:/w/my.cf proxy:btree:/w/linked proxy:static:a proxy:btree:relative\n";
    let Some((scene, name, uid)) = scene(lists) else { return };
    for file in ["whole.db", "whole.mapkeep", "whole.mapkeep-wal", "bad.db", "bad.mapkeep", "linked.db"] {
        scene.file(&format!("queue/w/{file}"), "content", 0o600);
        give(&scene, &format!("queue/w/{file}"), uid);
    }
    fs::set_permissions(scene.base.join("queue/w/bad.mapkeep"), fs::Permissions::from_mode(0o602)).unwrap();
    symlink("elsewhere", scene.base.join("queue/w/linked.mapkeep")).unwrap();
    let before: Vec<_> = fs::read_dir(scene.base.join("queue/w")).unwrap().collect();
    let (exit, json) = scene.json(&[]);
    assert_eq!(exit, Exit::Failure);
    for (table, state, rule, component) in [
        ("btree:/w/fresh", "served", "", ""),
        ("hash:/w/whole", "served", "", ""),
        ("lmdb:/w/l", "served", "", ""),
        ("internal:i", "served", "", ""),
        ("static:a", "served", "", ""),
        ("hash:/w/bad", "refused", "W5", "/w/bad.mapkeep"),
        ("btree:/w/linked", "refused", "W4", "/w/linked.mapkeep"),
        ("btree:/w/whole", "refused", "W6", "/w/whole.db"),
        ("btree:relative", "refused", "T1", "relative.db"),
        ("btree:/none/x", "missing", "", "/none"),
        ("cdb:/w/c", "not-served", "", ""),
        ("mysql:/w/my.cf", "not-served", "", ""),
    ] {
        let found = write_table(&json, table);
        assert_eq!(found["state"], state, "{table}: {found}");
        assert_eq!(found["rule"].as_str().unwrap_or_default(), rule, "{found}");
        assert_eq!(found["component"].as_str().unwrap_or_default(), component, "{found}");
        assert_eq!(found["remedy"].is_null(), state == "served", "{found}");
    }
    assert_eq!(
        write_table(&json, "hash:/w/bad")["remedy"],
        "if nobody else needs to write it, run: chmod go-w /w/bad.mapkeep"
    );
    let remedy = write_table(&json, "btree:/none/x")["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.ends_with(&format!("run: install -d -m 0700 -o {uid} /none")), "{remedy}");

    let whole = write_table(&json, "hash:/w/whole");
    assert_eq!((&whole["written_by"], &whole["uid"]), (&name.as_str().into(), &uid.into()));
    let files: Vec<_> = whole["files"].as_array().unwrap().iter().map(|file| &file["file"]).collect();
    assert_eq!(files, ["/w/whole.db", "/w/whole.mapkeep", "/w/whole.mapkeep-wal"]);
    assert!(
        whole["files"].as_array().unwrap().iter().all(|file| file["mode"] == "0600" && file["size"] == 7)
    );
    let fresh = write_table(&json, "btree:/w/fresh");
    assert!(fresh["files"].as_array().unwrap().iter().all(|file| file["uid"].is_null()), "{fresh}");
    assert_eq!(write_table(&json, "lmdb:/w/l")["files"].as_array().unwrap().len(), 1);
    let after: Vec<_> = fs::read_dir(scene.base.join("queue/w")).unwrap().collect();
    assert_eq!(before.len(), after.len(), "nothing is made");
}

#[test]
fn write_lists_the_other_service_alone_and_good_lists_exit_zero() {
    let lists = "proxy_write_maps = proxy:btree:/w/cache\n";
    let Some((scene, name, uid)) = scene(lists) else { return };
    scene.file("queue/w/cache.db", "x", 0o600);
    give(&scene, "queue/w/cache.db", uid);
    let (exit, json) = scene.json(&["--write"]);
    let names: Vec<_> =
        json["tables"].as_array().unwrap().iter().map(|table| table["table"].as_str().unwrap()).collect();
    assert_eq!(
        (exit, names, &json["service"]),
        (Exit::Success, vec!["btree:/w/cache"], &"proxywrite".into())
    );
    assert!(json["write_tables"].is_null());
    let (exit, text) = scene.run(&["--write"]);
    assert!(
        text.ends_with("Can be served: 1 of 1 for proxywrite. No content was read.\n")
            && text.contains("proxy_write_maps"),
        "{text}"
    );
    assert_eq!(exit, Exit::Success);

    let (exit, text) = scene.run(&[]);
    assert_eq!(exit, Exit::Success, "{text}");
    for part in [
        "1 table approved for proxymap by proxy_read_maps",
        "1 table approved for proxywrite by proxy_write_maps",
        "Can be served: 1 of 1 for proxymap, 1 of 1 for proxywrite. No content was read.\n",
        &format!("    written  by {name}\n    file     /w/cache.db (owner {name}, mode 0600, 1 bytes)\n"),
        "    file     /w/cache.mapkeep (not there)\n    file     /w/cache.mapkeep-wal (not there)\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    // A directory of another user makes the overall result bad.
    fs::set_permissions(scene.base.join("queue/w"), fs::Permissions::from_mode(0o777)).unwrap();
    let (exit, text) = scene.run(&[]);
    assert_eq!(exit, Exit::Failure);
    assert!(
        text.contains("    rule     W5: ")
            && text.split_whitespace().collect::<Vec<_>>().join(" ").contains("run: chmod go-w /w"),
        "{text}"
    );
}

#[test]
fn missing_mail_owner_is_named() {
    let lists = "proxy_write_maps = proxy:btree:/w/cache\nmail_owner = nosuch-user\n";
    let Some((scene, ..)) = scene(lists) else { return };
    let (exit, json) = scene.json(&[]);
    let table = write_table(&json, "btree:/w/cache");
    assert_eq!((exit, &table["state"]), (Exit::Failure, &"unreadable".into()));
    assert!(table["problem"].as_str().unwrap().contains("\"nosuch-user\""), "{table}");
    assert!(table["written_by"].is_null());
}

#[test]
fn usual_caches_of_a_mail_owner_pass() {
    // As Debian has it: data_directory belongs to mail_owner, with mode 0755.
    let lists = "data_directory = /w\naddress_verify_map = proxy:btree:$data_directory/verify_cache\n\
                 postscreen_cache_map = proxy:lmdb:$data_directory/postscreen_cache\n\
                 smtp_sasl_auth_cache_name = proxy:btree:/w/smtp_sasl\n\
                 lmtp_sasl_auth_cache_name =\n\
                 proxy_write_maps = $smtp_sasl_auth_cache_name $lmtp_sasl_auth_cache_name $address_verify_map\n  \
                 $postscreen_cache_map proxy:btree:/w/smtp_scache proxy:lmdb:/w/smtpd_scache\n";
    let Some((scene, ..)) = scene(lists) else { return };
    for mode in [0o755, 0o700] {
        fs::set_permissions(scene.base.join("queue/w"), fs::Permissions::from_mode(mode)).unwrap();
        let (_, json) = scene.json(&[]);
        let tables = json["write_tables"].as_array().unwrap();
        let served = tables.iter().filter(|table| table["state"] == "served").count();
        assert_eq!((served, tables.len()), (5, 5), "{tables:?}");
    }
    let files = changeable_files(&scene.base).unwrap();
    let queue = scene.base.join("queue/w");
    let wanted =
        ["smtp_sasl.db", "verify_cache.db", "postscreen_cache.lmdb", "smtp_scache.db", "smtpd_scache.lmdb"];
    assert_eq!(files, wanted.map(|name| queue.join(name)));
    assert!(changeable_files(Path::new("/nonexistent")).is_err());
    assert_eq!(fs::metadata(&queue).unwrap().mode() & 0o777, 0o700);
}
