//! `randmap:` tables: one of the values in the name, at random, for every key.
//!
//! Purpose: parse the name, spread the answers evenly. May: count its answers. Never: ask the kernel for randomness;
//! what is random here must be even, not secret.

use std::cell::Cell;

use crate::text::{braced, next_element};
use mapkeep_query::TableError;
use mapkeep_query::put_text;

/// The values, and how often one was picked.
pub struct Random {
    values: Vec<Vec<u8>>,
    count: Cell<u64>,
}

impl Random {
    /// Parses `{value, value...}`; braces around a value stay with it.
    ///
    /// # Errors
    /// [`TableError::BadName`] where Postfix has a syntax error, an empty list included.
    pub fn parse(name: &[u8]) -> Result<Random, TableError> {
        let Some((mut list, [])) = braced(name) else {
            return Err(TableError::BadName("expected {value, ...}"));
        };
        let mut values = Vec::new();
        while let Some((value, after)) = next_element(list) {
            values.push(value.to_vec());
            list = after;
        }
        if values.is_empty() {
            return Err(TableError::BadName("expected at least one value"));
        }
        Ok(Random { values, count: Cell::new(0) })
    }

    /// Fills `answer` with one of the values. `seed` is mixed in.
    pub fn pick(&self, seed: u64, answer: &mut Vec<u8>) -> Result<bool, TableError> {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        let values = u64::try_from(self.values.len()).unwrap_or(u64::MAX);
        let place = mixed(seed.wrapping_add(count)).checked_rem(values).unwrap_or(0);
        let value = usize::try_from(place).ok().and_then(|place| self.values.get(place));
        put_text(answer, value.map(Vec::as_slice).unwrap_or_default())?;
        Ok(true)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): spreads the bits of consecutive numbers evenly.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pick_every_value_about_equally_often() {
        for seed in [0, 7, u64::MAX] {
            let table = Random::parse(b"{x {y z}, w}").unwrap();
            let (mut counts, mut answer) = ([0_u32; 3], Vec::new());
            for _ in 0..30_000 {
                assert_eq!(table.pick(seed, &mut answer), Ok(true));
                let place = [&b"x"[..], b"{y z}", b"w"].iter().position(|value| answer == *value);
                counts[place.unwrap()] += 1;
            }
            assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn parse_malformed_names_refused() {
        for name in ["", "{}", "{ , }", "x", "{x} y", "{x"] {
            assert!(matches!(Random::parse(name.as_bytes()), Err(TableError::BadName(_))), "{name}");
        }
    }
}
