//! The approved list compared with the installed `proxymap -S`.
#![cfg(test)]

mod common;

use common::{ConfigDir, Count, HEAD, for_each, postconf_defaults, postfix_is_here};
use mapkeep_config_text::{Parameters, PostfixVersion, Service, Settings, approved, parse_main};

const X: &str = "hash:/nonexistent/x";

fn parameters(main: &str) -> Parameters {
    Parameters::new(parse_main(main.as_bytes()).0).with_defaults(&postconf_defaults())
}

fn ours(main: &str, table: &str) -> bool {
    let params = parameters(main);
    let mut no_file = |_: &[u8]| -> Option<Vec<u8>> { None };
    let (tables, _) = approved(&params, Service::Read, params.version(), &mut no_file);
    tables.iter().any(|found| found.name == table.as_bytes())
}

/// Asks both; true when approved.
fn agreed(main: &str, table: &str) -> bool {
    let main = format!("{HEAD}{main}\n");
    let theirs = ConfigDir::new(&main).approves(table).unwrap_or_else(|| panic!("stock died of {main:?}"));
    assert_eq!(ours(&main, table), theirs, "{table} in {main:?}");
    theirs
}

#[test]
fn approved_samples_agree_with_proxymap() {
    if !postfix_is_here() {
        return;
    }
    let version = PostfixVersion::parse(&String::from_utf8_lossy(&version_text())).unwrap();
    assert!(!version.has_long_read_list(), "these samples are for Postfix before 3.12");
    // `@` stands for proxy:hash:/nonexistent/x.
    let values = [
        "@",
        "a,@,b",
        "@ @",
        "proxy:@",
        "proxy:proxy:@",
        "!@",
        "@;",
        "@}",
        "a}@",
        "a} @",
        "{@}",
        "{ @ a=b }",
        "{ @ { search_order = x } }",
        "{ @ }y",
        "{{@}}",
        "{ {@} b }",
        "{}@",
        "{@",
        "{ }, @",
        "unionmap:{@}",
        "unionmap:{ @, static:a }",
        "pipemap:{{@}}",
        "pipemap:{ {@ a=b},proxy:hash:/z}",
        "unionmap:@",
        "unionmap:{ @ }y",
        "Unionmap:{@}",
        "unionmap: {@}",
        "unionmap:{unionmap:{@}}",
        "unionmap:{static:x,@",
        "{unionmap:{@} a}",
        "proxy:unionmap:{@}",
        "inline:{@}",
        "/etc/x @",
        "check_client_access @",
        "{check_client_access @}",
        "@\n# c\n  # d\n\tproxy:hash:/y",
        "x\n   # c\n\n  @",
        "@ # comment",
        "${undefined?{@}}",
        "${undefined:{@}}",
        "$(undefined ? @ ) x",
        "${{1} <level {2} ? {@}}",
        "$$@",
        "@\x0b",
        "@\x0c",
        "@\x0bproxy:hash:/y",
        "\x0c@",
        "@\r",
        "$mine\nmine = @",
        "{$mine}\nmine = @",
        "$mine}\nmine = {@",
        "proxy:$mine\nmine = hash:/nonexistent/x",
        "$a $b\na = {static:q\nb = @ }",
        "x\nalias_maps = @",
        "x\nvirtual_alias_maps = @",
        "x\nsmtpd_sender_restrictions = reject, check_sender_access @",
        "x\nsmtpd_restriction_classes = strict\nstrict = @",
        "x\nproxy_read_maps = $mine\nmine = @",
        "@\nproxy_read_maps = $virtual_alias_maps",
        "x\nunrelated_maps = @",
        "@\nAlias_Maps = x",
        "@\nalias_maps = x",
        "x\nproxy_write_maps = @",
    ];
    let (yes, no) = (Count::default(), Count::default());
    for_each(&values, |value| {
        let main = format!("alias_maps = {}", value.replace('@', "proxy:hash:/nonexistent/x"));
        let approved = agreed(&main, X);
        yes.add(approved);
        no.add(!approved);
    });
    assert!(yes.get() >= 30 && no.get() >= 20, "{} approved, {} not", yes.get(), no.get());
}

#[test]
fn approved_odd_names_agree_with_proxymap() {
    if !postfix_is_here() {
        return;
    }
    for (value, table, expected) in [
        ("proxy:static:{a  b}", "static:{a  b}", true),
        ("proxy:static:{a  b}", "static:{a b}", false),
        ("proxy:static:{a\n   b}", "static:{a   b}", true),
        ("proxy:static:{a\n#c\n \tb}", "static:{a \tb}", true),
        ("{ proxy:static:{a b} c }", "static:{a b}", true),
        ("proxy:unionmap:{static:a,static:b}", "unionmap:{static:a,static:b}", true),
        ("proxy:unionmap:{static:a,static:b}", "static:a", false),
        ("proxy:hash:}", "hash:}", true),
        ("proxy:inline:{ {a = b}, {c = d} }", "inline:{ {a = b}, {c = d} }", true),
        ("proxy:hash:/a", "hash:/A", false),
        ("", "unix:passwd.byname", true),
        ("", "unix:group.byname", false),
    ] {
        assert_eq!(agreed(&format!("alias_maps = {value}"), table), expected, "{value:?} {table:?}");
    }
}

#[test]
fn settings_good_and_bad_values_agree_with_what_stock_survives() {
    if !postfix_is_here() {
        return;
    }
    let deaths = Count::default();
    let lines = [
        "max_idle = 5s",
        "max_idle = +5s",
        "max_idle = 5m30s",
        "max_idle = 1d",
        "max_idle = 2147483647",
        "max_idle = 5M",
        "max_idle = 5 s",
        "max_idle = -5s",
        "max_idle = 5x",
        "max_idle =",
        "max_idle = 0x5s",
        "max_idle = 99999w",
        "max_idle = 2147483648",
        "max_idle = 0",
        "max_use = 5",
        "max_use = +5",
        "max_use = 05",
        "max_use = 0",
        "max_use = 5s",
        "max_use = -5",
        "max_use =",
        "max_use = 2147483648",
        "syslog_name = ${",
        "daemon_timeout = $max_use",
        "ipc_timeout = 1h",
        "ipc_timeout = never",
    ];
    for_each(&lines, |line| {
        let main = format!("{HEAD}{line}\n");
        let lives = ConfigDir::new(&main).approves(X).is_some();
        let (_, complaints) = Settings::from(&parameters(&main));
        assert_eq!(complaints.is_empty(), lives, "{line}: {complaints:?}");
        deaths.add(!lives);
    });
    assert!(deaths.get() >= 10, "{}", deaths.get());
}

#[test]
fn parse_main_faults_are_those_that_end_stock() {
    if !postfix_is_here() {
        return;
    }
    for (line, lives) in [
        ("noequals", false),
        ("= x", false),
        ("a b = c", false),
        ("a-b.c! = 1", true),
        ("a\n = 1", true),
        ("x = ${", true),
        ("\x0b# comment", true),
    ] {
        let main = format!("{HEAD}{line}\n");
        assert_eq!(ConfigDir::new(&main).approves(X).is_some(), lives, "{line:?}");
        assert_eq!(parse_main(main.as_bytes()).1.is_empty(), lives, "{line:?}");
    }
}

fn version_text() -> Vec<u8> {
    let (main, _) = parse_main(&postconf_defaults());
    main.get(b"mail_version").unwrap().value.clone()
}
