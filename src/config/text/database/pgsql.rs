//! pgsql_table(5).

use mapkeep_template::Dialect;
use zeroize::Zeroizing;

use super::sql::{self, SqlTable};
use super::uri::{self, PgsqlUri};
use super::values::Values;
use super::{Secret, Server, servers};
use crate::error::shown;

/// The settings of a PostgreSQL table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pgsql {
    /// Where the servers are, in order; at least one.
    pub hosts: Vec<PgsqlHost>,
    /// The account, for hosts that are no URI.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Secret,
    /// The database, for hosts that are no URI.
    pub dbname: Vec<u8>,
    /// The encoding of the connection.
    pub encoding: Vec<u8>,
    /// Seconds for which a server that failed is not tried again; at least 1.
    pub retry_interval: i32,
    /// Seconds after which a connection that is not used is closed; at least 1.
    pub idle_interval: i32,
    /// The query.
    pub sql: SqlTable,
}

/// A server of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PgsqlHost {
    /// One with the table's account and database.
    Plain(Server),
    /// One with those of its URI.
    Uri(PgsqlUri),
}

impl PgsqlHost {
    /// Where it is.
    #[must_use]
    pub fn server(&self) -> &Server {
        match self {
            PgsqlHost::Plain(server) => server,
            PgsqlHost::Uri(uri) => &uri.server,
        }
    }
}

fn host(item: &[u8]) -> Result<PgsqlHost, String> {
    if uri::is_uri(item) {
        // It may hold a password: nothing of it is shown.
        return uri::parse(item).map(PgsqlHost::Uri);
    }
    if item.get(1..).is_some_and(|rest| rest.contains(&b'@')) {
        // No name of a host has one; a URI that is not well formed does, and a password before it.
        return Err(
            "there is an \"@\" in a host; write host:port, or postgresql://user:password@host/".to_owned()
        );
    }
    servers::pgsql(item).map(PgsqlHost::Plain).map_err(|error| format!("\"{}\": {error}", shown(item)))
}

pub(super) fn read(values: &mut Values<'_>) -> Option<Pgsql> {
    let names = values.list("hosts", "localhost").into_iter().map(Zeroizing::new).collect::<Vec<_>>();
    let mut hosts = Vec::new();
    for item in &names {
        match host(item) {
            Ok(host) => hosts.push(host),
            Err(error) => values.error("hosts", &error),
        }
    }
    if names.is_empty() {
        hosts.push(PgsqlHost::Plain(Server::Tcp { host: b"localhost".to_vec(), port: None }));
    }
    let dbname = values.text("dbname", "");
    if dbname.is_empty() && hosts.iter().any(|host| matches!(host, PgsqlHost::Plain(_))) {
        values.error("dbname", "it must have a value, since not all hosts are URIs; set it");
    }
    // Before 3.8 there was no choice.
    let encoding = if values.since(8) { values.required("encoding", "UTF8") } else { b"LATIN1".to_vec() };
    Some(Pgsql {
        hosts,
        user: values.text("user", ""),
        password: values.secret("password"),
        dbname,
        encoding,
        retry_interval: values.integer("retry_interval", 60, 1, 0),
        idle_interval: values.integer("idle_interval", 60, 1, 0),
        sql: sql::read(values, Dialect::Pgsql)?,
    })
}
