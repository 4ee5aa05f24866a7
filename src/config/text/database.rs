//! The settings of database tables (`mysql`, `pgsql`, `sqlite`, `ldap`, `memcache`): from a file of their own, or from
//! main.cf. What ends stock is an error of the table here.
//!
//! Source: mysql_table(5), pgsql_table(5), sqlite_table(5), ldap_table(5) and memcache_table(5) of Postfix 3.6 to 3.12;
//! `tests/against_tables.rs` asks the installed postmap which files it refuses.

mod complaint;
mod file;
mod identity;
mod known;
mod ldap;
mod ldap_server;
mod memcache;
mod mysql;
mod pgsql;
mod secret;
mod servers;
mod sql;
mod sqlite;
mod uri;
mod values;

pub use complaint::CfComplaint;
pub use identity::Identity;
pub use ldap::{Ldap, LdapAttributes, LdapLogin, LdapTls, Scope};
pub use ldap_server::{LdapScheme, LdapServer};
pub use memcache::Memcache;
pub use mysql::{Mysql, MysqlTls};
pub use pgsql::{Pgsql, PgsqlHost};
pub use secret::Secret;
pub use servers::Server;
pub use sql::SqlTable;
pub use sqlite::Sqlite;
pub use uri::PgsqlUri;

use mapkeep_template::{DomainList, DomainPattern};

use crate::parameters::Parameters;
use values::Values;

/// A type of database table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL.
    Pgsql,
    /// SQLite.
    Sqlite,
    /// LDAP.
    Ldap,
    /// memcached.
    Memcache,
}

impl DatabaseKind {
    /// All of them.
    pub const ALL: [DatabaseKind; 5] = [
        DatabaseKind::Mysql,
        DatabaseKind::Pgsql,
        DatabaseKind::Sqlite,
        DatabaseKind::Ldap,
        DatabaseKind::Memcache,
    ];

    /// What precedes the colon in the name of a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DatabaseKind::Mysql => "mysql",
            DatabaseKind::Pgsql => "pgsql",
            DatabaseKind::Sqlite => "sqlite",
            DatabaseKind::Ldap => "ldap",
            DatabaseKind::Memcache => "memcache",
        }
    }

    /// The kind of the table `name` (`type:rest`), and what follows the colon.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<(DatabaseKind, &[u8])> {
        DatabaseKind::ALL.into_iter().find_map(|kind| {
            let rest = name.strip_prefix(kind.name().as_bytes())?.strip_prefix(b":")?;
            Some((kind, rest))
        })
    }
}

/// Where the settings of a table are.
#[derive(Clone, Copy)]
pub enum CfSource<'a> {
    /// In a file of its own: its path, for messages, and its text.
    File {
        /// The path.
        path: &'a [u8],
        /// The text.
        text: &'a [u8],
    },
    /// In main.cf, in parameters `prefix_name`.
    Prefix(&'a [u8]),
}

/// Whether what follows the colon of a table's name is the path of its file, by the rule of Postfix: else it is a prefix of
/// parameters in main.cf. A path that begins with a dot begins in `queue_directory`.
#[must_use]
pub fn is_cf_path(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(b'/' | b'.'))
}

/// The settings of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseSettings {
    /// Of a `mysql` table.
    Mysql(Mysql),
    /// Of a `pgsql` table.
    Pgsql(Pgsql),
    /// Of an `sqlite` table.
    Sqlite(Sqlite),
    /// Of an `ldap` table.
    Ldap(Ldap),
    /// Of a `memcache` table.
    Memcache(Memcache),
}

/// What was read of the settings of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfReading {
    /// The settings; `None` if one of the complaints is an error.
    pub settings: Option<DatabaseSettings>,
    /// What is wrong.
    pub complaints: Vec<CfComplaint>,
}

/// Reads the settings of a table of this kind. `parameters` are those of main.cf; they also say which version of Postfix is
/// installed, whose defaults count.
#[must_use]
pub fn read_database(kind: DatabaseKind, source: CfSource<'_>, parameters: &Parameters) -> CfReading {
    let mut values = Values::new(kind, source, parameters);
    let settings = match kind {
        DatabaseKind::Mysql => mysql::read(&mut values).map(DatabaseSettings::Mysql),
        DatabaseKind::Pgsql => pgsql::read(&mut values).map(DatabaseSettings::Pgsql),
        DatabaseKind::Sqlite => sqlite::read(&mut values).map(DatabaseSettings::Sqlite),
        DatabaseKind::Ldap => ldap::read(&mut values).map(DatabaseSettings::Ldap),
        DatabaseKind::Memcache => memcache::read(&mut values).map(DatabaseSettings::Memcache),
    };
    let (complaints, failed) = values.finish();
    CfReading { settings: settings.filter(|_| !failed), complaints }
}

impl DatabaseSettings {
    /// The type of the table.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        match self {
            DatabaseSettings::Mysql(_) => DatabaseKind::Mysql,
            DatabaseSettings::Pgsql(_) => DatabaseKind::Pgsql,
            DatabaseSettings::Sqlite(_) => DatabaseKind::Sqlite,
            DatabaseSettings::Ldap(_) => DatabaseKind::Ldap,
            DatabaseSettings::Memcache(_) => DatabaseKind::Memcache,
        }
    }

    /// Where its servers are, in order; none for SQLite.
    #[must_use]
    pub fn servers(&self) -> Vec<&Server> {
        match self {
            DatabaseSettings::Mysql(table) => table.hosts.iter().collect(),
            DatabaseSettings::Pgsql(table) => table.hosts.iter().map(PgsqlHost::server).collect(),
            DatabaseSettings::Sqlite(_) => Vec::new(),
            DatabaseSettings::Ldap(table) => table.servers.iter().map(|found| &found.server).collect(),
            DatabaseSettings::Memcache(table) => vec![&table.server],
        }
    }

    /// The `domain` list of the table.
    #[must_use]
    pub fn domain(&self) -> &DomainList {
        match self {
            DatabaseSettings::Mysql(table) => &table.sql.domain,
            DatabaseSettings::Pgsql(table) => &table.sql.domain,
            DatabaseSettings::Sqlite(table) => &table.sql.domain,
            DatabaseSettings::Ldap(table) => &table.domain,
            DatabaseSettings::Memcache(table) => &table.domain,
        }
    }

    /// The files and directories that the settings name, each with the parameter that does.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        let named: Vec<(&'static str, Option<&Vec<u8>>)> = match self {
            DatabaseSettings::Mysql(table) => vec![
                ("option_file", table.option_file.as_ref()),
                ("tls_key_file", table.tls.key_file.as_ref()),
                ("tls_cert_file", table.tls.cert_file.as_ref()),
                ("tls_CAfile", table.tls.ca_file.as_ref()),
                ("tls_CApath", table.tls.ca_path.as_ref()),
            ],
            DatabaseSettings::Pgsql(table) => table.hosts.iter().flat_map(uri_files).collect(),
            DatabaseSettings::Sqlite(table) => vec![("dbpath", Some(&table.dbpath))],
            DatabaseSettings::Ldap(table) => vec![
                ("tls_ca_cert_file", table.tls.ca_cert_file.as_ref()),
                ("tls_ca_cert_dir", table.tls.ca_cert_dir.as_ref()),
                ("tls_cert", table.tls.cert.as_ref()),
                ("tls_key", table.tls.key.as_ref()),
                ("tls_random_file", table.tls.random_file.as_ref()),
            ],
            DatabaseSettings::Memcache(_) => Vec::new(),
        };
        let lists = self.domain().items().iter().map(|item| match &item.pattern {
            DomainPattern::File(path) => ("domain", Some(path)),
            _ => ("domain", None),
        });
        let all = named.into_iter().chain(lists);
        all.filter_map(|(name, path)| Some((name, path?.as_slice()))).collect()
    }
}

fn uri_files(host: &PgsqlHost) -> Vec<(&'static str, Option<&Vec<u8>>)> {
    let PgsqlHost::Uri(uri) = host else { return Vec::new() };
    let is_file = |name: &str| ["sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir"].contains(&name);
    uri.options.iter().filter(|(name, _)| is_file(name)).map(|(name, path)| (*name, Some(path))).collect()
}

#[cfg(test)]
mod tests;
