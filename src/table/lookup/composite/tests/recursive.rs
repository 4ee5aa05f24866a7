//! The steps against the meaning: a lookup in a random tree gives what plain recursion gives, whenever leaves are deferred.

use std::borrow::Cow;

use super::*;
use mapkeep_query::{append, fold};

/// xorshift64*: the same seed, the same trees.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const LEAVES: [&str; 12] = [
    "inline:{a=b b=c c=A}",
    "inline:{a= b=x}",
    "inline:{{m\u{fc}ller=a} a=M\u{dc}LLER}",
    "static:a",
    "static:A",
    "static:M\u{dc}LLER",
    "regexp:{{/^(.*)$/ $1}}",
    "regexp:{{/A/i capital} {/b/ a}}",
    "randmap:{b}",
    "internal:x",
    "hash:/raw",
    "fail:x",
];

fn tree(numbers: &mut Numbers, depth: usize, out: &mut String) {
    let form = if depth == 0 { 3 } else { numbers.below(5) };
    match form {
        0 | 1 => {
            out.push_str(["unionmap:{", "pipemap:{"][form]);
            for _ in 0..=numbers.below(4) {
                tree(numbers, depth - 1, out);
                out.push_str([" ", ",", ", "][numbers.below(3)]);
            }
            out.push('}');
        }
        2 => {
            out.push_str("debug:");
            tree(numbers, depth - 1, out);
        }
        // A member that fails ends everything: not too many of them.
        _ => out.push_str(match numbers.of(&LEAVES) {
            "fail:x" if numbers.below(3) > 0 => "static:b",
            leaf => leaf,
        }),
    }
}

type Found = Result<Outcome, TableError>;

/// What a leaf answers; one has NUL forms, and answers that are not UTF-8.
fn ask(name: &[u8], query: &Query<'_>, answer: &mut Vec<u8>) -> Found {
    if name == b"hash:/raw" {
        answer.extend_from_slice(if query.key.len() > 1 { b"\xff" } else { b"b" });
        return Ok(Outcome::Found(if query.modes.with_nul { NulMode::WithNul } else { NulMode::Bare }));
    }
    Owned::from_name(Kind::of(name), mapkeep_name::split(name).1).unwrap().lookup_with(query, answer)
}

/// The meaning, by the name alone.
fn recursive(name: &[u8], query: &Query<'_>, answer: &mut Vec<u8>) -> Found {
    answer.clear();
    let text = |bytes: &[u8]| !query.utf8 || std::str::from_utf8(bytes).is_ok();
    let folded = |class| match query.folding.applies(class) {
        true => fold(query.key, query.utf8),
        false => Cow::Borrowed(query.key),
    };
    let kind = Kind::of(name);
    let members = mapkeep_name::members(name).unwrap();
    if kind == Kind::Debug {
        return recursive(members[0], query, answer);
    }
    if !text(query.key) {
        return Ok(Outcome::Absent);
    }
    if !kind.is_composite() {
        let outcome = ask(name, &Query { key: &folded(kind.class()), ..*query }, answer)?;
        return if text(answer) { Ok(outcome) } else { Err(TableError::NotUtf8) };
    }
    let key = if query.utf8 { folded(class_of(name)) } else { Cow::Borrowed(query.key) };
    let member = |name: &[u8], key: &[u8], answer: &mut Vec<u8>| {
        recursive(name, &Query { key, modes: NulModes::BOTH, ..*query }, answer)
    };
    let mut current = Vec::new();
    if kind == Kind::Unionmap {
        for name in &members {
            if member(name, &key, answer)? != Outcome::Absent {
                let comma: &[u8] = if current.is_empty() { b"" } else { b"," };
                append(&mut current, comma)?;
                append(&mut current, answer)?;
            }
        }
        *answer = current;
        return Ok(if answer.is_empty() { Outcome::Absent } else { Outcome::Found(NulMode::Bare) });
    }
    current.extend_from_slice(&key);
    for name in &members {
        if member(name, &current, answer)? == Outcome::Absent {
            return Ok(Outcome::Absent);
        }
        current.clone_from(answer);
    }
    Ok(Outcome::Found(NulMode::Bare))
}

/// The same in steps, where each leaf is deferred as often as `times` says, and the walk moves in memory meanwhile.
fn in_steps(name: &[u8], query: &Query<'_>, mut times: impl FnMut() -> usize, answer: &mut Vec<u8>) -> Found {
    let composite = Composite::parse(name).unwrap();
    let mut walk = Box::new(composite.walk(query));
    let mut left = times();
    loop {
        let outcome = composite.go_on(&mut walk, answer, |leaf, answer| {
            assert!(answer.is_empty());
            if left > 0 {
                left -= 1;
                return Ok(None);
            }
            left = times();
            let name = &composite.leaves()[leaf.number];
            ask(name, &Query { key: leaf.key, modes: leaf.modes, ..*query }, answer).map(Some)
        })?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        let before = std::mem::replace(&mut walk, Box::new(composite.walk(query)));
        *walk = *before;
    }
}

#[test]
fn steps_give_what_recursion_gives() {
    let mut numbers = Numbers(0x5EED_0010);
    let (mut found, mut absent, mut failed, mut deep) = (0, 0, 0, 0);
    for round in 0..6000 {
        let depth = if round % 10 == 0 { MAX_NESTING - 1 } else { 1 + numbers.below(4) };
        let mut name = numbers.of(&["unionmap:{", "pipemap:{"]).to_owned();
        for _ in 0..=numbers.below(3) {
            tree(&mut numbers, depth, &mut name);
            name.push(' ');
        }
        name.push('}');
        let composite = Composite::parse(name.as_bytes()).unwrap();
        if composite.leaves().len() > 60 {
            continue;
        }
        deep += usize::from(composite.nodes.len() > composite.leaves().len() + 8);
        let keys: [&[u8]; 7] = [b"a", b"A", b"b", b"", b"zz", "M\u{dc}LLER".as_bytes(), b"\xff"];
        let query = Query {
            folding: Folding { fixed: numbers.below(2) == 0, pattern: numbers.below(2) == 0 },
            utf8: numbers.below(2) == 0,
            modes: NulModes { with_nul: numbers.below(2) == 0, bare: numbers.below(2) == 0 },
            values: if round % 3 == 0 {
                mapkeep_query::Values::FileContent
            } else {
                mapkeep_query::Values::Text
            },
            ..Query::plain(numbers.of(&keys))
        };
        let (mut expected, mut answer) = (Vec::new(), b"left over".to_vec());
        let meant = recursive(name.as_bytes(), &query, &mut expected);
        if !matches!(meant, Ok(Outcome::Found(_))) {
            expected.clear();
        }
        let got = in_steps(name.as_bytes(), &query, || numbers.below(3), &mut answer);
        assert_eq!((got, &answer), (meant, &expected), "{name} {query:?} {:?}", query.key);
        match meant {
            Ok(Outcome::Found(_)) => found += 1,
            Ok(Outcome::Absent) => absent += 1,
            Err(_) => failed += 1,
        }
    }
    assert!(found > 500 && absent > 500 && failed > 500 && deep > 500, "{found} {absent} {failed} {deep}");
}
