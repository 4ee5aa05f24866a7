//! The names of tables: types, members of composite ones, the file or the server of each; and whose lines an account
//! file has.
//!
//! May: nothing but compute. Never: I/O, a table's content.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

mod accounts;
mod composite;
mod kind;
mod remote;

pub use accounts::{account_names, empty_fields, redact_accounts};
pub use composite::leaves;
pub use kind::{
    BadName, Class, Kind, MAX_NESTING, braced, class_of, file_of, is_known_type, is_type_of_postfix, members,
    needs_file, next_element, remedy_unknown, split, trim, why_unknown,
};
pub use remote::{Endpoint, Remote, remote, servers};
