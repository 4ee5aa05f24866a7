//! Which tables share a backend: the same servers, asked in the same name.

use super::{DatabaseSettings, LdapLogin, PgsqlHost, Secret, Server};

/// What a backend is. Equal for two tables exactly if a connection of one can serve the other. It holds passwords, so it
/// can be compared and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Secret);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Fields one after the other, each with its length, so that no two lists of fields look alike.
#[derive(Default)]
struct Fields(Vec<Secret>);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        self.0.push(Secret::new(field.to_vec()));
    }

    fn option(&mut self, field: Option<&[u8]>) {
        self.add(if field.is_some() { b"1" } else { b"0" });
        self.add(field.unwrap_or_default());
    }

    fn number(&mut self, number: impl Into<i64>) {
        self.add(&number.into().to_le_bytes());
    }

    fn server(&mut self, server: &Server) {
        match server {
            Server::DefaultSocket => self.add(b"default"),
            Server::Unix(path) => {
                self.add(b"unix");
                self.add(path);
            }
            Server::Tcp { host, port } => {
                self.add(b"tcp");
                self.add(&host.to_ascii_lowercase());
                self.option(port.as_deref());
            }
        }
    }

    fn finish(self) -> Identity {
        // One allocation of the right size, so that nothing is left behind.
        let size = self.0.iter().map(|field| field.expose().len().saturating_add(8)).sum();
        let mut all = Vec::with_capacity(size);
        for field in &self.0 {
            all.extend_from_slice(&u64::try_from(field.expose().len()).unwrap_or(u64::MAX).to_le_bytes());
            all.extend_from_slice(field.expose());
        }
        Identity(Secret::new(all))
    }
}

impl DatabaseSettings {
    /// Which backend the table has.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut fields = Fields::default();
        fields.add(self.kind().name().as_bytes());
        match self {
            DatabaseSettings::Mysql(table) => {
                fields.number(i64::try_from(table.hosts.len()).unwrap_or(i64::MAX));
                table.hosts.iter().for_each(|host| fields.server(host));
                [&table.user, &table.dbname].into_iter().for_each(|text| fields.add(text));
                fields.add(table.password.expose());
                let tls = &table.tls;
                let texts = [&table.charset, &table.option_file, &table.option_group, &tls.key_file];
                let more = [&tls.cert_file, &tls.ca_file, &tls.ca_path, &tls.ciphers];
                texts.into_iter().chain(more).for_each(|text| fields.option(text.as_deref()));
                fields.number(tls.verify_cert.map_or(-1, i32::from));
                [table.retry_interval, table.idle_interval]
                    .into_iter()
                    .for_each(|number| fields.number(number));
            }
            DatabaseSettings::Pgsql(table) => {
                fields.number(i64::try_from(table.hosts.len()).unwrap_or(i64::MAX));
                for host in &table.hosts {
                    fields.server(host.server());
                    if let PgsqlHost::Uri(uri) = host {
                        fields.option(uri.user.as_deref());
                        fields.add(uri.password.expose());
                        fields.option(uri.dbname.as_deref());
                        for (name, value) in &uri.options {
                            [name.as_bytes(), value].into_iter().for_each(|text| fields.add(text));
                        }
                    }
                    fields.add(b"end");
                }
                // Where every host is a URI, these have no effect.
                if table.hosts.iter().any(|host| matches!(host, PgsqlHost::Plain(_))) {
                    [&table.user, &table.dbname].into_iter().for_each(|text| fields.add(text));
                    fields.add(table.password.expose());
                }
                fields.add(&table.encoding);
                [table.retry_interval, table.idle_interval]
                    .into_iter()
                    .for_each(|number| fields.number(number));
            }
            DatabaseSettings::Sqlite(table) => fields.add(&table.dbpath),
            DatabaseSettings::Ldap(table) => ldap(table, &mut fields),
            DatabaseSettings::Memcache(table) => fields.server(&table.server),
        }
        fields.finish()
    }
}

/// Neither limits nor times are part of it: as in Postfix, tables that differ only there share a connection.
fn ldap(table: &super::Ldap, fields: &mut Fields) {
    fields.number(i64::try_from(table.servers.len()).unwrap_or(i64::MAX));
    for server in &table.servers {
        fields.add(format!("{:?}", server.scheme).as_bytes());
        fields.server(&server.server);
    }
    match &table.login {
        LdapLogin::None => fields.add(b"none"),
        LdapLogin::Simple { dn, password } => {
            fields.add(b"simple");
            [dn.as_slice(), password.expose()].into_iter().for_each(|text| fields.add(text));
        }
        LdapLogin::Sasl { dn, password, mechs, realm, authz_id, minssf } => {
            fields.add(b"sasl");
            [dn.as_slice(), password.expose(), mechs, realm, authz_id]
                .into_iter()
                .for_each(|text| fields.add(text));
            fields.number(*minssf);
        }
    }
    let numbers = [i32::from(table.version), i32::from(table.dereference), i32::from(table.chase_referrals)];
    numbers.into_iter().for_each(|number| fields.number(number));
    fields.number(table.debuglevel);
    let tls = &table.tls;
    fields.number(i32::from(tls.start));
    if tls.start || table.servers.iter().any(|server| server.scheme == super::LdapScheme::Ldaps) {
        fields.number(i32::from(tls.require_cert));
        let texts =
            [&tls.ca_cert_file, &tls.ca_cert_dir, &tls.cert, &tls.key, &tls.random_file, &tls.cipher_suite];
        texts.into_iter().for_each(|text| fields.option(text.as_deref()));
    }
}
