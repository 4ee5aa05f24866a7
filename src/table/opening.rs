//! Opening a table in steps.
//!
//! Purpose: whoever serves clients meanwhile can go back to them. May: what `Table` may. Called by: the lookup worker.

use std::fmt;

use mapkeep_proto::Kind;

use crate::{Content, Table};
use mapkeep_query::TableError;
use mapkeep_table_format::Complaint;
use mapkeep_table_format::Portion;
use mapkeep_table_format::text::texthash;

/// A table on its way from a snapshot.
pub struct Opening<B> {
    kind: Kind,
    bytes: B,
    /// What is there of the index of a texthash table, which takes a second for some millions of lines.
    index: Option<texthash::Builder>,
}

/// What a step has come to.
#[derive(Debug)]
pub enum Opened<B> {
    /// The table is open.
    Table(Table<B>),
    /// There is more to do.
    Later(Opening<B>),
}

impl<B: AsRef<[u8]>> Opening<B> {
    /// Begins with a table of a kind that has a file. Nothing is looked at yet.
    pub fn new(kind: Kind, bytes: B) -> Opening<B> {
        let index = (kind == Kind::Texthash).then(texthash::Builder::default);
        Opening { kind, bytes, index }
    }

    /// Goes on until it is open, or until `enough` says so, which is asked after some 64 KiB of work each time. Complaints
    /// about lines are added to `complaints`, which is the same list in each step.
    ///
    /// # Errors
    /// As for [`Table::from_snapshot`].
    pub fn step(
        self,
        complaints: &mut Vec<Complaint>,
        enough: &dyn Fn() -> bool,
    ) -> Result<Opened<B>, TableError> {
        let Opening { kind, bytes, index } = self;
        let Some(builder) = index else { return Table::at_once(kind, bytes, complaints).map(Opened::Table) };
        Ok(match builder.step(bytes.as_ref(), complaints, &mut Portion::until(enough))? {
            Ok(index) => {
                Opened::Table(Table { kind, content: Content::Texthash(index, bytes), incomplete: false })
            }
            Err(builder) => Opened::Later(Opening { kind, bytes, index: Some(builder) }),
        })
    }
}

/// Shows the kind and never the content.
impl<B> fmt::Debug for Opening<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("kind", &self.kind).finish_non_exhaustive()
    }
}
