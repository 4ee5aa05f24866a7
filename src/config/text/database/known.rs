//! The parameters of each type, and since when Postfix knows those that 3.6 does not know.
//!
//! Sources: mysql_table(5), pgsql_table(5), sqlite_table(5), ldap_table(5), memcache_table(5) of Postfix 3.6 to 3.12.

use super::DatabaseKind;

/// A parameter, and the minor version of Postfix 3 that it came with.
pub(super) type Known = (&'static str, u16);

const SQL: [Known; 8] = [
    ("query", 6),
    ("result_format", 6),
    ("expansion_limit", 6),
    ("domain", 6),
    ("table", 6),
    ("select_field", 6),
    ("where_field", 6),
    ("additional_conditions", 6),
];
const SERVER: [Known; 6] =
    [("hosts", 6), ("user", 6), ("password", 6), ("dbname", 6), ("retry_interval", 9), ("idle_interval", 9)];
const MYSQL: [Known; 10] = [
    ("charset", 9),
    ("option_file", 6),
    ("option_group", 6),
    ("tls_key_file", 6),
    ("tls_cert_file", 6),
    ("tls_CAfile", 6),
    ("tls_CApath", 6),
    ("tls_ciphers", 6),
    ("tls_verify_cert", 6),
    ("require_result_set", 6),
];
const PGSQL: [Known; 2] = [("encoding", 8), ("select_function", 6)];
const SQLITE: [Known; 1] = [("dbpath", 6)];
const LDAP: [Known; 38] = [
    ("server_host", 6),
    ("server_port", 6),
    ("version", 6),
    ("search_base", 6),
    ("query_filter", 6),
    ("result_format", 6),
    ("result_filter", 6),
    ("domain", 6),
    ("scope", 6),
    ("timeout", 6),
    ("result_attribute", 6),
    ("special_result_attribute", 6),
    ("leaf_result_attribute", 6),
    ("terminal_result_attribute", 6),
    ("recursion_limit", 6),
    ("expansion_limit", 6),
    ("size_limit", 6),
    ("bind", 6),
    ("bind_dn", 6),
    ("bind_pw", 6),
    ("cache", 6),
    ("cache_expiry", 6),
    ("cache_size", 6),
    ("dereference", 6),
    ("chase_referrals", 6),
    ("debuglevel", 6),
    ("sasl_mechs", 6),
    ("sasl_realm", 6),
    ("sasl_authz_id", 6),
    ("sasl_minssf", 6),
    ("start_tls", 6),
    ("tls_require_cert", 6),
    ("tls_ca_cert_file", 6),
    ("tls_ca_cert_dir", 6),
    ("tls_cert", 6),
    ("tls_key", 6),
    ("tls_random_file", 6),
    ("tls_cipher_suite", 6),
];
const MEMCACHE: [Known; 12] = [
    ("memcache", 6),
    ("backup", 6),
    ("key_format", 6),
    ("key_digest", 11),
    ("ttl", 6),
    ("flags", 6),
    ("timeout", 6),
    ("max_try", 6),
    ("retry_pause", 6),
    ("line_size_limit", 6),
    ("data_size_limit", 6),
    ("domain", 6),
];

/// All parameters of a type.
pub(super) fn parameters(kind: DatabaseKind) -> impl Iterator<Item = Known> {
    let groups: [&[Known]; 3] = match kind {
        DatabaseKind::Mysql => [&SQL, &SERVER, &MYSQL],
        DatabaseKind::Pgsql => [&SQL, &SERVER, &PGSQL],
        DatabaseKind::Sqlite => [&SQL, &SQLITE, &[]],
        DatabaseKind::Ldap => [&LDAP, &[], &[]],
        DatabaseKind::Memcache => [&MEMCACHE, &[], &[]],
    };
    groups.into_iter().flatten().copied()
}

/// The parameter that `name`, which is none, was most likely meant to be.
pub(super) fn meant(kind: DatabaseKind, name: &[u8]) -> Option<&'static str> {
    // A name this long is no slip of the finger, and would make much work.
    if name.len() > 40 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let near =
        parameters(kind).map(|(known, _)| (distance(&lower, known.to_ascii_lowercase().as_bytes()), known));
    let (steps, known) = near.min_by_key(|(steps, _)| *steps)?;
    (steps <= 2 && steps.saturating_mul(3) <= known.len()).then_some(known)
}

/// How many bytes have to be added, removed, exchanged or swapped with their neighbour to get from one to the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut older: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    let mut before = None;
    for (row, byte) in from.iter().enumerate() {
        let mut current = vec![row.saturating_add(1)];
        let mut last = None;
        for (column, other) in to.iter().enumerate() {
            let get = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX);
            let next = column.saturating_add(1);
            let mut steps = get(&previous, column).saturating_add(usize::from(byte != other));
            steps = steps.min(get(&previous, next).saturating_add(1));
            steps = steps.min(get(&current, column).saturating_add(1));
            if before == Some(other) && last == Some(byte) {
                let swapped = column.checked_sub(1).map_or(usize::MAX, |at| get(&older, at));
                steps = steps.min(swapped.saturating_add(1));
            }
            current.push(steps);
            last = Some(other);
        }
        before = Some(byte);
        older = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meant_finds_slips_and_nothing_else() {
        use DatabaseKind::{Ldap, Memcache, Mysql, Sqlite};
        for (kind, name, expected) in [
            (Mysql, "host", Some("hosts")),
            (Mysql, "Hosts", Some("hosts")),
            (Mysql, "tls_cafile", Some("tls_CAfile")),
            (Mysql, "pasword", Some("password")),
            (Mysql, "passwrod", Some("password")),
            (Sqlite, "quer", Some("query")),
            (Ldap, "search_bas", Some("search_base")),
            (Mysql, "usr", Some("user")),
            (Memcache, "tl", Some("ttl")),
            (Mysql, "comment", None),
            (Sqlite, "hosts", None),
        ] {
            assert_eq!(meant(kind, name.as_bytes()), expected, "{name}");
        }
        assert_eq!(meant(Mysql, &[b'x'; 10_000]), None);
    }
}
