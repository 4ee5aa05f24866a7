use super::*;
use crate::{Severity, parse_main};

fn parameters(main: &str) -> Parameters {
    Parameters::new(parse_main(main.as_bytes()).0)
        .with_defaults(b"mail_version = 3.12-20260821\nsmtputf8_enable = yes\n")
}

fn reading(kind: DatabaseKind, text: &str) -> CfReading {
    read_database(kind, CfSource::File { path: b"/t.cf", text: text.as_bytes() }, &parameters(""))
}

fn settings(kind: DatabaseKind, text: &str) -> DatabaseSettings {
    let found = reading(kind, text);
    found.settings.unwrap_or_else(|| panic!("{text}: {:?}", found.complaints))
}

fn complaints(kind: DatabaseKind, text: &str) -> Vec<String> {
    reading(kind, text).complaints.iter().map(CfComplaint::to_string).collect()
}

fn strings(servers: Vec<&Server>) -> Vec<String> {
    servers.into_iter().map(Server::to_string).collect()
}

use DatabaseKind::{Ldap as LDAP, Memcache as MEMCACHE, Mysql as MYSQL, Pgsql as PGSQL, Sqlite as SQLITE};

#[test]
fn mysql_defaults_and_values() {
    let DatabaseSettings::Mysql(table) = settings(MYSQL, "dbname = d\nquery = SELECT '%s'\n") else {
        panic!()
    };
    assert_eq!(table.hosts, [Server::DefaultSocket]);
    assert_eq!((table.charset.as_deref(), table.retry_interval), (Some(&b"utf8mb4"[..]), 60));
    assert_eq!((table.option_group.as_deref(), table.tls.verify_cert), (Some(&b"client"[..]), None));
    assert!(table.require_result_set && table.option_file.is_none() && table.sql.domain.items().is_empty());
    assert_eq!(table.sql.result_format, b"%s");
    let text = "hosts = a, unix:/s b:33\nuser=u\npassword = p w\ndbname = d\ntable = t\nselect_field = f\n\
        where_field = w\nadditional_conditions = AND x = '1'\ntls_verify_cert = YES\ntls_CAfile = /ca\nexpansion_limit = 5\n\
        domain = a.example /domains\n";
    let found = settings(MYSQL, text);
    assert_eq!(strings(found.servers()), ["a", "unix:/s", "b:33"]);
    assert_eq!(found.files(), [("tls_CAfile", &b"/ca"[..]), ("domain", b"/domains")]);
    let DatabaseSettings::Mysql(table) = found else { panic!() };
    assert_eq!(table.password.expose(), b"p w");
    assert_eq!(table.sql.query, b"SELECT f FROM t WHERE w='%s' AND x = '1'");
    assert_eq!((table.tls.verify_cert, table.sql.expansion_limit), (Some(true), 5));
}

#[test]
fn pgsql_defaults_uris_and_functions() {
    let text = "hosts = postgresql://u:geheim@h/d?sslmode=verify-full&sslrootcert=/ca\nselect_function = f\n";
    let found = settings(PGSQL, text);
    assert_eq!(strings(found.servers()), ["h"]);
    assert_eq!(found.files(), [("sslrootcert", &b"/ca"[..])]);
    assert!(!format!("{found:?}").contains("geheim"));
    let DatabaseSettings::Pgsql(table) = found else { panic!() };
    assert_eq!(
        (table.sql.query.as_slice(), table.encoding.as_slice()),
        (&b"SELECT f('%s')"[..], &b"UTF8"[..])
    );
    let found = settings(PGSQL, "dbname = d\nquery = SELECT 1\n");
    assert_eq!(strings(found.servers()), ["localhost"]);
}

#[test]
fn ldap_defaults_and_versions() {
    let DatabaseSettings::Ldap(table) = settings(LDAP, "") else { panic!() };
    assert_eq!((table.version, table.scope, table.recursion_limit, table.timeout), (2, Scope::Sub, 1000, 10));
    assert_eq!(table.attributes.ordinary, [b"maildrop".to_vec()]);
    assert_eq!(table.login, LdapLogin::Simple { dn: Vec::new(), password: Secret::default() });
    let text = "server_host = ldaps://a b:390, c\nserver_port = 391\nbind = sasl\nsasl_mechs = EXTERNAL\nresult_filter = <%s>\n\
        search_base = dc=%1\nexpansion_limit = 7\nscope = ONE\nresult_attribute = a, b\ndereference = 3\n";
    let found = settings(LDAP, text);
    assert_eq!(strings(found.servers()), ["a:636", "b:390", "c:391"]);
    let DatabaseSettings::Ldap(table) = found else { panic!() };
    assert_eq!((table.version, table.scope, table.size_limit, table.dereference), (3, Scope::One, 7, 3));
    assert!(table.templates.queries()[0].is_dynamic() && matches!(table.login, LdapLogin::Sasl { .. }));
}

#[test]
fn sqlite_and_memcache_defaults() {
    let found = settings(SQLITE, "dbpath = /d\nquery = SELECT '%s'\n");
    assert_eq!((found.servers().len(), found.files()), (0, vec![("dbpath", &b"/d"[..])]));
    let DatabaseSettings::Memcache(table) = settings(MEMCACHE, "backup = hash:/b\nkey_format =\n") else {
        panic!()
    };
    assert_eq!(table.server.to_string(), "localhost:11211");
    let numbers = (table.ttl, table.flags, table.timeout, table.max_try, table.retry_pause);
    assert_eq!(numbers, (3600, 0, 2, 2, 1));
    assert_eq!((table.line_size_limit, table.data_size_limit, table.key_digest), (1024, 10_240, None));
    assert!(table.templates.queries()[0].pieces().is_empty());
}

#[test]
fn prefix_is_read_from_main_cf_and_expanded() {
    let main = "ms_dbname = mail\nms_hosts = $x\nx = db:33\nms_query = SELECT '%s'\nms_retry_interval = 0\n";
    let read = |main: &str| read_database(MYSQL, CfSource::Prefix(b"ms"), &parameters(main));
    let found = read(main);
    assert_eq!(found.settings, None);
    let lines: Vec<String> = found.complaints.iter().map(CfComplaint::to_string).collect();
    assert_eq!(lines, ["main.cf:5: error: ms_retry_interval: 0 is too small; the least is 1"]);
    let found = read(&main.replace("= 0", "= 9")).settings.unwrap();
    assert_eq!(strings(found.servers()), ["db:33"]);
    assert!(is_cf_path(b"/etc/x.cf") && is_cf_path(b"./x") && !is_cf_path(b"ms") && !is_cf_path(b""));
    assert_eq!(DatabaseKind::of(b"mysql:ms"), Some((MYSQL, &b"ms"[..])));
    assert_eq!(DatabaseKind::of(b"hash:ms"), None);
}

#[test]
fn complaints_name_file_line_and_remedy() {
    let good = "dbname = d\nquery = SELECT '%s'\n";
    for (text, expected) in [
        (
            "expansion_limit = x",
            "/t.cf:3: error: expansion_limit: \"x\" is not a number; write a decimal number",
        ),
        ("result_format =", "/t.cf:3: error: result_format: it must have a value; set it"),
        ("result_format = %x", "/t.cf:3: error: result_format: \"%x\" (byte 1) means nothing; known are"),
        ("domain = !", "/t.cf:3: error: domain: there is a \"!\" without a domain"),
        (
            "tls_verify_cert = true",
            "/t.cf:3: error: tls_verify_cert: \"true\" is neither yes nor no; write one of them",
        ),
        ("hosts = a:99999", "/t.cf:3: error: hosts: \"a:99999\": the port is not valid"),
        ("no equals", "/t.cf:3: error: no \"=\" after a name; write name = value"),
        ("Passwort = geheim", "/t.cf:3: warning: Passwort is ignored; is password meant?"),
    ] {
        let found = complaints(MYSQL, &format!("{good}{text}\n"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(expected), "{} is not {expected}", found[0]);
        assert_eq!(
            reading(MYSQL, &format!("{good}{text}\n")).settings.is_none(),
            found[0].contains(" error: ")
        );
    }
    assert!(complaints(MYSQL, "query = x\n")[0].starts_with("/t.cf: error: dbname: it must have a value"));
    let found = complaints(PGSQL, "hosts = postgresql:u:geheim@h\ndbname = d\nquery = x\n");
    assert!(found[0].starts_with("/t.cf:1: error: hosts: ") && !found[0].contains("geheim"), "{found:?}");
    let found = complaints(PGSQL, "hosts = postgresql://u:geheim@h:x%\n");
    assert!(found.iter().all(|line| !line.contains("geheim")), "{found:?}");
    assert!(
        complaints(SQLITE, "dbpath = /d\nquery = SELECT %s\n")[0]
            .contains("warning: query: a key can change")
    );
}

#[test]
fn parameters_of_later_versions_are_ignored_as_stock_does() {
    let old = Parameters::new(parse_main(b"").0).with_defaults(b"mail_version = 3.7.11\n");
    let text = b"dbname = d\nquery = SELECT '%s'\ncharset = latin1\nretry_interval = x\n";
    let found = read_database(MYSQL, CfSource::File { path: b"/t.cf", text }, &old);
    let lines: Vec<String> = found.complaints.iter().map(CfComplaint::to_string).collect();
    assert_eq!(
        lines,
        [
            "/t.cf:3: warning: charset is ignored: it needs Postfix 3.9 or later",
            "/t.cf:4: warning: retry_interval is ignored: it needs Postfix 3.9 or later",
        ]
    );
    let Some(DatabaseSettings::Mysql(table)) = found.settings else { panic!() };
    assert_eq!((table.charset, table.retry_interval), (None, 60));
    let found = read_database(PGSQL, CfSource::File { path: b"/t.cf", text: b"dbname = d\nquery = x" }, &old);
    let Some(DatabaseSettings::Pgsql(table)) = found.settings else { panic!() };
    assert_eq!(table.encoding, b"LATIN1");
    assert!(found.complaints.iter().all(|complaint| complaint.severity == Severity::Warning));
}

#[test]
fn identity_is_that_of_the_backend_and_not_of_the_query() {
    let same =
        |kind, one: &str, other: &str| settings(kind, one).identity() == settings(kind, other).identity();
    let my = "dbname = d\npassword = p\nhosts = a b\nquery = ";
    assert!(same(
        MYSQL,
        &format!("{my}1"),
        &format!("{my}2\nexpansion_limit = 3\nresult_format = x\ndomain = a")
    ));
    for other in [
        "dbname = e",
        "password = q",
        "hosts = b a",
        "hosts = a",
        "user = u",
        "tls_CAfile = /c",
        "charset = x",
    ] {
        assert!(!same(MYSQL, &format!("{my}1"), &format!("{my}1\n{other}")), "{other}");
    }
    let fields =
        |user: &str, name: &str| settings(MYSQL, &format!("user = {user}\ndbname = {name}\nquery = 1\n"));
    assert_ne!(fields("ab", "c").identity(), fields("a", "bc").identity());
    let uri = "hosts = postgresql://u:p@h/d\nquery = 1\n";
    assert!(same(PGSQL, uri, &format!("{uri}user = ignored\ndbname = ignored\n")));
    assert!(!same(PGSQL, uri, &uri.replace(":p@", ":q@")));
    let ldap = "server_host = a\nbind_pw = p\n";
    assert!(same(
        LDAP,
        ldap,
        &format!("{ldap}timeout = 3\nsize_limit = 4\nscope = one\ntls_key = /unused\n")
    ));
    assert!(!same(LDAP, ldap, &format!("{ldap}bind_dn = x\n")));
    assert!(!same(LDAP, ldap, &format!("{ldap}start_tls = yes\n")));
    assert!(same(MEMCACHE, "", "memcache = inet:11211\nttl = 1\n"));
    assert!(!same(SQLITE, "dbpath = /a\nquery = 1", "dbpath = /b\nquery = 1"));
    assert_eq!(format!("{:?}", fields("a", "b").identity()), "Identity");
}
