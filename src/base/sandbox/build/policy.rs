//! Purpose: reads the system call policy and writes it as Rust constants. May: refuse a policy that is ambiguous,
//! unsorted or unexplained. Never: adds, drops or widens a rule.
//!
//! Names of system calls and constants are written out as `libc::NAME`; the compiler refuses those it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The one list that others may extend.
const BASE: &str = "supervisor";

/// The whole file. Unknown and repeated keys are errors at every level.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    default_action: String,
    arch: Vec<String>,
    roles: Roles,
}

/// The list of each role. Which lists there must be follows from the table of roles (role.rs): a missing or superfluous
/// one does not compile.
struct Roles(BTreeMap<String, List>);

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Roles, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Roles;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of rules for each role")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut roles: A) -> Result<Roles, A::Error> {
                let mut lists = BTreeMap::new();
                while let Some(name) = roles.next_key::<String>()? {
                    if lists.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    let shape = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                    if name.is_empty() || !name.bytes().all(shape) {
                        return Err(A::Error::custom(format!("{name:?} is not the name of a role")));
                    }
                    lists.insert(name, roles.next_value()?);
                }
                Ok(Roles(lists))
            }
        }
        from.deserialize_map(Each)
    }
}

/// The system calls of one role.
enum List {
    Own(Vec<Rule>),
    Extended(Extended),
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<List, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = List;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of rules, or \"all_of\" and \"and\"")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, rules: A) -> Result<List, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(rules)).map(List::Own)
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<List, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(fields)).map(List::Extended)
            }
        }
        from.deserialize_any(Either)
    }
}

/// The list of the supervisor with some additional rules. A rule for a call that is in that list replaces it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extended {
    all_of: String,
    and: Vec<Rule>,
}

/// One system call. `args` lists alternatives, each of which is a list of conditions that must all hold; without
/// `args` the call is allowed with any arguments.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    syscall: String,
    why: String,
    arch: Option<Vec<String>>,
    args: Option<Vec<Vec<Condition>>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    index: u8,
    op: Op,
    len: Len,
    value: serde_json::Value,
    mask: Option<serde_json::Value>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Eq,
    MaskedEq,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Len {
    Dword,
    Qword,
}

/// Writes `policy` as Rust source for `arch` (Cargo's name of the target architecture).
///
/// The error names the role, the system call and what is wrong with it.
pub fn generate(policy: &str, arch: &str) -> Result<String, String> {
    let policy: Policy = serde_json::from_str(policy).map_err(|e| e.to_string())?;
    if policy.default_action != "kill_process" {
        return Err("default_action must be kill_process".into());
    }
    if !policy.arch.iter().any(|a| a == arch) {
        return Err(format!(
            "no list has been written and tested for {arch}, only for {}",
            policy.arch.join(", ")
        ));
    }
    let mut code = String::from("// Written by build.rs from policy/seccomp.json.\n");
    let lists = &policy.roles.0;
    for (role, list) in lists {
        match list {
            List::Own(rules) => write_role(&mut code, role, rules, arch, &policy.arch)?,
            List::Extended(extended) => {
                write_role(&mut code, role, &extend(role, lists, extended)?, arch, &policy.arch)?;
            }
        }
    }
    Ok(code)
}

/// Puts an extended list together.
fn extend(role: &str, lists: &BTreeMap<String, List>, extended: &Extended) -> Result<Vec<Rule>, String> {
    let base = match lists.get(BASE) {
        Some(List::Own(base)) if extended.all_of == BASE => base,
        _ => return Err(format!("{role}: \"all_of\" can only be {BASE:?}, which has a list of its own")),
    };
    sorted(role, &extended.and)?;
    let replaced = |rule: &Rule| extended.and.iter().any(|other| other.syscall == rule.syscall);
    let mut rules: Vec<Rule> = base.iter().filter(|rule| !replaced(rule)).cloned().collect();
    rules.extend(extended.and.iter().cloned());
    rules.sort_by(|a, b| a.syscall.cmp(&b.syscall));
    Ok(rules)
}

fn sorted(role: &str, rules: &[Rule]) -> Result<(), String> {
    if let Some(pair) = rules.windows(2).find(|pair| matches!(pair, [a, b] if a.syscall >= b.syscall)) {
        let names: Vec<_> = pair.iter().map(|rule| rule.syscall.as_str()).collect();
        return Err(format!("{role}: {}: rules must be sorted by name and unique", names.join(", ")));
    }
    Ok(())
}

fn write_role(
    code: &mut String,
    role: &str,
    rules: &[Rule],
    arch: &str,
    known: &[String],
) -> Result<(), String> {
    if rules.is_empty() {
        return Err(format!("{role}: a role without rules cannot run; remove it or list its calls"));
    }
    sorted(role, rules)?;
    emit(code, format_args!("pub(crate) const {}: &[Rule] = &[\n", role.to_uppercase()));
    for rule in rules {
        let place = |what: &str| format!("{role}: {}: {what}", rule.syscall);
        check_rule(rule, known).map_err(|e| place(&e))?;
        if rule.arch.as_ref().is_some_and(|list| !list.iter().any(|a| a == arch)) {
            continue;
        }
        emit(
            code,
            format_args!(
                "    Rule {{ syscall: {0:?}, nr: libc::SYS_{0}, why: {1:?}, alternatives: &[",
                rule.syscall, rule.why
            ),
        );
        for alternative in rule.args.iter().flatten() {
            code.push_str("&[");
            for condition in alternative {
                code.push_str(&condition_source(condition).map_err(|e| place(&e))?);
            }
            code.push_str("], ");
        }
        code.push_str("] },\n");
    }
    code.push_str("];\n");
    Ok(())
}

fn check_rule(rule: &Rule, known: &[String]) -> Result<(), String> {
    if !rule.syscall.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err("not the name of a system call".into());
    }
    if rule.why.split_whitespace().count() < 3 {
        return Err("\"why\" must be a sentence".into());
    }
    if rule.arch.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(|a| !known.contains(a))) {
        return Err("\"arch\" must name some of the policy's architectures".into());
    }
    let Some(alternatives) = &rule.args else { return Ok(()) };
    if alternatives.is_empty() || alternatives.iter().any(Vec::is_empty) {
        return Err("\"args\" without a condition would allow everything; leave it out to say so".into());
    }
    for alternative in alternatives {
        let indices: BTreeSet<u8> = alternative.iter().map(|condition| condition.index).collect();
        if indices.len() != alternative.len() {
            return Err("two conditions on one argument; use a mask".into());
        }
        if indices.last().is_some_and(|&index| index > 5) {
            return Err("a system call has the arguments 0 to 5".into());
        }
    }
    Ok(())
}

fn condition_source(condition: &Condition) -> Result<String, String> {
    let length = match condition.len {
        Len::Dword => "Dword",
        Len::Qword => "Qword",
    };
    let operand = |value: &serde_json::Value| operand_source(value, &condition.len);
    let test = match (&condition.op, &condition.mask) {
        (Op::Eq, None) => "Test::Equal".to_string(),
        (Op::MaskedEq, Some(mask)) => format!("Test::MaskedEqual {{ mask: {} }}", operand(mask)?),
        (Op::Eq, Some(_)) => return Err("\"eq\" takes no mask".into()),
        (Op::MaskedEq, None) => return Err("\"masked_eq\" needs a mask".into()),
    };
    let value = operand(&condition.value)?;
    Ok(format!(
        "Condition {{ index: {}, length: Length::{length}, test: {test}, value: {value} }}, ",
        condition.index
    ))
}

/// A number, or names of constants joined by `|`. Signed constants are widened, and cut off again for a dword.
fn operand_source(value: &serde_json::Value, length: &Len) -> Result<String, String> {
    if let Some(number) = value.as_u64() {
        return match (length, u32::try_from(number)) {
            (Len::Dword, Err(_)) => Err(format!("{number} does not fit into a dword")),
            _ => Ok(format!("{number}_u64")),
        };
    }
    let names = value.as_str().ok_or("an operand is a number from 0 up or a string of constant names")?;
    let terms: Result<Vec<String>, String> = names
        .split('|')
        .map(|name| {
            let shape = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            if !name.bytes().all(shape) || !name.starts_with(|c: char| c.is_ascii_uppercase()) {
                return Err(format!("{name:?} is not the name of a constant"));
            }
            Ok(format!("libc::{name} as u64"))
        })
        .collect();
    let union = terms?.join(" | ");
    Ok(match length {
        Len::Dword => format!("({union}) & 0xffff_ffff"),
        Len::Qword => union,
    })
}

/// Writing to a `String` cannot fail.
fn emit(code: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = code.write_fmt(text);
}
