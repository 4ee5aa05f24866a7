//! A lookup for which another process has to answer, between its questions.
//!
//! May: keep a key, and what a table made of others has come to. Never: ask; the event loop does.

use super::Catalogue;
use crate::contents::{Content, Slot};
use crate::elsewhere::{Question, Route, Wanted};
use crate::rules_worker::left;
use mapkeep_proto::{Answered as Reported, MAX_KEY, Manner, NoAnswer, TableId};
use mapkeep_query::{Folding, NulModes, Outcome, Query, Substitution, TableError, Values};
use mapkeep_table_lookup::{Composite, Walk};
use mapkeep_worker_session as session;
use mapkeep_worker_session::{Failure, Got, Servers, Sought};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What is kept of such a lookup.
#[derive(Debug)]
pub(crate) struct Search {
    /// The table that the client has asked.
    pub(super) table: TableId,
    /// The next question, until the event loop takes it.
    pub(crate) question: Option<Question>,
    /// The number of the question that is out.
    pub(crate) ticket: Option<u32>,
    /// When the request gets a temporary error, whatever is still out. That is settled with its first question, however many
    /// follow.
    pub(crate) deadline: Option<Instant>,
    /// If that is made of others: where the lookup stands.
    stand: Option<Box<Stand>>,
    held: usize,
}

/// Where a lookup stands in a table made of others.
#[derive(Debug)]
struct Stand {
    walk: Walk,
    terms: Terms,
}

/// How members are asked.
#[derive(Clone, Copy, Debug)]
struct Terms {
    substitution: Substitution,
    folding: Folding,
    utf8: bool,
    values: Values,
    servers: Servers,
}

impl session::Search for Search {
    fn held(&self) -> usize {
        self.held
    }
}

impl Search {
    fn new(table: TableId, question: Question, held: usize, stand: Option<Box<Stand>>) -> Search {
        Search { table, question: Some(question), ticket: None, deadline: None, stand, held }
    }

    /// Whether the table can be asked.
    pub(super) fn usable(table: TableId, route: Route) -> Search {
        Search::new(table, Question { table, route, wanted: Wanted::Usable }, 0, None)
    }

    /// The value of a key in a table.
    pub(super) fn value(table: TableId, route: Route, sought: &Sought<'_>) -> Result<Search, Failure> {
        let question = question((table, route), sought.key, sought.modes, Terms::of(sought))?;
        Ok(Search::new(table, question, sought.key.len(), None))
    }
}

impl Terms {
    fn of(sought: &Sought<'_>) -> Terms {
        let Sought { substitution, folding, utf8, values, servers, .. } = *sought;
        Terms { substitution, folding, utf8, values, servers }
    }
}

/// The question for a key; `whom`: the table, and who answers for it.
fn question(whom: (TableId, Route), key: &[u8], modes: NulModes, terms: Terms) -> Result<Question, Failure> {
    let (table, route) = whom;
    if key.len() > MAX_KEY {
        let length = key.len();
        let reason = format!(
            "a key of {length} bytes is longer than the limit of {MAX_KEY} for tables of type pcre, regexp, socketmap and tcp"
        );
        return Err(Failure::Reported(reason));
    }
    let manner = Manner {
        with_nul: modes.with_nul,
        bare: modes.bare,
        substitution: terms.substitution == Substitution::Allowed,
        utf8: terms.utf8,
        file_content: terms.values == Values::FileContent,
    };
    Ok(Question { table, route, wanted: Wanted::Value { key: key.to_vec(), manner } })
}

impl Catalogue {
    /// Looks a key up in a table made of others, up to the first member that another process answers for.
    pub(super) fn begin(
        &self,
        table: TableId,
        composite: &Composite,
        sought: &Sought<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Search>, Failure> {
        let terms = Terms::of(sought);
        let walk = composite.walk(&terms.query(sought.key, sought.modes, 0, &|| Duration::MAX));
        self.go_on(table, Stand { walk, terms }, None, value)
    }

    /// Goes on with a lookup, with what was answered to its last question.
    pub(super) fn go_on_with(
        &self,
        search: Search,
        reported: Reported<'_>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Search>, Failure> {
        let Search { table, stand, deadline, .. } = search;
        let Some(stand) = stand else { return Ok(Got::Now(session::outcome_of(reported, value)?)) };
        Ok(match self.go_on(table, *stand, Some(reported), value)? {
            Got::Later(next) => Got::Later(Search { deadline, ..next }),
            now => now,
        })
    }

    fn go_on(
        &self,
        table: TableId,
        mut stand: Stand,
        mut reported: Option<Reported<'_>>,
        value: &mut Vec<u8>,
    ) -> Result<Got<Outcome, Search>, Failure> {
        let content = self.contents.get(table).map(|slot| &slot.content);
        let Some(Content::Composite(composite, leaves)) = content else {
            return Err(TableError::NoMember.into());
        };
        let began = Cell::new(None);
        let time_left = || left(&began, Duration::ZERO, Instant::now());
        let (terms, random) = (stand.terms, self.next_random());
        let mut elsewhere = None;
        let found = composite.go_on(&mut stand.walk, value, |leaf, answer| {
            if let Some(reported) = reported.take() {
                return of_member(reported, answer).map(Some);
            }
            if time_left().is_zero() {
                return Err(TableError::OutOfTime { line: 0 }.into());
            }
            let id = leaves.get(leaf.number).copied().flatten().map(TableId);
            let slot = id.and_then(|id| self.contents.get(id));
            let refused = |slot: &Slot| slot.nature.kind.is_remote() && terms.servers == Servers::Refused;
            match slot.filter(|slot| !refused(slot)).map(|slot| &slot.content) {
                Some(Content::Table(Ok(table))) => {
                    let query = terms.query(leaf.key, leaf.modes, random, &time_left);
                    Ok(Some(table.lookup_with(&query, answer)?))
                }
                Some(Content::Elsewhere(route)) => {
                    elsewhere = id.map(|id| (id, *route));
                    Ok(None)
                }
                _ => Err(Failure::from(TableError::NoMember)),
            }
        })?;
        if let Some(outcome) = found {
            return Ok(Got::Now(outcome));
        }
        let (Some(member), Some(leaf)) = (elsewhere, stand.walk.leaf()) else {
            return Err(TableError::NoMember.into());
        };
        let question = question(member, leaf.key, leaf.modes, terms)?;
        let held = stand.walk.held().saturating_add(leaf.key.len());
        Ok(Got::Later(Search::new(table, question, held, Some(Box::new(stand)))))
    }
}

/// The same of a member: whether a table that cannot be had is here or elsewhere makes no difference for the log.
fn of_member(reported: Reported<'_>, value: &mut Vec<u8>) -> Result<Outcome, Failure> {
    match reported {
        Reported::Failed { why: NoAnswer::Unavailable, .. } => Err(TableError::NoMember.into()),
        reported => session::outcome_of(reported, value),
    }
}

impl Terms {
    fn query<'q>(
        self,
        key: &'q [u8],
        modes: NulModes,
        random: u64,
        time_left: &'q dyn Fn() -> Duration,
    ) -> Query<'q> {
        let Terms { substitution, folding, utf8, values, .. } = self;
        Query { key, modes, substitution, folding, utf8, values, random, time_left, pause: None }
    }
}
