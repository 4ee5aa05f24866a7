//! mysql_table(5).

use mapkeep_template::Dialect;

use super::sql::{self, SqlTable};
use super::values::Values;
use super::{Secret, Server, servers};
use crate::error::shown;

/// The settings of a MySQL or MariaDB table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mysql {
    /// Where the servers are, in order; at least one.
    pub hosts: Vec<Server>,
    /// The account.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Secret,
    /// The database.
    pub dbname: Vec<u8>,
    /// The character set of the connection; `None` for that of the library (before Postfix 3.9).
    pub charset: Option<Vec<u8>>,
    /// Seconds for which a server that failed is not tried again; at least 1.
    pub retry_interval: i32,
    /// Seconds after which a connection that is not used is closed; at least 1.
    pub idle_interval: i32,
    /// A file with further settings of the client library.
    pub option_file: Option<Vec<u8>>,
    /// The group of that file (or of the library's own files) that is read.
    pub option_group: Option<Vec<u8>>,
    /// TLS.
    pub tls: MysqlTls,
    /// Whether a statement without a result set is an error.
    pub require_result_set: bool,
    /// The query.
    pub sql: SqlTable,
}

/// TLS settings of a MySQL table, unset where `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlTls {
    /// File of the client's private key.
    pub key_file: Option<Vec<u8>>,
    /// File of the client's certificate.
    pub cert_file: Option<Vec<u8>>,
    /// File of the authorities' certificates.
    pub ca_file: Option<Vec<u8>>,
    /// Directory of the authorities' certificates.
    pub ca_path: Option<Vec<u8>>,
    /// Cipher list of OpenSSL.
    pub ciphers: Option<Vec<u8>>,
    /// Whether the server's name has to be in its certificate.
    pub verify_cert: Option<bool>,
}

pub(super) fn read(values: &mut Values<'_>) -> Option<Mysql> {
    let names = values.list("hosts", "localhost");
    let names = if names.is_empty() { vec![b"localhost".to_vec()] } else { names };
    let hosts = names.iter().filter_map(|item| match servers::mysql(item) {
        Ok(server) => Some(server),
        Err(error) => {
            values.error("hosts", &format!("\"{}\": {error}", shown(item)));
            None
        }
    });
    let hosts = hosts.collect();
    // Before 3.9 the library chose the character set.
    let charset = values.since(9).then(|| values.required("charset", "utf8mb4"));
    let option_group = values.text("option_group", "client");
    Some(Mysql {
        hosts,
        user: values.text("user", ""),
        password: values.secret("password"),
        dbname: values.required("dbname", ""),
        charset,
        retry_interval: values.integer("retry_interval", 60, 1, 0),
        idle_interval: values.integer("idle_interval", 60, 1, 0),
        option_file: values.optional("option_file"),
        option_group: (!option_group.is_empty()).then_some(option_group),
        tls: MysqlTls {
            key_file: values.optional("tls_key_file"),
            cert_file: values.optional("tls_cert_file"),
            ca_file: values.optional("tls_CAfile"),
            ca_path: values.optional("tls_CApath"),
            ciphers: values.optional("tls_ciphers"),
            verify_cert: values.boolean("tls_verify_cert"),
        },
        require_result_set: values.boolean("require_result_set").unwrap_or(true),
        sql: sql::read(values, Dialect::Mysql)?,
    })
}
