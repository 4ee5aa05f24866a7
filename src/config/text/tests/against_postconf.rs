//! Grammar and expansion compared with the installed `postconf -x`.
#![cfg(test)]

mod common;

use common::{ConfigDir, Count, HEAD, for_each, normalised, postconf_defaults, postfix_is_here};
use mapkeep_config_text::{Parameters, parse_main};

/// The parameter that samples set; its own default does not matter.
const NAME: &str = "alias_maps";

fn ours(main: &str) -> Option<String> {
    let mut params = Parameters::new(parse_main(main.as_bytes()).0).with_defaults(&postconf_defaults());
    params.set_fixed("process_name", b"postconf");
    params.expand(NAME).ok().map(|value| normalised(&value))
}

#[test]
fn expand_samples_agree_with_postconf() {
    if !postfix_is_here() {
        return;
    }
    let set = "a = A\nempty =\nae = $empty\nten = 10\nnine = 9\na_b = under\n";
    let values = [
        "plain",
        "<$a>",
        "<${a}$(a)>",
        "$$a",
        "$a.b",
        "$a_b",
        "$undefined|",
        "${a?foo:bar}",
        "${a:text}|",
        "${empty?x}|${empty:x}",
        "${ae?x}|${ae:x}",
        "${a ? { x } : { y }}",
        "${undefined?{x}:{y}}",
        "${a? x }|",
        "${a?{x}:y}",
        "${undefined?{x} : y}",
        "$(a?{x})",
        "$(a?(x))",
        "${ a }",
        "${a?{{x}}}",
        "${a?{$$}}",
        "${{a}=={a}}",
        "${{a}=={b}}|",
        "${{$ten} < {$nine} ? {lt} : {ge}}",
        "${{$ten} < {9x} ? {lt} : {ge}}",
        "${{007}=={7}?{t}:{f}}",
        "${{}<{1}}",
        "${{a}!={b}:{x}}|",
        "${{a}=={a} ? x}|",
        "$({a}=={a})",
        "${{3.10} >level {3.9}?{t}:{f}}",
        "${{3} ==level {3.0}?{t}:{f}}",
        "${{1} >=level{2}?{t}:{f}}",
        "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}",
        "${relay_domains}|$mydestination",
        "$mail_owner $data_directory/x $default_database_type:/y",
        "static:{a   b}\n  c\n# d\n\n\te",
        "${a?{${undefined?{x}:{${a}}}}}",
        "first\nalias_maps = second",
        "a # b",
        "=x",
        "{ a, b }",
        "a\n   # c\n   b",
        "$syslog_name",
        "$virtual_alias_domains|",
        "x\r",
        "${undefined:a{b}c}",
        "$smtpd_relay_restrictions",
        // Errors: both must refuse.
        "$",
        "$-",
        "${}",
        "${a",
        "$(a",
        "${a-b}",
        "${a?{x}y}",
        "${a:{x}:{y}}",
        "${{a}={a}}",
        "${{a}==a}",
        "${{a}}",
        "${{a}=={a}x}",
        "${{abc} <level {1}?{t}:{f}}",
        "${{3.6.1.2} >level {3.6}?{t}:{f}}",
        "$alias_maps",
    ];
    let refused = Count::default();
    for_each(&values, |value| {
        let main = format!("{HEAD}{set}{NAME} = {value}\n");
        let theirs = ConfigDir::new(&main).expanded(NAME).map(|text| normalised(text.as_bytes()));
        assert_eq!(ours(&main), theirs, "{value:?}");
        refused.add(theirs.is_none());
    });
    assert_eq!(refused.get(), 15, "refusals among the samples");
}

#[test]
fn derive_host_and_domain_agree_with_postconf() {
    if !postfix_is_here() {
        return;
    }
    let samples = [
        "",
        "myhostname = foo",
        "myhostname = foo.bar",
        "myhostname = a.b.c",
        "myhostname = .",
        "myhostname = .x",
        "myhostname = x.",
        "myhostname =",
        "myhostname = h.$mydomain",
        "myhostname = $name\nname = v.w",
        "mydomain = q.example",
        "mydomain =",
        "mydomain = $name\nname = v.w",
        "mydomain = z.example\nmyhostname = $mydomain",
        "mydomain = $myhostname\nmyhostname = r.s.t",
        "myhostname = r.s\nmydomain = t",
    ];
    for_each(&samples, |sample| {
        let main = format!("compatibility_level = 3.6\n{sample}\n");
        let params = Parameters::new(parse_main(main.as_bytes()).0).with_defaults(&postconf_defaults());
        let dir = ConfigDir::new(&main);
        for name in ["myhostname", "mydomain", "mydestination"] {
            let ours = params.expand(name).ok().map(|value| normalised(&value));
            let theirs = dir.expanded(name).map(|text| normalised(text.as_bytes()));
            assert_eq!(ours, theirs, "{name} with {sample:?}");
        }
    });
}

#[test]
fn settings_defaults_agree_with_postconf() {
    if !postfix_is_here() {
        return;
    }
    let dir = ConfigDir::new(HEAD);
    let built_in = Parameters::new(parse_main(HEAD.as_bytes()).0);
    for name in [
        "proxy_read_maps",
        "proxy_write_maps",
        "max_use",
        "max_idle",
        "ipc_timeout",
        "daemon_timeout",
        "syslog_name",
        "syslog_facility",
        "smtputf8_enable",
        "data_directory",
        "daemon_directory",
        "command_directory",
        "default_process_limit",
        "maillog_file",
        "maillog_file_prefixes",
        "postlog_service_name",
        "relay_domains",
        "address_verify_map",
        "postscreen_cache_map",
        "proxymap_service_name",
        "proxywrite_service_name",
        "local_login_sender_maps",
        "tlsproxy_client_policy_maps",
        "smtpd_relay_restrictions",
        "service_throttle_time",
    ] {
        let ours = built_in.expand(name).map(|value| normalised(&value)).ok();
        let theirs = dir.expanded(name).map(|text| normalised(text.as_bytes()));
        assert_eq!(ours, theirs, "{name}");
    }
}
