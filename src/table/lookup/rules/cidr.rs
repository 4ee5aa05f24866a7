//! `cidr:` tables: networks, and the answers for addresses in them.
//!
//! Purpose: parse the rules, and find the first that holds for an address. May: index runs of plain rules, so that
//! 100,000 of them cost no more than a few dozen steps. Never: let a rule hold for an address of the other family, also
//! if it is negated.
//!
//! Addresses are written as inet_pton() takes them: four decimal numbers without leading zeros, or IPv6. A prefix length
//! that does not fit its type is refused here; Postfix lets it wrap around, so that `/4294967296` is `/0`.

mod network;
mod program;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Effort, Keyword, each_line, keyword};
use mapkeep_query::Query;
use mapkeep_query::TableError;
use mapkeep_query::append;
use mapkeep_table_format::text::lines::Place;
use mapkeep_table_format::text::{is_space, trim};
use mapkeep_table_format::{Complaint, Fault, Portion, complain};
use network::{Network, Parsed};
use program::{Builder, Program};

/// How much work a rule is, as a [`Portion`] counts it.
const RULE: usize = 256;

/// A compiled table: one list of steps for each family, and the answers one after another.
pub(crate) struct Cidr {
    v4: Program<u32>,
    v6: Program<u128>,
    answers: Vec<u8>,
    /// Where each answer ends; it begins where the previous one ends.
    ends: Vec<u32>,
}

/// A table that is being built.
pub(crate) struct Building {
    place: Place,
    v4: Builder<u32>,
    v6: Builder<u128>,
    answers: Vec<u8>,
    ends: Vec<u32>,
    /// The lines of blocks that have no end yet.
    open: Vec<u32>,
}

impl Building {
    pub fn new() -> Building {
        let (v4, v6) = (Builder::default(), Builder::default());
        Building { place: Place::START, v4, v6, answers: Vec::new(), ends: Vec::new(), open: Vec::new() }
    }

    /// Goes on with `text`, which is the same each time, until the portion is used up or the table is there. Rules that follow
    /// one another are put in order in one go.
    ///
    /// # Errors
    /// There is no memory; the answers are longer than 4 GiB. Rules with other faults are skipped.
    pub fn step(
        mut self,
        text: &[u8],
        complaints: &mut Vec<Complaint>,
        portion: &mut Portion<'_>,
    ) -> Result<Result<Cidr, Building>, TableError> {
        let mut place = self.place;
        let is_done = each_line(text, &mut place, complaints, portion, |line, content, complaints| {
            self.take(line, content, complaints).map(|()| RULE)
        })?;
        self.place = place;
        if !is_done {
            return Ok(Err(self));
        }
        while let Some(line) = self.open.pop() {
            complain(complaints, line, Fault::IfWithoutEndif);
        }
        let Building { v4, v6, answers, ends, .. } = self;
        Ok(Ok(Cidr { v4: v4.finish()?, v6: v6.finish()?, answers, ends }))
    }

    /// Adds a line.
    fn take(&mut self, line: u32, content: &[u8], complaints: &mut Vec<Complaint>) -> Result<(), TableError> {
        let Building { v4, v6, answers, ends, open, .. } = self;
        match keyword(content) {
            Some(Keyword::If(condition)) => match network::parse(condition) {
                Ok(Parsed { negated, network }) => {
                    open.push(line);
                    v4.begin_block(network.v4().map(|network| (network, negated)), line)?;
                    v6.begin_block(network.v6().map(|network| (network, negated)), line)?;
                }
                Err(fault) => {
                    complain(complaints, line, fault);
                    complain(complaints, line, Fault::Unconditional);
                }
            },
            Some(Keyword::Endif(extra)) if !extra.is_empty() => {
                complain(complaints, line, Fault::ExtraTextSkipped);
            }
            Some(Keyword::Endif(_)) => {
                if open.pop().is_none() {
                    complain(complaints, line, Fault::EndifWithoutIf);
                }
                v4.end_block()?;
                v6.end_block()?;
            }
            None => match rule(content) {
                Ok((Parsed { negated, network }, answer)) => {
                    let number = ends.len();
                    put_answer(answer, answers, ends)?;
                    match network {
                        Network::V4(network) => v4.add(network, negated, number, line)?,
                        Network::V6(network) => v6.add(network, negated, number, line)?,
                    }
                }
                Err(fault) => complain(complaints, line, fault),
            },
        }
        Ok(())
    }
}

impl Cidr {
    /// Fills `answer` and returns true if a rule matches the key. A key that is not an address is not found.
    pub fn find(&self, query: &Query<'_>, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let mut effort = Effort::new(query);
        let found = match address(query.key) {
            Some(Address::V4(address)) => self.v4.find(address, &mut effort)?,
            Some(Address::V6(address)) => self.v6.find(address, &mut effort)?,
            None => None,
        };
        let Some(number) = found else { return Ok(false) };
        let end = |number: usize| self.ends.get(number).and_then(|end| usize::try_from(*end).ok());
        let start = number.checked_sub(1).map_or(Some(0), end);
        let text = start.zip(end(number)).and_then(|(start, end)| self.answers.get(start..end));
        append(answer, text.unwrap_or_default())?;
        Ok(true)
    }
}

/// An address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    V4(u32),
    V6(u128),
}

/// The address that `text` is, and nothing but an address. An IPv4 address in IPv6 form is IPv6.
pub(crate) fn address(text: &[u8]) -> Option<Address> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|address| Address::V6(address.to_bits()));
    }
    text.parse::<Ipv4Addr>().ok().map(|address| Address::V4(address.to_bits()))
}

/// Splits a rule into network and answer.
fn rule(content: &[u8]) -> Result<(Parsed, &[u8]), Fault> {
    let start = content.iter().position(|byte| *byte != b'!' && !is_space(*byte)).ok_or(Fault::BadAddress)?;
    let after = content.get(start..).unwrap_or_default();
    let length = after.iter().position(|byte| is_space(*byte)).unwrap_or(after.len());
    let (pattern, answer) = content.split_at_checked(start.saturating_add(length)).unwrap_or_default();
    let parsed = network::parse(pattern)?;
    match trim(answer) {
        [] => Err(Fault::NoAnswer),
        answer => Ok((parsed, answer)),
    }
}

fn put_answer(answer: &[u8], answers: &mut Vec<u8>, ends: &mut Vec<u32>) -> Result<(), TableError> {
    answers.try_reserve(answer.len()).map_err(|_| TableError::OutOfMemory)?;
    answers.extend_from_slice(answer);
    ends.try_reserve(1).map_err(|_| TableError::OutOfMemory)?;
    ends.push(u32::try_from(answers.len()).map_err(|_| TableError::FileTooLarge)?);
    Ok(())
}

#[cfg(test)]
mod tests;
