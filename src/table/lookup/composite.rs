//! Tables made of other tables: `unionmap:`, `pipemap:` and `debug:`.
//!
//! Purpose: parse the name into a tree, and look a key up in it, in steps from one leaf to the next. May: ask the
//! caller for the answer of each leaf. Never: own the tables there, so that each can be loaded, replaced or missing on
//! its own, or be answered for by another process, which takes time.

mod walk;

use mapkeep_name::{Class, Kind, MAX_NESTING, class_of};

use mapkeep_query::TableError;
pub use walk::{Leaf, Walk};

/// A parsed table made of others.
#[derive(Debug)]
pub struct Composite {
    /// The tree, each node after its members.
    nodes: Vec<Node>,
    leaves: Vec<Vec<u8>>,
}

/// A part of the tree. Members are named by their places in [`Composite::nodes`].
#[derive(Debug)]
enum Node {
    /// The number of a leaf, and which keys its table has.
    Leaf(usize, Class),
    /// `unionmap:` or `pipemap:`, with the class of its first member.
    Many(Join, Class, Vec<usize>),
    /// `debug:`, which adds nothing to what it names; so a client's choice of NUL forms reaches it.
    Same(usize),
}

/// How the answers of several members become one.
#[derive(Clone, Copy, Debug)]
enum Join {
    Union,
    Pipe,
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
        let mut composite = Composite { nodes: Vec::new(), leaves: Vec::new() };
        composite.add(name, MAX_NESTING)?;
        Ok(composite)
    }

    /// The names of the leaves, as [`members`] returns them.
    #[must_use]
    pub fn leaves(&self) -> &[Vec<u8>] {
        &self.leaves
    }

    /// Parses `name`, which may have `depth` levels of composites, and numbers its leaves. Returns its place.
    fn add(&mut self, name: &[u8], depth: usize) -> Result<usize, TableError> {
        let kind = Kind::of(name);
        let node = if kind.is_composite() {
            let depth = depth.checked_sub(1).ok_or(TableError::BadName("tables are nested too deep"))?;
            let names = mapkeep_name::members(name).map_err(|bad| TableError::BadName(bad.0))?;
            let members: Vec<usize> =
                names.into_iter().map(|member| self.add(member, depth)).collect::<Result<_, _>>()?;
            match (kind, members.first()) {
                (Kind::Unionmap, _) => Node::Many(Join::Union, class_of(name), members),
                (Kind::Pipemap, _) => Node::Many(Join::Pipe, class_of(name), members),
                (_, Some(member)) => Node::Same(*member),
                (_, None) => return Err(TableError::BadName("expected debug:type:name")),
            }
        } else {
            self.leaves.push(name.to_vec());
            Node::Leaf(self.leaves.len().saturating_sub(1), kind.class())
        };
        self.nodes.push(node);
        Ok(self.nodes.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests;
