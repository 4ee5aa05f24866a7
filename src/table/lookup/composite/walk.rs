//! A lookup in a table made of others, as steps that can be resumed.
//!
//! Purpose: remember where a lookup stands, so that it can wait for the answer of a leaf while others are served. May:
//! keep keys and answers. Never: recurse, or ask a leaf twice.

use super::{Composite, Join, Node};
use mapkeep_name::Class;
use mapkeep_query::{Folding, NulMode, NulModes, Outcome, Query, TableError, append, fold};
use std::fmt;

/// Where a lookup stands. It owns all that it needs.
pub struct Walk {
    folding: Folding,
    utf8: bool,
    /// The key for the next lookup.
    key: Vec<u8>,
    /// The composites around it, from the outermost on.
    frames: Vec<Frame>,
    at: At,
}

/// The next step.
#[derive(Clone, Copy)]
enum At {
    /// Look the key up in this node, and in these forms.
    Node(usize, NulModes),
    /// Ask this leaf.
    Leaf(usize, NulModes),
    /// Give this outcome, with the answer that belongs to it, to the composite around.
    Outcome(Outcome),
}

/// A composite of which some members have been asked.
enum Frame {
    Union { node: usize, next: usize, key: Vec<u8>, joined: Vec<u8> },
    Pipe { node: usize, next: usize },
}

/// A question to a leaf.
#[derive(Clone, Copy)]
pub struct Leaf<'w> {
    /// Its place in [`Composite::leaves`].
    pub number: usize,
    /// The key, folded according to the leaf's class.
    pub key: &'w [u8],
    /// Which forms of the key to try.
    pub modes: NulModes,
}

impl Composite {
    /// A lookup that has not begun.
    #[must_use]
    pub fn walk(&self, query: &Query<'_>) -> Walk {
        let root = self.nodes.len().saturating_sub(1);
        Walk {
            folding: query.folding,
            utf8: query.utf8,
            key: query.key.to_vec(),
            frames: Vec::new(),
            at: At::Node(root, query.modes),
        }
    }

    /// Continues a lookup, until its end or until `ask` returns `None`. At the end, `answer` is filled if there is an
    /// answer, and empty otherwise.
    ///
    /// `ask` looks the key up in a leaf, and fills the answer, which is empty before. When it returns `None`, the
    /// lookup can be continued at any later time: it asks the same leaf first. It is called only for the leaves that
    /// the lookup reaches, and its first error ends the lookup.
    ///
    /// `unionmap:` asks all members and joins their answers with commas; an empty answer before the first non-empty one
    /// adds nothing, one after it a comma; if all answers are empty, there is no answer. `pipemap:` asks each member
    /// for the answer of the previous one; the first without an answer ends it.
    ///
    /// Each member folds its key, according to [`Query::folding`] for its own class. Composites fold only with
    /// [`Query::utf8`], since in Postfix the layer of UTF-8 checks around every table does it for them; that decides
    /// whether a pattern member of a composite with exact keys gets the key as it was sent, or folded.
    ///
    /// # Errors
    /// Those of `ask`; [`TableError::NotUtf8`] for the answer of a member, if [`Query::utf8`];
    /// [`TableError::ItemTooLong`] for joined answers that are longer than [`mapkeep_query::MAX_ITEM`].
    pub fn go_on<E: From<TableError>>(
        &self,
        walk: &mut Walk,
        answer: &mut Vec<u8>,
        ask: impl FnMut(Leaf<'_>, &mut Vec<u8>) -> Result<Option<Outcome>, E>,
    ) -> Result<Option<Outcome>, E> {
        let come_to = self.steps(walk, answer, ask);
        if !matches!(come_to, Ok(Some(Outcome::Found(_)))) {
            answer.clear();
        }
        come_to
    }

    fn steps<E: From<TableError>>(
        &self,
        walk: &mut Walk,
        answer: &mut Vec<u8>,
        mut ask: impl FnMut(Leaf<'_>, &mut Vec<u8>) -> Result<Option<Outcome>, E>,
    ) -> Result<Option<Outcome>, E> {
        loop {
            walk.at = match walk.at {
                At::Node(node, modes) => walk.enter(self.node(node)?, node, modes),
                At::Leaf(number, modes) => {
                    answer.clear();
                    let Some(outcome) = ask(Leaf { number, key: &walk.key, modes }, answer)? else {
                        return Ok(None);
                    };
                    if walk.utf8 && std::str::from_utf8(answer).is_err() {
                        return Err(TableError::NotUtf8.into());
                    }
                    At::Outcome(outcome)
                }
                At::Outcome(outcome) => match walk.frames.pop() {
                    Some(frame) => self.leave(walk, frame, outcome, answer)?,
                    None => return Ok(Some(outcome)),
                },
            };
        }
    }

    /// The innermost composite has the outcome of a member.
    fn leave(
        &self,
        walk: &mut Walk,
        frame: Frame,
        outcome: Outcome,
        answer: &mut Vec<u8>,
    ) -> Result<At, TableError> {
        match frame {
            Frame::Union { node, next, key, mut joined } => {
                if outcome != Outcome::Absent {
                    if !joined.is_empty() {
                        append(&mut joined, b",")?;
                    }
                    append(&mut joined, answer)?;
                }
                if let Some(member) = self.member(node, next) {
                    walk.key.clone_from(&key);
                    walk.frames.push(Frame::Union { node, next: next.saturating_add(1), key, joined });
                    return Ok(At::Node(member, NulModes::BOTH));
                }
                *answer = joined;
                Ok(At::Outcome(if answer.is_empty() { Outcome::Absent } else { FOUND }))
            }
            Frame::Pipe { .. } if outcome == Outcome::Absent => Ok(At::Outcome(Outcome::Absent)),
            Frame::Pipe { node, next } => {
                let Some(member) = self.member(node, next) else { return Ok(At::Outcome(FOUND)) };
                std::mem::swap(&mut walk.key, answer);
                walk.frames.push(Frame::Pipe { node, next: next.saturating_add(1) });
                Ok(At::Node(member, NulModes::BOTH))
            }
        }
    }

    fn node(&self, place: usize) -> Result<&Node, TableError> {
        self.nodes.get(place).ok_or(TableError::NoMember)
    }

    fn member(&self, node: usize, number: usize) -> Option<usize> {
        match self.nodes.get(node) {
            Some(Node::Many(_, _, members)) => members.get(number).copied(),
            _ => None,
        }
    }
}

/// What a table without NUL forms has found.
const FOUND: Outcome = Outcome::Found(NulMode::Bare);

impl Walk {
    /// The lookup reaches a node.
    fn enter(&mut self, node: &Node, place: usize, modes: NulModes) -> At {
        let checked = self.utf8 && !matches!(node, Node::Same(_));
        if checked && std::str::from_utf8(&self.key).is_err() {
            return At::Outcome(Outcome::Absent);
        }
        match node {
            Node::Same(inner) => At::Node(*inner, modes),
            Node::Leaf(number, class) => {
                self.fold(*class);
                At::Leaf(*number, modes)
            }
            Node::Many(join, class, members) => {
                if self.utf8 {
                    self.fold(*class);
                }
                let Some(first) = members.first() else { return At::Outcome(Outcome::Absent) };
                self.frames.push(match join {
                    Join::Union => {
                        Frame::Union { node: place, next: 1, key: self.key.clone(), joined: Vec::new() }
                    }
                    Join::Pipe => Frame::Pipe { node: place, next: 1 },
                });
                At::Node(*first, NulModes::BOTH)
            }
        }
    }

    /// Makes the key what a table of this class has.
    fn fold(&mut self, class: Class) {
        if self.folding.applies(class) {
            self.key = fold(&self.key, self.utf8).into_owned();
        }
    }

    /// The leaf to be asked next, once the lookup has reached one.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf<'_>> {
        match self.at {
            At::Leaf(number, modes) => Some(Leaf { number, key: &self.key, modes }),
            At::Node(..) | At::Outcome(_) => None,
        }
    }

    /// How many bytes of keys and answers it keeps.
    #[must_use]
    pub fn held(&self) -> usize {
        let in_frames = self.frames.iter().map(|frame| match frame {
            Frame::Union { key, joined, .. } => key.len().saturating_add(joined.len()),
            Frame::Pipe { .. } => 0,
        });
        in_frames.fold(self.key.len(), usize::saturating_add)
    }
}

/// Shows no key and no answer.
impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("depth", &self.frames.len()).finish_non_exhaustive()
    }
}

/// Shows no key.
impl fmt::Debug for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("number", &self.number).finish_non_exhaustive()
    }
}
