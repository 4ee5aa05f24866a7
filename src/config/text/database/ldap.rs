//! ldap_table(5).

use mapkeep_template::{DomainList, Templates};

use super::Secret;
use super::ldap_server::{self, LdapServer};
use super::sql::{domain, templates};
use super::values::Values;
use crate::error::shown;

/// The settings of an LDAP table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ldap {
    /// The servers, in the order in which they are tried; at least one.
    pub servers: Vec<LdapServer>,
    /// How to log in.
    pub login: LdapLogin,
    /// The version of the protocol, 2 or 3.
    pub version: u8,
    /// Which entries are searched.
    pub scope: Scope,
    /// The base (query 0), the filter (query 1), and the result format.
    pub templates: Templates,
    /// The attributes whose values are wanted.
    pub attributes: LdapAttributes,
    /// How deep DNs and URLs are followed; at least 1.
    pub recursion_limit: i32,
    /// Values in a result; no limit below 1.
    pub expansion_limit: i32,
    /// Entries found by a search; no limit for 0.
    pub size_limit: i32,
    /// Seconds for connecting, logging in and searching.
    pub timeout: i32,
    /// When aliases are followed, 0 to 3 (never, in searching, in finding the base, always).
    pub dereference: u8,
    /// Whether referrals are followed.
    pub chase_referrals: bool,
    /// TLS.
    pub tls: LdapTls,
    /// The debug level of the client library.
    pub debuglevel: i32,
    /// `domain`.
    pub domain: DomainList,
}

/// Which entries a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The base only.
    Base,
    /// What is directly below it.
    One,
    /// The base and all below it.
    Sub,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LdapLogin {
    /// Not at all.
    None,
    /// With a name and a password, both of which may be empty.
    Simple {
        /// The name.
        dn: Vec<u8>,
        /// The password.
        password: Secret,
    },
    /// With SASL.
    Sasl {
        /// The name.
        dn: Vec<u8>,
        /// The password.
        password: Secret,
        /// The mechanisms that may be used, any if empty.
        mechs: Vec<u8>,
        /// The realm.
        realm: Vec<u8>,
        /// As whom to act.
        authz_id: Vec<u8>,
        /// The least strength of the security layer.
        minssf: i32,
    },
}

/// The attributes of an entry whose values count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LdapAttributes {
    /// `terminal_result_attribute`: an entry that has one of them gives nothing else.
    pub terminal: Vec<Vec<u8>>,
    /// `leaf_result_attribute`: of entries that lead to no other.
    pub leaf: Vec<Vec<u8>>,
    /// `result_attribute`.
    pub ordinary: Vec<Vec<u8>>,
    /// `special_result_attribute`: DNs and URLs to follow.
    pub special: Vec<Vec<u8>>,
}

/// TLS settings of an LDAP table, unset where empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LdapTls {
    /// Whether TLS is started on a plain connection.
    pub start: bool,
    /// Whether the server needs a valid certificate.
    pub require_cert: bool,
    /// File of the authorities' certificates.
    pub ca_cert_file: Option<Vec<u8>>,
    /// Directory of the authorities' certificates.
    pub ca_cert_dir: Option<Vec<u8>>,
    /// File of the client's certificate.
    pub cert: Option<Vec<u8>>,
    /// File of the client's private key.
    pub key: Option<Vec<u8>>,
    /// Source of random numbers.
    pub random_file: Option<Vec<u8>>,
    /// Cipher list of OpenSSL.
    pub cipher_suite: Option<Vec<u8>>,
}

pub(super) fn read(values: &mut Values<'_>) -> Option<Ldap> {
    let (servers, needs_3) = ldap_servers(values);
    let version = values.integer("version", 2, 2, 0);
    if !(2..=3).contains(&version) {
        values.warning("version", &format!("{version} is not known, 2 is used; write 2 or 3"));
    }
    let tls = tls(values);
    let version = if version == 3 || needs_3 || tls.start { 3 } else { 2 };
    let scope = scope(values);
    let base = values.text("search_base", "");
    let filter = values.text("query_filter", "(mailacceptinggeneralid=%s)");
    let (format, name) = match values.optional("result_format") {
        Some(format) => (format, "result_format"),
        None => (values.required("result_filter", "%s"), "result_filter"),
    };
    let queries = [(&*base, "search_base"), (&*filter, "query_filter")];
    let templates = templates(values, &queries, (&format, name))?;
    if templates.queries().get(1).is_some_and(|filter| !filter.is_dynamic()) {
        values.warning("query_filter", "it is the same for every key; write %s where the key belongs");
    }
    let caches = values.boolean("cache").unwrap_or(false);
    let old = ["cache_expiry", "cache_size"].map(|name| values.integer(name, -1, 0, 0) >= 0);
    if caches || old.contains(&true) {
        values.warning("cache", "neither it nor cache_expiry nor cache_size has any effect; remove them");
    }
    let expansion_limit = values.integer("expansion_limit", 0, 0, 0);
    let dereference = values.integer("dereference", 0, 0, 0);
    if !(0..=3).contains(&dereference) {
        values.warning("dereference", &format!("{dereference} is not known, 0 is used; write 0, 1, 2 or 3"));
    }
    Some(Ldap {
        servers,
        login: login(values)?,
        version,
        scope,
        templates,
        attributes: LdapAttributes {
            terminal: values.list("terminal_result_attribute", ""),
            leaf: values.list("leaf_result_attribute", ""),
            ordinary: values.list("result_attribute", "maildrop"),
            special: values.list("special_result_attribute", ""),
        },
        recursion_limit: values.integer("recursion_limit", 1000, 1, 0),
        expansion_limit,
        size_limit: values.integer("size_limit", expansion_limit, 0, 0),
        timeout: values.integer("timeout", 10, 0, 0),
        dereference: u8::try_from(dereference).ok().filter(|value| *value <= 3).unwrap_or(0),
        chase_referrals: values.boolean("chase_referrals").unwrap_or(false),
        tls,
        debuglevel: values.integer("debuglevel", 0, 0, 0),
        domain: domain(values)?,
    })
}

/// The servers, and whether one of them needs version 3.
fn ldap_servers(values: &mut Values<'_>) -> (Vec<LdapServer>, bool) {
    let port = values.integer("server_port", 389, 0, 0);
    let items = values.list("server_host", "localhost");
    let (mut servers, mut needs_3) = (Vec::new(), false);
    for item in &items {
        match ldap_server::parse(item, port) {
            Ok(server) => {
                needs_3 |= server.needs_version_3();
                servers.push(server);
            }
            Err(error) => values.error("server_host", &format!("\"{}\": {error}", shown(item))),
        }
    }
    if items.is_empty() {
        values.error("server_host", "it must name a server; set it");
    }
    (servers, needs_3)
}

fn scope(values: &mut Values<'_>) -> Scope {
    let text = values.required("scope", "sub");
    match text.to_ascii_lowercase().as_slice() {
        b"sub" | b"" => Scope::Sub,
        b"one" => Scope::One,
        b"base" => Scope::Base,
        _ => {
            let what = format!("\"{}\" is not known, sub is used; write sub, base or one", shown(&text));
            values.warning("scope", &what);
            Scope::Sub
        }
    }
}

fn login(values: &mut Values<'_>) -> Option<LdapLogin> {
    let text = values.required("bind", "yes");
    let (dn, password) = (values.text("bind_dn", ""), values.secret("bind_pw"));
    match text.to_ascii_lowercase().as_slice() {
        b"no" | b"none" => Some(LdapLogin::None),
        b"yes" | b"simple" => Some(LdapLogin::Simple { dn, password }),
        b"sasl" => Some(LdapLogin::Sasl {
            dn,
            password,
            mechs: values.text("sasl_mechs", ""),
            realm: values.text("sasl_realm", ""),
            authz_id: values.text("sasl_authz_id", ""),
            minssf: values.integer("sasl_minssf", 0, 0, 4096),
        }),
        _ => {
            values.error("bind", &format!("\"{}\" is not known; write no, yes or sasl", shown(&text)));
            None
        }
    }
}

fn tls(values: &mut Values<'_>) -> LdapTls {
    LdapTls {
        start: values.boolean("start_tls").unwrap_or(false),
        require_cert: values.boolean("tls_require_cert").unwrap_or(false),
        ca_cert_file: values.optional("tls_ca_cert_file"),
        ca_cert_dir: values.optional("tls_ca_cert_dir"),
        cert: values.optional("tls_cert"),
        key: values.optional("tls_key"),
        random_file: values.optional("tls_random_file"),
        cipher_suite: values.optional("tls_cipher_suite"),
    }
}
