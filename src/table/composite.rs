//! Tables made of other tables: `unionmap:`, `pipemap:` and `debug:`.
//!
//! Purpose: parse the name into a tree, and look a key up in it. May: ask the caller for the tables at the leaves.
//! Never: own them, so that each can be loaded, replaced or missing on its own. Called by: the worker, and the broker,
//! which learns from [`members`] what to load.

use std::borrow::Cow;

use mapkeep_proto::{Class, Kind, MAX_NESTING, class_of};

use crate::{Outcome, Table};
use mapkeep_query::Query;
use mapkeep_query::TableError;
use mapkeep_query::append;
use mapkeep_query::fold;
use mapkeep_query::{NulMode, NulModes};

/// A parsed table made of others.
#[derive(Debug)]
pub struct Composite {
    root: Node,
    leaves: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Node {
    Leaf(usize),
    /// `unionmap:` or `pipemap:`, with the class of its first member.
    Many(Join, Class, Vec<Node>),
    /// `debug:`, which adds nothing to what it names; so a client's choice of NUL forms reaches it.
    Same(Box<Node>),
}

/// How the answers of several members become one.
#[derive(Clone, Copy, Debug)]
enum Join {
    Union,
    Pipe,
}

/// What a part of the tree needs to be looked up.
struct Search<'a, 't, B> {
    query: &'a Query<'a>,
    resolve: &'a dyn Fn(usize) -> Result<&'t Table<B>, TableError>,
}

impl Composite {
    /// Parses the name of a table for which [`Kind::is_composite`].
    ///
    /// # Errors
    /// As for [`members`]; [`TableError::WrongKind`] for the name of another table.
    pub fn parse(name: &[u8]) -> Result<Composite, TableError> {
        if !Kind::of(name).is_composite() {
            return Err(TableError::WrongKind);
        }
        let mut leaves = Vec::new();
        let root = parse(name, MAX_NESTING, &mut leaves)?;
        Ok(Composite { root, leaves })
    }

    /// The names of the leaves, as [`members`] gives them.
    #[must_use]
    pub fn leaves(&self) -> &[Vec<u8>] {
        &self.leaves
    }

    /// Looks the key up and fills `answer` if there is one; `answer` is empty otherwise.
    ///
    /// `resolve` gives the table of a leaf by its number, or the error ([`TableError::NoMember`]) with which the lookup
    /// ends; it is called only for the leaves that the lookup comes to.
    ///
    /// `unionmap:` asks all members and joins their answers with commas; an empty answer before the first that is not
    /// leaves nothing, one after it a comma; only empty answers are no answer. `pipemap:` asks each member for the
    /// answer of the one before it; the first that has none ends it. The first error of a member ends both.
    ///
    /// Each member folds the key that it is asked for, as [`Query::folding`] says for its own class. The composites fold
    /// only with [`Query::utf8`], since in Postfix it is the layer of UTF-8 checks around every table that does it for them;
    /// so a pattern member of a composite with exact keys is asked for the key as it was sent, or folded, by that.
    ///
    /// # Errors
    /// As for [`Table::lookup_with`], and those of `resolve`; [`TableError::NotUtf8`] for the answer of a member,
    /// if [`Query::utf8`]; [`TableError::OutOfTime`] before a member (as line 0).
    pub fn lookup_with<'t, B: AsRef<[u8]> + 't>(
        &self,
        query: &Query<'_>,
        resolve: &dyn Fn(usize) -> Result<&'t Table<B>, TableError>,
        answer: &mut Vec<u8>,
    ) -> Result<Outcome, TableError> {
        answer.clear();
        let search = Search { query, resolve };
        let outcome = search.node(&self.root, query.key, query.modes, answer);
        if !matches!(outcome, Ok(Outcome::Found(_))) {
            answer.clear();
        }
        outcome
    }
}

impl<B: AsRef<[u8]>> Search<'_, '_, B> {
    fn node(
        &self,
        node: &Node,
        key: &[u8],
        modes: NulModes,
        answer: &mut Vec<u8>,
    ) -> Result<Outcome, TableError> {
        match node {
            Node::Leaf(number) => self.leaf(*number, key, modes, answer),
            Node::Same(inner) => self.node(inner, key, modes, answer),
            Node::Many(join, class, members) => {
                let checked = self.query.utf8;
                if checked && std::str::from_utf8(key).is_err() {
                    return Ok(Outcome::Absent);
                }
                let key = if checked { self.folded(key, *class) } else { Cow::Borrowed(key) };
                match join {
                    Join::Union => self.union(members, &key, answer),
                    Join::Pipe => self.pipe(members, &key, answer),
                }
            }
        }
    }

    /// The key as a table of this class has it.
    fn folded<'k>(&self, key: &'k [u8], class: Class) -> Cow<'k, [u8]> {
        match self.query.folding.applies(class) {
            true => fold(key, self.query.utf8),
            false => Cow::Borrowed(key),
        }
    }

    fn leaf(
        &self,
        number: usize,
        key: &[u8],
        modes: NulModes,
        answer: &mut Vec<u8>,
    ) -> Result<Outcome, TableError> {
        if (self.query.time_left)().is_zero() {
            return Err(TableError::OutOfTime { line: 0 });
        }
        if self.query.utf8 && std::str::from_utf8(key).is_err() {
            return Ok(Outcome::Absent);
        }
        let table = (self.resolve)(number)?;
        let key = self.folded(key, table.kind().class());
        let outcome = table.lookup_with(&Query { key: &key, modes, pause: None, ..*self.query }, answer)?;
        if self.query.utf8 && std::str::from_utf8(answer).is_err() {
            return Err(TableError::NotUtf8);
        }
        Ok(outcome)
    }

    fn union(&self, members: &[Node], key: &[u8], answer: &mut Vec<u8>) -> Result<Outcome, TableError> {
        let (mut joined, mut one) = (Vec::new(), Vec::new());
        for member in members {
            if self.node(member, key, NulModes::BOTH, &mut one)? == Outcome::Absent {
                continue;
            }
            if !joined.is_empty() {
                append(&mut joined, b",")?;
            }
            append(&mut joined, &one)?;
        }
        answer.clear();
        if joined.is_empty() {
            return Ok(Outcome::Absent);
        }
        append(answer, &joined)?;
        Ok(Outcome::Found(NulMode::Bare))
    }

    fn pipe(&self, members: &[Node], key: &[u8], answer: &mut Vec<u8>) -> Result<Outcome, TableError> {
        let mut current = key.to_vec();
        for member in members {
            if self.node(member, &current, NulModes::BOTH, answer)? == Outcome::Absent {
                return Ok(Outcome::Absent);
            }
            std::mem::swap(&mut current, answer);
        }
        std::mem::swap(&mut current, answer);
        Ok(Outcome::Found(NulMode::Bare))
    }
}

/// Parses `name`, which may have `depth` levels of composites, and numbers its leaves.
fn parse(name: &[u8], depth: usize, leaves: &mut Vec<Vec<u8>>) -> Result<Node, TableError> {
    let kind = Kind::of(name);
    if !kind.is_composite() {
        leaves.push(name.to_vec());
        return Ok(Node::Leaf(leaves.len().saturating_sub(1)));
    }
    let depth = depth.checked_sub(1).ok_or(TableError::BadName("tables are nested too deep"))?;
    let names = mapkeep_proto::members(name).map_err(TableError::BadName)?;
    let mut nodes = names.into_iter().map(|member| parse(member, depth, leaves));
    match kind {
        Kind::Unionmap => Ok(Node::Many(Join::Union, class_of(name), nodes.collect::<Result<_, _>>()?)),
        Kind::Pipemap => Ok(Node::Many(Join::Pipe, class_of(name), nodes.collect::<Result<_, _>>()?)),
        _ => match nodes.next() {
            Some(node) => Ok(Node::Same(Box::new(node?))),
            None => Err(TableError::BadName("expected debug:type:name")),
        },
    }
}

#[cfg(test)]
mod tests;
