//! The table of roles against itself, and against the policy.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

fn rows() -> impl Iterator<Item = (Role, &'static Row)> {
    Role::ALL.into_iter().map(|role| (role, role.row()))
}

#[test]
fn each_list_of_the_policy_is_that_of_a_role() {
    let policy: serde_json::Value =
        serde_json::from_str(include_str!("../../../../policy/seccomp.json")).unwrap();
    let lists: BTreeSet<&str> = policy["roles"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut named = BTreeMap::new();
    for (role, row) in rows() {
        named.entry(row.rules.as_ptr()).or_insert((role, row.name));
    }
    // A list that several roles share has the name of the first.
    assert_eq!(named.values().map(|(_, name)| *name).collect::<BTreeSet<_>>(), lists);
}

#[test]
fn names_and_titles_are_of_one_role_in_each_service() {
    for writing in [false, true] {
        let of = || rows().filter(|(role, _)| role.serves(writing)).map(|(_, row)| row);
        assert_eq!(of().map(|row| row.title).collect::<BTreeSet<_>>().len(), of().count());
        // A process is started by one of the same service.
        for (role, row) in rows().filter(|(role, row)| role.serves(writing) && !row.parents.is_empty()) {
            assert!(row.parents.iter().any(|parent| parent.serves(writing)), "{role:?}");
        }
    }
    assert_eq!(rows().map(|(_, row)| row.name).collect::<BTreeSet<_>>().len(), Role::ALL.len());
}

#[test]
fn roles_that_read_from_clients_have_no_rights() {
    for (role, row) in rows().filter(|(_, row)| row.root == Root::Empty) {
        assert!(row.keep.is_empty() && row.files == Files::NONE, "{role:?}");
        assert!(matches!(row.account, Account::Own { .. }), "{role:?}");
    }
}

#[test]
fn accounts_are_of_one_kind_of_process_each() {
    let mut names = BTreeMap::new();
    for (role, row) in rows() {
        if let Account::Own { name, offset } = row.account {
            assert_eq!(*names.entry(offset).or_insert(name), name, "{role:?}");
            assert!(role.parents().iter().all(|parent| parent.is_supervisor()));
        } else {
            let is_mail_owner = matches!(row.account, Account::MailOwner | Account::MailOwnerWithGroups);
            assert!(is_mail_owner || role.is_supervisor(), "{role:?}");
        }
    }
}

#[test]
fn descriptors_are_at_the_numbers_that_the_policy_knows() {
    for (role, row) in rows().filter(|(role, _)| !role.is_supervisor() && !role.is_fork()) {
        let at = |number: usize| row.descriptors.get(number).copied();
        assert_eq!((at(0), at(1)), (Some(Given::Null), Some(Given::Null)), "{role:?}");
        assert_eq!(at(3), Some(Given::Channel), "{role:?}");
        assert!(matches!(at(4), Some(Given::Log | Given::LogSocket)), "{role:?}");
        assert!(matches!(at(5), None | Some(Given::PlaceOfEpoll)), "{role:?}");
        let listeners = row.descriptors.iter().position(|given| *given == Given::Listeners);
        assert!(listeners.is_none_or(|number| number + 1 == row.descriptors.len()), "{role:?}");
    }
}
