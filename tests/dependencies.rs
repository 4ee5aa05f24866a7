//! What comes in from outside: licences, sources and versions that come twice, by the rules of deny.toml.
//!
//! cargo-deny reads the same file and knows more of it, but is a large program that few have installed; so that the rules
//! hold in every run of ./check, this reads `cargo metadata`, offline and from the locked versions.
#![cfg(test)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The platform that is built for, as in deny.toml.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn metadata() -> Value {
    let words = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", TARGET];
    let out = Command::new(env!("CARGO"))
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("its output")
}

/// The packages that are used on this platform; ours have no source.
fn used(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| text(&node["id"])).collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    let used: Vec<&Value> = all.filter(|package| ids.contains(text(&package["id"]))).collect();
    assert!(used.len() > 20, "{} packages", used.len());
    used
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What stands between double quotes in the part of deny.toml from `start` on to the next `]`.
fn listed(start: &str) -> Vec<String> {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let (_, rest) = rules.split_once(start).unwrap_or_else(|| panic!("deny.toml: no {start:?}"));
    let (list, _) = rest.split_once(']').expect("a list");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What a list of deny.toml names as `crate = "..."`.
fn crates(start: &str) -> Vec<String> {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let (_, rest) =
        rules.split_once(&format!("\n{start}")).unwrap_or_else(|| panic!("deny.toml: no {start:?}"));
    let (list, _) = rest.split_once(']').expect("a list");
    let names = list.split("crate = \"").skip(1);
    names.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

/// Whether an SPDX expression can be met with these licences. `/` is how older packages say OR.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, allowed);
    assert!(rest.is_empty(), "not understood: {expression}");
    met
}

fn any(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = all(rest, allowed);
    while let ["OR", more @ ..] = *rest {
        *rest = more;
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", more @ ..] = *rest {
        *rest = more;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    match *rest {
        ["(", more @ ..] => {
            *rest = more;
            let met = any(rest, allowed);
            let [")", more @ ..] = *rest else { panic!("no closing parenthesis") };
            *rest = more;
            met
        }
        // An exception only adds a permission.
        [name, "WITH", _, more @ ..] | [name, more @ ..] => {
            *rest = more;
            allowed.iter().any(|one| one == name)
        }
        [] => panic!("an expression that ends early"),
    }
}

#[test]
fn licences_are_among_those_allowed() {
    let (metadata, allowed) = (metadata(), listed("allow = ["));
    assert!(allowed.contains(&"MIT".to_owned()));
    let wrong: Vec<String> = used(&metadata)
        .iter()
        .filter(|package| !is_met(text(&package["license"]), &allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "licences that deny.toml does not allow: {wrong:#?}");
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    for met in
        ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(GPL-2.0 OR Zlib) AND MIT", "MIT WITH Some-exception"]
    {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR BSL-1.0) AND MIT", "mit"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn all_dependencies_are_from_cargos_own_registry_and_have_a_version() {
    let metadata = metadata();
    for package in used(&metadata) {
        let name = &package["name"];
        let own = package["source"].is_null();
        assert!(own || text(&package["source"]).starts_with("registry+"), "{name}: {}", package["source"]);
        for needed in package["dependencies"].as_array().unwrap() {
            // Null: the one that cargo uses by default.
            assert!(
                needed["registry"].is_null(),
                "{name} takes {} from {}",
                needed["name"],
                needed["registry"]
            );
            let ours = needed["path"].is_string();
            assert!(
                !own || ours || text(&needed["req"]) != "*",
                "{name} takes any version of {}",
                needed["name"]
            );
        }
    }
}

#[test]
fn no_dependency_has_two_versions_without_a_reason() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in used(&metadata) {
        versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
    }
    let mut excused = crates("skip = [");
    assert!(!excused.is_empty());
    for (name, found) in &mut versions {
        found.retain(|version| {
            let known = excused.iter().position(|word| is_excused(word, name, version));
            known.map(|known| excused.remove(known)).is_none()
        });
    }
    let twice: Vec<_> = versions.iter().filter(|(_, found)| found.len() > 1).collect();
    assert!(twice.is_empty(), "several versions: {twice:#?}");
    assert!(excused.is_empty(), "deny.toml excuses what is not there: {excused:#?}");
}

/// Whether `NAME@VERSION`, as in deny.toml, is this version: the parts that it names are equal.
fn is_excused(word: &str, name: &str, version: &str) -> bool {
    let rest = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('@'));
    let rest = rest.and_then(|named| version.strip_prefix(named));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn an_excuse_is_for_its_version_only() {
    for version in ["0.30.0", "0.30.7", "0.30"] {
        assert!(is_excused("nix@0.30", "nix", version), "{version}");
    }
    for (word, name) in [("nix@0.31", "nix"), ("nix@0.3", "nix"), ("nix@0.30", "nixy"), ("nix", "nix")] {
        assert!(!is_excused(word, name, "0.30.1"), "{word} {name}");
    }
}

#[test]
fn no_banned_crate_is_a_dependency() {
    let (metadata, banned) = (metadata(), crates("deny = ["));
    assert!(banned.len() > 2, "{banned:?}");
    let found: Vec<&str> = used(&metadata)
        .iter()
        .map(|package| text(&package["name"]))
        .filter(|name| banned.iter().any(|one| one == name))
        .collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
}
