//! The NUL byte that Postfix may have stored with a key.

/// In which of its two forms a key was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NulMode {
    /// The key and a NUL byte, as Postfix writes hash, btree and lmdb tables.
    WithNul,
    /// The key alone, as Postfix writes cdb tables; also the answer of kinds that have no such choice.
    Bare,
}

/// Which forms to try. The form with NUL comes first when both are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NulModes {
    /// Try the key and a NUL byte (the TRY1NULL flag).
    pub with_nul: bool,
    /// Try the key alone (the TRY0NULL flag).
    pub bare: bool,
}

impl NulModes {
    /// Both forms: what a table starts with.
    pub const BOTH: NulModes = NulModes { with_nul: true, bare: true };
}
