//! What is asked, of whom, and for how long an answer is waited for.

use mapkeep_proto::{GatewayId, Group, Manner, TableId};
use std::time::Duration;

/// How much longer than the gateway may take a question to a gateway is waited for: it knows why there is no answer, and so
/// it is the one to say so.
const MARGIN: Duration = Duration::from_secs(1);

/// What is asked, until a peer takes it.
pub(crate) struct Question {
    /// The table.
    pub(crate) table: TableId,
    /// Who answers for it.
    pub(crate) route: Route,
    /// What is wanted of it.
    pub(crate) wanted: Wanted,
}

/// Who answers for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A rules worker, whichever.
    Rules,
    /// This gateway, within so much time.
    Gateway(GatewayId, Duration),
}

impl Route {
    pub(crate) fn group(self) -> Group {
        match self {
            Route::Rules => Group::Rules,
            Route::Gateway(id, _) => Group::Gateway(id),
        }
    }

    /// How long an answer is waited for; `of_rules`: that of a rules worker.
    pub(crate) fn patience(self, of_rules: Duration) -> Duration {
        match self {
            Route::Rules => of_rules,
            Route::Gateway(_, time) => time.saturating_add(MARGIN),
        }
    }
}

/// What is wanted of a table.
pub(crate) enum Wanted {
    /// The value of a key, and how to look for it.
    Value { key: Vec<u8>, manner: Manner },
    /// Whether it can be asked at all.
    Usable,
}

impl Question {
    /// The length of its key, in bytes.
    pub(super) fn key(&self) -> usize {
        match &self.wanted {
            Wanted::Value { key, .. } => key.len(),
            Wanted::Usable => 0,
        }
    }
}

/// Shows no key.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("table", &self.table).finish_non_exhaustive()
    }
}
