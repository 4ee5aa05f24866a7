//! The second look at the list, parameter by parameter, to learn which of them named a table.
//!
//! A token that is exactly one reference (`$name`) leads to that parameter; any other token is expanded where it stands
//! and its names belong to the parameter that holds it.

use std::collections::BTreeSet;

use super::complain_at;
use super::names::{ListFiles, NameReader, Sink, Source};
use crate::complaint::Complaint;
use crate::error::ConfigError;
use crate::expand::{Expansion, MOST_WORK, Names as _, references_are_whole, sole_reference};
use crate::parameters::Parameters;
use crate::tokens::{LIST, Tokens};
use crate::version::PostfixVersion;

/// References are followed this deep, as in expansion.
const DEEPEST: u32 = 100;

pub(super) struct Walk<'p> {
    params: &'p Parameters,
    version: PostfixVersion,
    /// Bytes that all expansions together may still read: a list must not cost more than a few large values.
    work: usize,
    /// Consumer and parameter of each text already read.
    seen: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// Every token could be expanded on its own.
    complete: bool,
}

/// What one root's walk carries along.
struct Pass<'w, 'r> {
    files: &'w mut ListFiles<'r>,
    /// `None` when the whole text decides, and has made its complaints already.
    complaints: Option<&'w mut Vec<Complaint>>,
    sink: &'w mut Sink<'w>,
}

impl<'p> Walk<'p> {
    pub(super) fn new(params: &'p Parameters, version: PostfixVersion) -> Self {
        Walk { params, version, work: MOST_WORK.saturating_mul(3), seen: BTreeSet::new(), complete: true }
    }

    /// Has every text been read, or may some provenance be missing?
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The expanded value of `name`, within the walk's budget.
    pub(super) fn expand(&mut self, name: &[u8]) -> Result<Vec<u8>, ConfigError> {
        self.within_budget(|expansion, out| expansion.value(name, out))
    }

    fn expand_text(&mut self, text: &[u8]) -> Result<Vec<u8>, ConfigError> {
        if !text.contains(&b'$') {
            // Names written out must not suffer from references that used up the budget.
            return Ok(text.to_vec());
        }
        self.within_budget(|expansion, out| expansion.text(text, out))
    }

    fn within_budget(
        &mut self,
        work: impl FnOnce(&mut Expansion<'p>, &mut Vec<u8>) -> Result<(), ConfigError>,
    ) -> Result<Vec<u8>, ConfigError> {
        let allowed = self.work.min(MOST_WORK);
        let mut expansion = Expansion::new(self.params, allowed);
        let mut out = Vec::new();
        let result = work(&mut expansion, &mut out);
        self.work = self.work.saturating_sub(allowed.saturating_sub(expansion.work_left()));
        result.map(|()| out)
    }

    /// Reports what the parameter `root` names, itself or through others. With `complaints`, the names decide:
    /// text that cannot be expanded is complained about and left out.
    pub(super) fn root<'w>(
        &mut self,
        consumer: &[u8],
        root: &[u8],
        files: &'w mut ListFiles<'_>,
        complaints: Option<&'w mut Vec<Complaint>>,
        sink: &'w mut Sink<'w>,
    ) {
        let mut pass = Pass { files, complaints, sink };
        // References of the list lead to consumers; those of a class are all the class's.
        let consumer = (consumer != root).then_some(consumer);
        self.parameter(consumer, root, root, 0, &mut pass);
    }

    fn parameter(
        &mut self,
        consumer: Option<&[u8]>,
        root: &[u8],
        name: &[u8],
        depth: u32,
        pass: &mut Pass<'_, '_>,
    ) {
        let holder = consumer.unwrap_or(root);
        if depth > DEEPEST {
            self.complete = false;
            return;
        }
        if !self.seen.insert((holder.to_vec(), name.to_vec())) {
            return;
        }
        let params = self.params;
        let Some(raw) = params.raw_value(name) else { return };
        let source = Source::of(params, holder, name);
        if let Some(complaints) = pass.complaints.as_deref_mut()
            && !Tokens::new(raw, LIST).all(references_are_whole)
        {
            // A reference with blanks inside spans tokens, and what is inside may be meant conditionally: here,
            // where the walk decides, only the whole text may speak.
            return match self.expand(name) {
                Ok(text) => {
                    NameReader::new(self.version, pass.files, complaints).list(&text, &source, pass.sink)
                }
                Err(error) => complain_at(complaints, params, name, error),
            };
        }
        for token in Tokens::new(raw, LIST) {
            if let Some(inner) = sole_reference(token) {
                self.parameter(consumer.or(Some(inner)), root, inner, depth.saturating_add(1), pass);
                continue;
            }
            match (self.expand_text(token), pass.complaints.as_deref_mut()) {
                (Ok(text), complaints) => {
                    let mut unheard = Vec::new();
                    let complaints = complaints.unwrap_or(&mut unheard);
                    NameReader::new(self.version, pass.files, complaints).list(&text, &source, pass.sink);
                }
                (Err(error), Some(complaints)) => complain_at(complaints, params, name, error.within(name)),
                (Err(_), None) => self.complete = false,
            }
        }
    }
}
