//! The service and the command read the same: the plan of a service that master(8) starts, and what the command reads.

use super::*;
use mapkeep_config_site::load_config::{LoadedConfig, Source as ServiceSource};
use mapkeep_config_site::options::Options;
use mapkeep_config_text::parse_master;

/// The plan of the service, started with the arguments that master(8) derives from its entry: master(5), field chroot,
/// and the arguments. `chroot` is the field in the entry.
fn plan_of(scene: &Scene, service: Service, chroot: bool) -> LoadedConfig {
    let master = parse_master(&fs::read(scene.base.join("master.cf")).unwrap()).0;
    let entry = master.unix_service(service.name().as_bytes()).unwrap();
    let mut words: Vec<String> = ["-n", service.name(), "-t", "unix", "-u"].map(String::from).to_vec();
    words.extend(chroot.then(|| "-c".to_owned()));
    words.extend(entry.arguments.iter().map(|word| String::from_utf8(word.clone()).unwrap()));
    let options = Options::read("proxymap", &words).unwrap();
    ServiceSource::new(&options, scene.base.clone()).for_root().load_config().unwrap()
}

/// Compares the two readings of one service, and returns the command's.
fn same(what: &str, scene: &Scene, service: Service, chroot: bool) -> Configuration {
    let LoadedConfig { plan, remarks, unreadable } = plan_of(scene, service, chroot);
    let site = Source::new(&scene.base).unwrap().read(service).unwrap();
    let names = plan.names.iter().filter(|table| table.approved).map(|table| table.name.clone());
    let own_names = site.tables.iter().map(|table| table.name.clone());
    assert_eq!(names.collect::<Vec<_>>(), own_names.collect::<Vec<_>>(), "{what}: names");
    assert_eq!(plan.owners, site.owners, "{what}: owners");
    assert_eq!(plan.owners_text, site.keep.table_owners.text, "{what}");
    assert_eq!(plan.snapshot_limit, site.keep.snapshot_limit, "{what}: limit");
    assert_eq!(plan.trusted_directories, site.trusted_directories(), "{what}: trusted_directories");
    assert_eq!(plan.inside, site.inside.clone().unwrap_or_default(), "{what}: inside");
    assert_eq!(plan.approval_known, site.certain, "{what}: certain");
    assert_eq!(plan.chroot, Path::new(&site.keep.chroot_directory), "{what}");
    assert_eq!((plan.ids, unreadable), (Some(site.role_ids().unwrap()), None), "{what}: ids");
    // What the service logs about single tables, the command shows with the table.
    let general: Vec<&Remark> = remarks.iter().filter(|remark| !remark.text.starts_with("table ")).collect();
    assert_eq!(general, site.remarks.iter().collect::<Vec<_>>(), "{what}: remarks");
    site
}

/// A configuration, and what must come of it: whether it is certain, how many tables each service has, how many
/// owners there are.
struct Case {
    what: &'static str,
    main: &'static str,
    /// Entries of both services.
    master: &'static str,
    /// The lines added to mapkeep.cf.
    keep: &'static str,
    chroot: bool,
    certain: bool,
    tables: [usize; 2],
    owners: usize,
}

const MASTER: &str = "proxymap unix - - y - - proxymap\nproxywrite unix - - y - 1 proxymap\n";
const LISTS: &str =
    "alias_maps =\nproxy_read_maps = proxy:static:a proxy:hash:/t/x\nproxy_write_maps = proxy:btree:/w\n";

const USUAL: Case = Case {
    what: "usual",
    main: LISTS,
    master: MASTER,
    keep: "",
    chroot: true,
    certain: true,
    tables: [2, 1],
    owners: 1,
};

const CASES: [Case; 9] = [
    USUAL,
    Case {
        what: "overrides in master.cf",
        master: "proxymap unix - - n - - proxymap -o { proxy_read_maps = proxy:static:b, $more } -o \
                 more=proxy:fail: -v\n  \
                 -o queue_directory=/q -o snapshot_limit=1\nproxywrite unix - - n - 1 proxymap -o proxy_write_maps=\n",
        chroot: false,
        tables: [2, 0],
        ..USUAL
    },
    Case {
        what: "overrides of a queue directory that files are inside of",
        master: "proxymap unix - - y - - proxymap -o queue_directory=/q\nproxywrite unix - - y - 1 proxymap\n",
        ..USUAL
    },
    Case {
        what: "chroot by default of an old compatibility_level, which a service does not decide",
        main: "alias_maps =\nproxy_read_maps = proxy:static:a\nproxy_write_maps =\ncompatibility_level = 0\n",
        master: "proxymap unix - - - - - proxymap -o compatibility_level=3.6\nproxywrite unix - - - - 1 proxymap\n",
        tables: [1, 0],
        ..USUAL
    },
    Case {
        what: "settings of mapkeep.cf",
        keep: "table_owners = 7001 7002\nsnapshot_limit = 7m\ntrusted_directories = /a /b/c\nuid_base = 70000\n\
               chroot_directory = /srv/empty\nbroker_account = 7003\nworkers = 3\n",
        owners: 2,
        ..USUAL
    },
    Case {
        what: "bad settings of mapkeep.cf",
        keep: "snapshot_limit = 0\nno_such_setting = 1\ntable_owners = :\n",
        ..USUAL
    },
    Case { what: "unknown owner", keep: "table_owners = no-such-user 7001\n", ..USUAL },
    Case {
        what: "bad lines",
        main: "nothing here\nalias_maps = proxy:static:a ${\nproxy_read_maps = $alias_maps \
               proxy:static:b\nproxy_write_maps =\n",
        master: "proxymap unix - - y - - proxymap\nproxywrite unix - - y - 1 proxymap\nproxymap unix\n",
        certain: false,
        tables: [1, 0],
        ..USUAL
    },
    Case {
        what: "tables made of others",
        main: "alias_maps =\nproxy_read_maps = proxy:unionmap:{static:a,hash:/t/x} proxy:unionmap:{static}\n  \
               proxy:environ:x proxy:mysql:/x\nproxy_write_maps =\n",
        tables: [4, 0],
        ..USUAL
    },
];

/// A scene in which mail_owner is an account that every machine has.
fn scene_of(main: &str) -> Scene {
    Scene::new(&format!("mail_owner = daemon\n{main}"))
}

#[test]
fn service_and_command_read_the_same() {
    for case in CASES {
        let what = case.what;
        let scene = scene_of(case.main);
        scene.file("master.cf", case.master, 0o644);
        let keep = fs::read_to_string(scene.base.join("mapkeep.cf")).unwrap();
        scene.file("mapkeep.cf", &format!("{keep}{}", case.keep), 0o644);
        for (service, tables) in [Service::Read, Service::Write].into_iter().zip(case.tables) {
            let site = same(what, &scene, service, case.chroot);
            assert_eq!(
                (site.certain, site.tables.len()),
                (case.certain, tables),
                "{what}: {:?}",
                site.tables
            );
            assert_eq!((site.owners.len(), site.inside.is_some()), (case.owners, case.chroot), "{what}");
        }
    }
}

#[test]
fn service_and_command_read_the_same_of_what_others_can_write() {
    let scene = scene_of(LISTS);
    let is_root = nix::unistd::geteuid().is_root();
    for file in ["main.cf", "master.cf", "mapkeep.cf"] {
        fs::set_permissions(scene.base.join(file), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let site = same("writable files", &scene, Service::Read, true);
    // Without the rights of root, nothing of root is at stake.
    assert_eq!(
        (site.remarks.len(), site.keep.snapshot_limit == 1024),
        if is_root { (3, false) } else { (0, true) }
    );
    let (_, text) = scene.run(&[]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(text.contains(" mapkeep.cf: error: is ignored and all its settings"), is_root, "{text}");
    assert_eq!(text.contains(" main.cf: warning: decides what is served, but "), is_root, "{text}");
}

#[test]
fn service_and_command_read_the_same_lists_in_files() {
    let scene = scene_of("");
    let path = |name: &str| scene.base.join(name).display().to_string();
    // A Postfix that knows such lists.
    scene.file("bin/postconf", "#!/bin/sh\necho 'mail_version = 3.12-20260821'\n", 0o755);
    let main = fs::read_to_string(scene.base.join("main.cf")).unwrap();
    let lists = format!(
        "command_directory = {}\nalias_maps =\nproxy_read_maps = {} {} proxy:static:c\nproxy_write_maps =\n",
        path("bin"),
        path("good"),
        path("other"),
    );
    scene.file("main.cf", &(main + &lists), 0o644);
    scene.file("good", "proxy:static:a\n", 0o644);
    scene.file("other", "proxy:static:b\n", 0o644);
    let names = |site: Configuration| {
        let names = site.tables.iter().map(|table| String::from_utf8_lossy(&table.name).into_owned());
        (names.collect::<Vec<_>>().join(" "), site.certain)
    };
    let look = |what| names(same(what, &scene, Service::Read, true));
    assert_eq!(look("two lists"), ("static:a static:b static:c".to_owned(), true));
    fs::remove_file(scene.base.join("other")).unwrap();
    assert_eq!(look("a list that is not there"), ("static:a static:c".to_owned(), false));
    scene.file("other", "proxy:static:b\n", 0o666);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(look("a list that anybody can write"), ("static:a static:c".to_owned(), false));
    }
}

#[test]
fn main_cf_that_cannot_be_read_is_reported_by_both() {
    let scene = scene_of(LISTS);
    fs::remove_file(scene.base.join("main.cf")).unwrap();
    let loaded = plan_of(&scene, Service::Read, true);
    let told = loaded.unreadable.unwrap();
    assert!(told.contains("/main.cf: No such file") && !loaded.plan.approval_known, "{told}");
    let error = Source::new(&scene.base).unwrap().read(Service::Read).unwrap_err();
    assert_eq!(error, format!("{told}; name the configuration directory with -c DIR"));
}
