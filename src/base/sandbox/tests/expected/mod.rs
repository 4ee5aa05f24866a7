//! The rules that each role must have: the tables, and what they mean.
//!
//! `SYS_name: any;` allows a call with any arguments. Otherwise each pair of brackets is one way to be allowed, and all that
//! it says must hold: `3 int = X` compares the low 32 bits of argument 3, `long` all 64; `2 int & (M) = X` compares the bits
//! under M.
//!
//! Roles have many lines in common, and each list has its own copy of them: who reads one sees all that this process may do,
//! and nobody can widen several by a change in one place.

/// A table of calls; see the head of this file.
macro_rules! rules {
    ($($name:ident: $($word:ident)? $([$($index:literal $width:ident $(& $mask:tt)? = $value:expr),+])*;)+) => {
        &[$($crate::expected::Call {
            constant: stringify!($name),
            nr: $name,
            ways: &[$(&[$($crate::expected::Arg {
                index: $index,
                mask: bits!($width $($mask)?),
                value: ($value) as u64 & bits!($width),
            }),+]),*],
        }),+]
    };
}
macro_rules! bits {
    (int) => {
        0xffff_ffff_u64
    };
    (long) => {
        u64::MAX
    };
    ($width:ident $mask:tt) => {
        ($mask as u64 & bits!($width))
    };
}

mod dial;
mod near_misses;
mod read;
mod write;

use mapkeep_sandbox::{Condition, Length, Role, Test};
pub use near_misses::NEAR_MISSES;

/// What one argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arg {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// The bits that are compared.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

impl Arg {
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        args[usize::from(self.index)] & self.mask == self.value
    }

    /// The same as the policy says it.
    pub fn of(condition: &Condition) -> Arg {
        let width = match condition.length {
            Length::Dword => 0xffff_ffff,
            Length::Qword => u64::MAX,
        };
        let mask = match condition.test {
            Test::Equal => width,
            Test::MaskedEqual { mask } => mask & width,
        };
        Arg { index: condition.index, mask, value: condition.value }
    }
}

/// A call that a role may make, and the ways in which it may; none: in any way.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// `SYS_` and the name as in `man 2`.
    pub constant: &'static str,
    pub nr: i64,
    pub ways: &'static [&'static [Arg]],
}

impl Call {
    pub fn name(&self) -> &'static str {
        self.constant.trim_start_matches("SYS_")
    }

    pub fn allows(&self, args: &[u64; 6]) -> bool {
        self.ways.is_empty() || self.ways.iter().any(|way| way.iter().all(|arg| arg.holds(args)))
    }
}

/// The calls of a role, sorted by name.
pub fn calls(role: Role) -> Vec<Call> {
    let mut calls = match role {
        Role::Supervisor => read::SUPERVISOR.to_vec(),
        Role::Broker => read::BROKER.to_vec(),
        Role::Logger => read::LOGGER.to_vec(),
        Role::Lookup | Role::Rules => read::LOOKUP.to_vec(),
        Role::Gateway => read::GATEWAY.to_vec(),
        Role::WriteSupervisor => {
            let own = |nr| write::WRITE_SUPERVISOR.iter().any(|call| call.nr == nr);
            let common = read::SUPERVISOR.iter().filter(|call| !own(call.nr));
            common.chain(write::WRITE_SUPERVISOR).copied().collect()
        }
        Role::Dialer => dial::DIALER.to_vec(),
        Role::Connector => dial::CONNECTOR.to_vec(),
        Role::WriteBroker => write::WRITE_BROKER.to_vec(),
        Role::Writer => write::WRITER.to_vec(),
    };
    calls.sort_by_key(Call::name);
    calls
}
