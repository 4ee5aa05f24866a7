//! Settings of database tables: the installed postmap refuses those that we refuse. No server is asked: the key has no
//! domain, and the tables have a list of domains.
#![cfg(test)]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use common::{ConfigDir, Count, HEAD, POSTCONF, for_each, postconf_defaults, postfix_is_here};
use mapkeep_config_text::{CfSource, DatabaseKind, Parameters, parse_main, read_database};

/// The types that the installed Postfix has. None may be missing in continuous integration.
fn kinds_here() -> Vec<DatabaseKind> {
    if !postfix_is_here() {
        return Vec::new();
    }
    let types = String::from_utf8(Command::new(POSTCONF).arg("-m").output().unwrap().stdout).unwrap();
    let (here, absent): (Vec<_>, Vec<_>) =
        DatabaseKind::ALL.into_iter().partition(|kind| types.lines().any(|line| line == kind.name()));
    assert!(absent.is_empty() || std::env::var_os("CI").is_none(), "Postfix has no {absent:?} tables");
    if !absent.is_empty() {
        eprintln!("SKIPPED: Postfix has no {absent:?} tables, they were not compared");
    }
    here
}

/// Settings that are good but for what is tried.
fn base(kind: DatabaseKind, database: &Path) -> Vec<(&'static str, String)> {
    let own = |name: &'static str, value: &str| (name, value.to_owned());
    let mut settings = match kind {
        DatabaseKind::Mysql | DatabaseKind::Pgsql => vec![own("dbname", "d"), own("query", "SELECT '%s'")],
        DatabaseKind::Sqlite => {
            vec![own("dbpath", &database.display().to_string()), own("query", "SELECT '%s'")]
        }
        DatabaseKind::Ldap | DatabaseKind::Memcache => Vec::new(),
    };
    settings.push(own("domain", "never.invalid"));
    settings
}

/// What is tried: names that are taken away (`-name`), and lines that are added.
fn samples(kind: DatabaseKind) -> Vec<&'static str> {
    let common = [
        "",
        "# c",
        "no equals",
        "= x",
        " lost",
        "a = b\na = c",
        "unknown_name = x",
        "domain = !",
        "domain = a, !",
        "domain = !!b",
    ];
    let numbers = [
        "expansion_limit =",
        "expansion_limit = x",
        "expansion_limit = 1x",
        "expansion_limit = -1",
        "expansion_limit = +1",
        "expansion_limit = 2147483647",
        "expansion_limit = 2147483648",
    ];
    let sql = [
        "result_format =",
        "result_format = %",
        "result_format = %%",
        "result_format = %0",
        "result_format = %9",
        "query = %q",
        "query =",
        "-query",
        "-query\ntable = t",
        "-query\ntable = t\nselect_field = f\nwhere_field = w",
        "-query\ntable = t\nselect_field =\nwhere_field = w",
        "-query\ntable = t\nselect_field = %z\nwhere_field = w",
        "-query\ntable = t\nselect_field = f\nwhere_field = w\nadditional_conditions = AND '%' = x",
    ];
    let own: &[&str] = match kind {
        DatabaseKind::Mysql => &[
            "-dbname",
            "dbname =",
            "hosts = a b:33",
            "hosts = ,",
            "hosts = a:99999",
            "hosts = unix:/x",
            "hosts = a:",
            "tls_verify_cert = yes",
            "tls_verify_cert = YES",
            "tls_verify_cert = 1",
            "require_result_set =",
            "require_result_set = No",
            "-query\nselect_function = f",
            "option_group =",
        ],
        DatabaseKind::Pgsql => &[
            "-dbname",
            "dbname =",
            "hosts = unix:/x inet:a:33",
            "hosts = localhost",
            "hosts =",
            "hosts = postgresql://a/b",
            "-query\nselect_function = f",
            "-query\nselect_function = %y",
        ],
        DatabaseKind::Sqlite => &["-dbpath", "dbpath =", "-query\nselect_function = f"],
        DatabaseKind::Ldap => &[
            "server_host =",
            "server_host = a:1 b",
            "server_host = ldap://a ldaps://b",
            "server_port = x",
            "version = 2",
            "version = 3",
            "version = 4",
            "version = 1",
            "version =",
            "scope = one",
            "scope = x",
            "scope =",
            "bind = no",
            "bind = NONE",
            "bind = simple",
            "bind = sasl",
            "bind = x",
            "bind =",
            "timeout = x",
            "timeout = -1",
            "recursion_limit = 0",
            "recursion_limit = 1",
            "size_limit = y",
            "dereference = 4",
            "dereference = -1",
            "chase_referrals = x",
            "start_tls = yes",
            "start_tls = x",
            "tls_require_cert = yes",
            "tls_require_cert = hard",
            "search_base = %x",
            "search_base = dc=%1",
            "query_filter =",
            "query_filter = %",
            "query_filter = (a=b)",
            "result_format =",
            "result_format = %q",
            "result_filter =",
            "result_filter = %q",
            "result_format = %s\nresult_filter =",
            "cache = x",
            "cache = yes",
            "cache_expiry = x",
            "bind = sasl\nsasl_minssf = 4097",
            "bind = sasl\nsasl_minssf = 56",
            "sasl_minssf = 4097",
            "debuglevel = x",
        ],
        DatabaseKind::Memcache => &[
            "memcache =",
            "memcache = localhost",
            "memcache = localhost:11211",
            "memcache = inet:",
            "memcache = inet:a:1",
            "memcache = unix:/x",
            "memcache = local:/x",
            "memcache = INET:a:1",
            "key_format = %",
            "key_format =",
            "key_format = %1",
            "ttl = x",
            "ttl = 0",
            "flags = -1",
            "timeout = 0",
            "max_try = 0",
            "max_try = 1",
            "retry_pause = 0",
            "line_size_limit = 0",
            "data_size_limit = 0",
            "data_size_limit = 1k",
        ],
    };
    let mut all = [&common[..], own].concat();
    if kind != DatabaseKind::Memcache {
        all.extend(numbers);
    }
    if matches!(kind, DatabaseKind::Mysql | DatabaseKind::Pgsql | DatabaseKind::Sqlite) {
        all.extend(sql);
    }
    all
}

/// The lines of `sample` beside those of `base`, of which it takes some away or sets them again.
fn text(base: &[(&str, String)], sample: &str, prefix: &str) -> String {
    let sets = |name: &str| {
        sample.lines().any(|line| line == format!("-{name}") || line.split(" =").next() == Some(name))
    };
    let kept = base.iter().filter(|(name, _)| !sets(name));
    let mut text: String = kept.map(|(name, value)| format!("{prefix}{name} = {value}\n")).collect();
    for line in sample.lines().filter(|line| !line.starts_with('-')) {
        text += &format!("{prefix}{line}\n");
    }
    text
}

/// Whether the installed postmap ends because of the settings of `table`.
fn stock_refuses(config: &Path, table: &str) -> bool {
    let mut command = Command::new("/usr/sbin/postmap");
    let output = command.arg("-c").arg(config).args(["-q", "nokey", table]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines().any(|line| line.contains("fatal: "))
}

#[test]
fn files_that_stock_refuses_are_refused() {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let config = ConfigDir::new(HEAD);
    let database = config.path().join("db");
    std::fs::write(&database, "").unwrap();
    let defaults = postconf_defaults();
    let (refused, wrong) = (Count::default(), Mutex::new(Vec::new()));
    let kinds = kinds_here();
    let cases: Vec<_> =
        kinds.iter().flat_map(|kind| samples(*kind).into_iter().map(move |sample| (*kind, sample))).collect();
    for_each(&cases, |(kind, sample)| {
        let text = text(&base(*kind, &database), sample, "");
        let path = config.path().join(format!("{}.cf", COUNTER.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, &text).unwrap();
        // Stock reads a file again for as long as it is younger than a second.
        let old = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let theirs = stock_refuses(config.path(), &format!("{}:{}", kind.name(), path.display()));
        let parameters = Parameters::new(parse_main(HEAD.as_bytes()).0).with_defaults(&defaults);
        let source = CfSource::File { path: b"/t.cf", text: text.as_bytes() };
        let ours = read_database(*kind, source, &parameters);
        if ours.settings.is_none() != theirs {
            wrong.lock().unwrap().push(format!("{kind:?} {sample:?}: {theirs}, {:?}", ours.complaints));
        }
        refused.add(theirs);
    });
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new(), "whether stock refuses it, and what we say");
    assert!(kinds.is_empty() || refused.get() > 20, "refusals among the samples");
}

#[test]
fn prefixes_that_stock_refuses_are_refused() {
    let defaults = postconf_defaults();
    for kind in kinds_here() {
        let samples = [
            "",
            "expansion_limit = x",
            "domain = $a",
            "timeout = $none",
            "max_try = $zero",
            "result_format = $none",
        ];
        for_each(&samples, |sample| {
            let scratch = ConfigDir::new(HEAD);
            let database = scratch.path().join("db");
            std::fs::write(&database, "").unwrap();
            let lines = text(&base(kind, &database), sample, "px_");
            let main = format!("{HEAD}a = !\nzero = 0\n{lines}");
            let config = ConfigDir::new(&main);
            let theirs = stock_refuses(config.path(), &format!("{}:px", kind.name()));
            let parameters = Parameters::new(parse_main(main.as_bytes()).0).with_defaults(&defaults);
            let ours = read_database(kind, CfSource::Prefix(b"px"), &parameters);
            assert_eq!(ours.settings.is_none(), theirs, "{kind:?} {sample:?}: {:?}", ours.complaints);
        });
    }
}
