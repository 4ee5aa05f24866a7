//! Constant databases, as `cdb:` tables.
//!
//! Purpose: lookups and scans in files of D. J. Bernstein's cdb format. May: borrow from the snapshot.
//! Never: copy more than an answer.
//!
//! The format (<https://cr.yp.to/cdb/cdb.txt>): 256 pairs of position and number of slots; records (key length, value
//! length, key, value); 256 hash tables of slots (hash, record position). All numbers are 32 bits, little-endian.

use crate::bytes::{Bytes, Order, offset, size};
use crate::cursor::{Cursor, Place};
use crate::probe::Probe;
use mapkeep_query::Step;
use mapkeep_query::TableError;
use mapkeep_query::put_text;

const TABLES: usize = 256;
const HEADER: usize = 2048;
const SLOT: usize = 8;
const RECORD_HEADER: usize = 8;

/// The fields of the header.
#[derive(Debug)]
pub struct Head {
    /// Where the records end and the hash tables begin.
    end_of_records: usize,
}

impl Head {
    /// Checks that all 256 hash tables lie in the file, behind the records.
    pub fn read(data: &[u8]) -> Result<Head, TableError> {
        if u64::try_from(data.len()).unwrap_or(u64::MAX) > u64::from(u32::MAX) {
            return Err(TableError::FileTooLarge);
        }
        if data.len() < HEADER {
            return Err(TableError::Damaged("shorter than a cdb header"));
        }
        let file = Bytes::new(data, Order::Little);
        // The first hash table follows the last record at once, also when it has no slots.
        let end_of_records = size(file.u32(0)?)?;
        if !(HEADER..=data.len()).contains(&end_of_records) {
            return Err(TableError::Damaged("not a cdb file"));
        }
        let mut slots = 0_usize;
        for table in 0..TABLES {
            let (start, count) = table_of(&file, table)?;
            if start < end_of_records || offset(start, count, SLOT)? > data.len() {
                return Err(TableError::Damaged("not a cdb file, or cut short"));
            }
            slots = slots.saturating_add(count);
        }
        if offset(end_of_records, slots, SLOT)? > data.len() {
            return Err(TableError::Damaged("cdb hash tables overlap"));
        }
        Ok(Head { end_of_records })
    }

    /// Fills `answer` and returns true if `probe` is there.
    pub fn find(&self, data: &[u8], probe: &Probe<'_>, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let file = Bytes::new(data, Order::Little);
        let hash = probe.bytes().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(byte));
        let (start, count) = table_of(&file, size(hash & 0xff)?)?;
        let Some(home) = size(hash >> 8)?.checked_rem(count) else { return Ok(false) };
        // Keys with the same hash are compared byte by byte. Those of a sound file do not overlap.
        let mut to_compare = data.len();
        for index in (home..count).chain(0..home) {
            let slot = offset(start, index, SLOT)?;
            let position = size(file.u32(offset(slot, 1, 4)?)?)?;
            if position == 0 {
                return Ok(false);
            }
            if file.u32(slot)? != hash || size(file.u32(position)?)? != probe.length() {
                continue;
            }
            to_compare =
                to_compare.checked_sub(probe.length()).ok_or(TableError::Damaged("cdb records overlap"))?;
            let (key, value, _) = self.record(&file, position)?;
            if probe.equals(key) {
                return put_text(answer, value).map(|()| true);
            }
        }
        Ok(false)
    }

    /// One step of a scan, in the order of the file.
    pub fn step(
        &self,
        data: &[u8],
        cursor: &mut Cursor,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Step, TableError> {
        let position = match cursor.place {
            Place::Start => HEADER,
            Place::At(position) => position,
            Place::End => return Ok(Step::End),
            _ => return Err(TableError::ForeignCursor),
        };
        if position >= self.end_of_records {
            cursor.place = Place::End;
            return Ok(Step::End);
        }
        let (stored_key, stored_value, next) = self.record(&Bytes::new(data, Order::Little), position)?;
        let copied = put_text(key, stored_key).and_then(|()| put_text(value, stored_value));
        if matches!(copied, Ok(()) | Err(TableError::ItemTooLong)) {
            cursor.place = Place::At(next);
        }
        copied.map(|()| Step::Record)
    }

    /// Key and value of the record at `position`, and where the next one begins.
    fn record<'a>(
        &self,
        file: &Bytes<'a>,
        position: usize,
    ) -> Result<(&'a [u8], &'a [u8], usize), TableError> {
        let key_at = offset(position, RECORD_HEADER, 1)?;
        let value_at = offset(key_at, size(file.u32(position)?)?, 1)?;
        let end = offset(value_at, size(file.u32(offset(position, 1, 4)?)?)?, 1)?;
        if end > self.end_of_records {
            return Err(TableError::Damaged("a cdb record reaches into the hash tables"));
        }
        Ok((file.range(key_at, value_at)?, file.range(value_at, end)?, end))
    }
}

/// Position and number of slots of hash table `table`.
fn table_of(file: &Bytes<'_>, table: usize) -> Result<(usize, usize), TableError> {
    let entry = offset(0, table, 8)?;
    Ok((size(file.u32(entry)?)?, size(file.u32(offset(entry, 1, 4)?)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_query::NulMode;

    /// A file without records, as cdbmake writes it.
    fn empty() -> Vec<u8> {
        [2048_u32, 0].map(u32::to_le_bytes).concat().repeat(256)
    }

    #[test]
    fn read_junk_or_short_refused() {
        for junk in [vec![], vec![0; 2047], vec![0; 2048], vec![0xff; 4096], b"text\n".repeat(1000)] {
            assert!(Head::read(&junk).is_err());
        }
    }

    #[test]
    fn find_empty_table_absent() {
        let data = empty();
        let head = Head::read(&data).unwrap();
        let mut answer = Vec::new();
        assert_eq!(head.find(&data, &Probe::new(b"key", NulMode::Bare), &mut answer), Ok(false));
        let step = head.step(&data, &mut Cursor::default(), &mut Vec::new(), &mut answer);
        assert_eq!(step, Ok(Step::End));
    }

    #[test]
    fn read_table_past_the_end_refused() {
        let mut data = empty();
        data[12] = 1;
        assert!(Head::read(&data).is_err());
    }
}
