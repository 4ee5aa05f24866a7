//! What is to become of a question. The key says so, for each table by its label: `user;a=50ms;b=absent` is answered by
//! table `a` after 50 ms, and by table `b` with "not found".
//!
//! The value is the label with the key in parentheses. So in `pipemap:{A,B}`, where the value of one table is the key for
//! the next, `k;a=50ms` becomes `a(k;a=50ms)`, then `b(a(k;a=50ms))`: what is ordered of `b` may stand in the first key.

use std::time::Duration;

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is answered at once.
    Answer,
    /// It is answered after this time: `50ms`.
    After(Duration),
    /// It is answered when the order `free` is given.
    Hold,
    /// So is this one, after all that are held, the last of them first.
    Free,
    /// It is never answered.
    Silent,
    /// There is no such key.
    Absent,
    /// There is no answer, but a failure.
    Fail,
    /// It is answered twice.
    Twice,
    /// The process ends itself.
    Die,
    /// A frame that is not an answer is sent instead.
    Garbage(Garbage),
    /// The answer is the number of open questions, without this one, and of withdrawn ones.
    Count,
    /// Nothing that is known here.
    Unknown,
}

/// A frame that is not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// A frame of 4 GiB.
    Endless,
    /// A frame of a kind that does not exist.
    Kind,
    /// An answer to a question that was not asked.
    Unasked,
    /// Half an answer, and the end of the stream.
    Half,
}

/// The label of a table: the last part of its path, or `inline` if the rules stand in its name.
pub(crate) fn label(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match name.rsplit('/').next() {
        Some(label) if !name.contains('{') => label.to_owned(),
        _ => "inline".to_owned(),
    }
}

/// The value that a table has for a key.
pub(crate) fn value(label: &str, key: &[u8]) -> Vec<u8> {
    [label.as_bytes(), b"(", key, b")"].concat()
}

/// What the key orders of the table.
pub(crate) fn order(label: &str, key: &[u8]) -> Order {
    let key = String::from_utf8_lossy(key);
    let mut words = key.split([';', '(', ')', ',']);
    let Some(word) = words.find_map(|word| word.strip_prefix(label)?.strip_prefix('=')) else {
        return Order::Answer;
    };
    match word {
        "hold" => Order::Hold,
        "free" => Order::Free,
        "silent" => Order::Silent,
        "absent" => Order::Absent,
        "fail" => Order::Fail,
        "twice" => Order::Twice,
        "die" => Order::Die,
        "endless" => Order::Garbage(Garbage::Endless),
        "kind" => Order::Garbage(Garbage::Kind),
        "unasked" => Order::Garbage(Garbage::Unasked),
        "half" => Order::Garbage(Garbage::Half),
        "count" => Order::Count,
        word => match word.strip_suffix("ms").and_then(|number| number.parse().ok()) {
            Some(number) => Order::After(Duration::from_millis(number)),
            None => Order::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_finds_its_own_order_also_behind_another_table() {
        let key = b"user;a=50ms;b=absent";
        assert_eq!(order("a", key), Order::After(Duration::from_millis(50)));
        assert_eq!(order("b", &value("a", key)), Order::Absent);
        assert_eq!(order("c", key), Order::Answer);
        assert_eq!(order("a", b"user;a=never"), Order::Unknown);
    }

    #[test]
    fn label_is_the_end_of_the_path() {
        assert_eq!(label(b"regexp:/var/lib/tables/a"), "a");
        assert_eq!(label(b"pcre:{{/x/ y}}"), "inline");
    }
}
