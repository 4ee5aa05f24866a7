//! Purpose: the system calls that the policy allows.
//! May: hand out the lists that build.rs wrote from policy/seccomp.json.
//! Never: adds to them.

/// One allowed system call.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as in `man 2`.
    pub syscall: &'static str,
    /// Its number on the architecture of this build.
    pub nr: i64,
    /// The reason that the role needs it.
    pub why: &'static str,
    /// The call is allowed if all conditions of any one alternative hold; with no alternative, always.
    pub alternatives: &'static [&'static [Condition]],
}

/// A test on one argument.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How much of it is compared.
    pub length: Length,
    /// How it is compared.
    pub test: Test,
    /// What it is compared with.
    pub value: u64,
}

/// How much of an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The low 32 bits: right for arguments that the kernel declares as `int` or `unsigned int`, and wrong for others.
    Dword,
    /// All 64 bits: pointers, lengths and `unsigned long`.
    Qword,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// The argument is the value.
    Equal,
    /// The argument's bits under the mask are the value.
    MaskedEqual {
        /// The bits that count.
        mask: u64,
    },
}

/// What build.rs wrote: a list for each key below "roles". Constants of several integer types are widened to 64 bits
/// there. A list that is not in the table of roles does not compile.
#[allow(clippy::unnecessary_cast)]
#[deny(dead_code)]
pub(crate) mod lists {
    use super::{Condition, Length, Rule, Test};
    include!(concat!(env!("OUT_DIR"), "/policy.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use crate::row::Root;

    fn filtered(role: Role) -> usize {
        role.rules().iter().filter(|rule| !rule.alternatives.is_empty()).count()
    }

    #[test]
    fn lookup_list_within_bounds() {
        assert!(Role::Lookup.rules().len() <= 20, "{}", Role::Lookup.rules().len());
        assert!(filtered(Role::Lookup) >= 7, "{}", filtered(Role::Lookup));
    }

    #[test]
    fn gateway_list_within_bounds() {
        assert!(Role::Gateway.rules().len() <= 24, "{}", Role::Gateway.rules().len());
        assert!(filtered(Role::Gateway) >= 7, "{}", filtered(Role::Gateway));
    }

    #[test]
    fn broker_list_within_bounds() {
        assert!(Role::Broker.rules().len() <= 24, "{}", Role::Broker.rules().len());
    }

    #[test]
    fn lists_of_the_writing_service_within_bounds() {
        assert!(Role::Writer.rules().len() <= 24, "{}", Role::Writer.rules().len());
        assert!(filtered(Role::Writer) >= 7, "{}", filtered(Role::Writer));
        assert!(Role::WriteBroker.rules().len() <= 21, "{}", Role::WriteBroker.rules().len());
    }

    #[test]
    fn lists_for_connections_within_bounds() {
        assert!(Role::Connector.rules().len() <= 34, "{}", Role::Connector.rules().len());
        assert!(filtered(Role::Connector) >= 18, "{}", filtered(Role::Connector));
        // A fork of the dialer has both filters, so the dialer's must allow all that the connector's does.
        let dialer: Vec<&str> = Role::Dialer.rules().iter().map(|rule| rule.syscall).collect();
        for rule in Role::Connector.rules() {
            assert!(dialer.contains(&rule.syscall), "{}", rule.syscall);
        }
    }

    /// The system calls that only the two roles that make connections may use, with the reason.
    fn is_for_connections(role: Role, call: &str) -> bool {
        let connector = [
            // The C library resolves names with files and modules that it opens by path.
            "openat", "mprotect", // It asks name servers, and connects.
            "socket", "connect",
            // The C library asks the kernel, over a netlink socket, for this machine's addresses, and for the size of a
            // reply.
            "bind", "ioctl",
        ];
        // The dialer forks and kills a fork that hangs; each fork narrows its lock.
        let dialer = ["clone", "kill", "prctl"];
        match role {
            Role::Connector => connector.contains(&call),
            Role::Dialer => connector.contains(&call) || dialer.contains(&call),
            _ => false,
        }
    }

    #[test]
    fn exceptions_for_connections_are_all_in_use() {
        for (role, count) in [(Role::Connector, 6), (Role::Dialer, 9)] {
            let used = role.rules().iter().filter(|rule| is_for_connections(role, rule.syscall)).count();
            assert_eq!(used, count, "{role:?}");
        }
    }

    #[test]
    fn confined_roles_name_no_path_process_or_socket() {
        let common = [
            "open", "openat", "execve", "execveat", "fork", "vfork", "clone", "clone3", "socket", "connect",
            "bind", "listen", "ptrace", "prctl", "ioctl", "kill", "mprotect", "unlink", "rename",
        ];
        let more =
            ["openat2", "recvfrom", "readlinkat", "sendmsg", "accept4", "fcntl", "flock", "memfd_create"];
        for role in Role::ALL.into_iter().filter(|role| !role.is_supervisor()) {
            for rule in role.rules() {
                let excepted = is_for_connections(role, rule.syscall);
                assert!(excepted || !common.contains(&rule.syscall), "{} {}", role.name(), rule.syscall);
                let hears_clients = role.row().root == Root::Empty;
                let own: &[&str] = match role {
                    Role::Writer => &["fcntl", "flock"],
                    Role::Gateway => &["recvfrom"],
                    _ => &[],
                };
                let pairs = rule.syscall == "socketpair" && role != Role::Broker;
                assert!(!pairs, "{role:?} makes sockets");
                let other = more.contains(&rule.syscall) && !own.contains(&rule.syscall);
                assert!(!hears_clients || !other, "{role:?} {}", rule.syscall);
            }
        }
    }

    #[test]
    fn no_role_may_widen_the_kernel_surface() {
        let never = [
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "io_uring_setup",
            "io_uring_enter",
            "bpf",
            "mount",
            "umount2",
            "move_mount",
            "fsopen",
            "open_tree",
            "pivot_root",
            "unshare",
            "setns",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "perf_event_open",
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "kexec_file_load",
            "reboot",
            "swapon",
            "swapoff",
            "personality",
            "bind",
            "listen",
            "ioperm",
            "iopl",
            "modify_ldt",
            "clone3",
            // Programs are started from descriptors, never by name.
            "execve",
            "open_by_handle_at",
            "pidfd_getfd",
        ];
        for role in Role::ALL {
            for rule in role.rules() {
                let bound = rule.syscall == "bind" && is_for_connections(role, "bind");
                assert!(bound || !never.contains(&rule.syscall), "{} {}", role.name(), rule.syscall);
                let starts = ["clone", "execveat"].contains(&rule.syscall);
                let forks = rule.syscall == "clone" && is_for_connections(role, "clone");
                assert!(!starts || forks || role.is_supervisor(), "{} {}", role.name(), rule.syscall);
            }
        }
    }

    #[test]
    fn masked_conditions_can_be_met() {
        for role in Role::ALL {
            for condition in role.rules().iter().flat_map(|rule| rule.alternatives).copied().flatten() {
                if let Test::MaskedEqual { mask } = condition.test {
                    assert!(mask != 0 && condition.value & !mask == 0, "{} {condition:?}", role.name());
                }
            }
        }
    }
}
