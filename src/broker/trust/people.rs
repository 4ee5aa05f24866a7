//! Who the users are, and which groups nobody else is in: what the account files said before the lock.
//!
//! A group bit in a mode lets all members of the group write. Where these are none but the owner and root, it says no
//! more than the owner's bit. Members are known as far as the account files of the machine are all there is: with a
//! name service for groups or users, only group 0 counts as known.
//!
//! May: read /etc/passwd, /etc/group and /etc/nsswitch.conf, before lock-down. Never: ask a name service.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::Path;

use mapkeep_sys::access_list;
use mapkeep_sys::status::Status;

use super::text::read_file;

/// Write permission for group and others.
pub(super) const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Sources of nsswitch.conf(5) that add nobody to a group with an entry in /etc/group.
const LOCAL: [&str; 3] = ["files", "compat", "systemd"];
/// Stands for a group member who is not in the passwd file.
const SOMEBODY: u32 = u32::MAX;

/// Users and groups of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    names: BTreeMap<u32, String>,
    /// Who is in each group that has an entry: user ids.
    members: BTreeMap<u32, Vec<u32>>,
    /// Whether the lists of members are complete, as far as can be known.
    complete: bool,
}

impl People {
    /// Reads the account files; one that cannot be read counts as empty. Must be called before lock-down.
    #[must_use]
    pub fn read() -> People {
        let text = |path| {
            let content = read_file(Path::new(path));
            String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
        };
        People::new(&text("/etc/passwd"), &text("/etc/group"), &text("/etc/nsswitch.conf"))
    }

    /// From the text of passwd(5), group(5) and nsswitch.conf(5).
    #[must_use]
    pub fn new(passwd: &str, group: &str, nsswitch: &str) -> People {
        let mut names = BTreeMap::new();
        let mut uids: BTreeMap<&str, u32> = BTreeMap::new();
        let mut primary: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            let mut number = |skip| fields.nth(skip).and_then(|field| field.parse::<u32>().ok());
            let (Some(uid), Some(gid)) = (number(1), number(0)) else { continue };
            names.entry(uid).or_insert_with(|| name.to_owned());
            uids.entry(name).or_insert(uid);
            primary.entry(gid).or_default().push(uid);
        }
        let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for line in group.lines() {
            let mut fields = line.split(':').skip(2);
            let Some(gid) = fields.next().and_then(|field| field.parse::<u32>().ok()) else { continue };
            let named =
                fields.next().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
            let named = named.map(|name| uids.get(name).copied().unwrap_or(SOMEBODY));
            members.entry(gid).or_default().extend(named);
        }
        for (gid, list) in &mut members {
            list.extend(primary.get(gid).into_iter().flatten());
        }
        // A `+` line includes the entries of a name service.
        let local = |text: &str| !text.lines().any(|line| line.starts_with('+'));
        let complete = local(passwd) && local(group) && is_local(nsswitch);
        People { names, members, complete }
    }

    /// The user's name, or the number if there is no name that mapkeep.cf would accept as one.
    #[must_use]
    pub fn name_of(&self, uid: u32) -> String {
        let plain = |name: &&String| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        self.names.get(&uid).filter(plain).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// Whether anybody but root and the user `owner` (not necessarily the file's owner) can write the file behind this
    /// descriptor through its group or other permissions.
    pub fn others_write(&self, handle: BorrowedFd<'_>, status: &Status, owner: u32) -> bool {
        match status.mode & WRITABLE_BY_OTHERS {
            0 => false,
            // An access list may give the right to anybody, and the mode does not show whom, so this counts as
            // writable.
            0o020 if self.is_private(status.gid, owner) => {
                !access_list::is_there(handle).is_ok_and(|there| !there)
            }
            _ => true,
        }
    }

    /// Whether nobody but root and the user `owner` is in the group `gid`.
    fn is_private(&self, gid: u32, owner: u32) -> bool {
        let known = self.complete || gid == 0;
        let members = self.members.get(&gid);
        known && members.is_some_and(|members| members.iter().all(|uid| *uid == 0 || *uid == owner))
    }
}

/// Whether users and groups come only from the machine's own files.
fn is_local(nsswitch: &str) -> bool {
    nsswitch.lines().all(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let Some((database, sources)) = line.split_once(':') else { return true };
        if !["passwd", "group", "initgroups"].contains(&database.trim()) {
            return true;
        }
        // What stands in brackets is an action, not a source.
        let outside = sources.split('[').map(|part| part.rsplit(']').next().unwrap_or_default());
        outside.flat_map(str::split_whitespace).all(|source| LOCAL.contains(&source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\npostfix:x:105:111::/:/bin/false\nlist:x:38:38::/:/bin/false\n\
                          eve:x:1000:700::/:/bin/sh\nodd name:x:77:77::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\npostfix:x:111:\nlist:x:38:postfix\nstaff:x:50:\nusers:x:700:\n\
                         admins:x:51:root\nghosts:x:52:nobody-here\n";

    #[test]
    fn is_private_if_only_root_and_the_owner_are_in_the_group() {
        let people =
            People::new(PASSWD, GROUP, "passwd: files systemd\ngroup: files [SUCCESS=merge] systemd # x\n");
        for (gid, owner, private) in [
            (0, 0, true),
            (50, 0, true),
            (51, 0, true),
            (51, 105, true),
            (111, 105, true),
            (111, 0, false),
            (38, 38, false),
            (38, 105, false),
            (700, 0, false),
            (52, 0, false),
            (999, 0, false),
        ] {
            assert_eq!(people.is_private(gid, owner), private, "group {gid}, owner {owner}");
        }
    }

    #[test]
    fn is_private_behind_a_name_service_for_group_0_only() {
        for nsswitch in ["passwd: files sss\n", "group: files ldap", "group:files [NOTFOUND=return] winbind"]
        {
            let people = People::new(PASSWD, GROUP, nsswitch);
            assert!(people.is_private(0, 0) && !people.is_private(50, 0), "{nsswitch}");
        }
        let people = People::new(PASSWD, &format!("{GROUP}+:::\n"), "");
        assert!(!people.is_private(50, 0));
        assert!(People::new(PASSWD, GROUP, "hosts: files dns\n").is_private(50, 0));
        assert!(!People::default().is_private(0, 0));
    }

    #[test]
    fn name_of_users_without_a_usable_name_is_the_number() {
        let people = People::new(PASSWD, GROUP, "");
        assert_eq!([38, 77, 4711].map(|uid| people.name_of(uid)), ["list", "77", "4711"]);
    }
}
