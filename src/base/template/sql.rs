//! Which values of an SQL template can be parameters of a prepared statement, so that what the database answers stays as
//! it is with stock, which writes them into the text of the statement.
//!
//! A plain `'...'` literal becomes one parameter: its whole text, filled in. Where a literal is something else for the
//! database than a text (a prefix, a backslash, a neighbour that it is joined with, an ordinal in ORDER BY), it is written
//! into the statement, escaped, as stock does it. A template with a value where escaping alone does not hold (outside of
//! quotes, say), or that cannot be read for certain, gets no parameters at all: its statement is that of stock.

mod scan;
mod words;

use crate::compile::{Piece, Side, Template, TemplateError, Variable};
use crate::expand::{Key, Quote};
use crate::quote::unquoted;
use crate::results::TooLong;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB. Parameters are `?`.
    Mysql,
    /// PostgreSQL. Parameters are `$1`, `$2`, ...
    Pgsql,
    /// SQLite. Parameters are `?`.
    Sqlite,
}

/// Where a value of the key stands in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a plain literal, which becomes the parameter of this number, from 1.
    Parameter(usize),
    /// It has to be escaped and written into the statement.
    Escaped(Why),
}

/// Why a value is not part of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is outside of any quotes.
    Unquoted,
    /// It is in double quotes, backticks or brackets.
    OtherQuotes,
    /// Something before the literal gives it a meaning: `E'...'`, `_utf8'...'`, `date '...'`.
    Prefixed,
    /// Something after the literal does: `COLLATE`, an alias.
    Followed,
    /// The literal contains a backslash.
    Backslash,
    /// Another literal is beside it, which some databases join to it.
    Beside,
    /// The literal is in ORDER BY, GROUP BY or LIMIT.
    Ordering,
    /// What precedes it cannot be read for certain: a comment, a second statement, a parameter of its own.
    Unclear,
    /// It could be a parameter, but the template has no parameters, because of another of its parts or by request.
    Another,
}

impl Why {
    /// Whether an escaped value stays within its quotes there, whatever it is.
    fn is_safe(self) -> bool {
        matches!(self, Why::Followed | Why::Beside | Why::Ordering)
    }
}

/// A value of the key in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What is filled in.
    pub variable: Variable,
    /// Where.
    pub place: Place,
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlPart {
    /// SQL as the template has it.
    Text(Vec<u8>),
    /// A value that is escaped.
    Escaped(Variable),
    /// A parameter, and what makes its text. It replaces a literal with its quotes.
    Parameter(Vec<Piece>),
}

/// An SQL template with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlTemplate {
    dialect: Dialect,
    parts: Vec<SqlPart>,
    occurrences: Vec<Occurrence>,
}

/// A statement, and the texts of its parameters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Its text.
    pub sql: Vec<u8>,
    /// Its parameters.
    pub parameters: Vec<Vec<u8>>,
}

impl SqlTemplate {
    /// Compiles `text`.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile(text: &[u8], dialect: Dialect) -> Result<SqlTemplate, TemplateError> {
        Ok(SqlTemplate::of(&Template::compile(text, Side::Query)?, dialect))
    }

    /// Finds the parameters of `template`.
    #[must_use]
    pub fn of(template: &Template, dialect: Dialect) -> SqlTemplate {
        let scan::Scanned { parts, occurrences, clear } = scan::scan(template, dialect);
        let holds = |found: &Occurrence| match found.place {
            Place::Parameter(_) => true,
            Place::Escaped(why) => why.is_safe(),
        };
        if clear && occurrences.iter().all(holds) {
            SqlTemplate { dialect, parts, occurrences }
        } else {
            SqlTemplate::escaped(template, dialect, occurrences)
        }
    }

    /// The same template without any parameter, for a server that refuses to prepare it: the statement of stock.
    #[must_use]
    pub fn without_parameters(template: &Template, dialect: Dialect) -> SqlTemplate {
        SqlTemplate::escaped(template, dialect, scan::scan(template, dialect).occurrences)
    }

    fn escaped(template: &Template, dialect: Dialect, mut occurrences: Vec<Occurrence>) -> SqlTemplate {
        for found in &mut occurrences {
            if matches!(found.place, Place::Parameter(_)) {
                found.place = Place::Escaped(Why::Another);
            }
        }
        let part = |piece: &Piece| match piece {
            Piece::Text(text) => SqlPart::Text(text.clone()),
            Piece::Variable(variable) => SqlPart::Escaped(*variable),
        };
        SqlTemplate { dialect, parts: template.pieces().iter().map(part).collect(), occurrences }
    }

    /// What is filled in, in order, and where each stands.
    #[must_use]
    pub fn occurrences(&self) -> &[Occurrence] {
        &self.occurrences
    }

    /// Its parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[SqlPart] {
        &self.parts
    }

    /// Whether the text of its statement is the same for every key, so that it needs to be prepared only once.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, SqlPart::Escaped(_)))
    }

    /// The statement for `key`. `quote` escapes a text for the inside of a literal, as the connection needs it. The
    /// statement and all parameters together have `limit` bytes at most.
    ///
    /// # Errors
    /// They would be longer.
    pub fn statement(
        &self,
        key: &Key<'_>,
        quote: &mut Quote<'_>,
        limit: usize,
    ) -> Result<Statement, TooLong> {
        let mut made = Statement::default();
        let mut left = limit;
        for part in &self.parts {
            let before = made.sql.len();
            match part {
                SqlPart::Text(text) => made.sql.extend_from_slice(text),
                SqlPart::Escaped(variable) => {
                    let most = before.saturating_add(left);
                    key.fill(&[Piece::Variable(*variable)], None, quote, most, &mut made.sql)?;
                }
                SqlPart::Parameter(pieces) => {
                    let mut text = Vec::new();
                    key.fill(pieces, None, &mut unquoted, left, &mut text)?;
                    left = left.checked_sub(text.len()).ok_or(TooLong)?;
                    made.parameters.push(text);
                    match self.dialect {
                        Dialect::Mysql | Dialect::Sqlite => made.sql.push(b'?'),
                        Dialect::Pgsql => {
                            made.sql.extend_from_slice(format!("${}", made.parameters.len()).as_bytes());
                        }
                    }
                }
            }
            left = left.checked_sub(made.sql.len().saturating_sub(before)).ok_or(TooLong)?;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests;
