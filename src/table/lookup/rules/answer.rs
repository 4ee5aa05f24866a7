//! The text that a pattern rule answers with.
//!
//! Purpose: parse it once, and put the groups of a match into it. `$n`, `${n}` and `$(n)` stand for a group, `$$` for
//! a dollar sign. May: copy the text. Never: answer with more than [`mapkeep_query::MAX_ITEM`] bytes.

use mapkeep_table_regex::Groups;

use mapkeep_query::TableError;
use mapkeep_query::append;
use mapkeep_table_format::Fault;

/// A parsed answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    parts: Box<[Part]>,
    highest_group: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
}

impl Answer {
    /// Parses the text after a pattern.
    pub fn parse(text: &[u8]) -> Result<Answer, Fault> {
        let (mut parts, mut plain, mut highest_group) = (Vec::new(), Vec::new(), 0);
        let mut rest = text;
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            let (before, after) = rest.split_at_checked(dollar).ok_or(Fault::BadSubstitution)?;
            let after = after.strip_prefix(b"$").ok_or(Fault::BadSubstitution)?;
            plain.extend_from_slice(before);
            if let Some(after) = after.strip_prefix(b"$") {
                plain.push(b'$');
                rest = after;
                continue;
            }
            let (name, after) = name(after).ok_or(Fault::BadSubstitution)?;
            let group = number(name)?;
            highest_group = highest_group.max(group);
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Group(group));
            rest = after;
        }
        plain.extend_from_slice(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Answer { parts: parts.into(), highest_group })
    }

    /// The highest group that is put in; 0 if none is, and the groups of the match are not needed.
    pub fn highest_group(&self) -> usize {
        self.highest_group
    }

    /// Fills `out`, which is empty, with the text. A group that took no part in the match leaves nothing.
    pub fn put(&self, key: &[u8], groups: &Groups, out: &mut Vec<u8>) -> Result<(), TableError> {
        for part in &self.parts {
            match part {
                Part::Text(text) => append(out, text)?,
                Part::Group(number) => {
                    if let Some(Some((start, end))) = groups.get(*number) {
                        append(out, key.get(*start..*end).unwrap_or_default())?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The name with which `text` begins, bare or in brackets, and what follows it.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (open, close) = match text.first()? {
        b'{' => (b'{', b'}'),
        b'(' => (b'(', b')'),
        _ => {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let end = text.iter().position(|byte| !is_name(byte)).unwrap_or(text.len());
            return text.split_at_checked(end).filter(|(name, _)| !name.is_empty());
        }
    };
    let mut depth = 0_usize;
    let end = text.iter().position(|byte| {
        if *byte == open {
            depth = depth.saturating_add(1);
        } else if *byte == close {
            depth = depth.saturating_sub(1);
        }
        depth == 0
    })?;
    let (inside, after) = text.split_at_checked(end)?;
    Some((inside.get(1..)?, after.get(1..)?))
}

/// The number of a group. Postfix takes only what follows the highest bits of a very large one; such a rule is
/// skipped here.
fn number(name: &[u8]) -> Result<usize, Fault> {
    if name.is_empty() || !name.iter().all(u8::is_ascii_digit) {
        return Err(Fault::BadSubstitution);
    }
    let digits = std::str::from_utf8(name).map_err(|_| Fault::BadSubstitution)?;
    match digits.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Fault::NoSuchGroup),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, key: &str, groups: &Groups) -> String {
        let mut out = Vec::new();
        Answer::parse(text.as_bytes()).unwrap().put(key.as_bytes(), groups, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn put_all_forms_of_substitution() {
        let groups = vec![Some((0, 3)), Some((0, 1)), None, Some((1, 3)), Some((2, 2))];
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("$1", "a"),
            ("${1}x$(3)", "axbc"),
            ("[$2][$4]", "[][]"),
            ("$$1 $$", "$1 $"),
            ("$01.x", "a.x"),
            ("$3-$1", "bc-a"),
        ] {
            assert_eq!(put(text, "abc", &groups), expected, "{text}");
        }
    }

    #[test]
    fn parse_bad_substitutions_refused() {
        let bad = [
            "$", "x$ y", "$-", "${1", "$(1}", "${}", "$()", "${ 1 }", "${{1}}", "${1?x}", "$1x", "$1_", "$n",
        ];
        for text in bad {
            assert_eq!(Answer::parse(text.as_bytes()), Err(Fault::BadSubstitution), "{text}");
        }
        for text in ["$0", "${00}", "$99999999999999999999999"] {
            assert_eq!(Answer::parse(text.as_bytes()), Err(Fault::NoSuchGroup), "{text}");
        }
    }

    #[test]
    fn put_longer_than_a_value_may_be_refused() {
        let key = "x".repeat(mapkeep_query::MAX_ITEM / 2 + 1);
        let answer = Answer::parse(b"$1$1").unwrap();
        let groups = vec![None, Some((0, key.len()))];
        let error = answer.put(key.as_bytes(), &groups, &mut Vec::new());
        assert_eq!(error, Err(TableError::ItemTooLong));
    }
}
