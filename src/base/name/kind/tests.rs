use super::*;

#[test]
fn tag_roundtrip_all_kinds() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_tag(kind as u8), Some(kind));
    }
    assert_eq!(Kind::from_tag(0), None);
}

#[test]
fn kind_of_names() {
    assert_eq!(Kind::of(b"hash:/etc/aliases"), Kind::Hash);
    assert_eq!(Kind::of(b"unix:passwd.byname"), Kind::Passwd);
    assert_eq!(Kind::of(b"unix:shadow.byname"), Kind::Unknown);
    assert_eq!(Kind::of(b"static:a:b"), Kind::Static);
    assert_eq!(Kind::of(b"regexp:/x"), Kind::Regexp);
    assert_eq!(Kind::of(b"debug:static:x"), Kind::Debug);
    assert_eq!(Kind::of(b"sdbm:/x"), Kind::Unknown);
    assert_eq!(Kind::of(b"HASH:/x"), Kind::Unknown);
    assert_eq!(Kind::of(b"hash"), Kind::Hash);
}

#[test]
fn types_of_postfix_whether_served_or_not() {
    for name in ["hash:/x", "unix:passwd.byname", "unix:nosuch", "mysql:/x", "static:x", "fail:x"] {
        assert!(is_type_of_postfix(name.as_bytes()), "{name}");
    }
    for name in ["nosuch:x", "HASH:/x", "sdbm:/x", "static ok:x", ":x"] {
        assert!(!is_type_of_postfix(name.as_bytes()), "{name}");
    }
}

#[test]
fn members_well_formed_names_in_order() {
    let name =
        b"unionmap:{proxy:hash:/a, inline:{a=b c=d},pipemap:{static:x, proxy:proxy:cdb:/b} static:{a b}}";
    let expected: [&[u8]; 4] =
        [b"hash:/a", b"inline:{a=b c=d}", b"pipemap:{static:x, proxy:proxy:cdb:/b}", b"static:{a b}"];
    assert_eq!(members(name).unwrap(), expected);
    assert_eq!(members(expected[2]).unwrap(), [&b"static:x"[..], b"cdb:/b"]);
    assert_eq!(members(b"debug:proxy:hash:/a").unwrap(), [b"hash:/a"]);
    assert!(members(b"hash:/a").unwrap().is_empty());
}

#[test]
fn members_malformed_names_refused() {
    for rest in ["", "{}", "{ , }", "{a}", "static:x", "{static:x} x", "{static:x} ", " {static:x}"] {
        for kind in ["unionmap", "pipemap"] {
            assert!(members(format!("{kind}:{rest}").as_bytes()).is_err(), "{kind}:{rest}");
        }
    }
    assert!(members(b"unionmap:{static:x").is_err());
    assert!(members(b"unionmap:{static:x}}").is_err());
    assert!(members(b"debug:x").is_err());
    assert!(members(b"debug:proxy:x").is_err());
}

#[test]
fn class_of_first_member_decides() {
    for (name, class) in [
        ("hash:/a", Class::Fixed),
        ("randmap:{a}", Class::Pattern),
        ("unionmap:{hash:/a,regexp:/b}", Class::Fixed),
        ("unionmap:{regexp:/b,hash:/a}", Class::Pattern),
        ("pipemap:{debug:unionmap:{static:a},regexp:/b}", Class::Fixed),
        ("debug:proxy:hash:/a", Class::Fixed),
        ("unionmap:{}", Class::Pattern),
        ("unionmap:{nosuch:x}", Class::Pattern),
    ] {
        assert_eq!(class_of(name.as_bytes()), class, "{name}");
    }
    let deep = [b"debug:".repeat(100), b"hash:/a".to_vec()].concat();
    assert_eq!(class_of(&deep), Class::Pattern);
}

#[test]
fn needs_file_rules_in_the_name_do_not() {
    assert!(needs_file(b"cidr:/a") && needs_file(b"hash:{a}"));
    assert!(!needs_file(b"cidr:{{1.1.1.1 x}}") && !needs_file(b"static:x") && !needs_file(b"debug:hash:/a"));
    assert!(needs_file(b"pcre: {{/a/ b}}"));
}

#[test]
fn files_of_names() {
    let path = |name: &[u8]| file_of(name);
    assert_eq!(path(b"hash:/etc/aliases"), Some(b"/etc/aliases.db".to_vec()));
    assert_eq!(path(b"lmdb:/a"), Some(b"/a.lmdb".to_vec()));
    assert_eq!(path(b"texthash:/a:b"), Some(b"/a:b".to_vec()));
    assert_eq!(path(b"unix:group.byname"), Some(b"/etc/group".to_vec()));
    assert_eq!(path(b"static:/etc/shadow"), None);
    assert_eq!(path(b"pcre:/x"), Some(b"/x".to_vec()));
    assert_eq!(path(b"pcre:{{/x/ y}}"), None);
    assert_eq!(path(b"unionmap:{hash:/x}"), None);
    assert_eq!(path(b"mysql:/x"), None);
}
