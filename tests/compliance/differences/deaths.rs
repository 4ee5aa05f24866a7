//! What stock is known to die of.

use super::{BULK, CDB_SEQUENCE, EMPTY_LMDB, LOCKS, NEXT, NO_SEQUENCE};
use crate::questions::{BULK_UPDATE, LOCK, OPEN_LOCK, Question, What};
use mapkeep_name::Kind;

/// The reason for which stock is expected to exit on a question.
pub fn expected_death(question: &Question<'_>) -> Option<&'static str> {
    let (flags, kind) = (question.flags, question.table.kind);
    let has = |bits: u32| flags & bits == bits;
    if !question.reaches_table() {
        return None;
    }
    match &question.what {
        _ if has(LOCK | OPEN_LOCK) => Some(LOCKS),
        _ if has(BULK_UPDATE) && kind == Kind::Lmdb => Some(BULK),
        What::Lookup(key) if key.is_empty() && kind == Kind::Lmdb => Some(EMPTY_LMDB),
        What::Sequence(0 | 1) if has_no_sequence(kind) => Some(NO_SEQUENCE),
        What::Sequence(0 | 1) if kind == Kind::Cdb && question.table.available => Some(CDB_SEQUENCE),
        What::Sequence(1) if !question.in_sequence && matches!(kind, Kind::Hash | Kind::Btree) => Some(NEXT),
        _ => None,
    }
}

/// Types whose entries stock cannot list.
fn has_no_sequence(kind: Kind) -> bool {
    let patterns = matches!(kind, Kind::Cidr | Kind::Regexp | Kind::Pcre);
    let composites = matches!(kind, Kind::Randmap | Kind::Unionmap | Kind::Pipemap);
    patterns || composites || matches!(kind, Kind::Static | Kind::Passwd | Kind::Group)
}
