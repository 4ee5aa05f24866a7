//! The key that is looked for, with or without the NUL byte that Postfix may have stored with it.
//!
//! Purpose: compare and hash `key` or `key` + NUL without making a copy. May: compute. Never: allocate.

use std::cmp::Ordering;

use mapkeep_query::NulMode;

/// One form of a key.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    key: &'a [u8],
    mode: NulMode,
    head: Option<u64>,
}

/// The first eight bytes as a number, which compares as they do. Most keys differ there, and a binary search gets along
/// without looking at the others.
fn head(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

impl<'a> Probe<'a> {
    /// The key in this form.
    #[must_use]
    pub fn new(key: &'a [u8], mode: NulMode) -> Self {
        Probe { key, mode, head: head(key) }
    }

    /// Its length in bytes, the NUL byte included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.key.len().saturating_add(self.tail().len())
    }

    fn tail(&self) -> &'static [u8] {
        match self.mode {
            NulMode::WithNul => &[0],
            NulMode::Bare => &[],
        }
    }

    /// Every byte, for hash functions.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.key.iter().chain(self.tail()).copied()
    }

    /// Whether a stored key is this one.
    #[must_use]
    pub fn equals(&self, stored: &[u8]) -> bool {
        stored.strip_prefix(self.key).is_some_and(|rest| rest == self.tail())
    }

    /// How a whole stored key compares with this one: by bytes, then by length.
    pub fn order_of(&self, stored: &[u8]) -> Ordering {
        self.order_of_heads(stored).unwrap_or_else(|| match stored.split_at_checked(self.key.len()) {
            Some((head, rest)) => head.cmp(self.key).then_with(|| rest.cmp(self.tail())),
            // A stored key that is shorter and equal so far comes first with or without the NUL.
            None => stored.cmp(self.key),
        })
    }

    /// How a stored key compares with this one, if their first bytes tell.
    fn order_of_heads(&self, stored: &[u8]) -> Option<Ordering> {
        let order = head(stored)?.cmp(&self.head?);
        (order != Ordering::Equal).then_some(order)
    }

    /// How a piece of a stored key compares with as many bytes of this one from offset `from`. A piece that continues
    /// after the end of this key is greater.
    pub fn order_of_piece(&self, from: usize, piece: &[u8]) -> Ordering {
        if from == 0
            && let Some(order) = self.order_of_heads(piece)
        {
            return order;
        }
        let beyond = from.saturating_sub(self.key.len());
        let (key, tail) =
            (self.key.get(from..).unwrap_or_default(), self.tail().get(beyond..).unwrap_or_default());
        match piece.split_at_checked(key.len()) {
            Some((head, rest)) => {
                head.cmp(key).then_with(|| rest.cmp(tail.get(..rest.len()).unwrap_or(tail)))
            }
            None => piece.cmp(key.get(..piece.len()).unwrap_or(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_all_pairs_same_as_copied_key() {
        let words: [&[u8]; 14] = [
            b"",
            b"\0",
            b"a",
            b"a\0",
            b"a\0\0",
            b"a\x01",
            b"ab",
            b"ab\0",
            b"b",
            b"abcdefgh",
            b"abcdefgh\0",
            b"abcdefgg\xff",
            b"abcdefghi",
            b"\xffbcdefgh",
        ];
        for key in words {
            for (mode, tail) in [(NulMode::Bare, &b""[..]), (NulMode::WithNul, b"\0")] {
                let (probe, whole) = (Probe::new(key, mode), [key, tail].concat());
                assert_eq!(probe.length(), whole.len());
                assert_eq!(probe.bytes().collect::<Vec<_>>(), whole);
                for stored in words {
                    assert_eq!(probe.order_of(stored), stored.cmp(&whole), "{stored:?} {whole:?}");
                    assert_eq!(probe.equals(stored), stored == whole);
                }
            }
        }
    }

    #[test]
    fn order_of_piece_offsets_respected() {
        let probe = Probe::new(b"abcd", NulMode::WithNul);
        assert_eq!(probe.order_of_piece(2, b"cd\0"), Ordering::Equal);
        assert_eq!(probe.order_of_piece(2, b"c"), Ordering::Equal);
        assert_eq!(probe.order_of_piece(2, b"cd\0x"), Ordering::Greater);
        assert_eq!(probe.order_of_piece(2, b"b"), Ordering::Less);
        assert_eq!(probe.order_of_piece(9, b"x"), Ordering::Greater);
    }
}
