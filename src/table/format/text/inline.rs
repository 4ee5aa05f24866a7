//! `inline:` and `static:` tables, whose content is in their name.
//!
//! Purpose: parse the name, answer from it. May: copy it (names are short). Never: guess at a name that is not well
//! formed.

use std::collections::BTreeMap;

use mapkeep_name::Kind;

use super::{braced, is_space, next_element, split_key, trim};
use crate::cursor::{Cursor, Place};
use crate::random::Random;
use mapkeep_query::Step;
use mapkeep_query::TableError;
use mapkeep_query::put_text;
use mapkeep_query::{casefold, has_capital};

/// The entries of an `inline:` table.
#[derive(Debug)]
pub struct Inline {
    /// Key and value, in the order of their first appearance.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// From the folded key to the place in `entries`. A tree, since a hash map asks the kernel for random bytes.
    places: BTreeMap<Vec<u8>, usize>,
}

impl Inline {
    /// Parses `{ key = value, { key = value with spaces, and commas }, ... }`.
    ///
    /// # Errors
    /// [`TableError::BadName`] where Postfix has a syntax error, an empty list included.
    pub fn parse(name: &[u8]) -> Result<Inline, TableError> {
        let mut rest = match braced(name) {
            Some((inside, [])) => inside,
            _ => return Err(TableError::BadName("expected { key = value, ... }")),
        };
        let mut table = Inline { entries: Vec::new(), places: BTreeMap::new() };
        while let Some((element, after)) = next_element(rest) {
            rest = after;
            let text = match element.first() {
                Some(b'{') => match braced(element) {
                    Some((inside, [])) => inside,
                    _ => return Err(TableError::BadName("unexpected text after }")),
                },
                _ => element,
            };
            let (key, value) = split_pair(text)?;
            table.put(key, value);
        }
        if table.entries.is_empty() {
            return Err(TableError::BadName("expected at least one key = value"));
        }
        Ok(table)
    }

    /// Adds an entry. The last of several with the same key, whatever its case, is the one that counts.
    fn put(&mut self, key: &[u8], value: &[u8]) {
        let place = *self.places.entry(casefold(key).into_owned()).or_insert(self.entries.len());
        let entry = (key.to_vec(), value.to_vec());
        match self.entries.get_mut(place) {
            Some(earlier) => *earlier = entry,
            None => self.entries.push(entry),
        }
    }

    /// Fills `answer` and returns true if `key` is there.
    pub fn find(&self, key: &[u8], answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let place = self.places.get(casefold(key).as_ref());
        // As in a text file: a key with a capital means just itself.
        let entry = place.and_then(|place| self.entries.get(*place));
        let Some((_, value)) = entry.filter(|(stored, _)| stored == key || !has_capital(key)) else {
            return Ok(false);
        };
        put_text(answer, value)?;
        Ok(true)
    }

    /// One step of a scan, in order of appearance.
    pub fn step(
        &self,
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        let place = match cursor.place {
            Place::Start => 0,
            Place::At(place) => place,
            Place::End => return Ok(Step::End),
            _ => return Err(TableError::ForeignCursor),
        };
        let Some((stored_key, stored_value)) = self.entries.get(place) else {
            cursor.place = Place::End;
            return Ok(Step::End);
        };
        cursor.place = Place::At(place.saturating_add(1));
        put_text(key, stored_key)?;
        put_text(value, stored_value)?;
        Ok(Step::Record)
    }
}

/// The value of `static:` followed by `name`: as it is, or trimmed if in braces.
///
/// # Errors
/// [`TableError::BadName`] for an empty name, and for an opening brace without its partner at the end.
pub fn static_value(name: &[u8]) -> Result<Vec<u8>, TableError> {
    if name.is_empty() {
        return Err(TableError::BadName("static: needs a value"));
    }
    if name.first() != Some(&b'{') {
        return Ok(name.to_vec());
    }
    match braced(name) {
        Some((inside, [])) => Ok(inside.to_vec()),
        _ => Err(TableError::BadName("expected { text }")),
    }
}

/// Checks whether a name is well formed, for kinds whose entries are in their name; `rest` is what follows `type:`.
/// Rules are not compiled.
///
/// # Errors
/// [`TableError::BadName`] where Postfix has a syntax error, [`TableError::WrongKind`] for other kinds.
pub fn check(kind: Kind, rest: &[u8]) -> Result<(), TableError> {
    match kind {
        Kind::Static => static_value(rest).map(|_| ()),
        Kind::Inline => Inline::parse(rest).map(|_| ()),
        Kind::Randmap => Random::parse(rest).map(|_| ()),
        Kind::Cidr | Kind::Regexp | Kind::Pcre => inline_text(rest).map(|_| ()),
        Kind::Fail | Kind::Internal | Kind::Environ => Ok(()),
        _ => Err(TableError::WrongKind),
    }
}

/// The text of a table whose rules are in its name: `{rule}...` with each rule on a line of its own, so that the
/// number of a line is that of a rule.
///
/// # Errors
/// [`TableError::BadName`] where Postfix has a syntax error. A text without rules is no error.
pub fn inline_text(name: &[u8]) -> Result<Vec<u8>, TableError> {
    let Some((mut list, [])) = braced(name) else { return Err(TableError::BadName("expected {{rule}...}")) };
    let mut text = Vec::new();
    while let Some((element, after)) = next_element(list) {
        match braced(element) {
            Some((rule, [])) => text.extend_from_slice(rule),
            _ => return Err(TableError::BadName("expected {rule} inside the braces")),
        }
        text.push(b'\n');
        list = after;
    }
    Ok(text)
}

/// Splits `key = value`. The key keeps its quotes; Postfix takes an empty one, which no client asks for.
fn split_pair(text: &[u8]) -> Result<(&[u8], &[u8]), TableError> {
    let (key, rest, open_quote) = split_key(trim(text), |byte| byte == b'=' || is_space(byte));
    if open_quote {
        return Err(TableError::BadName("unbalanced quote"));
    }
    match trim(rest).strip_prefix(b"=") {
        Some(value) => Ok((key, trim(value))),
        None => Err(TableError::BadName("missing = after a key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_text_rules_on_lines_of_their_own() {
        let text = |name: &str| inline_text(name.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(text("{{/a{1}/ x, y} , { /b/ z }}").unwrap(), "/a{1}/ x, y\n/b/ z\n");
        assert_eq!(text("{}").unwrap(), "");
        assert_eq!(text("{{}}").unwrap(), "\n");
        for bad in
            ["{/a/ x}", "{{/a/ x} y}", "{{/a/ x}} y", "{{/a/ x}} ", "{{/a/ x}", "{{a}{b}}", "", " {{a}}"]
        {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    fn pairs(name: &str) -> Result<Vec<(String, String)>, TableError> {
        let table = Inline::parse(name.as_bytes())?;
        let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
        let mut pairs = Vec::new();
        while table.step(&mut cursor, &mut key, &mut value)? == Step::Record {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            pairs.push((text(&key), text(&value)));
        }
        Ok(pairs)
    }

    #[test]
    fn parse_well_formed_names_all_pairs() {
        for (name, expected) in [
            ("{ k=v, k2=v2 }", &[("k", "v"), ("k2", "v2")][..]),
            ("{k=v k2=v2,,}", &[("k", "v"), ("k2", "v2")]),
            (
                "{ { key = value with spaces, commas }, b= }",
                &[("key", "value with spaces, commas"), ("b", "")],
            ),
            ("{a={x}}", &[("a", "{x}")]),
            ("{{ \"a b\" = c }}", &[("\"a b\"", "c")]),
            ("{a=1, b=2, A=3}", &[("A", "3"), ("b", "2")]),
            ("{a=b=c}", &[("a", "b=c")]),
            ("{=b}", &[("", "b")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(pairs(name), Ok(expected), "{name}");
        }
    }

    #[test]
    fn parse_malformed_names_refused() {
        for name in ["", "{}", "{ , }", "a=b", "{a = b}", "{a}", "{a=b", "{a=b}x", "{{a=b}x}", "{{\"a=b}}"] {
            assert!(matches!(pairs(name), Err(TableError::BadName(_))), "{name}");
        }
    }

    #[test]
    fn find_any_case_matches() {
        let table = Inline::parse("{ Über=1, b=2 }".as_bytes()).unwrap();
        let mut answer = Vec::new();
        assert_eq!(table.find("über".as_bytes(), &mut answer), Ok(true));
        assert_eq!(answer, b"1");
        assert_eq!(table.find(b"c", &mut answer), Ok(false));
    }

    #[test]
    fn static_value_forms() {
        assert_eq!(static_value(b" a:b ").unwrap(), b" a:b ");
        assert_eq!(static_value(b"{ a b }").unwrap(), b"a b");
        assert_eq!(static_value(b"{}").unwrap(), b"");
        for name in [&b""[..], b"{a", b"{a}b", b"{a} "] {
            assert!(static_value(name).is_err());
        }
    }
}
