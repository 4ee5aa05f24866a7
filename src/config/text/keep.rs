//! mapkeep.cf: the few settings that Postfix does not have.
//!
//! Pure. The file is optional, its grammar is main.cf's, and `$name` in a value refers to main.cf.

use crate::complaint::{Complaint, ComplaintKind, FileName, complain};
use crate::error::{ConfigError, Reason, shown};
use crate::main_cf::{Entry, parse_named};
use crate::parameters::Parameters;
use crate::settings::{Settings, is_absolute};
use crate::tokens::{LIST, Tokens};
use crate::values;

/// Number of user ids from `uid_base` on, one for each role.
pub const ROLE_IDS: u32 = 16;

const NAMES: &[&str] = &[
    "broker_account",
    "chroot_directory",
    "snapshot_limit",
    "table_owners",
    "trusted_directories",
    "uid_base",
    "workers",
];

const UID_BASE: u32 = 61_100;
const CHROOT_DIRECTORY: &str = "/run/mapkeep/empty";
const SNAPSHOT_LIMIT: u64 = 1 << 30;
const TABLE_OWNERS: &str = "$mail_owner";
/// The most workers of a kind that can be asked for.
const MOST_WORKERS: u32 = 64;

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

/// What mapkeep.cf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepSettings {
    /// First of [`ROLE_IDS`] unassigned user and group ids for the unprivileged processes. Default 61100.
    pub uid_base: u32,
    /// Absolute path of the empty root-owned directory that processes are confined to. Default
    /// `/run/mapkeep/empty`.
    pub chroot_directory: String,
    /// Accounts besides root that may own table files. Default `$mail_owner`.
    pub table_owners: Vec<Owner>,
    /// The same as it is written, on one line, for messages that name a value to write instead.
    pub table_owners_text: String,
    /// Directories whose entries the administrator vouches for, with all beneath them: absolute paths. Default none.
    pub trusted_directories: Vec<String>,
    /// Largest table file that is served, in bytes. Default 1 GiB.
    pub snapshot_limit: u64,
    /// Account of the broker. Default none: an id of the range.
    pub broker_account: Option<Owner>,
    /// Lookup workers, and rules workers, that serve at a time: 1 to 64. Default none: as many as there are processors.
    pub workers: Option<u32>,
}

impl KeepSettings {
    /// Reads mapkeep.cf; empty text gives the defaults. Never fails: a bad value leaves the default, with a
    /// complaint. `params` gives `$mail_owner` and other main.cf values.
    #[must_use]
    pub fn read(text: &[u8], params: &Parameters) -> (KeepSettings, Vec<Complaint>) {
        let (file, mut complaints) = parse_named(text, FileName::KeepCf);
        // The account that the daemon uses, which is the default where main.cf names none that can be used.
        let mail_owner = owner(Settings::from(params).0.mail_owner.as_bytes()).ok();
        let mut keep = KeepSettings {
            uid_base: UID_BASE,
            chroot_directory: CHROOT_DIRECTORY.to_string(),
            table_owners: mail_owner.into_iter().collect(),
            table_owners_text: TABLE_OWNERS.to_string(),
            trusted_directories: Vec::new(),
            snapshot_limit: SNAPSHOT_LIMIT,
            broker_account: None,
            workers: None,
        };
        for (name, entry) in file.iter() {
            let kind = match keep.set(name, entry, params) {
                Ok(true) => continue,
                Ok(false) => ComplaintKind::UnknownName(name.to_vec(), NAMES),
                Err(error) => {
                    let used = format!("the default of {}", shown(name));
                    ComplaintKind::BadValue { error: error.within(name), used }
                }
            };
            complain(&mut complaints, FileName::KeepCf, entry.line, kind);
        }
        complaints.sort_by_key(|complaint| complaint.line);
        (keep, complaints)
    }

    /// What is left of settings that somebody else than root could have written: the defaults, and of the owners only
    /// those that both have. Nobody is trusted for the sake of such a file, nor because it does not count.
    #[must_use]
    pub fn distrusted(self, params: &Parameters) -> KeepSettings {
        let (mut keep, _) = KeepSettings::read(b"", params);
        keep.table_owners.retain(|owner| self.table_owners.contains(owner));
        keep
    }

    /// Sets one value; false when the name is unknown.
    fn set(&mut self, name: &[u8], entry: &Entry, params: &Parameters) -> Result<bool, ConfigError> {
        let value = params.expand_text(&entry.value)?;
        match name {
            b"uid_base" => self.uid_base = uid_base(&value)?,
            b"chroot_directory" => self.chroot_directory = directory(&value)?,
            b"table_owners" => {
                self.table_owners = Tokens::new(&value, LIST).map(owner).collect::<Result<_, _>>()?;
                self.table_owners_text = on_one_line(&entry.value);
            }
            b"trusted_directories" => {
                self.trusted_directories =
                    Tokens::new(&value, LIST).map(directory).collect::<Result<_, _>>()?;
            }
            b"snapshot_limit" => self.snapshot_limit = snapshot_limit(&value)?,
            b"broker_account" => {
                self.broker_account = if value.is_empty() { None } else { Some(broker_account(&value)?) };
            }
            b"workers" => self.workers = if value.is_empty() { None } else { Some(workers(&value)?) },
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A value with every run of white space, line ends among them, as one space; what is not printable as `?`.
fn on_one_line(value: &[u8]) -> String {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(shown).collect::<Vec<_>>().join(" ")
}

/// The range must hold neither ids of real accounts, nor nobody, nor the values that mean "no id".
fn uid_base(text: &[u8]) -> Result<u32, Reason> {
    let bad = || Reason::NotAllowed(text.to_vec(), "an id from 1000 to 65518, or from 65536 to 2147483631");
    let first = u32::try_from(values::integer(text)?).map_err(|_| bad())?;
    let last = first.checked_add(ROLE_IDS - 1).ok_or_else(bad)?;
    let below_nobody = (1000..65_534).contains(&first) && last < 65_534;
    let above = first >= 65_536 && last <= 0x7fff_fffe;
    if below_nobody || above { Ok(first) } else { Err(bad()) }
}

fn directory(value: &[u8]) -> Result<String, Reason> {
    match std::str::from_utf8(value) {
        Ok(path) if is_absolute(path) && path != "/" => Ok(path.to_string()),
        _ => Err(Reason::NotAllowed(value.to_vec(), "an absolute path below /")),
    }
}

fn snapshot_limit(value: &[u8]) -> Result<u64, Reason> {
    match values::bytes(value)? {
        0 => Err(Reason::NotAllowed(value.to_vec(), "1 byte or more")),
        limit => Ok(limit),
    }
}

fn workers(value: &[u8]) -> Result<u32, Reason> {
    let number = u32::try_from(values::integer(value)?).ok();
    let bad = || Reason::NotAllowed(value.to_vec(), "a number from 1 to 64");
    number.filter(|number| (1..=MOST_WORKERS).contains(number)).ok_or_else(bad)
}

fn broker_account(value: &[u8]) -> Result<Owner, Reason> {
    match owner(value)? {
        Owner::Id(0) => Err(Reason::NotAllowed(value.to_vec(), "an account other than root")),
        Owner::Name(name) if name == "root" => {
            Err(Reason::NotAllowed(value.to_vec(), "an account other than root"))
        }
        account => Ok(account),
    }
}

/// An account name, or a number. Names start with a letter or `_`, so the two cannot be mistaken.
fn owner(text: &[u8]) -> Result<Owner, Reason> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_main;

    fn keep(text: &str) -> (KeepSettings, Vec<Complaint>) {
        let params = Parameters::new(parse_main(b"mail_owner = mailer\n").0);
        KeepSettings::read(text.as_bytes(), &params)
    }

    #[test]
    fn read_empty_file_gives_defaults() {
        let (found, complaints) = keep("");
        assert_eq!(complaints, vec![]);
        assert_eq!(found.uid_base, 61_100);
        assert_eq!(found.chroot_directory, "/run/mapkeep/empty");
        assert_eq!(found.table_owners, vec![Owner::Name("mailer".into())]);
        assert_eq!((found.table_owners_text.as_str(), found.trusted_directories), ("$mail_owner", vec![]));
        assert_eq!((found.snapshot_limit, found.broker_account, found.workers), (1 << 30, None, None));
    }

    #[test]
    fn read_good_values_are_used() {
        let (found, complaints) = keep(
            "# c\nuid_base = 70000\nchroot_directory = /srv/empty\ntable_owners = $mail_owner,\n  1001 vmail\n\
             snapshot_limit = 64m\nbroker_account = _mapkeep\ntrusted_directories = /a, /b/c\n\
             workers = 64\n",
        );
        assert_eq!(complaints, vec![]);
        let owners = vec![Owner::Name("mailer".into()), Owner::Id(1001), Owner::Name("vmail".into())];
        assert_eq!((found.uid_base, found.table_owners), (70_000, owners));
        assert_eq!(found.table_owners_text, "$mail_owner, 1001 vmail");
        assert_eq!(found.trusted_directories, ["/a", "/b/c"]);
        assert_eq!((found.chroot_directory.as_str(), found.snapshot_limit), ("/srv/empty", 64 << 20));
        assert_eq!((found.broker_account, found.workers), (Some(Owner::Name("_mapkeep".into())), Some(64)));
    }

    #[test]
    fn read_bad_value_leaves_default_and_complains() {
        for line in [
            "uid_base = 0",
            "uid_base = 999",
            "uid_base = 65520",
            "uid_base = 65535",
            "uid_base = 4294967295",
            "uid_base = x",
            "chroot_directory = empty",
            "chroot_directory = /",
            "chroot_directory = /a/../b",
            "table_owners = vmail 4294967295",
            "table_owners = a:b",
            "snapshot_limit = 0",
            "snapshot_limit = 1t",
            "trusted_directories = /a b",
            "trusted_directories = /",
            "trusted_directories = /a/../b",
            "broker_account = root",
            "broker_account = 0",
            "broker_account = ${",
            "workers = 0",
            "workers = 65",
            "workers = -1",
            "workers = many",
        ] {
            let (found, complaints) = keep(&format!("\n{line}\n"));
            assert_eq!(found, keep("").0, "{line}");
            assert_eq!(complaints.len(), 1, "{line}");
            assert_eq!((complaints[0].file, complaints[0].line), (FileName::KeepCf, 2), "{line}");
        }
    }

    #[test]
    fn distrusted_settings_are_defaults_and_never_trust_more() {
        let params = Parameters::new(parse_main(b"mail_owner = mailer\n").0);
        let all =
            "uid_base = 70000\nchroot_directory = /srv/empty\ntrusted_directories = /a\nsnapshot_limit = 1\n";
        let with_owners =
            |owners: &str| keep(&format!("{all}table_owners = {owners}\n")).0.distrusted(&params);
        assert_eq!(with_owners("vmail $mail_owner"), keep("").0);
        let narrowed = KeepSettings { table_owners: vec![], ..keep("").0 };
        assert_eq!(with_owners("vmail"), narrowed);
        assert_eq!(with_owners(""), narrowed);
    }

    #[test]
    fn read_unknown_name_lists_the_known_ones() {
        let (_, complaints) = keep("uidbase = 1\n");
        let text = complaints[0].to_string();
        assert!(text.starts_with("mapkeep.cf:1: error: unknown name \"uidbase\""), "{text}");
        assert!(NAMES.iter().all(|name| text.contains(name)), "{text}");
    }
}
