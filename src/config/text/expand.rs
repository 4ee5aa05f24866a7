//! The macro language of main.cf values.
//!
//! Pure: text and a way to look names up go in, text comes out. Bounded in depth, output and work, so that no
//! configuration can hang or exhaust the process. Source: postconf(5) "$name expansion", and postconf 3.7.11 for the
//! odd cases (`tests/against_postconf.rs`):
//!
//! ```text
//! $name ${name} $(name)             the expanded value, empty when undefined; $$ is one $
//! ${name?text} ${name:text}         text if the raw value is not empty / is empty
//! ${name?{x}:{y}}                   blanks around the parts are dropped, those inside braces stay
//! ${{l} OP {r} ?{x}:{y}}            compared after expansion; without ? and : it is "true" or empty
//! ```

use crate::error::{ConfigError, Reason};
use crate::relation::Operator;
use crate::tokens::{BLANK, balanced};

/// References nest at most this deep, as in stock.
const DEEPEST: u32 = 100;
/// Longest expanded value, in bytes.
pub(crate) const LONGEST: usize = 4 * 1024 * 1024;
/// Bytes that one expansion may read, over all values it visits.
pub(crate) const MOST_WORK: usize = 16 * 1024 * 1024;

/// Where names get their raw values, and whether domain functions exist.
pub(crate) trait Names {
    /// The raw value of `name`.
    fn raw_value(&self, name: &[u8]) -> Option<&[u8]>;
    /// `${domain_to_ascii{..}}` and `${domain_to_utf8{..}}` are understood.
    fn has_domain_functions(&self) -> bool;
}

/// One expansion under way.
pub(crate) struct Expansion<'n> {
    names: &'n dyn Names,
    /// Bytes that may still be read.
    work: usize,
    depth: u32,
}

impl<'n> Expansion<'n> {
    /// Prepares an expansion that may read at most `work` bytes.
    pub(crate) fn new(names: &'n dyn Names, work: usize) -> Self {
        Expansion { names, work, depth: 0 }
    }

    /// The work that is left.
    pub(crate) fn work_left(&self) -> usize {
        self.work
    }

    /// Appends the expanded value of the parameter `name`; nothing when it is undefined.
    pub(crate) fn value(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<(), ConfigError> {
        match self.names.raw_value(name) {
            Some(raw) => self.text(raw, out).map_err(|error| error.within(name)),
            None => Ok(()),
        }
    }

    /// Appends `text` with its references expanded.
    pub(crate) fn text(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), ConfigError> {
        self.charge(text.len())?;
        while let Some(at) = text.iter().position(|byte| *byte == b'$') {
            let (literal, reference) = text.split_at(at);
            append(out, literal)?;
            text = self.reference(reference.strip_prefix(b"$").unwrap_or_default(), out)?;
        }
        append(out, text)
    }

    /// Expands the reference whose `$` stands right before `text`; gives what follows it.
    fn reference<'t>(&mut self, text: &'t [u8], out: &mut Vec<u8>) -> Result<&'t [u8], ConfigError> {
        let closed = match text.first() {
            Some(b'$') => {
                append(out, b"$")?;
                return Ok(text.strip_prefix(b"$").unwrap_or_default());
            }
            Some(b'{') => balanced(text, b'{', b'}'),
            Some(b'(') => balanced(text, b'(', b')'),
            _ => Some(split_name(text)),
        };
        let (inner, rest) = closed.ok_or(Reason::Syntax("the closing brace or parenthesis is missing"))?;
        if inner.is_empty() {
            return Err(Reason::Syntax("no name follows the $").into());
        }
        if self.depth >= DEEPEST {
            return Err(Reason::TooDeep.into());
        }
        self.depth = self.depth.saturating_add(1);
        let expanded = self.expression(inner, out);
        self.depth = self.depth.saturating_sub(1);
        expanded.map(|()| rest)
    }

    /// Expands what stands between the braces of a reference.
    fn expression(&mut self, inner: &[u8], out: &mut Vec<u8>) -> Result<(), ConfigError> {
        self.charge(inner.len())?;
        let inner = skip_blanks(inner);
        if inner.first() == Some(&b'{') {
            let (holds, rest) = self.relation(inner)?;
            return match skip_blanks(rest) {
                b"" if holds => append(out, b"true"),
                b"" => Ok(()),
                choice => self.choose(holds, choice, out),
            };
        }
        let (name, rest) = split_name(inner);
        if name.is_empty() {
            return Err(Reason::Syntax("there is no name between the braces").into());
        }
        if self.names.has_domain_functions() && rest.first() == Some(&b'{') && is_domain_function(name) {
            return self.domain(name, rest, out);
        }
        match skip_blanks(rest) {
            b"" => self.value(name, out),
            choice => {
                // The raw value decides, even if its own expansion would be empty.
                let filled = self.names.raw_value(name).is_some_and(|value| !value.is_empty());
                self.choose(filled, choice, out)
            }
        }
    }

    /// Evaluates `{left} OP {right}`; gives what follows it.
    fn relation<'t>(&mut self, text: &'t [u8]) -> Result<(bool, &'t [u8]), ConfigError> {
        let operand = || Reason::Syntax("an {operand} of a comparison is missing");
        let (left, rest) = balanced(text, b'{', b'}').ok_or_else(operand)?;
        let (operator, rest) = Operator::read(skip_blanks(rest))?;
        let (right, rest) = balanced(skip_blanks(rest), b'{', b'}').ok_or_else(operand)?;
        let (mut left_value, mut right_value) = (Vec::new(), Vec::new());
        self.text(left, &mut left_value)?;
        self.text(right, &mut right_value)?;
        Ok((operator.holds(&left_value, &right_value)?, rest))
    }

    /// Expands the chosen part of `?x`, `:y`, `?{x}`, `:{y}` or `?{x}:{y}`. The other part is not looked into.
    fn choose(&mut self, condition: bool, text: &[u8], out: &mut Vec<u8>) -> Result<(), ConfigError> {
        let (if_true, if_false) = if let Some(rest) = text.strip_prefix(b"?") {
            match part(rest)? {
                (yes, b"") => (yes, &b""[..]),
                (yes, more) => {
                    let no =
                        more.strip_prefix(b":").ok_or(Reason::Syntax("\":\" is expected after ?{..}"))?;
                    (yes, last_part(no)?)
                }
            }
        } else if let Some(rest) = text.strip_prefix(b":") {
            (&b""[..], last_part(rest)?)
        } else {
            return Err(Reason::Syntax("only \"?\" or \":\" may follow a name or a comparison").into());
        };
        self.text(if condition { if_true } else { if_false }, out)
    }

    /// `${domain_to_ascii{..}}` and `${domain_to_utf8{..}}`: text that is the same in both forms passes.
    fn domain(&mut self, name: &[u8], text: &[u8], out: &mut Vec<u8>) -> Result<(), ConfigError> {
        let syntax = Reason::Syntax("a domain function needs exactly one {argument}");
        let Some((argument, b"")) = balanced(text, b'{', b'}') else { return Err(syntax.into()) };
        let mut value = Vec::new();
        self.text(argument, &mut value)?;
        let encoded = value.windows(4).any(|window| window.eq_ignore_ascii_case(b"xn--"));
        if !value.is_ascii() || (name == b"domain_to_utf8" && encoded) {
            return Err(Reason::NotAscii.into());
        }
        append(out, &value)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ConfigError> {
        let cost = bytes.saturating_add(1);
        self.work = self.work.checked_sub(cost).ok_or(Reason::TooLarge)?;
        Ok(())
    }
}

/// If `token` is nothing but one plain reference (`$name`, `${name}` or `$(name)`), its name.
pub(crate) fn sole_reference(token: &[u8]) -> Option<&[u8]> {
    let after = token.strip_prefix(b"$")?;
    let inner = match after.first() {
        Some(b'{') => after.strip_prefix(b"{")?.strip_suffix(b"}")?,
        Some(b'(') => after.strip_prefix(b"(")?.strip_suffix(b")")?,
        _ => after,
    };
    (!inner.is_empty() && inner.iter().all(|byte| is_name_byte(*byte))).then_some(inner)
}

/// Does every reference in `text` have a name and its closing brace? Does not look inside braces.
pub(crate) fn references_are_whole(mut text: &[u8]) -> bool {
    while let Some(at) = text.iter().position(|byte| *byte == b'$') {
        let (_, reference) = text.split_at(at);
        let after = reference.strip_prefix(b"$").unwrap_or_default();
        let closed = match after.first() {
            Some(b'$') => after.strip_prefix(b"$").map(|rest| (&b"$"[..], rest)),
            Some(b'{') => balanced(after, b'{', b'}'),
            Some(b'(') => balanced(after, b'(', b')'),
            _ => Some(split_name(after)),
        };
        match closed {
            Some((inner, rest)) if !inner.is_empty() => text = rest,
            _ => return false,
        }
    }
    true
}

/// A part after `?`: the inside of its braces, or all the text when there are none. Gives what follows.
fn part(text: &[u8]) -> Result<(&[u8], &[u8]), ConfigError> {
    let braced = skip_blanks(text);
    if braced.first() != Some(&b'{') {
        return Ok((text, b""));
    }
    let (inner, rest) = balanced(braced, b'{', b'}').ok_or(Reason::Syntax("a \"}\" is missing"))?;
    Ok((inner, skip_blanks(rest)))
}

fn last_part(text: &[u8]) -> Result<&[u8], ConfigError> {
    match part(text)? {
        (inner, b"") => Ok(inner),
        _ => Err(Reason::Syntax("there is text after the last {..} of a choice").into()),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_domain_function(name: &[u8]) -> bool {
    name == b"domain_to_ascii" || name == b"domain_to_utf8"
}

fn split_name(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(text.len()))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    text.split_at(text.iter().position(|byte| !BLANK.contains(byte)).unwrap_or(text.len())).1
}

fn append(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ConfigError> {
    if out.len().saturating_add(text.len()) > LONGEST {
        return Err(Reason::TooLarge.into());
    }
    out.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests;
