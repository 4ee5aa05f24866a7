//! What each process says about its own lock, compared with what the kernel says.

use crate::ask::{found, lookup};
use crate::common::master::{Line, Site};
use crate::common::process;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TABLE: &str = "inline:{a=b}";
const CLIENTS: usize = 3;

pub fn each_process_reports_its_lock_and_the_report_is_true() {
    let site = Site::new();
    site.approve(&[TABLE], "");
    // With -v, each process by itself.
    let master = site.start_with(&["-v"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| master.wire()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&lookup(TABLE, "a")), found("b"));
    }
    let roles = [
        ("supervisor", master.pid()),
        ("logger", master.only("logger")),
        ("broker", master.only("broker")),
        ("lookup", master.only("lookup worker")),
    ];
    let mut uids = BTreeSet::new();
    for (role, pid) in roles {
        let name = if role == "lookup" { "lookup worker 1" } else { role };
        let line = site.wait_for_log(0, &[&format!("{name} is locked down: pid={pid} ")]);
        assert_eq!(line.pid, master.pid(), "the supervisor has looked, from outside");
        let status = Status::of(pid);
        assert_eq!(field(&line, "uid"), status.ids("Uid"));
        assert_eq!(field(&line, "gid"), status.ids("Gid"));
        assert_eq!(status.value("Groups"), "");
        assert_eq!(u64::from_str_radix(&field(&line, "caps"), 16).unwrap(), status.mask("CapEff"));
        assert_eq!(status.mask("CapEff"), status.mask("CapPrm"));
        assert_eq!((status.mask("CapInh"), status.mask("CapAmb")), (0, 0));
        assert_eq!(field(&line, "no_new_privs"), "1");
        assert_eq!(field(&line, "seccomp"), "2");
        assert_eq!(field(&line, "filters"), status.value("Seccomp_filters"));
        assert_eq!(status.value("NoNewPrivs"), "1");
        assert_eq!(status.value("Seccomp"), "2");
        assert_eq!(status.value("Threads"), "1");
        assert!(uids.insert(status.ids("Uid")), "{role} shares its uid");
        match role {
            "supervisor" => assert_eq!(status.ids("Uid"), "0"),
            _ => {
                assert_ne!(status.ids("Uid"), "0", "{role}");
                assert_eq!(status.mask("CapBnd"), 0, "{role}");
            }
        }
        let kept = match role {
            "supervisor" => 6,
            "broker" => 1,
            _ => 0,
        };
        assert_eq!(status.mask("CapEff").count_ones(), kept, "capabilities of {role}");
        assert_eq!(limit(pid, "Max core file size"), 0, "{role}");
    }

    let (broker, logger, lookup) = (roles[2].1, roles[1].1, roles[3].1);
    for pid in [broker, logger, lookup] {
        assert_eq!(limit(pid, "Max processes"), 0);
        assert!(limit(pid, "Max open files") <= 20_000);
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"", "an empty environment");
    }
    assert_eq!(limit(lookup, "Max file size"), 0);
    assert!(limit(lookup, "Max address space") < u64::MAX);
    let root = format!("/proc/{lookup}/root");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "the root of the lookup worker is empty");
    assert_ne!(fs::read_link(root).unwrap().to_str(), Some("/"));
    assert_eq!(fs::read_link(format!("/proc/{lookup}/cwd")).unwrap(), site.path("empty"));
    let numbers = descriptors(lookup);
    let wanted: BTreeSet<u32> = (0..6 + u32::try_from(CLIENTS).unwrap()).collect();
    assert_eq!(numbers, wanted, "0 to 5 and one for each client");
    drop(clients);
}

/// With a pcre table, the log says once at start which version of PCRE2 is used.
pub fn version_of_pcre2_is_logged_once() {
    let site = Site::new();
    site.approve(&[TABLE, "pcre:{{/^a/ x}}"], "");
    let master = site.start();
    assert_eq!(master.wire().ask(&lookup("pcre:{{/^a/ x}}", "a")), found("x"));
    site.wait_for_log(0, &["patterns of pcre tables are matched by PCRE2 10."]);
    site.wait_for_log(0, &["proxymap is up with 2 tables"]);
    let count = site.log().into_iter().filter(|line| line.text.contains("PCRE2")).count();
    assert_eq!(count, 1);
}

/// One line at the start for all processes, true for each, and one at the end with the reason.
pub fn start_is_one_line_and_so_is_the_end() {
    let site = Site::new();
    site.approve(&[TABLE, "static:x"], "");
    let mut master = site.start();
    assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"));
    let line = site.wait_for_log(0, &["proxymap is up with 2 tables, all processes locked down: "]);
    assert_eq!(line.pid, master.pid());
    for (role, pid) in [
        ("supervisor", master.pid()),
        ("logger", master.only("logger")),
        ("broker", master.only("broker")),
        ("lookup worker", master.only("lookup worker")),
    ] {
        let status = Status::of(pid);
        let caps = status.mask("CapEff");
        let said = format!("{role} pid={pid} uid={} caps={caps:x}", status.ids("Uid"));
        assert!(line.text.contains(&said), "{said} in {line:?}");
    }
    master.status = None;
    assert_eq!(master.wait().code(), Some(0));
    site.wait_for_log(0, &["proxymap stops: master(8) no longer needs it"]);
    let texts: Vec<String> = site.log().into_iter().map(|line| line.text).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    let mut master = site.start();
    drop(master.wire());
    process::signal("TERM", master.pid());
    assert_eq!(master.wait().code(), Some(0));
    site.wait_for_log(2, &["proxymap stops: SIGTERM"]);
}

/// What `ps` shows is the role and the service, and names another Postfix instance.
pub fn titles_are_short() {
    let site = Site::new();
    for (lines, service) in
        [("", "proxymap"), ("multi_instance_name = postfix-out\n", "postfix-out/proxymap")]
    {
        site.approve(&[TABLE], lines);
        let master = site.start();
        assert_eq!(master.wire().ask(&lookup(TABLE, "a")), found("b"));
        let mut titles: Vec<String> = master.family().into_iter().map(|process| process.command).collect();
        titles.sort();
        let roles = ["broker", "logger", "lookup worker"];
        assert_eq!(titles, roles.map(|role| format!("mapkeep: {role} ({service})")));
        let name = fs::read_to_string(format!("/proc/{}/comm", master.only("lookup worker"))).unwrap();
        assert_eq!(name, "mapkeep: lookup\n");
    }
}

/// The value of `name=` in a line.
fn field(line: &Line, name: &str) -> String {
    let start = format!("{name}=");
    let word = line.text.split(' ').find_map(|word| word.strip_prefix(&start));
    word.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_string()
}

fn descriptors(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// The hard limit; `u64::MAX` for none.
fn limit(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace();
    let (soft, hard) = (words.next().unwrap(), words.next().unwrap());
    assert_eq!(soft, hard, "{name}");
    hard.parse().unwrap_or(u64::MAX)
}

/// /proc/PID/status
struct Status(String);

impl Status {
    fn of(pid: u32) -> Status {
        Status(fs::read_to_string(format!("/proc/{pid}/status")).unwrap())
    }

    fn value(&self, name: &str) -> &str {
        let found = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("no {name}")).trim()
    }

    /// The one id that is real, effective, saved and file system id.
    fn ids(&self, name: &str) -> String {
        let all: BTreeSet<&str> = self.value(name).split_whitespace().collect();
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all.into_iter().next().unwrap().to_string()
    }

    fn mask(&self, name: &str) -> u64 {
        u64::from_str_radix(self.value(name), 16).unwrap()
    }
}

/// master(8) sets a umask that removes all permissions. The root directory of workers is nevertheless readable by
/// everybody, and so are directories above it that are created: their mode does not depend on who started the service
/// first.
pub fn root_directory_is_made_with_the_same_mode_whatever_the_umask() {
    let site = Site::new();
    let table = site.table("texthash", "t", "k v\n");
    site.approve(&[&table], "");
    site.keep(&format!("chroot_directory = {}\n", site.path("made/for/workers").display()));
    let program = Path::new(env!("CARGO_BIN_EXE_mapkeepd"));
    let master = site.start_through("umask 077; ", program, &["-n", "proxymap", "-t", "unix", "-u"]);
    assert_eq!(master.wire().ask(&lookup(&table, "k")), found("v"));
    for made in ["made", "made/for", "made/for/workers"] {
        let mode = site.path(made).metadata().unwrap().permissions().mode();
        assert_eq!(format!("{:o}", mode & 0o7777), "755", "{made}");
    }
}
