//! The `domain` list of a table: which keys are looked up at all.
//!
//! Source: mysql_table(5), DATABASE; measured with postmap 3.7.11. Names are compared without regard to case, and stand for
//! themselves only: a domain does not include its subdomains. The first item that matches decides.

use crate::address::Address;

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainItem {
    /// Written with `!`: what matches is not looked up.
    pub negated: bool,
    /// What it matches.
    pub pattern: DomainPattern,
}

/// What an item matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainPattern {
    /// A domain, with its case folded.
    Name(Vec<u8>),
    /// The items of a file, each a list again, to which the `!` of this one applies.
    File(Vec<u8>),
    /// The domains that are keys of a table.
    Table(Vec<u8>),
}

/// An item is a `!` with nothing after it, at which Postfix ends. Display says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDomain;

impl std::fmt::Display for BadDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is a \"!\" without a domain after it; write them together")
    }
}

impl std::error::Error for BadDomain {}

/// A list of domains; the default, an empty one, excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainList {
    items: Vec<DomainItem>,
    utf8: bool,
}

impl DomainList {
    /// Reads the value of `domain`. `utf8` says whether Postfix folds more than ASCII (`smtputf8_enable`).
    ///
    /// # Errors
    /// A `!` without a pattern.
    pub fn parse(text: &[u8], utf8: bool) -> Result<DomainList, BadDomain> {
        let (mut items, mut rest) = (Vec::new(), text);
        while let Some((element, after)) = mapkeep_name::next_element(rest) {
            rest = after;
            let marks = element.iter().take_while(|byte| **byte == b'!').count();
            let item = element.get(marks..).unwrap_or_default();
            let pattern = match item.first() {
                None => return Err(BadDomain),
                Some(b'/') => DomainPattern::File(item.to_vec()),
                Some(first) if *first != b'[' && item.contains(&b':') => DomainPattern::Table(item.to_vec()),
                Some(_) => DomainPattern::Name(mapkeep_query::fold(item, utf8).into_owned()),
            };
            items.push(DomainItem { negated: marks % 2 == 1, pattern });
        }
        Ok(DomainList { items, utf8 })
    }

    /// The items, in order.
    #[must_use]
    pub fn items(&self) -> &[DomainItem] {
        &self.items
    }

    /// Whether `key` is looked up. A key without a domain, or without anything before its `@`, is not, unless the list is
    /// empty. `others` is asked whether the domain, its case folded, is in a file or a table that is an item.
    ///
    /// # Errors
    /// What `others` returns.
    pub fn admits<E>(
        &self,
        key: &[u8],
        mut others: impl FnMut(&DomainPattern, &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if self.items.is_empty() {
            return Ok(true);
        }
        let address = Address::of(key);
        let Some(domain) = address.domain.filter(|_| !address.user.is_empty()) else { return Ok(false) };
        let domain = mapkeep_query::fold(domain, self.utf8);
        for item in &self.items {
            let matches = match &item.pattern {
                DomainPattern::Name(name) => *name == *domain,
                other => others(other, &domain)?,
            };
            if matches {
                return Ok(!item.negated);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &str, key: &str) -> bool {
        let list = DomainList::parse(list.as_bytes(), true).unwrap();
        list.admits::<()>(key.as_bytes(), |_, _| panic!("nothing else is asked")).unwrap()
    }

    #[test]
    fn admits_first_match_decides() {
        for (list, key, expected) in [
            ("", "no domain", true),
            ("a.example, B.example", "u@b.EXAMPLE", true),
            ("a.example", "u@sub.a.example", false),
            ("a.example", "a.example", false),
            ("a.example", "@a.example", false),
            ("a.example", "u@", false),
            ("!a.example a.example", "u@a.example", false),
            ("!!a.example", "u@a.example", true),
            ("a.example !a.example", "u@a.example", true),
            ("STRASSE.example", "u@Straße.example", true),
        ] {
            assert_eq!(admits(list, key), expected, "{list:?} {key:?}");
        }
        assert!(DomainList::parse(b"a, !", true).is_err());
    }

    #[test]
    fn admits_asks_others_for_files_and_tables() {
        let list = DomainList::parse(b"!/etc/no hash:/etc/yes [::1]", true).unwrap();
        assert_eq!(list.items()[2].pattern, DomainPattern::Name(b"[::1]".to_vec()));
        let answer = |file: bool, table: Result<bool, ()>| {
            list.admits(b"u@D", |pattern, domain| {
                assert_eq!(domain, b"d");
                if matches!(pattern, DomainPattern::File(_)) { Ok(file) } else { table }
            })
        };
        assert_eq!(answer(true, Ok(true)), Ok(false));
        assert_eq!(answer(false, Ok(true)), Ok(true));
        assert_eq!(answer(false, Ok(false)), Ok(false));
        assert_eq!(answer(false, Err(())), Err(()));
    }
}
