//! The approved names as one block of bytes, handed to a worker in a sealed memfd.
//!
//! Names have no useful upper limit (an `inline:` table is its own name), so they do not fit in messages.
//! Layout: for each name, in the order of table ids, a byte (bit 0: approved, else only a member of a composite table;
//! bit 1: incomplete), a 32-bit little-endian length and the bytes.

use crate::codec::DecodeError;

/// A table that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `type:rest`, byte for byte as clients must write it.
    pub name: Vec<u8>,
    /// Whether clients may ask it by this name; otherwise it is only a member of a composite table.
    pub approved: bool,
    /// Whether entries may exist outside its file, in a source that is not consulted: accounts of the name service.
    /// Then "not in the file" is no answer.
    pub incomplete: bool,
}

/// Writes names as a block.
///
/// # Errors
/// More names than ids, or a name whose length does not fit.
pub fn encode_names(tables: &[Listed]) -> Result<Vec<u8>, DecodeError> {
    let mut block = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        if index >= usize::from(u16::MAX) {
            return Err(DecodeError::TooManyNames);
        }
        let length = u32::try_from(table.name.len()).map_err(|_| DecodeError::NameTooLong)?;
        block.push(u8::from(table.approved) | u8::from(table.incomplete) << 1);
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&table.name);
    }
    Ok(block)
}

/// Reads a block back.
///
/// # Errors
/// [`DecodeError`]: a block that [`encode_names`] cannot have written.
pub fn decode_names(mut block: &[u8]) -> Result<Vec<Listed>, DecodeError> {
    let mut tables = Vec::new();
    while let Some((bits, rest)) = block.split_first() {
        if bits & !3 != 0 {
            return Err(DecodeError::NamesDamaged);
        }
        let (approved, incomplete) = (bits & 1 != 0, bits & 2 != 0);
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::NamesCut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| DecodeError::NameTooLong)?;
        let (name, rest) = rest.split_at_checked(length).ok_or(DecodeError::NamesCut)?;
        if tables.len() >= usize::from(u16::MAX) {
            return Err(DecodeError::TooManyNames);
        }
        tables.push(Listed { name: name.to_vec(), approved, incomplete });
        block = rest;
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &[u8], approved: bool) -> Listed {
        Listed { name: name.to_vec(), approved, incomplete: false }
    }

    #[test]
    fn names_roundtrip_and_cuts() {
        let accounts = Listed { incomplete: true, ..listed(b"unix:passwd.byname", true) };
        let tables =
            [listed(b"hash:/a", true), listed(b"", false), listed(b"static:\xff\x01", true), accounts];
        let block = encode_names(&tables).unwrap();
        assert_eq!(decode_names(&block).unwrap(), tables);
        for cut in 1..block.len() {
            let got = decode_names(&block[..cut]);
            assert!(got.is_err() || got.unwrap().len() < 4, "cut at {cut}");
        }
        assert_eq!(decode_names(&[4, 0, 0, 0, 0]), Err(DecodeError::NamesDamaged));
    }

    #[test]
    fn names_beyond_the_ids_are_refused() {
        let many = vec![listed(b"x", true); 65_536];
        assert_eq!(encode_names(&many), Err(DecodeError::TooManyNames));
    }
}
