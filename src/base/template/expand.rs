//! The templates of one table together, and what they make of a key.
//!
//! Source: measured with postmap 3.7.11 and sqlite tables. What one template of a table needs of a key, all of them need:
//! a result template with `%D` keeps the query from being asked for a key without a domain.

use crate::address::Address;
use crate::compile::{Piece, Side, Template, TemplateError, Variable};
use crate::results::{Added, ResultError, Results, TooLong};

/// Appends a text that is filled in, as it has to be written where it goes.
pub type Quote<'q> = dyn FnMut(&[u8], &mut Vec<u8>) + 'q;

/// What a template has to have of the key and of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Needs {
    key_user: bool,
    key_domain: bool,
    value_user: bool,
    value_domain: bool,
    labels: u8,
}

impl Needs {
    fn add(&mut self, variable: Variable) {
        match variable {
            Variable::Key | Variable::Value => {}
            Variable::KeyUser => self.key_user = true,
            Variable::KeyDomain => self.key_domain = true,
            Variable::KeyLabel(number) => {
                self.key_domain = true;
                self.labels = self.labels.max(number);
            }
            Variable::ValueUser => self.value_user = true,
            Variable::ValueDomain => self.value_domain = true,
        }
    }
}

/// A key that the templates of a table can be filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'k> {
    address: Address<'k>,
    /// The labels of its domain that are not empty, the last one first.
    labels: [&'k [u8]; 9],
}

impl Key<'_> {
    /// What `variable` stands for; nothing for a variable of values.
    fn get(&self, variable: Variable) -> Option<&[u8]> {
        match variable {
            Variable::Key => Some(self.address.whole),
            Variable::KeyUser => Some(self.address.user),
            Variable::KeyDomain => self.address.domain,
            Variable::KeyLabel(number) => self.labels.get(usize::from(number).checked_sub(1)?).copied(),
            Variable::Value | Variable::ValueUser | Variable::ValueDomain => None,
        }
    }

    /// Appends `pieces`, filled with this key and `value`.
    pub(crate) fn fill(
        &self,
        pieces: &[Piece],
        value: Option<&Address<'_>>,
        quote: &mut Quote<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Variable(variable) => {
                    let text = match (variable, value) {
                        (Variable::Value, Some(value)) => Some(value.whole),
                        (Variable::ValueUser, Some(value)) => Some(value.user),
                        (Variable::ValueDomain, Some(value)) => value.domain,
                        (variable, _) => self.get(*variable),
                    };
                    quote(text.unwrap_or_default(), out);
                }
            }
            if out.len() > limit {
                return Err(TooLong);
            }
        }
        Ok(())
    }
}

/// All templates of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    queries: Vec<Template>,
    result: Template,
    needs: Needs,
}

impl Templates {
    /// Checks the templates of a table: what it asks (an LDAP table has two, its base and its filter), and its
    /// `result_format`.
    ///
    /// # Errors
    /// The first that is wrong: which side, its number among the queries, and what.
    pub fn compile(queries: &[&[u8]], result: &[u8]) -> Result<Templates, (Side, usize, TemplateError)> {
        let each = queries.iter().enumerate().map(|(number, text)| {
            Template::compile(text, Side::Query).map_err(|error| (Side::Query, number, error))
        });
        let queries = each.collect::<Result<Vec<_>, _>>()?;
        let result = Template::compile(result, Side::Result).map_err(|error| (Side::Result, 0, error))?;
        let mut needs = Needs::default();
        let all = queries.iter().chain([&result]).flat_map(Template::variables);
        all.for_each(|variable| needs.add(variable));
        Ok(Templates { queries, result, needs })
    }

    /// What the table asks.
    #[must_use]
    pub fn queries(&self) -> &[Template] {
        &self.queries
    }

    /// The key as the templates need it. `None` if they need a part that it does not have: then nothing is asked, and the
    /// key is not in the table. An empty key is in no table.
    #[must_use]
    pub fn key<'k>(&self, key: &'k [u8]) -> Option<Key<'k>> {
        let address = Address::of(key);
        let (needs, mut labels) = (self.needs, [&b""[..]; 9]);
        if key.is_empty()
            || (needs.key_domain && !address.has_domain())
            || (needs.key_user && address.lacks_user())
        {
            return None;
        }
        // Empty labels do not count, wherever they are.
        let given = address.domain.unwrap_or_default().rsplit(|byte| *byte == b'.');
        let mut count = 0_u8;
        for (slot, label) in labels.iter_mut().zip(given.filter(|label| !label.is_empty())) {
            *slot = label;
            count = count.saturating_add(1);
        }
        (count >= needs.labels).then_some(Key { address, labels })
    }

    /// Appends query `number` for `key`. `limit` is that of `out` in bytes; it is exceeded by at most the longest piece.
    ///
    /// # Errors
    /// `out` would become longer than `limit`.
    pub fn query(
        &self,
        number: usize,
        key: &Key<'_>,
        quote: &mut Quote<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        let pieces = self.queries.get(number).map(Template::pieces).unwrap_or_default();
        key.fill(pieces, None, quote, limit, out)
    }

    /// Adds one value, the column of a row, to `results`. A value ends at its first NUL byte.
    ///
    /// # Errors
    /// There are more values than `expansion_limit` allows, or the result is too long: the lookup has failed.
    pub fn add(
        &self,
        key: &Key<'_>,
        value: Option<&[u8]>,
        results: &mut Results,
    ) -> Result<Added, ResultError> {
        let Some(value) = value else { return Ok(Added::Skipped) };
        let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
        if value.is_empty() {
            return Ok(Added::SkippedEmpty);
        }
        let address = Address::of(value);
        if (self.needs.value_domain && !address.has_domain())
            || (self.needs.value_user && address.lacks_user())
        {
            return Ok(Added::Skipped);
        }
        results.add(|limit, out| {
            key.fill(self.result.pieces(), Some(&address), &mut crate::quote::unquoted, limit, out)
        })
    }
}

#[cfg(test)]
mod tests;
