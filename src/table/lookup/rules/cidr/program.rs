//! The rules of one address family, compiled.
//!
//! Purpose: find the first rule that holds for an address. Rules that follow one another without negation and without
//! `if` are indexed by prefix length; the rest is tried in order. May: allocate through try_reserve where the
//! number of rules decides. Never: change which rule is first.

use super::network::{Bits, Prefix};
use crate::rules::Effort;
use mapkeep_query::TableError;

/// The steps, in order.
pub(crate) struct Program<T> {
    steps: Vec<Step<T>>,
}

enum Step<T> {
    Run(Run<T>),
    /// A rule for addresses outside of a network.
    Outside {
        line: u32,
        network: Prefix<T>,
        number: usize,
    },
    /// `if`: where to continue if it does not match.
    Block {
        line: u32,
        network: Prefix<T>,
        negated: bool,
        end: usize,
    },
}

/// Plain rules that follow one another.
struct Run<T> {
    line: u32,
    /// By prefix length: the networks in their order, each with the number of its first rule.
    levels: Vec<(u32, Vec<(T, u32)>)>,
}

/// What a [`Program`] is made with.
pub(crate) struct Builder<T> {
    steps: Vec<Step<T>>,
    /// The current run: line of its first rule, and length, network and number of each.
    run: Vec<(u32, T, u32)>,
    run_line: u32,
    /// The places of the open blocks. `None` for one that no address of this family gets into.
    open: Vec<Option<usize>>,
    /// How many of the open blocks are such.
    dead: usize,
}

impl<T> Default for Builder<T> {
    fn default() -> Self {
        Builder { steps: Vec::new(), run: Vec::new(), run_line: 0, open: Vec::new(), dead: 0 }
    }
}

impl<T: Bits> Builder<T> {
    /// Begins the block of an `if` with a network of this family, or of the other.
    pub fn begin_block(&mut self, condition: Option<(Prefix<T>, bool)>, line: u32) -> Result<(), TableError> {
        match condition {
            Some((network, negated)) => {
                self.end_run()?;
                self.open.push(Some(self.steps.len()));
                self.push(Step::Block { line, network, negated, end: 0 })
            }
            None => {
                self.open.push(None);
                self.dead = self.dead.saturating_add(1);
                Ok(())
            }
        }
    }

    /// Ends the innermost block; without one, nothing happens.
    pub fn end_block(&mut self) -> Result<(), TableError> {
        match self.open.pop() {
            Some(Some(place)) => {
                // The rules up to here and those that follow must not become one run.
                self.end_run()?;
                let next = self.steps.len();
                if let Some(Step::Block { end, .. }) = self.steps.get_mut(place) {
                    *end = next;
                }
            }
            Some(None) => self.dead = self.dead.saturating_sub(1),
            None => {}
        }
        Ok(())
    }

    /// Adds a rule.
    pub fn add(
        &mut self,
        network: Prefix<T>,
        negated: bool,
        number: usize,
        line: u32,
    ) -> Result<(), TableError> {
        if self.dead > 0 {
            return Ok(());
        }
        if negated {
            self.end_run()?;
            return self.push(Step::Outside { line, network, number });
        }
        if self.run.is_empty() {
            self.run_line = line;
        }
        let number = u32::try_from(number).map_err(|_| TableError::FileTooLarge)?;
        self.run.try_reserve(1).map_err(|_| TableError::OutOfMemory)?;
        self.run.push((network.length, network.address, number));
        Ok(())
    }

    /// The program; blocks that are still open go to its end.
    pub fn finish(mut self) -> Result<Program<T>, TableError> {
        while !self.open.is_empty() {
            self.end_block()?;
        }
        self.end_run()?;
        Ok(Program { steps: self.steps })
    }

    fn push(&mut self, step: Step<T>) -> Result<(), TableError> {
        self.steps.try_reserve(1).map_err(|_| TableError::OutOfMemory)?;
        self.steps.push(step);
        Ok(())
    }

    /// Indexes the run that went on until here.
    fn end_run(&mut self) -> Result<(), TableError> {
        if self.run.is_empty() {
            return Ok(());
        }
        // The first rule of several for the same network comes first, and is the only one that counts.
        self.run.sort_unstable();
        self.run.dedup_by_key(|(length, address, _)| (*length, *address));
        let mut levels = Vec::new();
        for level in self.run.chunk_by(|a, b| a.0 == b.0) {
            let mut networks = Vec::new();
            networks.try_reserve_exact(level.len()).map_err(|_| TableError::OutOfMemory)?;
            networks.extend(level.iter().map(|(_, address, number)| (*address, *number)));
            levels.extend(level.first().map(|(length, ..)| (*length, networks)));
        }
        self.run.clear();
        let line = self.run_line;
        self.push(Step::Run(Run { line, levels }))
    }
}

impl<T: Bits> Program<T> {
    /// The number of the first rule that holds for `address`.
    pub fn find(&self, address: T, effort: &mut Effort<'_>) -> Result<Option<usize>, TableError> {
        let mut place = 0_usize;
        while let Some(step) = self.steps.get(place) {
            place = place.saturating_add(1);
            match step {
                Step::Run(run) => {
                    effort.spend(size_of::<T>(), run.line)?;
                    if let Some(number) = run.find(address) {
                        return Ok(usize::try_from(number).ok());
                    }
                }
                Step::Outside { line, network, number } => {
                    effort.spend(size_of::<T>(), *line)?;
                    if !network.contains(address) {
                        return Ok(Some(*number));
                    }
                }
                Step::Block { line, network, negated, end } => {
                    effort.spend(size_of::<T>(), *line)?;
                    if network.contains(address) == *negated {
                        place = *end;
                    }
                }
            }
        }
        Ok(None)
    }
}

impl<T: Bits> Run<T> {
    /// The lowest number of the networks that `address` is in.
    fn find(&self, address: T) -> Option<u32> {
        let at = |(length, networks): &(u32, Vec<(T, u32)>)| {
            let wanted = address & T::mask(*length);
            let place = networks.binary_search_by(|(network, _)| network.cmp(&wanted)).ok()?;
            networks.get(place).map(|(_, number)| *number)
        };
        self.levels.iter().filter_map(at).min()
    }
}

impl<T: Bits> Prefix<T> {
    fn contains(&self, address: T) -> bool {
        address & T::mask(self.length) == self.address
    }
}
