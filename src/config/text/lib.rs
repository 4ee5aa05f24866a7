//! The room that reads configuration: text in, values out.
//!
//! It may parse main.cf, master.cf, `postconf -d` output, mapkeep.cf and the files of database tables, expand `$name`
//! references, and say which tables Postfix has approved for `proxy:` use and where that was written.
//! It never opens a file, asks the system, or ends the process: where stock Postfix dies of a bad line, this
//! room returns a [`Complaint`] with file, line and remedy, and the nearest safe value.
//! Callers: the supervisor and the broker before they serve, and the `mapkeep` command.
//!
//! The facts are those of Postfix 3.7.11 and 3.12-20260821, measured with postconf(1) and `proxymap -S`;
//! `tests/` asks the installed Postfix again.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod approved;
mod complaint;
mod database;
mod defaults;
mod error;
mod expand;
mod keep;
mod lines;
mod main_cf;
mod master_cf;
mod nsswitch;
mod parameters;
mod relation;
mod settings;
mod tokens;
mod values;
mod version;

pub use approved::{ApprovedTable, Provenance, Service, approved, tables_of_file_content};
pub use complaint::{Complaint, ComplaintKind, FileName, Severity};
pub use database::{
    CfComplaint, CfReading, CfSource, DatabaseKind, DatabaseSettings, Identity, Ldap, LdapAttributes,
    LdapLogin, LdapScheme, LdapServer, LdapTls, Memcache, Mysql, MysqlTls, Pgsql, PgsqlHost, PgsqlUri, Scope,
    Secret, Server, SqlTable, Sqlite, is_cf_path, read_database,
};
pub use error::{ConfigError, Reason};
pub use keep::{KeepSettings, Owner, ROLE_IDS, TableOwners};
pub use main_cf::{Entry, MainCf, parse_main};
pub use master_cf::{MasterCf, Override, ServiceEntry, Transport, Wakeup, parse_master};
pub use nsswitch::{Database, Elsewhere, NSSWITCH};
pub use parameters::{Origin, Parameters};
pub use settings::Settings;
pub use tokens::BraceError;
pub use version::PostfixVersion;
