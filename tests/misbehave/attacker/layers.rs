//! The layers of the lock other than the system call filter, each by itself.
//!
//! Purpose: to show that an attempt is stopped by more than one layer. mapkeep_sandbox does not offer a lock with a layer
//! left out, so this is written apart from it. May: lock a forked child. Never: used by the product.

use crate::raw::in_child;
use crate::{Answer, Attempt, Loot};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use nix::unistd::{Gid, Uid, chroot, setgroups, setresgid, setresuid};
use std::path::Path;

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A user id of its own, without capabilities.
    Uid,
    /// An empty root directory.
    Chroot,
    /// Landlock, with no exception.
    Landlock,
}

impl Layer {
    /// All of them, in the order in which they have to be installed.
    pub const ALL: [Layer; 3] = [Layer::Chroot, Layer::Uid, Layer::Landlock];

    fn enter(self, empty: &Path) -> Option<()> {
        match self {
            Layer::Uid => {
                let (user, group) = (Uid::from_raw(61_999), Gid::from_raw(61_999));
                setgroups(&[]).ok()?;
                setresgid(group, group, group).ok()?;
                setresuid(user, user, user).ok()
            }
            // The working directory stays outside on purpose: the question is what the chroot alone prevents.
            Layer::Chroot => chroot(empty).ok(),
            Layer::Landlock => {
                let status = Ruleset::default()
                    .set_compatibility(CompatLevel::HardRequirement)
                    .handle_access(AccessFs::from_all(ABI::V6))
                    .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V6)))
                    .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
                    .and_then(Ruleset::create)
                    .and_then(landlock::RulesetCreated::restrict_self)
                    .ok()?;
                (status.ruleset == RulesetStatus::FullyEnforced).then_some(())
            }
        }
    }
}

/// Makes an attempt in a child that has these layers and no other.
///
/// # Errors
/// The error number that stopped it; 254 if a layer could not be installed.
pub fn attempt_under(layers: &[Layer], empty: &Path, Attempt(_, step): &Attempt, loot: &Loot) -> Answer {
    in_child(|| {
        for layer in layers {
            layer.enter(empty).ok_or(254)?;
        }
        step(loot)
    })
}
