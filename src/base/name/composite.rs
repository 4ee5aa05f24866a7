//! The names of tables that are made of others.

use crate::{BadName, Kind, MAX_NESTING, members};

/// The names (`type:rest`) of the tables with content of their own that the table `name` is made of, at any depth and in
/// their order. Empty for a table that is not made of others.
///
/// # Errors
/// What is wrong with the name, where Postfix has a syntax error; or it is nested deeper than [`MAX_NESTING`].
pub fn leaves(name: &[u8]) -> Result<Vec<Vec<u8>>, BadName> {
    let mut found = Vec::new();
    if Kind::of(name).is_composite() {
        collect(name, MAX_NESTING, &mut found)?;
    }
    Ok(found)
}

fn collect(name: &[u8], depth: usize, found: &mut Vec<Vec<u8>>) -> Result<(), BadName> {
    if !Kind::of(name).is_composite() {
        found.push(name.to_vec());
        return Ok(());
    }
    let depth = depth.checked_sub(1).ok_or(BadName("tables are nested too deep"))?;
    members(name)?.into_iter().try_for_each(|member| collect(member, depth, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_the_whole_tree() {
        let name = b"unionmap:{proxy:hash:/a pipemap:{inline:{a=b c=d}, debug:proxy:cdb:/b} hash:/a}";
        let expected =
            ["hash:/a", "inline:{a=b c=d}", "cdb:/b", "hash:/a"].map(|leaf| leaf.as_bytes().to_vec());
        assert_eq!(leaves(name).unwrap(), expected);
        assert_eq!(leaves(b"hash:/a").unwrap(), Vec::<Vec<u8>>::new());
        assert!(leaves(b"unionmap:{pipemap:{}}").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| [b"debug:".repeat(levels), b"static:x".to_vec()].concat();
        assert!(leaves(&nested(MAX_NESTING)).is_ok());
        assert!(leaves(&nested(MAX_NESTING + 1)).is_err());
        assert!(leaves(&nested(1_000_000)).is_err());
    }
}
