//! From the text of a template to its pieces. Every error in a template is found here, once.
//!
//! Source: mysql_table(5); that anything else after `%` ends the program, measured with postmap 3.7.11.

/// The longest template in bytes. Postfix has no limit; the longest query that makes sense is far below this.
pub const MAX_TEMPLATE: usize = 65_536;

/// What a `%` sequence stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The key (`%s` and `%S` of a query, `%S` of a result).
    Key,
    /// The key's local part, or all of a key without `@` (`%u` and `%U` of a query, `%U` of a result).
    KeyUser,
    /// The key's domain (`%d` and `%D` of a query, `%D` of a result).
    KeyDomain,
    /// A label of the key's domain, from 1, which is the last, to 9 (`%1` to `%9`).
    KeyLabel(u8),
    /// The value (`%s` of a result).
    Value,
    /// The value's local part, or all of a value without `@` (`%u` of a result).
    ValueUser,
    /// The value's domain (`%d` of a result).
    ValueDomain,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that stand for themselves; at least one.
    Text(Vec<u8>),
    /// What is filled in.
    Variable(Variable),
}

/// Which kind of template a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is asked: `query`, `query_filter`, `search_base`, `key_format`.
    Query,
    /// What is made of a value: `result_format`.
    Result,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Side::Query => "query",
            Side::Result => "result",
        })
    }
}

/// Why a text is no template. Its Display says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A `%` with something after it that means nothing.
    Unknown {
        /// Where the `%` is, in bytes from 1.
        at: usize,
        /// What follows it; `None` at the end of the text.
        found: Option<u8>,
    },
    /// The text is longer than [`MAX_TEMPLATE`].
    TooLong,
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const KNOWN: &str =
            "known are %s, %u, %d, %S, %U, %D and %1 to %9; write %% where a percent sign is meant";
        match self {
            TemplateError::Unknown { at, found: Some(byte) } if byte.is_ascii_graphic() => {
                write!(f, "\"%{}\" (byte {at}) means nothing; {KNOWN}", char::from(*byte))
            }
            TemplateError::Unknown { at, found: Some(byte) } => {
                write!(f, "\"%\" before byte 0x{byte:02x} (byte {at}) means nothing; {KNOWN}")
            }
            TemplateError::Unknown { at, found: None } => {
                write!(f, "the \"%\" at the end (byte {at}) means nothing; {KNOWN}")
            }
            TemplateError::TooLong => write!(f, "it is longer than {MAX_TEMPLATE} bytes; shorten it"),
        }
    }
}

impl std::error::Error for TemplateError {}

/// A template that has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Checks `text`.
    ///
    /// # Errors
    /// A `%` that means nothing, or too long a text.
    pub fn compile(text: &[u8], side: Side) -> Result<Template, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = text.iter().copied().enumerate();
        while let Some((at, byte)) = bytes.next() {
            if byte != b'%' {
                literal.push(byte);
                continue;
            }
            let found = bytes.next().map(|(_, found)| found);
            if found == Some(b'%') {
                literal.push(b'%');
                continue;
            }
            let variable =
                variable(found, side).ok_or(TemplateError::Unknown { at: at.saturating_add(1), found })?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Variable(variable));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Template { pieces })
    }

    /// Its parts, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What is filled in, in order.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(*variable),
            Piece::Text(_) => None,
        })
    }

    /// Whether it depends on the key or the value at all.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.variables().next().is_some()
    }
}

fn variable(letter: Option<u8>, side: Side) -> Option<Variable> {
    Some(match (letter?, side) {
        (b's', Side::Query) | (b'S', _) => Variable::Key,
        (b'u', Side::Query) | (b'U', _) => Variable::KeyUser,
        (b'd', Side::Query) | (b'D', _) => Variable::KeyDomain,
        (b's', Side::Result) => Variable::Value,
        (b'u', Side::Result) => Variable::ValueUser,
        (b'd', Side::Result) => Variable::ValueDomain,
        (digit @ b'1'..=b'9', _) => Variable::KeyLabel(digit.saturating_sub(b'0')),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compile_each_letter_means_what_its_side_says() {
        let query = Template::compile(b"%s%S%u%U%d%D%1%9", Side::Query).unwrap();
        let expected = [
            Variable::Key,
            Variable::Key,
            Variable::KeyUser,
            Variable::KeyUser,
            Variable::KeyDomain,
            Variable::KeyDomain,
            Variable::KeyLabel(1),
            Variable::KeyLabel(9),
        ];
        assert_eq!(query.variables().collect::<Vec<_>>(), expected);
        let result = Template::compile(b"%s %S%u%U%d%D%%x", Side::Result).unwrap();
        let text = |text: &[u8]| Piece::Text(text.to_vec());
        assert_eq!(
            result.pieces(),
            [
                Piece::Variable(Variable::Value),
                text(b" "),
                Piece::Variable(Variable::Key),
                Piece::Variable(Variable::ValueUser),
                Piece::Variable(Variable::KeyUser),
                Piece::Variable(Variable::ValueDomain),
                Piece::Variable(Variable::KeyDomain),
                text(b"%x"),
            ]
        );
    }

    #[test]
    fn compile_unknown_sequence_is_refused_with_its_place() {
        let error = |text: &[u8]| Template::compile(text, Side::Query).unwrap_err();
        assert_eq!(error(b"a%0"), TemplateError::Unknown { at: 2, found: Some(b'0') });
        assert_eq!(error(b"%%%"), TemplateError::Unknown { at: 3, found: None });
        assert!(
            error(b"x LIKE '%s%'").to_string().starts_with("\"%'\" (byte 11) means nothing; known are %s")
        );
        assert!(error(b"%\x01").to_string().contains("before byte 0x01"));
        assert_eq!(error(&[b'a'; MAX_TEMPLATE + 1]), TemplateError::TooLong);
        assert!(Template::compile(b"", Side::Result).unwrap().pieces().is_empty());
    }
}
