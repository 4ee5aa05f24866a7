//! What is wrong with a command line, an account, or a program, as a sentence for whoever can correct it.

use std::fmt;
use std::path::PathBuf;

/// How many ids from the start of the range are reserved; the roles of later versions included.
pub const RANGE: u32 = 16;

/// Why a service cannot be started in this way.
#[derive(Debug, PartialEq, Eq)]
pub enum SiteError {
    /// The command line has an option that there is not.
    Unknown(String),
    /// The option needs a value.
    NoValue(String),
    /// The option does not take the value.
    BadValue(String, String),
    /// The transport type is missing, so master(8) did not start us.
    NoTransport,
    /// A word that is no option.
    Positional(String),
    /// The option `-S`, one request on standard input.
    SingleRequest,
    /// The service is neither proxymap nor proxywrite.
    NotAService(String),
    /// An id of the range is assigned to an account.
    Taken {
        /// The id.
        id: u32,
        /// The account's name.
        name: String,
    },
    /// The range contains 0 or is at the end of all ids.
    Range(u32),
    /// Two roles, or a role and another account, would share an id.
    Shared(String),
    /// A declared owner does not exist.
    NoSuchUser(String),
    /// A program, or another file that every such service needs, cannot be opened.
    File(PathBuf, String),
    /// The user with this id owns tables, and is that of a role, which cannot change now.
    OwnerIsRole(u32),
}

impl fmt::Display for SiteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteError::Unknown(option) => write!(out, "unknown option \"{option}\""),
            SiteError::NoValue(option) => write!(out, "option {option} needs a value"),
            SiteError::BadValue(option, value) => {
                write!(out, "option {option} does not take the value \"{value}\"")
            }
            SiteError::NoTransport => out.write_str(
                "no transport type specified (-t): master(8) starts this program; \
                 for a service of its own run \"mapkeep serve\"",
            ),
            SiteError::Positional(word) => write!(out, "unexpected argument \"{word}\""),
            SiteError::SingleRequest => out.write_str(
                "option -S (one request on standard input) is not supported: use \"mapkeep query\"",
            ),
            SiteError::NotAService(name) => {
                write!(out, "service name \"{name}\" is neither proxymap nor proxywrite; set it with -n")
            }
            SiteError::Taken { id, name } => write!(
                out,
                "id {id} belongs to \"{name}\", but the roles need ids of their own: \
                 set uid_base in mapkeep.cf to the first of {RANGE} ids that no account has"
            ),
            SiteError::Range(base) => {
                write!(out, "uid_base = {base} in mapkeep.cf leaves no room for {RANGE} unprivileged ids")
            }
            SiteError::Shared(name) => {
                write!(
                    out,
                    "account \"{name}\" shares its user or group id with another account or with root"
                )
            }
            SiteError::NoSuchUser(name) => {
                write!(out, "no user \"{name}\" in /etc/passwd (table_owners in mapkeep.cf, or mail_owner)")
            }
            SiteError::File(path, error) => write!(out, "{}: {error}", path.display()),
            SiteError::OwnerIsRole(owner) => {
                write!(out, "user id {owner} owns tables (table_owners in mapkeep.cf) and is that of a role")
            }
        }
    }
}

impl std::error::Error for SiteError {}
