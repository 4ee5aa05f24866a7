//! What the type part of a table name (`hash` in `hash:/etc/aliases`) means to us.

use std::fmt;

/// The type of a table, as far as this build can serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Berkeley DB hash file, `PATH.db`.
    Hash = 1,
    /// Berkeley DB btree file, `PATH.db`.
    Btree = 2,
    /// LMDB file, `PATH.lmdb`.
    Lmdb = 3,
    /// Constant database, `PATH.cdb`.
    Cdb = 4,
    /// Text file `PATH` with one `key value` in each logical line.
    Texthash = 5,
    /// `unix:passwd.byname`: does this account exist?
    Passwd = 6,
    /// `unix:group.byname`: does this group exist?
    Group = 7,
    /// `static:TEXT`: the same answer to every key.
    Static = 8,
    /// `inline:{...}`: the entries are in the name.
    Inline = 9,
    /// `fail:`: a temporary error for every key.
    Fail = 10,
    /// Text file `PATH`, or `cidr:{{rule}...}`: networks and the answers for addresses in them.
    Cidr = 11,
    /// Text file `PATH`, or `regexp:{{rule}...}`: POSIX patterns and the answers for keys that match.
    Regexp = 12,
    /// Text file `PATH`, or `pcre:{{rule}...}`: the same with the patterns of Perl.
    Pcre = 13,
    /// `internal:ANY`: in memory, empty at the start; nothing ever gets in through the read service.
    Internal = 14,
    /// `environ:ANY`: the environment of the process.
    Environ = 15,
    /// `randmap:{a, b...}`: one of the values, at random.
    Randmap = 16,
    /// `unionmap:{type:name...}`: the answers of all members, joined.
    Unionmap = 17,
    /// `pipemap:{type:name...}`: the answer of each member is the key of the next.
    Pipemap = 18,
    /// `debug:type:name` (Postfix 3.11 and later): as the table that it names.
    Debug = 19,
    /// `socketmap:inet:host:port:map` or `socketmap:unix:path:map`: a server answers.
    Socketmap = 20,
    /// `tcp:host:port`: a server answers.
    Tcp = 21,
    /// Any other type: every lookup is a temporary error, as with stock's surrogate tables.
    Unknown = 255,
}

/// How clients must query a table: the FIXED and PATTERN bits of the wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Exact keys: clients also send partial keys (`user@`, `@domain`, parent domains).
    Fixed,
    /// Patterns: clients send the full key only.
    Pattern,
}

impl Kind {
    /// Every kind that is a type of its own, for tests and tables of kinds.
    pub const ALL: [Kind; 22] = [
        Kind::Hash,
        Kind::Btree,
        Kind::Lmdb,
        Kind::Cdb,
        Kind::Texthash,
        Kind::Passwd,
        Kind::Group,
        Kind::Static,
        Kind::Inline,
        Kind::Fail,
        Kind::Cidr,
        Kind::Regexp,
        Kind::Pcre,
        Kind::Internal,
        Kind::Environ,
        Kind::Randmap,
        Kind::Unionmap,
        Kind::Pipemap,
        Kind::Debug,
        Kind::Socketmap,
        Kind::Tcp,
        Kind::Unknown,
    ];

    /// The kind of the table `name` (`type:rest`, without a `proxy:` prefix).
    #[must_use]
    pub fn of(name: &[u8]) -> Kind {
        let (kind, rest) = split(name);
        match (kind, rest) {
            (b"hash", _) => Kind::Hash,
            (b"btree", _) => Kind::Btree,
            (b"lmdb", _) => Kind::Lmdb,
            (b"cdb", _) => Kind::Cdb,
            (b"texthash", _) => Kind::Texthash,
            (b"unix", b"passwd.byname") => Kind::Passwd,
            (b"unix", b"group.byname") => Kind::Group,
            (b"static", _) => Kind::Static,
            (b"inline", _) => Kind::Inline,
            (b"fail", _) => Kind::Fail,
            (b"cidr", _) => Kind::Cidr,
            (b"regexp", _) => Kind::Regexp,
            (b"pcre", _) => Kind::Pcre,
            (b"internal", _) => Kind::Internal,
            (b"environ", _) => Kind::Environ,
            (b"randmap", _) => Kind::Randmap,
            (b"unionmap", _) => Kind::Unionmap,
            (b"pipemap", _) => Kind::Pipemap,
            (b"debug", _) => Kind::Debug,
            (b"socketmap", _) => Kind::Socketmap,
            (b"tcp", _) => Kind::Tcp,
            _ => Kind::Unknown,
        }
    }

    /// The kind with this tag in a message.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == tag)
    }

    /// Which keys clients may send. Unavailable tables keep the class of their type, so that a client
    /// which opened one too early asks the right keys once the file is there.
    ///
    /// A table made of others has the class of its first member: see [`class_of`].
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Kind::Fail | Kind::Unknown | Kind::Randmap | Kind::Cidr | Kind::Regexp | Kind::Pcre => {
                Class::Pattern
            }
            kind if kind.is_remote() => Class::Pattern,
            _ => Class::Fixed,
        }
    }

    /// Whether the content comes from a file that the broker opens (else it is in the name).
    ///
    /// `cidr`, `regexp` and `pcre` may also have it in the name: see [`needs_file`].
    #[must_use]
    pub fn has_file(self) -> bool {
        self.has_rules()
            || matches!(
                self,
                Kind::Hash
                    | Kind::Btree
                    | Kind::Lmdb
                    | Kind::Cdb
                    | Kind::Texthash
                    | Kind::Passwd
                    | Kind::Group
            )
    }

    /// Whether the content is a list of rules, in a file or in braces in the name.
    #[must_use]
    pub fn has_rules(self) -> bool {
        matches!(self, Kind::Cidr | Kind::Regexp | Kind::Pcre)
    }

    /// Whether the entries are those of a text, in a file or in the name, that stands as its author wrote it. Where the
    /// right-hand sides name files (the SRC_RHS_IS_FILE flag), the content of these is not in it; in an indexed file it is,
    /// for `postmap -F` has put it there.
    #[must_use]
    pub fn is_source_text(self) -> bool {
        self.has_rules() || matches!(self, Kind::Texthash | Kind::Inline | Kind::Static | Kind::Randmap)
    }

    /// Whether the table has no content of its own, but other tables ([`members`]).
    #[must_use]
    pub fn is_composite(self) -> bool {
        matches!(self, Kind::Unionmap | Kind::Pipemap | Kind::Debug)
    }

    /// Whether stored keys may end in a NUL byte (the TRY0NULL and TRY1NULL flags).
    #[must_use]
    pub fn has_nul_modes(self) -> bool {
        matches!(self, Kind::Hash | Kind::Btree | Kind::Lmdb | Kind::Cdb)
    }
}

/// Splits `type:rest` at the first colon; a name without a colon has an empty rest.
#[must_use]
pub fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = name.splitn(2, |byte| *byte == b':');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Whether the table `name` has a file of its own that the broker opens.
#[must_use]
pub fn needs_file(name: &[u8]) -> bool {
    let kind = Kind::of(name);
    kind.has_file() && !(kind.has_rules() && split(name).1.starts_with(b"{"))
}

/// The file that the content of the table `name` comes from, by the rules of each type; nothing for a table that
/// is its own content, is made of others, or is of a type that we cannot serve.
#[must_use]
pub fn file_of(name: &[u8]) -> Option<Vec<u8>> {
    if !needs_file(name) {
        return None;
    }
    let (_, path) = split(name);
    let with = |suffix: &[u8]| [path, suffix].concat();
    Some(match Kind::of(name) {
        Kind::Hash | Kind::Btree => with(b".db"),
        Kind::Lmdb => with(b".lmdb"),
        Kind::Cdb => with(b".cdb"),
        Kind::Passwd => b"/etc/passwd".to_vec(),
        Kind::Group => b"/etc/group".to_vec(),
        // Texts are read as they are.
        _ => with(b""),
    })
}

/// How deep tables made of others may be nested.
pub const MAX_NESTING: usize = 16;

/// Which keys clients may send to the table `name`: as [`Kind::class`], and the class of its first member for a
/// table made of others. One that is not well formed, or nested too deep, is a pattern table, as every table that
/// stock cannot open.
#[must_use]
pub fn class_of(name: &[u8]) -> Class {
    let mut name = name;
    for _ in 0..=MAX_NESTING {
        let kind = Kind::of(name);
        if !kind.is_composite() {
            return kind.class();
        }
        match members(name).map(|all| all.first().copied()) {
            Ok(Some(first)) => name = first,
            _ => break,
        }
    }
    Class::Pattern
}

/// What is wrong with the name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName(pub &'static str);

impl fmt::Display for BadName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for BadName {}

/// The names (`type:rest`) of the tables that the table `name` is made of, in their order and without `proxy:`
/// prefixes; they may be made of others again. Empty for a table with content of its own.
///
/// # Errors
/// What is wrong with the name, where Postfix has a syntax error.
pub fn members(name: &[u8]) -> Result<Vec<&[u8]>, BadName> {
    let rest = split(name).1;
    let mut names = Vec::new();
    match Kind::of(name) {
        Kind::Debug => names.push(rest),
        Kind::Unionmap | Kind::Pipemap => {
            let Some((mut list, [])) = braced(rest) else { return Err(BadName("expected {type:name, ...}")) };
            while let Some((member, after)) = next_element(list) {
                names.push(member);
                list = after;
            }
            if names.is_empty() {
                return Err(BadName("expected at least one type:name"));
            }
        }
        _ => {}
    }
    for member in &mut names {
        while let Some(rest) = member.strip_prefix(b"proxy:") {
            *member = rest;
        }
        if !member.contains(&b':') {
            return Err(BadName("expected type:name for each member"));
        }
    }
    Ok(names)
}

const NO_SUCH_TYPE: &str = "there is no such type of table";

/// Whether Postfix has tables of the type of `name`, in itself or in one of its plugins. Around such a table it lays its
/// UTF-8 checks, whether the table can be opened or not; not so for a type that it does not know.
///
/// Source: the types that `postconf -m` lists with all of Debian's plugins installed (3.7.11), and mongodb (3.9 and later).
#[must_use]
pub fn is_type_of_postfix(name: &[u8]) -> bool {
    const NOT_SERVED: [&[u8]; 8] =
        [b"ldap", b"memcache", b"mongodb", b"mysql", b"nis", b"pgsql", b"sqlite", b"unix"];
    Kind::of(name) != Kind::Unknown || NOT_SERVED.contains(&split(name).0)
}

/// Why a table of [`Kind::Unknown`] cannot be served, as a sentence for the log.
#[must_use]
pub fn why_unknown(name: &[u8]) -> &'static str {
    match split(name).0 {
        b"mysql" => "mysql is not served yet",
        b"pgsql" => "pgsql is not served yet",
        b"sqlite" => "sqlite is not served yet",
        b"ldap" => "ldap is not served yet",
        b"mongodb" => "mongodb is not served yet",
        b"memcache" => "memcache is not served yet",
        b"nis" => "nis is not served yet",
        b"nisplus" | b"netinfo" => "nisplus and netinfo are not served",
        b"dbm" | b"sdbm" => "dbm and sdbm files cannot be read",
        b"unix" => "unix: has the tables passwd.byname and group.byname only",
        _ => NO_SUCH_TYPE,
    }
}

/// Whether the type of a table of [`Kind::Unknown`] is one of Postfix's, which is just not served here.
#[must_use]
pub fn is_known_type(name: &[u8]) -> bool {
    why_unknown(name) != NO_SUCH_TYPE
}

/// What to do about a table of [`Kind::Unknown`].
#[must_use]
pub fn remedy_unknown(name: &[u8]) -> &'static str {
    match split(name).0 {
        b"mysql" | b"pgsql" | b"sqlite" | b"ldap" | b"mongodb" | b"memcache" | b"nis" | b"nisplus"
        | b"netinfo" | b"unix" => "stay with stock's proxymap for now",
        b"dbm" | b"sdbm" => {
            "rebuild it as hash, lmdb or cdb, and name that type in main.cf; or stay with stock's proxymap for now"
        }
        _ => "correct the name where it is written",
    }
}

/// The text inside the braces with which `text` begins, trimmed, and what follows them.
#[must_use]
pub fn braced(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut depth = 0_u32;
    let close = text.iter().position(|byte| {
        match *byte {
            b'{' => depth = depth.saturating_add(1),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })?;
    let inside = text.get(..close)?.strip_prefix(b"{")?;
    Some((trim(inside), text.get(close..)?.strip_prefix(b"}")?))
}

/// The next element of a list separated by commas and white space (except inside braces), and what follows it.
#[must_use]
pub fn next_element(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let separates = |byte: u8| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n');
    let start = list.iter().position(|byte| !separates(*byte))?;
    let list = list.get(start..)?;
    let mut depth = 0_u32;
    let end = list.iter().position(|byte| {
        match *byte {
            b'{' => depth = depth.saturating_add(1),
            b'}' => depth = depth.saturating_sub(1),
            byte => return depth == 0 && separates(byte),
        }
        false
    });
    list.split_at_checked(end.unwrap_or(list.len()))
}

/// `text` without white space, as C's isspace() has it in the C locale, at its ends.
#[must_use]
pub fn trim(text: &[u8]) -> &[u8] {
    let space = |byte: &u8| matches!(*byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|byte| !space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !space(byte)).map_or(start, |last| last.saturating_add(1));
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
