//! memcache_table(5).

use mapkeep_template::{DomainList, Templates};

use super::sql::{domain, templates};
use super::values::Values;
use super::{Server, servers};
use crate::error::shown;

/// The settings of a memcache table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memcache {
    /// Where the server is.
    pub server: Server,
    /// The table (`type:name`) that is asked and changed beside it.
    pub backup: Option<Vec<u8>>,
    /// What is asked, as query 0.
    pub templates: Templates,
    /// The digest that stands for the key; `None` for the key itself.
    pub key_digest: Option<Vec<u8>>,
    /// Seconds after which an entry expires; the server takes more than 30 days for a date.
    pub ttl: i32,
    /// The flags that an entry is stored with.
    pub flags: i32,
    /// Seconds to wait for the server.
    pub timeout: i32,
    /// Attempts; at least 1.
    pub max_try: i32,
    /// Seconds between attempts; at least 1.
    pub retry_pause: i32,
    /// The longest line of an answer in bytes; at least 1.
    pub line_size_limit: i32,
    /// The longest value in bytes; at least 1.
    pub data_size_limit: i32,
    /// `domain`.
    pub domain: DomainList,
}

pub(super) fn read(values: &mut Values<'_>) -> Option<Memcache> {
    let address = values.text("memcache", "inet:localhost:11211");
    let server = match servers::memcache(&address) {
        Ok(server) => Some(server),
        Err(error) => {
            values.error("memcache", &format!("\"{}\": {error}", shown(&address)));
            None
        }
    };
    let key_format = values.text("key_format", "%s");
    let templates = templates(values, &[(&key_format, "key_format")], (b"%s", "key_format"));
    Some(Memcache {
        backup: values.optional("backup"),
        key_digest: values.optional("key_digest"),
        ttl: values.integer("ttl", 3600, 0, 0),
        flags: values.integer("flags", 0, 0, 0),
        timeout: values.integer("timeout", 2, 0, 0),
        max_try: values.integer("max_try", 2, 1, 0),
        retry_pause: values.integer("retry_pause", 1, 1, 0),
        line_size_limit: values.integer("line_size_limit", 1024, 1, 0),
        data_size_limit: values.integer("data_size_limit", 10_240, 1, 0),
        domain: domain(values)?,
        server: server?,
        templates: templates?,
    })
}
