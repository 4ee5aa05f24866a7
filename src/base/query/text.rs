//! Keys and values as text: Postfix takes them for C strings.

use memchr::memchr;

use crate::{MAX_ITEM, TableError};

/// Puts what Postfix sees of a stored key or value into `out`: it treats them as C strings, so the first NUL, and
/// anything after it, is not part of the text.
///
/// # Errors
/// [`TableError::ItemTooLong`] over [`MAX_ITEM`]; [`TableError::OutOfMemory`].
pub fn put_text(out: &mut Vec<u8>, stored: &[u8]) -> Result<(), TableError> {
    out.clear();
    append(out, text_of(stored))
}

/// What Postfix sees of a stored key or value: the bytes before the first NUL.
#[must_use]
pub fn text_of(stored: &[u8]) -> &[u8] {
    until(0, stored)
}

/// The bytes before the first one that is `end`; all of them if there is none.
#[must_use]
pub fn until(end: u8, bytes: &[u8]) -> &[u8] {
    memchr(end, bytes).and_then(|at| bytes.get(..at)).unwrap_or(bytes)
}

/// Appends `more`, unless that makes `out` longer than a key or value may be.
///
/// # Errors
/// [`TableError::ItemTooLong`] over [`MAX_ITEM`]; [`TableError::OutOfMemory`].
pub fn append(out: &mut Vec<u8>, more: &[u8]) -> Result<(), TableError> {
    if more.len() > MAX_ITEM.saturating_sub(out.len()) {
        return Err(TableError::ItemTooLong);
    }
    out.try_reserve(more.len()).map_err(|_| TableError::OutOfMemory)?;
    out.extend_from_slice(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_text_nul_ends_text() {
        let mut out = b"old".to_vec();
        put_text(&mut out, b"new\0rest").unwrap();
        assert_eq!(out, b"new");
        assert_eq!(put_text(&mut out, &vec![b'x'; MAX_ITEM + 1]), Err(TableError::ItemTooLong));
    }
}
