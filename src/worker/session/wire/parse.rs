//! From a complete list of attributes to a request, or to the reason why it is none.

use memchr::memchr;

use super::complaint::Complaint;
use super::scan::{Scanner, Violation};
use super::{Call, Dialect, Function, Limits, Reply, Request, Status, Verb};
use crate::flags::Flags;

/// What the bytes received so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The request is not complete.
    NeedMore,
    /// A request to be answered. It took `consumed` bytes; more may follow.
    Request {
        /// The request.
        request: Request<'a>,
        /// To be logged, if there: attributes followed that no request has. They are ignored.
        complaint: Option<Complaint<'a>>,
        /// Bytes of the buffer that belong to it.
        consumed: usize,
    },
    /// A complete list that is not a request, but has enough to be answered with BAD, as in stock. The connection stays
    /// usable.
    Malformed {
        /// The whole reply.
        reply: Reply<'static>,
        /// The shape in which to send it.
        dialect: Dialect,
        /// The problem, for the log.
        complaint: Complaint<'a>,
        /// Bytes of the buffer that belong to it.
        consumed: usize,
    },
    /// No sensible answer exists: log the reason once and close this connection.
    Violation(Violation<'a>),
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    scanner: Scanner,
    limits: Limits,
}

impl Parser {
    /// A parser at the start of a request.
    #[must_use]
    pub fn new(limits: Limits) -> Parser {
        Parser { scanner: Scanner::default(), limits }
    }

    /// Looks at the request that starts with the first byte of `buffer`.
    ///
    /// After `NeedMore`, call again with the same bytes and more. After `Request` or `Malformed`, call
    /// again with the bytes after `consumed`, at once: pipelined requests are answered in order.
    /// (To move the rest to the front after each of many small requests would cost the square
    /// of the buffer; keep an offset.) After `Violation`, close the connection.
    pub fn parse<'a>(&mut self, buffer: &'a [u8]) -> Progress<'a> {
        if let Some((request, consumed)) = self.at_a_glance(buffer) {
            return Progress::Request { request, complaint: None, consumed };
        }
        match self.scanner.advance(buffer, &self.limits) {
            Err(violation) => Progress::Violation(violation),
            Ok(None) => Progress::NeedMore,
            Ok(Some(consumed)) => {
                let rest = buffer.get(..consumed).unwrap_or_default();
                let list = Attributes { rest, number_limit: self.limits.attribute_name };
                interpret(list, consumed)
            }
        }
    }
}

impl Parser {
    /// The request at the start of `buffer`, if it is there whole and nothing about it is worth a word: what nearly every
    /// client sends. Whatever else there is takes the long way, which looks for the end before it looks at the rest.
    fn at_a_glance<'a>(&self, buffer: &'a [u8]) -> Option<(Request<'a>, usize)> {
        if !self.scanner.is_fresh() {
            return None;
        }
        let mut list = Attributes { rest: buffer, number_limit: self.limits.attribute_name };
        let verb = Verb::from_name(list.expect("request").ok()?)?;
        let request = arguments(&mut list, verb, &mut None).ok()?;
        let behind = list.rest.strip_prefix(&[0])?;
        let consumed = buffer.len().checked_sub(behind.len())?;
        self.limits.allow(&request, consumed).then_some((request, consumed))
    }
}

/// The attributes of a list that are still to come.
#[derive(Clone, Copy)]
struct Attributes<'a> {
    rest: &'a [u8],
    /// The longest text of a number, in bytes.
    number_limit: usize,
}

impl<'a> Attributes<'a> {
    /// Name and value of the next attribute; nothing at the end of the list.
    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, rest) = split_nul(self.rest).filter(|(name, _)| !name.is_empty())?;
        let (value, rest) = split_nul(rest)?;
        self.rest = rest;
        Some((name, value))
    }

    /// The value of the next attribute, which must have this name.
    fn expect(&mut self, expected: &'static str) -> Result<&'a [u8], Complaint<'a>> {
        let known = self.rest.strip_prefix(expected.as_bytes()).and_then(|rest| rest.strip_prefix(&[0]));
        if let Some((value, rest)) = known.and_then(split_nul) {
            self.rest = rest;
            return Ok(value);
        }
        let found = self.next().map(|(name, _)| name);
        Err(found.map_or(Complaint::Missing { expected }, |found| Complaint::Unexpected { found, expected }))
    }

    /// The next attribute as a number.
    fn expect_number(&mut self, expected: &'static str) -> Result<u32, Complaint<'a>> {
        self.expect(expected).and_then(|text| self.number(text))
    }
}

impl Attributes<'_> {
    /// Decimal digits that fit in 32 bits.
    fn number<'t>(&self, text: &'t [u8]) -> Result<u32, Complaint<'t>> {
        let bad = Complaint::BadNumber { found: text };
        if text.is_empty() || text.len() > self.number_limit {
            return Err(bad);
        }
        text.iter().try_fold(0_u32, |sum, byte| match byte {
            b'0'..=b'9' => {
                let digit = u32::from(byte.wrapping_sub(b'0'));
                sum.checked_mul(10).and_then(|tens| tens.checked_add(digit)).ok_or(bad)
            }
            _ => Err(bad),
        })
    }
}

/// The parts before and after the first NUL byte.
fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(memchr(0, bytes)?)?;
    Some((before, rest.get(1..)?))
}

/// Reads one complete list.
fn interpret(mut list: Attributes<'_>, consumed: usize) -> Progress<'_> {
    let name = match list.expect("request") {
        Ok(name) => name,
        Err(complaint) => return Progress::Violation(Violation::NotARequest(complaint)),
    };
    let Some(verb) = Verb::from_name(name) else {
        return Progress::Malformed {
            reply: Reply::Unrecognized,
            // The shape is the same in both dialects.
            dialect: Dialect::Old,
            complaint: Complaint::Unrecognized { name },
            consumed,
        };
    };
    // Known once `table` is past. The shape of open replies is the same in both dialects.
    let mut dialect = (verb == Verb::Open).then_some(Dialect::Old);
    match arguments(&mut list, verb, &mut dialect) {
        Ok(request) => {
            let complaint =
                list.next().map(|(found, _)| Complaint::Unexpected { found, expected: "(list terminator)" });
            Progress::Request { request, complaint, consumed }
        }
        Err(complaint) => match dialect {
            Some(dialect) => {
                let reply = Reply::refusal(verb, Status::Bad);
                Progress::Malformed { reply, dialect, complaint, consumed }
            }
            None => Progress::Violation(Violation::UnknownDialect(complaint)),
        },
    }
}

/// Reads everything after `request`, in the one order that the protocol has, and notes the dialect as
/// soon as it shows.
fn arguments<'a>(
    list: &mut Attributes<'a>,
    verb: Verb,
    dialect: &mut Option<Dialect>,
) -> Result<Request<'a>, Complaint<'a>> {
    let table = list.expect("table")?;
    let (name, first) = list.next().ok_or(Complaint::Missing { expected: "flags" })?;
    let shape = match name {
        b"instance_flags" => Dialect::New,
        b"flags" => Dialect::Old,
        found => return Err(Complaint::Unexpected { found, expected: "flags" }),
    };
    *dialect = Some(shape);
    let instance_flags = Flags(list.number(first)?);
    let flags = match (shape, verb) {
        (Dialect::Old, _) | (_, Verb::Open) => instance_flags,
        (Dialect::New, _) => Flags(list.expect_number("flags")?),
    };
    let call = match verb {
        Verb::Open => Call::Open,
        Verb::Lookup => Call::Lookup { key: list.expect("key")? },
        Verb::Update => Call::Update { key: list.expect("key")?, value: list.expect("value")? },
        Verb::Delete => Call::Delete { key: list.expect("key")? },
        Verb::Sequence => match list.expect_number("function")? {
            0 => Call::Sequence { function: Function::First },
            1 => Call::Sequence { function: Function::Next },
            found => return Err(Complaint::BadFunction { found }),
        },
    };
    Ok(Request { dialect: shape, table, instance_flags, flags, call })
}
