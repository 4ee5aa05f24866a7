//! The macro language, case by case. Expected values were first seen from postconf 3.7.11.
use super::*;
use std::collections::BTreeMap;

struct Fixed {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    domain: bool,
}

impl Names for Fixed {
    fn raw_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.values.get(name).map(Vec::as_slice)
    }
    fn has_domain_functions(&self) -> bool {
        self.domain
    }
}

fn names(pairs: &[(&str, &str)]) -> Fixed {
    let values =
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    Fixed { values, domain: false }
}

fn expand_with(names: &Fixed, text: &str) -> Result<String, Reason> {
    let mut out = Vec::new();
    Expansion::new(names, MOST_WORK)
        .text(text.as_bytes(), &mut out)
        .map(|()| String::from_utf8(out).unwrap())
        .map_err(|error| error.reason)
}

fn expand(text: &str) -> Result<String, Reason> {
    expand_with(&names(&[("a", "A"), ("empty", ""), ("ae", "$empty"), ("a_b", "u"), ("1a", "n")]), text)
}

#[test]
fn text_valid_reference_gives_its_value() {
    for (text, expected) in [
        ("<$a>", "<A>"),
        ("${a}$(a)$$a", "AA$a"),
        ("$a.b$a_b ${1a}", "A.bu n"),
        ("$undefined|${undefined}", "|"),
        ("${ a }", "A"),
        ("${a?foo:bar}", "foo:bar"),
        ("${a?x:{y}}", "x:{y}"),
        ("${a? x }|${a? {x}}", " x |x"),
        ("${ae?x}|${ae:x}|${empty?x}|${empty:x}", "x|||x"),
        ("${a ? { x } : {y} }|${u?{x}:{y}}", " x |y"),
        ("${u?{x}}|${u:{y}}|${u:a{b}c}", "|y|a{b}c"),
        ("${a?{x}:y}|${u?{x} : y}", "x| y"),
        ("${a?{{x}}}|${a?{$$}}|${a?}|${a:}", "{x}|$||"),
        ("$(a?{x})|$(a?(x))", "x|(x)"),
        ("${{a}=={a}}|${{a}=={b}}", "true|"),
        ("${{$a} == {A} ? {x} : {y}}", "x"),
        ("${{a}=={a} ? x}|${{a}=={b}:{z}}", " x|z"),
        ("${{ a }=={a}}|${ {a}=={a} }|$({a}=={a})", "|true|true"),
        ("${{3.6} >=level{3.10}?{t}:{f}}", "f"),
        ("${u?{$(}}|${a:{$(}}", "|"),
        ("${a?{${u?{x}:{${a}}}}}", "A"),
    ] {
        assert_eq!(expand(text), Ok(expected.to_string()), "{text}");
    }
}

#[test]
fn text_bad_reference_is_a_syntax_error() {
    for text in [
        "$",
        "$-",
        "${}",
        "$()",
        "${ }",
        "${a",
        "$(a",
        "$a$",
        "${a-b}",
        "${a.b}",
        "${a?{x}y}",
        "${a:{x}:{y}}",
        "${u:{x}?{y}}",
        "${a?{x}?{y}}",
        "${{a}={a}}",
        "${{a}==a}",
        "${{a}==}",
        "${{a}}",
        "${{a}=={a}x}",
        "${{a}=={a}:{x}:{y}}",
        "${domain_to_ascii{a}}",
        "${a b}",
    ] {
        assert!(matches!(expand(text), Err(Reason::Syntax(_))), "{text}: {:?}", expand(text));
    }
}

#[test]
fn text_self_reference_stops_at_depth_limit() {
    assert_eq!(expand_with(&names(&[("x", "$x")]), "$x"), Err(Reason::TooDeep));
    assert_eq!(expand_with(&names(&[("x", "${y?{$x}}"), ("y", "1")]), "$x"), Err(Reason::TooDeep));
}

#[test]
fn text_depth_of_exactly_the_limit_is_expanded() {
    let chain = |length: usize| {
        let owned: Vec<_> = (1..=length).map(|n| (format!("n{n}"), format!("$n{}", n + 1))).collect();
        let pairs: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        expand_with(&names(&pairs), "$n1")
    };
    assert_eq!(chain(99), Ok(String::new()));
    assert_eq!(chain(100), Err(Reason::TooDeep));
}

#[test]
fn text_doubling_values_stop_at_the_limits() {
    let owned: Vec<_> = (0..60).map(|n| (format!("n{n}"), format!("$n{}$n{}", n + 1, n + 1))).collect();
    let mut pairs: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(expand_with(&names(&pairs), "$n0"), Err(Reason::TooLarge), "work without output");
    pairs.push(("n60", "0123456789"));
    assert_eq!(expand_with(&names(&pairs), "$n0"), Err(Reason::TooLarge), "output");
}

#[test]
fn value_error_names_the_innermost_parameter() {
    let names = names(&[("outer", "x $inner"), ("inner", "${")]);
    let error = Expansion::new(&names, MOST_WORK).value(b"outer", &mut Vec::new()).unwrap_err();
    assert_eq!(error.parameter.as_deref(), Some(&b"inner"[..]));
}

#[test]
fn text_domain_function_passes_plain_names_only() {
    let mut names = names(&[("d", "Example.org"), ("x", "xn--bcher-kva.example")]);
    names.domain = true;
    assert_eq!(expand_with(&names, "${domain_to_ascii{$d}}").unwrap(), "Example.org");
    assert_eq!(expand_with(&names, "${domain_to_ascii{$x}}").unwrap(), "xn--bcher-kva.example");
    assert_eq!(expand_with(&names, "${domain_to_utf8{$x}}"), Err(Reason::NotAscii));
    assert_eq!(expand_with(&names, "${domain_to_ascii{b\u{fc}cher}}"), Err(Reason::NotAscii));
    assert!(matches!(expand_with(&names, "${domain_to_ascii{a}b}"), Err(Reason::Syntax(_))));
}

#[test]
fn sole_reference_only_plain_references_count() {
    for token in ["$a", "${a}", "$(a)"] {
        assert_eq!(sole_reference(token.as_bytes()), Some(&b"a"[..]), "{token}");
    }
    for token in ["a", "$", "$$", "${}", "${a?x}", "$a/b", "x$a", "${a", "$(a}", "$a$b", "${ a }"] {
        assert_eq!(sole_reference(token.as_bytes()), None, "{token}");
    }
}

#[test]
fn references_are_whole_fragments_are_seen() {
    assert!(references_are_whole(b"proxy:$a ${b?{x y}} $$ $(c)"));
    for text in ["$(zz", "${a", "a$", "$-", "${}"] {
        assert!(!references_are_whole(text.as_bytes()), "{text}");
    }
}
