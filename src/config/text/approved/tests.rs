//! The approved list: rules, provenance, and that both looks at it agree.
use super::*;
use crate::{FileName, parse_main};

fn version(text: &str) -> PostfixVersion {
    PostfixVersion::parse(text).unwrap()
}

fn old() -> PostfixVersion {
    version("3.7.11")
}

fn new() -> PostfixVersion {
    version("3.12-20260821")
}

fn read_with(
    main: &str,
    version: PostfixVersion,
    service: Service,
    files: &[(&str, &str)],
) -> (Vec<ApprovedTable>, Vec<Complaint>) {
    let params = Parameters::new(parse_main(main.as_bytes()).0);
    let mut read = |path: &[u8]| {
        files.iter().find(|(name, _)| name.as_bytes() == path).map(|(_, content)| content.as_bytes().to_vec())
    };
    approved(&params, service, version, &mut read)
}

fn names(tables: &[ApprovedTable]) -> Vec<String> {
    tables.iter().map(|table| String::from_utf8(table.name.clone()).unwrap()).collect()
}

fn listed(value: &str) -> Vec<String> {
    names(&read_with(&format!("proxy_read_maps = {value}\n"), old(), Service::Read, &[]).0)
}

fn provenance(table: &ApprovedTable) -> Vec<(String, String, String)> {
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one = |p: &Provenance| (string(&p.consumer), string(&p.parameter), p.origin.to_string());
    table.provenance.iter().map(one).collect()
}

fn triple(consumer: &str, parameter: &str, origin: &str) -> (String, String, String) {
    (consumer.into(), parameter.into(), origin.into())
}

#[test]
fn approved_each_token_form_follows_stock() {
    for (value, expected) in [
        ("proxy:hash:/x, hash:/y proxy:proxy:hash:/z", vec!["hash:/x", "hash:/z"]),
        ("proxy:hash:/x proxy:hash:/x", vec!["hash:/x"]),
        ("!proxy:hash:/x proxy:hash Proxy:hash:/x proxy:", vec![]),
        ("proxy::x proxy:hash:", vec![":x", "hash:"]),
        ("proxy:static:{a  b}", vec!["static:{a  b}"]),
        ("{ proxy:hash:/x { search_order = a, b } }", vec!["hash:/x"]),
        ("{check_client_access proxy:hash:/x} {} {{proxy:hash:/x}}", vec![]),
        ("{ proxy:hash:/x }y", vec![]),
        ("unionmap:{proxy:hash:/x, static:a}", vec!["hash:/x"]),
        ("pipemap:{ {proxy:hash:/x a=b},unionmap:{proxy:hash:/z}}", vec!["hash:/x", "hash:/z"]),
        ("proxy:unionmap:{proxy:hash:/x}", vec!["unionmap:{proxy:hash:/x}"]),
        ("inline:{proxy:hash:/x} unionmap:proxy:hash:/y Unionmap:{proxy:hash:/x}", vec![]),
        ("a} proxy:hash:/x", vec!["hash:/x"]),
        ("/etc/x proxy:hash:/x", vec!["hash:/x"]),
        ("${a:{proxy:hash:/x}} ${a?{proxy:hash:/y}}", vec!["hash:/x"]),
    ] {
        assert_eq!(listed(value), expected, "{value}");
    }
}

#[test]
fn approved_default_list_is_the_password_file_only() {
    let (tables, complaints) = read_with("", old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["unix:passwd.byname"]);
    assert_eq!(
        provenance(&tables[0]),
        [triple("local_recipient_maps", "local_recipient_maps", "built-in default")]
    );
    assert_eq!(complaints, vec![]);
    assert_eq!(read_with("", old(), Service::Write, &[]).0, vec![]);
}

#[test]
fn approved_provenance_names_consumer_nearest_parameter_and_line() {
    let main = "proxy_read_maps = $local_recipient_maps ${virtual_alias_maps},$(alias_maps) proxy:hash:/own\n\
        alias_maps = proxy:hash:/a\nmine = proxy:hash:/m\n\
        virtual_alias_maps =\n  hash:/no,\n  proxy:hash:/v $mine\n";
    let (tables, _) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["unix:passwd.byname", "hash:/a", "hash:/v", "hash:/m", "hash:/own"]);
    let expected = [
        vec![triple("local_recipient_maps", "local_recipient_maps", "built-in default")],
        vec![
            triple("local_recipient_maps", "alias_maps", "main.cf:2"),
            triple("alias_maps", "alias_maps", "main.cf:2"),
        ],
        vec![triple("virtual_alias_maps", "virtual_alias_maps", "main.cf:4")],
        vec![triple("virtual_alias_maps", "mine", "main.cf:3")],
        vec![triple("proxy_read_maps", "proxy_read_maps", "main.cf:1")],
    ];
    for (table, expected) in tables.iter().zip(expected) {
        assert_eq!(provenance(table), expected);
    }
}

#[test]
fn approved_embedded_reference_belongs_to_the_holder() {
    let main = "proxy_read_maps = proxy:hash:$dir/x $y/z\ndir = /d\ny = proxy:hash:/q proxy:hash:\n";
    let (tables, _) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["hash:/d/x", "hash:/q", "hash:/z"]);
    for table in &tables {
        assert_eq!(provenance(table), [triple("proxy_read_maps", "proxy_read_maps", "main.cf:1")]);
    }
}

#[test]
fn approved_brace_across_references_whole_text_decides() {
    // Walked alone, `b` would approve hash:/x; in the whole text the brace of `a` swallows it.
    let main = "proxy_read_maps = $a $b $c\na = {static:q\nb = proxy:hash:/x\nc = }\n";
    let (tables, _) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), Vec::<String>::new());
    // And the other way round: only together do they name the table.
    let main = "proxy_read_maps = $a $b\na = proxy:static:{a\nb = b}\n";
    let (tables, _) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["static:{a b}"]);
    assert_eq!(provenance(&tables[0]), [triple("proxy_read_maps", "proxy_read_maps", "main.cf:1")]);
}

#[test]
fn approved_disagreement_attributes_every_table_to_the_list_too() {
    let list = triple("proxy_read_maps", "proxy_read_maps", "main.cf:1");
    for main in [
        "proxy_read_maps = $mine $a $b\nmine = proxy:hash:/x\na = {static:q\nb = proxy:hash:/y }\n",
        "proxy_read_maps = $mine $(undefined ? proxy:hash:/y )\nmine = proxy:hash:/x\n",
    ] {
        let (tables, _) = read_with(main, old(), Service::Read, &[]);
        assert_eq!(names(&tables), ["hash:/x"], "{main}");
        assert_eq!(provenance(&tables[0]), [triple("mine", "mine", "main.cf:2"), list.clone()], "{main}");
    }
}

#[test]
fn approved_conditional_with_blanks_in_parentheses_is_not_taken_apart() {
    let main = "proxy_read_maps = $(undefined ? proxy:hash:/x ) proxy:hash:/y\n";
    assert_eq!(names(&read_with(main, old(), Service::Read, &[]).0), ["hash:/y"]);
    // The same where the list cannot be expanded and the walk decides.
    let main = "proxy_read_maps = $good $bad $cautious\ngood = proxy:hash:/g\n\
        bad = $(undefined ? proxy:hash:/x ) ${ proxy:hash:/y\n\
        cautious = $(undefined ? proxy:hash:/x ) proxy:hash:/z\n";
    let (tables, complaints) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["hash:/g", "hash:/z"]);
    assert_eq!(complaints.len(), 1);
    assert_eq!((complaints[0].file, complaints[0].line), (FileName::MainCf, 3));
}

#[test]
fn approved_bad_parameter_costs_only_itself() {
    let main = "alias_maps = ${ proxy:hash:/a\nvirtual_alias_maps = proxy:hash:/v proxy:hash:${x-y}\n";
    let (tables, complaints) = read_with(main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["unix:passwd.byname", "hash:/v"]);
    let lines: Vec<_> = complaints.iter().map(|c| c.line).collect();
    assert_eq!(lines, [1, 2]);
    assert!(complaints[0].to_string().contains("parameter alias_maps: bad \"$\" reference"));
}

#[test]
fn approved_bad_braces_are_complaints() {
    let (_, complaints) = read_with("proxy_read_maps = {a\n", old(), Service::Read, &[]);
    assert!(matches!(complaints[0].kind, ComplaintKind::BadBraces(..)));
    assert_eq!((complaints.len(), complaints[0].line), (1, 1));
}

#[test]
fn approved_list_files_from_3_12_only() {
    let main = "proxy_read_maps = /l proxy:hash:/z !proxy:hash:/n\n";
    let files =
        [("/l", "# c\nproxy:hash:/a\n  proxy:hash:/b, /m\n"), ("/m", "proxy:hash:/c /l proxy:hash:/d")];
    assert_eq!(names(&read_with(main, old(), Service::Read, &files).0), ["hash:/z"]);
    let (tables, complaints) = read_with(main, new(), Service::Read, &files);
    assert_eq!(names(&tables), ["hash:/a", "hash:/b", "hash:/c", "hash:/d", "hash:/z"]);
    assert_eq!(tables[2].provenance[0].list_file.as_deref(), Some(&b"/m"[..]));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert_eq!(complaints[0].kind, ComplaintKind::ListTooDeep(b"/l".to_vec()));
    let (tables, complaints) = read_with(main, new(), Service::Read, &[]);
    assert_eq!(names(&tables), ["hash:/z"]);
    assert_eq!(complaints[0].kind, ComplaintKind::NoListFile(b"/l".to_vec()));
}

#[test]
fn approved_restriction_classes_from_3_12_read_only() {
    let main = "smtpd_restriction_classes = strict, lax\nstrict = check_client_access proxy:hash:/s\n\
        lax = $inner\ninner = proxy:hash:/i\n";
    assert_eq!(names(&read_with(main, old(), Service::Read, &[]).0), ["unix:passwd.byname"]);
    assert_eq!(read_with(main, new(), Service::Write, &[]).0, vec![]);
    let (tables, _) = read_with(main, new(), Service::Read, &[]);
    assert_eq!(names(&tables), ["unix:passwd.byname", "hash:/s", "hash:/i"]);
    assert_eq!(provenance(&tables[1]), [triple("smtpd_restriction_classes", "strict", "main.cf:2")]);
    assert_eq!(provenance(&tables[2]), [triple("smtpd_restriction_classes", "inner", "main.cf:4")]);
}

#[test]
fn approved_write_service_has_its_own_list() {
    let main = "smtp_sasl_auth_cache_name = proxy:btree:/c\n";
    let (tables, _) = read_with(main, old(), Service::Write, &[]);
    assert_eq!(names(&tables), ["btree:/c"]);
    assert_eq!(tables[0].provenance[0].consumer, b"smtp_sasl_auth_cache_name");
}

#[test]
fn approved_nesting_without_end_is_cut_off() {
    let deep = format!("{}proxy:hash:/x{}", "unionmap:{".repeat(5000), "}".repeat(5000));
    let (tables, complaints) = read_with(&format!("proxy_read_maps = {deep}\n"), old(), Service::Read, &[]);
    assert_eq!(names(&tables), Vec::<String>::new());
    assert!(matches!(complaints[0].kind, ComplaintKind::ListTooDeep(_)));
}

#[test]
fn approved_doubling_references_end_soon() {
    let mut main = String::from("proxy_read_maps = $n0 proxy:hash:/x\n");
    for n in 0..90 {
        main.push_str(&format!("n{n} = $n{} $n{} ${{n{}}}x\n", n + 1, n + 1, n + 1));
    }
    let before = processor_seconds();
    let (tables, complaints) = read_with(&main, old(), Service::Read, &[]);
    assert_eq!(names(&tables), ["hash:/x"]);
    assert!(!complaints.is_empty());
    // Without limits it would not end in a lifetime.
    let took = processor_seconds() - before;
    assert!(took < 60, "{took} s of processor time");
}

/// What this thread has had of a processor: a busy machine does not stretch it, as it does the time of day.
fn processor_seconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // User and system time, the 14th and the 15th field, in ticks of 10 ms; the second field may have blanks (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() / 100
}
