//! The templates of database tables: what is asked for a key, and what becomes of the rows.
//!
//! May: nothing but compute, on text from a configuration file, on keys of clients and on values of a server. Never: I/O.
//! Everything that is built has a limit that the caller gives. The facts are those of Postfix 3.7.11 and 3.12-20260821
//! (mysql_table(5), and what stock does where the manual is silent); tests/against_postmap.rs asks the installed Postfix.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod address;
mod compile;
mod domains;
mod expand;
mod quote;
mod results;
mod sql;

pub use address::Address;
pub use compile::{MAX_TEMPLATE, Piece, Side, Template, TemplateError, Variable};
pub use domains::{BadDomain, DomainItem, DomainList, DomainPattern};
pub use expand::{Key, Quote, Templates};
pub use quote::{ldap_dn, ldap_filter, unquoted};
pub use results::{Added, ResultError, Results, TooLong};
pub use sql::{Dialect, Occurrence, Place, SqlPart, SqlTemplate, Statement, Why};
