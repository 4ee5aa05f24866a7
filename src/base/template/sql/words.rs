//! The words of SQL that the scanner has to know. All others may give a literal beside them a meaning.

/// Words after which a literal is a value like any other.
const BEFORE: [&str; 24] = [
    "SELECT", "DISTINCT", "ALL", "WHERE", "AND", "OR", "XOR", "NOT", "ON", "HAVING", "LIKE", "ILIKE",
    "RLIKE", "REGEXP", "GLOB", "BETWEEN", "WHEN", "THEN", "ELSE", "CASE", "RETURN", "BY", "LIMIT", "OFFSET",
];

/// Words that may follow a literal without changing it.
const AFTER: [&str; 27] = [
    "AND",
    "OR",
    "XOR",
    "NOT",
    "AS",
    "FROM",
    "WHERE",
    "THEN",
    "WHEN",
    "ELSE",
    "END",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "LIKE",
    "ILIKE",
    "RLIKE",
    "REGEXP",
    "GLOB",
    "IN",
    "IS",
    "BETWEEN",
    "ORDER",
    "GROUP",
    "LIMIT",
    "HAVING",
    "ON",
];

/// Words after which a literal may be a number of a column, or must be a number.
const ORDERING: [&str; 5] = ["ORDER", "GROUP", "LIMIT", "OFFSET", "FETCH"];

fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

pub(super) fn precedes_a_value(word: &[u8]) -> bool {
    is_one_of(word, &BEFORE)
}

pub(super) fn follows_a_value(word: &[u8]) -> bool {
    is_one_of(word, &AFTER)
}

pub(super) fn orders(word: &[u8]) -> bool {
    is_one_of(word, &ORDERING)
}
