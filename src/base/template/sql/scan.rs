//! Reading an SQL template: where its literals begin and end. Whatever it does not know for certain is [`Why::Unclear`],
//! from there to the end.

use super::{Dialect, Occurrence, Place, SqlPart, Why, words};
use crate::compile::{Piece, Template, Variable};

/// A byte of the template, or something that is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte(u8),
    Filled(Variable),
}

/// What stands before the place that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An operator, a comma, an opening parenthesis, or a word that precedes a value.
    Open,
    /// Anything that could give a literal a meaning.
    Word,
    /// A literal.
    Literal,
}

struct Scanner<'t> {
    dialect: Dialect,
    units: &'t [Unit],
    at: usize,
    before: Before,
    /// For each parenthesis that is open, whether it is in an ORDER BY or the like; the last one is the innermost.
    ordering: Vec<bool>,
    parameters: usize,
    parts: Vec<SqlPart>,
    text: Vec<u8>,
    occurrences: Vec<Occurrence>,
    clear: bool,
}

/// What was read.
pub(super) struct Scanned {
    /// The parts of the template.
    pub parts: Vec<SqlPart>,
    /// Where each of its values stands.
    pub occurrences: Vec<Occurrence>,
    /// Whether all of it could be read for certain. If not, a parameter could be taken for one that the template has.
    pub clear: bool,
}

/// Reads `template`.
pub(super) fn scan(template: &Template, dialect: Dialect) -> Scanned {
    let units: Vec<Unit> = template.pieces().iter().flat_map(units_of).collect();
    let mut scanner = Scanner {
        dialect,
        units: &units,
        at: 0,
        before: Before::Word,
        ordering: vec![false],
        parameters: 0,
        parts: Vec::new(),
        text: Vec::new(),
        occurrences: Vec::new(),
        clear: true,
    };
    while let Some(unit) = units.get(scanner.at).copied() {
        scanner.step(unit);
    }
    scanner.end_text();
    Scanned { parts: scanner.parts, occurrences: scanner.occurrences, clear: scanner.clear }
}

fn units_of(piece: &Piece) -> Vec<Unit> {
    match piece {
        Piece::Text(text) => text.iter().copied().map(Unit::Byte).collect(),
        Piece::Variable(variable) => vec![Unit::Filled(*variable)],
    }
}

impl Scanner<'_> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        match self.units.get(self.at.saturating_add(ahead)) {
            Some(Unit::Byte(byte)) => Some(*byte),
            _ => None,
        }
    }

    /// Takes what is at the current place.
    fn step(&mut self, unit: Unit) {
        let Unit::Byte(byte) = unit else {
            self.copy(1, Why::Unquoted);
            return self.give_up();
        };
        let next = self.byte(1);
        let starts_comment = matches!((byte, next), (b'-', Some(b'-')) | (b'/', Some(b'*')))
            || (byte == b'#' && self.dialect == Dialect::Mysql);
        let is_parameter = match self.dialect {
            Dialect::Mysql => byte == b'?',
            // Also the beginning of a literal between dollar signs.
            Dialect::Pgsql => byte == b'$',
            Dialect::Sqlite => b"?:@$#".contains(&byte),
        };
        if starts_comment || is_parameter || byte == b'\\' || byte == 0 {
            return self.give_up();
        }
        match byte {
            b'\'' => self.literal(),
            b'"' => self.skip_quoted(b'"'),
            b'`' if self.dialect != Dialect::Pgsql => self.skip_quoted(b'`'),
            b'[' if self.dialect == Dialect::Sqlite => self.skip_quoted(b']'),
            b';' => {
                self.copy(1, Why::Unclear);
                if self.units.get(self.at..).is_some_and(|rest| rest.iter().any(|unit| !is_space(*unit))) {
                    self.give_up();
                }
            }
            byte if is_word(byte) => self.word(),
            byte => {
                self.copy(1, Why::Unclear);
                match byte {
                    b'(' => self.ordering.push(self.is_ordering()),
                    b')' if self.ordering.len() > 1 => drop(self.ordering.pop()),
                    _ => {}
                }
                if !is_space(Unit::Byte(byte)) {
                    let closes = b")].{}@$:".contains(&byte);
                    self.before = if closes { Before::Word } else { Before::Open };
                }
            }
        }
    }

    fn is_ordering(&self) -> bool {
        self.ordering.last().copied().unwrap_or_default()
    }

    fn word(&mut self) {
        let rest = self.units.get(self.at..).unwrap_or_default();
        let length =
            rest.iter().take_while(|unit| matches!(unit, Unit::Byte(byte) if is_word(*byte))).count();
        let word = bytes(rest.get(..length).unwrap_or_default());
        if words::orders(&word)
            && let Some(innermost) = self.ordering.last_mut()
        {
            *innermost = true;
        }
        self.copy(length, Why::Unclear);
        // `LIKE'...'` and `E'...'` look alike: a word that touches the literal is taken for a prefix.
        let touches = self.byte(0) == Some(b'\'');
        let opens = !touches && words::precedes_a_value(&word);
        self.before = if opens { Before::Open } else { Before::Word };
    }

    /// A quoted name (or, in MySQL, a text), which stays as it is.
    fn skip_quoted(&mut self, close: u8) {
        let rest = self.units.get(self.at.saturating_add(1)..).unwrap_or_default();
        let end = rest.iter().position(|unit| *unit == Unit::Byte(close));
        let inside = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let is_plain =
            end.is_some() && inside.iter().all(|unit| matches!(unit, Unit::Byte(byte) if *byte != b'\\'));
        self.copy(inside.len().saturating_add(2), Why::OtherQuotes);
        if !is_plain {
            return self.give_up();
        }
        let is_text = close == b'"' && self.dialect == Dialect::Mysql;
        self.before = if is_text { Before::Literal } else { Before::Word };
    }

    /// A literal in single quotes.
    fn literal(&mut self) {
        let rest = self.units.get(self.at.saturating_add(1)..).unwrap_or_default();
        let quote = Unit::Byte(b'\'');
        let (mut length, mut inside, mut closed) = (0_usize, Vec::new(), false);
        let mut units = rest.iter().copied().peekable();
        while let Some(unit) = units.next() {
            length = length.saturating_add(1);
            if unit == quote && units.next_if_eq(&quote).is_none() {
                closed = true;
                break;
            }
            length = length.saturating_add(usize::from(unit == quote));
            inside.push(unit);
        }
        let whole = length.saturating_add(1);
        let backslash = inside.contains(&Unit::Byte(b'\\'));
        let after = self.after(rest.get(length..).unwrap_or_default());
        let why = match self.before {
            _ if !closed => Some(Why::Unclear),
            _ if backslash => Some(Why::Backslash),
            Before::Word => Some(Why::Prefixed),
            Before::Literal => Some(Why::Beside),
            Before::Open if self.is_ordering() => Some(Why::Ordering),
            Before::Open => after,
        };
        let is_filled = inside.iter().any(|unit| matches!(unit, Unit::Filled(_)));
        match why {
            None if is_filled => self.parameter(&inside, whole),
            why => self.copy(whole, why.unwrap_or(Why::Unclear)),
        }
        self.before = Before::Literal;
        if backslash || !closed {
            self.give_up();
        }
    }

    /// What follows a literal and changes it.
    fn after(&self, rest: &[Unit]) -> Option<Why> {
        let start = rest.iter().position(|unit| !is_space(*unit)).unwrap_or(rest.len());
        let rest = rest.get(start..).unwrap_or_default();
        match rest.first() {
            None => None,
            Some(Unit::Filled(_)) => Some(Why::Followed),
            Some(Unit::Byte(b'\'' | b'"')) => Some(Why::Beside),
            Some(Unit::Byte(byte)) if is_word(*byte) => {
                let word = rest.iter().take_while(|unit| matches!(unit, Unit::Byte(byte) if is_word(*byte)));
                let word = bytes(&word.copied().collect::<Vec<_>>());
                (start == 0 || !words::follows_a_value(&word)).then_some(Why::Followed)
            }
            // A comment may hide another literal; names in other quotes may be aliases.
            Some(Unit::Byte(b'-' | b'/' | b'#' | b'`' | b'[')) => Some(Why::Followed),
            Some(Unit::Byte(_)) => None,
        }
    }

    fn parameter(&mut self, inside: &[Unit], whole: usize) {
        self.end_text();
        self.parameters = self.parameters.saturating_add(1);
        let mut pieces = Vec::new();
        for unit in inside {
            match (unit, pieces.last_mut()) {
                (Unit::Byte(byte), Some(Piece::Text(text))) => text.push(*byte),
                (Unit::Byte(byte), _) => pieces.push(Piece::Text(vec![*byte])),
                (Unit::Filled(variable), _) => {
                    pieces.push(Piece::Variable(*variable));
                    let place = Place::Parameter(self.parameters);
                    self.occurrences.push(Occurrence { variable: *variable, place });
                }
            }
        }
        self.parts.push(SqlPart::Parameter(pieces));
        self.at = self.at.saturating_add(whole);
    }

    /// Takes `count` units as they are.
    fn copy(&mut self, count: usize, why: Why) {
        let end = self.at.saturating_add(count).min(self.units.len());
        for unit in self.units.get(self.at..end).unwrap_or_default() {
            match unit {
                Unit::Byte(byte) => self.text.push(*byte),
                Unit::Filled(variable) => {
                    self.end_text();
                    self.parts.push(SqlPart::Escaped(*variable));
                    let place = Place::Escaped(why);
                    self.occurrences.push(Occurrence { variable: *variable, place });
                }
            }
        }
        self.at = end;
    }

    /// Takes the rest as it is, because it cannot be read for certain.
    fn give_up(&mut self) {
        self.copy(self.units.len(), Why::Unclear);
        self.clear = false;
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(SqlPart::Text(std::mem::take(&mut self.text)));
        }
    }
}

fn bytes(units: &[Unit]) -> Vec<u8> {
    let byte = |unit: &Unit| match unit {
        Unit::Byte(byte) => Some(*byte),
        Unit::Filled(_) => None,
    };
    units.iter().filter_map(byte).collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_space(unit: Unit) -> bool {
    matches!(unit, Unit::Byte(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))
}
