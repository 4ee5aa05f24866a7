//! Purpose: reads what the kernel says about a process, and compares it with what the role should be.
//! May: parse the text of /proc/PID/status, which every process may read of every other, without a capability. Never:
//! opens anything itself.

use std::fmt;

use crate::error::{Layer, LockError};
use crate::privilege::Privilege;
use crate::role::Role;

/// The lines of /proc/PID/status that tell how a process is confined (proc_pid_status(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The process id.
    pub pid: i32,
    /// Number of threads.
    pub threads: u32,
    /// Real, effective, saved and file system user id.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// CapInh: inheritable capabilities, one bit each.
    pub inheritable: u64,
    /// CapPrm: permitted capabilities.
    pub permitted: u64,
    /// CapEff: effective capabilities.
    pub effective: u64,
    /// CapBnd: the bounding set.
    pub bounding: u64,
    /// CapAmb: ambient capabilities.
    pub ambient: u64,
    /// NoNewPrivs.
    pub no_new_privs: bool,
    /// Seccomp: 0 none, 1 strict, 2 filter, [`DYING`].
    pub seccomp: u32,
    /// Seccomp_filters: the number of filters in force, inherited ones included.
    pub seccomp_filters: u32,
}

/// Parses the text of /proc/`pid`/status.
///
/// # Errors
/// If a line is missing or unreadable, or if the text is about another process (the id was reused).
pub fn inspect(pid: i32, status_text: &str) -> Result<Found, LockError> {
    let lines = Lines(status_text);
    let found = Found {
        pid: lines.number("Pid")?,
        threads: lines.number("Threads")?,
        uids: lines.four("Uid")?,
        gids: lines.four("Gid")?,
        groups: lines.list("Groups")?,
        inheritable: lines.mask("CapInh")?,
        permitted: lines.mask("CapPrm")?,
        effective: lines.mask("CapEff")?,
        bounding: lines.mask("CapBnd")?,
        ambient: lines.mask("CapAmb")?,
        no_new_privs: lines.number::<u32>("NoNewPrivs")? == 1,
        seccomp: lines.number("Seccomp")?,
        seccomp_filters: lines.number("Seccomp_filters")?,
    };
    if found.pid != pid {
        return Err(LockError::new(
            Layer::SelfCheck,
            format!("status of {} read as that of {pid}", found.pid),
        ));
    }
    Ok(found)
}

/// The text, looked up by the name before the colon. The kernel escapes newlines in the process name.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn value(&self, name: &str) -> Result<&str, LockError> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| unreadable(name))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, LockError> {
        self.value(name)?.parse().map_err(|_| unreadable(name))
    }

    fn mask(&self, name: &str) -> Result<u64, LockError> {
        u64::from_str_radix(self.value(name)?, 16).map_err(|_| unreadable(name))
    }

    fn list(&self, name: &str) -> Result<Vec<u32>, LockError> {
        let numbers: Result<Vec<u32>, _> = self.value(name)?.split_whitespace().map(str::parse).collect();
        numbers.map_err(|_| unreadable(name))
    }

    fn four(&self, name: &str) -> Result<[u32; 4], LockError> {
        self.list(name)?.try_into().map_err(|_| unreadable(name))
    }
}

fn unreadable(name: &str) -> LockError {
    LockError::new(Layer::SelfCheck, format!("/proc/PID/status has no readable line {name}"))
}

/// The Seccomp value of a process that a filter has killed, until it has exited (SECCOMP_MODE_DEAD in kernel/seccomp.c
/// of Linux): every further call would end it again.
pub const DYING: u32 = 3;

/// What a locked process must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// User id, group id; `None` when the process keeps those of whoever started it.
    pub ids: Option<(u32, u32)>,
    /// Supplementary groups, where the ids count.
    pub groups: Vec<u32>,
    /// Permitted and effective capabilities.
    pub capabilities: u64,
    /// The bounding set; `None` when it cannot be changed.
    pub bounding: Option<u64>,
    /// The number of seccomp filters; 0 before the process has installed its own and inherited none.
    pub seccomp_filters: u32,
}

/// What a process of `role` must look like once it serves.
///
/// `inherited_filters` is the number of seccomp filters that were in force when it started: for a child of the
/// supervisor that is what the supervisor's own status says.
#[must_use]
pub fn expected(role: Role, privilege: &Privilege, inherited_filters: u32) -> Expected {
    let capabilities = privilege.kept_mask();
    let (ids, bounding) = match privilege {
        Privilege::Root { uid, gid, .. } => {
            (Some((*uid, *gid)), Some(if role.is_supervisor() { capabilities } else { 0 }))
        }
        Privilege::Account { uid, gid, .. } => (Some((*uid, *gid)), Some(0)),
        Privilege::Rootless => (None, None),
    };
    let mut groups = match privilege {
        Privilege::Account { groups, .. } => groups.clone(),
        Privilege::Root { .. } | Privilege::Rootless => Vec::new(),
    };
    // In the order in which the kernel shows them.
    groups.sort_unstable();
    Expected { ids, groups, capabilities, bounding, seccomp_filters: inherited_filters.saturating_add(1) }
}

impl Expected {
    /// Every difference between this and `found`, one sentence each; empty if there is none.
    #[must_use]
    pub fn differences(&self, found: &Found) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, is: String, should: String| {
            if is != should {
                differences.push(format!("{what} is {is}, should be {should}"));
            }
        };
        match self.ids {
            Some((uid, gid)) => {
                compare("uids", format!("{:?}", found.uids), format!("{:?}", [uid; 4]));
                compare("gids", format!("{:?}", found.gids), format!("{:?}", [gid; 4]));
                compare("groups", format!("{:?}", found.groups), format!("{:?}", self.groups));
            }
            None => {
                let [real, ..] = found.uids;
                compare("uids", format!("{:?}", found.uids), format!("{:?}", [real; 4]));
                compare("root's uid", (real == 0).to_string(), "false".into());
            }
        }
        let hex = |mask: u64| format!("{mask:016x}");
        compare("CapInh", hex(found.inheritable), hex(0));
        compare("CapPrm", hex(found.permitted), hex(self.capabilities));
        compare("CapEff", hex(found.effective), hex(self.capabilities));
        compare("CapAmb", hex(found.ambient), hex(0));
        if let Some(bounding) = self.bounding {
            compare("CapBnd", hex(found.bounding), hex(bounding));
        }
        compare("NoNewPrivs", found.no_new_privs.to_string(), "true".into());
        compare("Threads", found.threads.to_string(), "1".into());
        let mode: u32 = if self.seccomp_filters == 0 { 0 } else { 2 };
        // A filter has just killed it: this is not a missing lock, and its death will be reported.
        let mode = if mode == 2 && found.seccomp == DYING { DYING } else { mode };
        compare("Seccomp", found.seccomp.to_string(), mode.to_string());
        compare("Seccomp_filters", found.seccomp_filters.to_string(), self.seccomp_filters.to_string());
        differences
    }
}

impl Found {
    /// The part that differs from role to role, for a line about several processes.
    #[must_use]
    pub fn brief(&self) -> String {
        let [uid, ..] = self.uids;
        let capabilities = self.effective | self.permitted | self.inheritable | self.ambient;
        format!("pid={} uid={uid} caps={capabilities:x}", self.pid)
    }
}

/// One line for the log.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([uid, ..], [gid, ..]) = (self.uids, self.gids);
        write!(
            f,
            "pid={} uid={uid} gid={gid} groups={} caps={:x} bounding={:x} no_new_privs={} seccomp={} filters={} threads={}",
            self.pid,
            self.groups.len(),
            self.effective | self.permitted | self.inheritable | self.ambient,
            self.bounding,
            u32::from(self.no_new_privs),
            self.seccomp,
            self.seccomp_filters,
            self.threads
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Name:\tmapkeep\\nUid:\t0\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t42\nPPid:\t1\n\
        Uid:\t901\t901\t901\t901\nGid:\t902\t902\t902\t902\nFDSize:\t64\nGroups:\t \nThreads:\t1\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";

    fn worker() -> Privilege {
        Privilege::Root { uid: 901, gid: 902, chroot: None, keep: &[] }
    }

    #[test]
    fn inspect_locked_worker_matches_expectation() {
        let found = inspect(42, TEXT).unwrap();
        assert_eq!(expected(Role::Lookup, &worker(), 1).differences(&found), Vec::<String>::new());
    }

    #[test]
    fn inspect_other_pid_is_refused() {
        assert_eq!(inspect(43, TEXT).unwrap_err().layer, Layer::SelfCheck);
    }

    #[test]
    fn inspect_any_line_missing_is_refused() {
        for name in
            ["Pid", "Uid", "Gid", "Groups", "Threads", "CapInh", "CapBnd", "NoNewPrivs", "Seccomp_filters"]
        {
            let without: String =
                TEXT.lines().filter(|line| !line.starts_with(name)).map(|l| format!("{l}\n")).collect();
            assert!(inspect(42, &without).is_err(), "{name}");
        }
    }

    #[test]
    fn differences_each_changed_line_is_listed() {
        for (from, to, what) in [
            ("Uid:\t901\t901", "Uid:\t901\t0", "uids"),
            ("Gid:\t902\t902\t902", "Gid:\t902\t902\t0", "gids"),
            ("Groups:\t ", "Groups:\t4 20", "groups"),
            ("CapInh:\t000000000000000", "CapInh:\t000000000000001", "CapInh"),
            ("CapPrm:\t000000000000000", "CapPrm:\t000000000000001", "CapPrm"),
            ("CapEff:\t000000000000000", "CapEff:\t000000000000001", "CapEff"),
            ("CapBnd:\t000000000000000", "CapBnd:\t000000000000001", "CapBnd"),
            ("CapAmb:\t000000000000000", "CapAmb:\t000000000000001", "CapAmb"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs"),
            ("Threads:\t1", "Threads:\t2", "Threads"),
            ("Seccomp:\t2", "Seccomp:\t0", "Seccomp"),
            ("Seccomp_filters:\t2", "Seccomp_filters:\t1", "Seccomp_filters"),
            ("Seccomp:\t2", "Seccomp:\t1", "Seccomp"),
        ] {
            let found = inspect(42, &TEXT.replace(from, to)).unwrap();
            let differences = expected(Role::Lookup, &worker(), 1).differences(&found);
            assert!(
                matches!(differences.as_slice(), [one] if one.starts_with(what)),
                "{what}: {differences:?}"
            );
        }
    }

    #[test]
    fn expected_rootless_leaves_bounding_and_ids_open() {
        let found = inspect(42, &TEXT.replace("CapBnd:\t0", "CapBnd:\t1")).unwrap();
        assert!(expected(Role::Broker, &Privilege::Rootless, 1).differences(&found).is_empty());
    }

    #[test]
    fn differences_process_that_its_filter_has_just_ended_has_none() {
        let found = inspect(42, &TEXT.replace("Seccomp:\t2", "Seccomp:\t3")).unwrap();
        assert_eq!(expected(Role::Lookup, &worker(), 1).differences(&found), Vec::<String>::new());
    }
}
