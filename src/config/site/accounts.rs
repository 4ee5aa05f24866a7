//! Who the roles are: dedicated accounts where there are some, else ids that nobody has.
//!
//! Reads the text of /etc/passwd and /etc/group itself: a name service would be asked over the network, with
//! the rights of root.

pub use crate::error::RANGE;
use crate::error::SiteError;
use mapkeep_broker_trust::read_file;
pub use mapkeep_proto::Ids;
use mapkeep_sandbox::{Account, Role};
use std::path::Path;

/// Whose rights each role has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleIds {
    /// The ids of each role that has its own account, in the order of [`Role::ALL`].
    own: [Option<Ids>; Role::ALL.len()],
    /// The broker of the writing service has the rights of `mail_owner`, who owns the files, and no others. `None`:
    /// there is no such user.
    mail_owner: Option<Ids>,
}

impl RoleIds {
    /// The ids of a role; `None` for the supervisors, who stay root, and where there is no `mail_owner`.
    pub fn of(&self, role: Role) -> Option<Ids> {
        match role.row().account {
            Account::Root => None,
            Account::MailOwner | Account::MailOwnerWithGroups => self.mail_owner,
            Account::Own { .. } => {
                Role::ALL.into_iter().zip(self.own).find(|(of, _)| *of == role).and_then(|(_, ids)| ids)
            }
        }
    }

    /// These, and those of `mail_owner`.
    #[must_use]
    pub fn with_mail_owner(self, mail_owner: Option<Ids>) -> RoleIds {
        RoleIds { mail_owner, ..self }
    }

    /// Whether one of our accounts is this user.
    pub fn includes(&self, uid: u32) -> bool {
        self.own.iter().flatten().any(|ids| ids.uid == uid)
    }
}

/// The text of the account files.
#[derive(Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads the account files; one that cannot be read counts as empty.
    pub fn read() -> Accounts {
        let text =
            |path| String::from_utf8_lossy(&read_file(Path::new(path)).unwrap_or_default()).into_owned();
        Accounts::new(text("/etc/passwd"), text("/etc/group"))
    }

    /// From the text of passwd(5) and group(5).
    pub fn new(passwd: String, group: String) -> Accounts {
        Accounts { passwd, group }
    }

    fn users(&self) -> impl Iterator<Item = (&str, Ids)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some((name, Ids { uid, gid }))
        })
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, fields.nth(1)?.parse().ok()?))
        })
    }

    /// The ids of the user `name`.
    pub fn ids_of(&self, name: &str) -> Option<Ids> {
        self.users().find(|(user, _)| *user == name).map(|(_, ids)| ids)
    }

    /// The groups of the user `name`, as initgroups(3) finds them in the group file: its own first, then those that name
    /// it.
    pub fn groups_of(&self, name: &str) -> Vec<u32> {
        let mut found: Vec<u32> = self.ids_of(name).map(|ids| ids.gid).into_iter().collect();
        for line in self.group.lines() {
            let mut fields = line.split(':').skip(2);
            let (Some(id), Some(members)) = (fields.next(), fields.next()) else { continue };
            if let Ok(id) = id.parse()
                && members.split(',').any(|member| member.trim() == name)
                && !found.contains(&id)
            {
                found.push(id);
            }
        }
        found
    }

    /// The user id of `name`, which may be a number.
    pub fn uid_of(&self, name: &str) -> Result<u32, SiteError> {
        let named = self.users().find(|(user, _)| *user == name).map(|(_, ids)| ids.uid);
        let number = || name.parse().ok();
        named.or_else(number).ok_or_else(|| SiteError::NoSuchUser(name.to_owned()))
    }

    /// The ids of the roles: those of their own accounts if a package has created them, otherwise ids of the range that
    /// begins at `base`. `broker` names an account for the broker of the reading service (or is a number that nobody
    /// has). `owners` are the users whose files are tables: no role may be one of them.
    pub fn roles(&self, base: u32, broker: Option<&str>, owners: &[u32]) -> Result<RoleIds, SiteError> {
        if base == 0 || base > u32::MAX.saturating_sub(RANGE).saturating_sub(1) {
            return Err(SiteError::Range(base));
        }
        let mut ids = RoleIds::default();
        // Keyed by account name, because several roles may share an account.
        let mut found: Vec<(&str, Ids)> = Vec::new();
        for (role, slot) in Role::ALL.into_iter().zip(&mut ids.own) {
            let Account::Own { name, offset } = role.row().account else { continue };
            let one = match found.iter().find(|(account, _)| *account == name) {
                Some((_, ids)) => *ids,
                None => {
                    let named = broker.filter(|_| role == Role::Broker);
                    let ids = self.ids_of_account(name, named, base.saturating_add(offset))?;
                    found.push((name, ids));
                    ids
                }
            };
            *slot = Some(one);
        }
        for (name, one) in &found {
            let other_role = found.iter().any(|(other, ids)| other != name && ids.uid == one.uid);
            if other_role || owners.contains(&one.uid) {
                return Err(SiteError::Shared((*name).to_owned()));
            }
        }
        Ok(ids)
    }

    /// The ids of one account: the one that is `named` in mapkeep.cf, the usual one if it exists, or `id`.
    fn ids_of_account(&self, usual: &str, named: Option<&str>, id: u32) -> Result<Ids, SiteError> {
        let account = named.unwrap_or(usual);
        match (self.ids_of(account), named.map(str::parse)) {
            (Some(ids), _) => self.dedicated(account, ids),
            (None, Some(Ok(id))) => self.unassigned(id),
            (None, Some(Err(_))) => Err(SiteError::NoSuchUser(account.to_owned())),
            (None, None) => self.unassigned(id),
        }
    }

    /// An account made for a role: nobody else may have its ids.
    fn dedicated(&self, account: &str, ids: Ids) -> Result<Ids, SiteError> {
        let others = self.users().filter(|(name, _)| *name != account);
        let shared = others.into_iter().any(|(_, other)| other.uid == ids.uid || other.gid == ids.gid);
        if shared || ids.uid == 0 || ids.gid == 0 {
            return Err(SiteError::Shared(account.to_owned()));
        }
        Ok(ids)
    }

    /// An id that no user and no group has.
    fn unassigned(&self, id: u32) -> Result<Ids, SiteError> {
        let user = self.users().find(|(_, ids)| ids.uid == id || ids.gid == id).map(|(name, _)| name);
        let group = self.groups().find(|(_, gid)| *gid == id).map(|(name, _)| name);
        match user.or(group) {
            Some(name) => Err(SiteError::Taken { id, name: name.to_owned() }),
            None => Ok(Ids { uid: id, gid: id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(passwd: &str) -> Accounts {
        let more = "root:x:0:0:root:/root:/bin/sh\npostfix:x:105:111::/:/bin/false\n";
        Accounts::new(format!("{more}{passwd}"), "root:x:0:\npostfix:x:111:\nodd:x:700:\n".to_owned())
    }

    #[test]
    fn unassigned_ids_are_taken_from_the_range() {
        let ids = accounts("").roles(61100, None, &[105]).unwrap();
        for role in Role::ALL {
            let wanted = match role.row().account {
                Account::Own { offset, .. } => {
                    assert!(offset < RANGE, "{role:?}");
                    Some(Ids { uid: 61100 + offset, gid: 61100 + offset })
                }
                Account::Root | Account::MailOwner | Account::MailOwnerWithGroups => None,
            };
            assert_eq!(ids.of(role), wanted, "{role:?}");
        }
        let known = [Role::Broker, Role::Logger, Role::Lookup, Role::Rules, Role::Writer, Role::Gateway];
        let uids = known.map(|role| ids.of(role).unwrap().uid);
        assert_eq!(uids, [61100, 61101, 61102, 61102, 61103, 61104], "as packages and their users know them");
    }

    #[test]
    fn assigned_ids_are_refused() {
        let taken = accounts("bob:x:61102:61102::/:/bin/sh\n").roles(61100, None, &[]);
        assert_eq!(taken, Err(SiteError::Taken { id: 61102, name: "bob".into() }));
        assert_eq!(
            accounts("").roles(698, None, &[]),
            Err(SiteError::Taken { id: 700, name: "odd".into() }),
            "a group counts as well"
        );
        assert_eq!(accounts("").roles(0, None, &[]), Err(SiteError::Range(0)));
        assert_eq!(accounts("").roles(u32::MAX, None, &[]), Err(SiteError::Range(u32::MAX)));
    }

    #[test]
    fn dedicated_accounts_are_preferred_and_share_with_no_other() {
        let own = "mapkeep-lookup:x:300:300::/:/bin/false\n";
        assert_eq!(
            accounts(own).roles(61100, None, &[]).unwrap().of(Role::Lookup),
            Some(Ids { uid: 300, gid: 300 })
        );
        let shared = format!("{own}eve:x:300:1::/:/bin/sh\n");
        assert_eq!(
            accounts(&shared).roles(61100, None, &[]),
            Err(SiteError::Shared("mapkeep-lookup".into()))
        );
        assert_eq!(accounts(own).roles(61100, None, &[300]), Err(SiteError::Shared("mapkeep-lookup".into())));
    }

    #[test]
    fn groups_of_a_user_are_its_own_and_those_that_name_it() {
        let passwd = "postfix:x:105:111::/:/bin/false\n";
        let group = "root:x:0:\nsasl:x:45:cyrus,postfix\nssl:x:46:postfix\npostfix:x:111:postfix\nno:x:47:postfixer\nbad\n";
        let accounts = Accounts::new(passwd.to_owned(), group.to_owned());
        assert_eq!(accounts.groups_of("postfix"), [111, 45, 46]);
        assert_eq!(accounts.groups_of("nobody"), [0; 0]);
    }

    #[test]
    fn users_are_found_by_name_or_number() {
        assert_eq!(accounts("").uid_of("postfix"), Ok(105));
        assert_eq!(accounts("").uid_of("42"), Ok(42));
        assert_eq!(accounts("").uid_of("nobody-here"), Err(SiteError::NoSuchUser("nobody-here".into())));
    }
}
