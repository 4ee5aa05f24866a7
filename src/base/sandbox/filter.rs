//! Purpose: turns a role's rules into a system call filter and installs it.
//! May: make the filter. Never: allows a call that no rule names.
//!
//! The default action kills the whole process. The kernel then notes the number of the call in the audit log (type
//! 1326), even without auditd. The program begins by comparing the architecture, so that calls through the 32-bit
//! table die as well; calls of the x32 table have other numbers and meet no rule.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::error::{Layer, LockError};
use crate::role::Role;
use crate::rule::{Condition, Length, Test};

/// Compiles the list of `role` for the architecture of this build.
///
/// # Errors
/// If the rules do not make a valid program; the message says why.
pub fn compile(role: Role) -> Result<BpfProgram, LockError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in role.rules() {
        let alternatives: Result<Vec<SeccompRule>, LockError> =
            rule.alternatives.iter().map(|conditions| alternative(conditions)).collect();
        // Two rules for one call would be merged, and one without conditions would be lost: build.rs refuses them, and
        // this check also covers two names with the same number.
        if rules.insert(rule.nr, alternatives?).is_some() {
            return Err(failed(format!("two rules for {}", rule.syscall)));
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch).map_err(failed)?;
    BpfProgram::try_from(filter).map_err(failed)
}

fn alternative(conditions: &[Condition]) -> Result<SeccompRule, LockError> {
    let conditions: Result<Vec<SeccompCondition>, LockError> = conditions
        .iter()
        .map(|condition| {
            let length = match condition.length {
                Length::Dword => SeccompCmpArgLen::Dword,
                Length::Qword => SeccompCmpArgLen::Qword,
            };
            let test = match condition.test {
                Test::Equal => SeccompCmpOp::Eq,
                Test::MaskedEqual { mask } => SeccompCmpOp::MaskedEq(mask),
            };
            SeccompCondition::new(condition.index, length, test, condition.value).map_err(failed)
        })
        .collect();
    // An alternative without conditions is an error here, not "anything".
    SeccompRule::new(conditions?).map_err(failed)
}

/// Installs `program` for every thread of the process. From here on, any call that the list does not name ends it.
pub(crate) fn install(program: &BpfProgram) -> Result<(), LockError> {
    seccompiler::apply_filter_all_threads(program).map_err(|e| {
        failed(format!(
            "{e}; the kernel needs CONFIG_SECCOMP_FILTER, and no outer sandbox may forbid seccomp(2)"
        ))
    })
}

fn failed(reason: impl ToString) -> LockError {
    LockError::new(Layer::Seccomp, reason.to_string())
}
