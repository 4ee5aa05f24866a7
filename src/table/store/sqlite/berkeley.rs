//! The entries of a Berkeley DB file, for an import.
//!
//! Purpose: list a file as it is stored, and of a damaged one whatever can be read. May: allocate about as much as the
//! file has. Never: I/O; follow more pages than the file has. Called by: the writer, with the bytes of `NAME.db`.

use mapkeep_query::{Step, TableError};
use mapkeep_table_format::Cursor;
use mapkeep_table_format::bdb::{Head, Method};

use super::contents::Contents;
use super::pages;

/// Which of the two access methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A `hash:` table.
    Hash,
    /// A `btree:` table.
    Btree,
}

/// Reads the whole of a file. One that is damaged is a result like others: see [`Contents::damage`].
#[must_use]
pub fn read_file(form: Form, file: &[u8]) -> Contents {
    let mut contents = Contents::default();
    // The reader of tables follows every page from the header on, and so shows whether the file is complete; but it
    // returns keys and values only up to a NUL byte. The stored bytes are read from the pages.
    let listed = count(form, file);
    let unread = pages::sweep(file, &mut contents);
    let found = contents.left_out.saturating_add(contents.len() as u64);
    contents.damage = match listed {
        Err(error) => Some(error.to_string()),
        Ok(listed) if listed != found => {
            Some(format!("of {listed} entries that it lists, {found} were found"))
        }
        Ok(_) if unread > 0 => Some(format!("{unread} of its entries cannot be read")),
        Ok(_) => None,
    };
    contents.sort();
    contents
}

/// How many entries a file lists.
fn count(form: Form, file: &[u8]) -> Result<u64, TableError> {
    let method = match form {
        Form::Hash => Method::Hash,
        Form::Btree => Method::Btree,
    };
    let head = Head::read(method, file)?;
    let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
    let mut count = 0_u64;
    loop {
        key.clear();
        value.clear();
        match head.step(file, &mut cursor, &mut key, &mut value) {
            Ok(Step::Record) | Err(TableError::ItemTooLong) => count = count.saturating_add(1),
            Ok(Step::End) => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}
