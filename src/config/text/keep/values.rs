//! The values that settings of mapkeep.cf may have.

use crate::error::{Reason, shown};
use crate::settings::is_absolute;
use crate::tokens::{LIST, Tokens};
use crate::values;
use std::time::Duration;

/// Number of user ids from `uid_base` on, one for each role.
pub const ROLE_IDS: u32 = 16;

/// The most workers of a kind that can be asked for.
const MOST_WORKERS: u32 = 64;

/// The most connections to one server that can be asked for.
const MOST_CONNECTIONS: u16 = 64;

/// The longest time that a server can be given, in seconds: Postfix's clients wait for us for so long (ipc_timeout).
const LONGEST_QUERY: u64 = 3600;

/// A value, as it is written and with its references expanded.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) written: &'a [u8],
    pub(super) expanded: &'a [u8],
}

/// An account that may own table files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// By name.
    Name(String),
    /// By number.
    Id(u32),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Name(name) => f.write_str(name),
            Owner::Id(id) => write!(f, "{id}"),
        }
    }
}

/// Accounts that may own table files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOwners {
    /// The accounts.
    pub accounts: Vec<Owner>,
    /// The same as it is written, on one line, for messages that name a value to write instead.
    pub text: String,
}

/// A value with every run of white space, line ends among them, as one space; what is not printable as `?`.
fn on_one_line(value: &[u8]) -> String {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(shown).collect::<Vec<_>>().join(" ")
}

/// The range must hold neither ids of real accounts, nor nobody, nor the values that mean "no id".
pub(super) fn uid_base(text: Text<'_>) -> Result<u32, Reason> {
    let value = text.expanded;
    let bad = || Reason::NotAllowed(value.to_vec(), "an id from 1000 to 65518, or from 65536 to 2147483631");
    let first = u32::try_from(values::integer(value)?).map_err(|_| bad())?;
    let last = first.checked_add(ROLE_IDS - 1).ok_or_else(bad)?;
    let below_nobody = (1000..65_534).contains(&first) && last < 65_534;
    let above = first >= 65_536 && last <= 0x7fff_fffe;
    if below_nobody || above { Ok(first) } else { Err(bad()) }
}

pub(super) fn directory(text: Text<'_>) -> Result<String, Reason> {
    path(text.expanded)
}

pub(super) fn directories(text: Text<'_>) -> Result<Vec<String>, Reason> {
    Tokens::new(text.expanded, LIST).map(path).collect()
}

fn path(value: &[u8]) -> Result<String, Reason> {
    match std::str::from_utf8(value) {
        Ok(path) if is_absolute(path) && path != "/" => Ok(path.to_string()),
        _ => Err(Reason::NotAllowed(value.to_vec(), "an absolute path below /")),
    }
}

pub(super) fn size(text: Text<'_>) -> Result<u64, Reason> {
    let value = text.expanded;
    match values::bytes(value)? {
        0 => Err(Reason::NotAllowed(value.to_vec(), "1 byte or more")),
        limit => Ok(limit),
    }
}

pub(super) fn workers(text: Text<'_>) -> Result<Option<u32>, Reason> {
    let value = text.expanded;
    if value.is_empty() {
        return Ok(None);
    }
    let number = u32::try_from(values::integer(value)?).ok();
    let bad = || Reason::NotAllowed(value.to_vec(), "a number from 1 to 64");
    number.filter(|number| (1..=MOST_WORKERS).contains(number)).ok_or_else(bad).map(Some)
}

pub(super) fn connections(text: Text<'_>) -> Result<u16, Reason> {
    let value = text.expanded;
    let number = u16::try_from(values::integer(value)?).ok();
    let bad = || Reason::NotAllowed(value.to_vec(), "a number from 1 to 64");
    number.filter(|number| (1..=MOST_CONNECTIONS).contains(number)).ok_or_else(bad)
}

pub(super) fn query_time(text: Text<'_>) -> Result<Duration, Reason> {
    let value = text.expanded;
    let seconds = values::seconds(value, b's')?;
    let bad = || Reason::NotAllowed(value.to_vec(), "a time from 1s to 1h");
    (1..=LONGEST_QUERY).contains(&seconds).then(|| Duration::from_secs(seconds)).ok_or_else(bad)
}

pub(super) fn broker_account(text: Text<'_>) -> Result<Option<Owner>, Reason> {
    let value = text.expanded;
    if value.is_empty() {
        return Ok(None);
    }
    match owner(value)? {
        Owner::Id(0) => Err(Reason::NotAllowed(value.to_vec(), "an account other than root")),
        Owner::Name(name) if name == "root" => {
            Err(Reason::NotAllowed(value.to_vec(), "an account other than root"))
        }
        account => Ok(Some(account)),
    }
}

pub(super) fn table_owners(text: Text<'_>) -> Result<TableOwners, Reason> {
    let accounts = Tokens::new(text.expanded, LIST).map(owner).collect::<Result<_, _>>()?;
    Ok(TableOwners { accounts, text: on_one_line(text.written) })
}

/// An account name, or a number. Names start with a letter or `_`, so the two cannot be mistaken.
pub(super) fn owner(text: &[u8]) -> Result<Owner, Reason> {
    let bad = || Reason::NotAllowed(text.to_vec(), "an account name or number");
    let word = std::str::from_utf8(text).map_err(|_| bad())?;
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        // All bits set means "unchanged" to chown(2) and setresuid(2).
        return word.parse().ok().filter(|id| *id != u32::MAX).map(Owner::Id).ok_or_else(bad);
    }
    let starts = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let fits = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte));
    if starts && fits { Ok(Owner::Name(word.to_string())) } else { Err(bad()) }
}
