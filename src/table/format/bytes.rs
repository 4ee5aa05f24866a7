//! Checked reading of numbers and slices from foreign bytes.
//!
//! Purpose: the one place where an offset from a file becomes an access. May: answer or refuse. Never: panic, wrap
//! around, read past the end.

use mapkeep_query::TableError;

/// The byte order of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

/// A run of bytes (a page, a file) and the byte order of its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    pub data: &'a [u8],
    pub order: Order,
}

const OUTSIDE: TableError = TableError::Damaged("an offset points outside its page or file");

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8], order: Order) -> Self {
        Bytes { data, order }
    }

    /// `length` bytes from offset `at`.
    pub fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], TableError> {
        let end = at.checked_add(length).ok_or(OUTSIDE)?;
        self.data.get(at..end).ok_or(OUTSIDE)
    }

    /// The bytes from offset `at` up to, not including, offset `end`.
    pub fn range(&self, at: usize, end: usize) -> Result<&'a [u8], TableError> {
        self.data.get(at..end).ok_or(OUTSIDE)
    }

    pub fn u8(&self, at: usize) -> Result<u8, TableError> {
        self.data.get(at).copied().ok_or(OUTSIDE)
    }

    pub fn u16(&self, at: usize) -> Result<u16, TableError> {
        let raw = self.array(at)?;
        Ok(match self.order {
            Order::Little => u16::from_le_bytes(raw),
            Order::Big => u16::from_be_bytes(raw),
        })
    }

    pub fn u32(&self, at: usize) -> Result<u32, TableError> {
        let raw = self.array(at)?;
        Ok(match self.order {
            Order::Little => u32::from_le_bytes(raw),
            Order::Big => u32::from_be_bytes(raw),
        })
    }

    pub fn u64(&self, at: usize) -> Result<u64, TableError> {
        let raw = self.array(at)?;
        Ok(match self.order {
            Order::Little => u64::from_le_bytes(raw),
            Order::Big => u64::from_be_bytes(raw),
        })
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], TableError> {
        self.data.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(OUTSIDE)
    }
}

/// `base + count * each` as an offset.
pub fn offset(base: usize, count: usize, each: usize) -> Result<usize, TableError> {
    count.checked_mul(each).and_then(|product| base.checked_add(product)).ok_or(OUTSIDE)
}

/// A number from a file as an offset or length in memory.
pub fn size(number: impl TryInto<usize>) -> Result<usize, TableError> {
    number.try_into().map_err(|_| OUTSIDE)
}

/// How many of the `count` items, which are ordered so that `before` is true for the first ones only, it is true for.
/// Binary search; for items without that order the answer is wrong, but the time is bounded all the same.
pub fn partition(
    count: usize,
    mut before: impl FnMut(usize) -> Result<bool, TableError>,
) -> Result<usize, TableError> {
    let (mut low, mut high) = (0_usize, count);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle)? {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Has a page that is about to be searched brought near: reads a byte here and there, so that the processor fetches
/// the memory around all of them at the same time. A binary search waits for one place after the other, which is most of
/// what a lookup in a large table costs.
pub fn fetch(page: &[u8]) {
    const PLACES: usize = 16;
    let distance = page.len().div_ceil(PLACES).max(1);
    let places = page.iter().step_by(distance);
    std::hint::black_box(places.fold(0, |all, byte| all ^ byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_both_orders_read_as_stored() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8];
        let (little, big) = (Bytes::new(&data, Order::Little), Bytes::new(&data, Order::Big));
        assert_eq!((little.u16(1), big.u16(1)), (Ok(0x0302), Ok(0x0203)));
        assert_eq!((little.u32(4), big.u32(4)), (Ok(0x0807_0605), Ok(0x0506_0708)));
        assert_eq!(little.u64(0), Ok(0x0807_0605_0403_0201));
    }

    #[test]
    fn reads_past_the_end_refused() {
        let bytes = Bytes::new(&[0; 8], Order::Little);
        assert_eq!(bytes.u64(1), Err(OUTSIDE));
        assert_eq!(bytes.u8(usize::MAX), Err(OUTSIDE));
        assert_eq!(bytes.slice(usize::MAX, 2), Err(OUTSIDE));
        assert_eq!(bytes.range(5, 4), Err(OUTSIDE));
        assert_eq!(offset(1, usize::MAX, 2), Err(OUTSIDE));
    }

    #[test]
    fn partition_every_boundary_found() {
        for boundary in 0..=9 {
            assert_eq!(partition(9, |item| Ok(item < boundary)), Ok(boundary));
        }
    }
}
