//! mapkeep.cf: the few settings that Postfix does not have.
//!
//! Pure. The file is optional, its grammar is main.cf's, and `$name` in a value refers to main.cf. A setting is one row of
//! the table below; mapkeep.cf(5) and mapkeep.cf.example describe each with its default, which a test compares.
//!
//! | file | purpose |
//! |---|---|
//! | `values.rs` | the values that settings may have |

mod values;

use crate::complaint::{Complaint, ComplaintKind, FileName, complain};
use crate::error::{ConfigError, Reason, shown};
use crate::main_cf::{Entry, parse_named};
use crate::parameters::Parameters;
use crate::settings::Settings;
use std::time::Duration;
use values::Text;
pub use values::{Owner, ROLE_IDS, TableOwners};

/// Stands for the account that the daemon uses, in a default.
const MAIL_OWNER: &str = "$mail_owner";

/// A row of the table.
struct Setting {
    name: &'static str,
    /// As it would be written in mapkeep.cf.
    #[cfg(test)]
    default: &'static str,
    set: fn(&mut KeepSettings, Text<'_>) -> Result<(), Reason>,
}

/// Makes [`KeepSettings`] and the table of what can be set from rows of name, type, default and reader.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $read:path;)+) => {
        /// What mapkeep.cf says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct KeepSettings {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl KeepSettings {
            /// The defaults; `mail_owner` is what stands for [`MAIL_OWNER`].
            fn defaults(mail_owner: &str) -> KeepSettings {
                let text = |written: &'static str| {
                    let expanded = if written == MAIL_OWNER { mail_owner } else { written };
                    Text { written: written.as_bytes(), expanded: expanded.as_bytes() }
                };
                // None fails: a test reads them all.
                KeepSettings { $($name: $read(text($default)).unwrap_or_default(),)+ }
            }
        }

        const NAMES: &[&str] = &[$(stringify!($name)),+];

        const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            #[cfg(test)]
            default: $default,
            set: |keep, text| {
                keep.$name = $read(text)?;
                Ok(())
            },
        }),+];
    };
}

settings! {
    /// Connections that are open at a time to one server of socketmap or tcp tables: 1 to 64.
    backend_connections: u16 = "8", values::connections;
    /// Account of the broker. Default none: an id of the range.
    broker_account: Option<Owner> = "", values::broker_account;
    /// Absolute path of the empty root-owned directory that processes are confined to.
    chroot_directory: String = "/run/mapkeep/empty", values::directory;
    /// How long a server of socketmap or tcp tables has for an answer, connecting included: 1 second to 1 hour.
    query_timeout: Duration = "10s", values::query_time;
    /// Largest table file that is served, in bytes. Default 1 GiB.
    snapshot_limit: u64 = "1g", values::size;
    /// Accounts besides root that may own table files.
    table_owners: TableOwners = MAIL_OWNER, values::table_owners;
    /// Directories whose entries the administrator vouches for, with all beneath them: absolute paths. Default none.
    trusted_directories: Vec<String> = "", values::directories;
    /// First of [`ROLE_IDS`] unassigned user and group ids for the unprivileged processes.
    uid_base: u32 = "61100", values::uid_base;
    /// Lookup workers, and rules workers, that serve at a time: 1 to 64. Default none: as many as there are processors.
    workers: Option<u32> = "", values::workers;
}

impl KeepSettings {
    /// Reads mapkeep.cf; empty text gives the defaults. Never fails: a bad value leaves the default, with a
    /// complaint. `params` gives `$mail_owner` and other main.cf values.
    #[must_use]
    pub fn read(text: &[u8], params: &Parameters) -> (KeepSettings, Vec<Complaint>) {
        let (file, mut complaints) = parse_named(text, FileName::KeepCf);
        // The account that the daemon uses, which is the default where main.cf names none that can be used.
        let mail_owner = Settings::from(params).0.mail_owner;
        let is_account = values::owner(mail_owner.as_bytes()).is_ok();
        let mut keep = KeepSettings::defaults(if is_account { &mail_owner } else { "" });
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
        keep.table_owners.accounts.retain(|owner| self.table_owners.accounts.contains(owner));
        keep
    }

    /// Sets one value; false when the name is unknown.
    fn set(&mut self, name: &[u8], entry: &Entry, params: &Parameters) -> Result<bool, ConfigError> {
        let expanded = params.expand_text(&entry.value)?;
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name.as_bytes() == name) else {
            return Ok(false);
        };
        (setting.set)(self, Text { written: &entry.value, expanded: &expanded })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
