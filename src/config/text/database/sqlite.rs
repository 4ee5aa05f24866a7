//! sqlite_table(5).

use mapkeep_template::{Dialect, Place, Why};

use super::sql::{self, SqlTable};
use super::values::Values;

/// The settings of an SQLite table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sqlite {
    /// The path of the database; one that is not absolute begins in `queue_directory`.
    pub dbpath: Vec<u8>,
    /// The query.
    pub sql: SqlTable,
}

pub(super) fn read(values: &mut Values<'_>) -> Option<Sqlite> {
    let dbpath = values.required("dbpath", "");
    let sql = sql::read(values, Dialect::Sqlite)?;
    let outside = |place: Place| matches!(place, Place::Escaped(Why::Unquoted | Why::OtherQuotes));
    if sql.statement.occurrences().iter().any(|found| outside(found.place)) {
        values.warning("query", "a key can change the statement where it is not in '...'; write '%s'");
    }
    Some(Sqlite { dbpath, sql })
}
