//! Why a table file is not opened: the rules by number, and messages that say what to do.
//!
//! Pure: text in, text out. Built by `walk` and `rules`, read by the administrator in the log.

use std::fmt;

use nix::errno::Errno;

/// The rules that a table file must meet. Files that are read must meet T1 to T6; files that are written T1, T5, T6
/// and W1 to W7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The form of the path: absolute, no NUL byte, no trailing slash, at most 4096 bytes, at most 64 directories deep and
    /// 16 symbolic links long.
    T1,
    /// Every directory of the path belongs to root or a declared owner, and nobody else can write in it. Group write
    /// permission is accepted if nobody else is in the group, or if the directory is root's and sticky. What is in a
    /// directory of a declared owner belongs to that owner. `trusted_directories` may have any mode.
    T2,
    /// A symbolic link belongs to root, and so does every directory on the way to it; and it is not in a shared one. In
    /// `trusted_directories` links may be anybody's.
    T3,
    /// The table is a regular file of root or of a declared owner that nobody else can write, without set-id bits,
    /// within the size limit; in a directory that is not root's, it has the same owner as the directory. In a sticky
    /// directory that a group can write, it is root's, has one name, and is readable by everybody.
    T4,
    /// The table is an ordinary stored file, not one of a pseudo file system; a table that is written is not itself a
    /// mount point.
    T5,
    /// The table is not an account database that holds secrets (shadow, gshadow, opasswd, their backups).
    T6,
    /// A table that is written is not in a directory of root.
    W1,
    /// The directory of a table that is written, and each of its files, belong to the user who writes it: mail_owner.
    W2,
    /// A file of a table that is written has one name only (no hard link).
    W3,
    /// Symbolic links on the way to a table that is written are root's, in directories of root. Its files are not
    /// links.
    W4,
    /// Nobody but root and that user can write in the directory or those above it, or write the files, which are
    /// regular files without set-id bits. The user has write permission. Group write permission is accepted if nobody
    /// else is in the group.
    W5,
    /// The files of a table that is written belong to it alone: no other table of the list has one of them.
    W6,
    /// A table that is written is itself in the list of the writing service; members of composite tables are not.
    W7,
}

impl Rule {
    /// The short name that messages and documents use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::T1 => "T1",
            Rule::T2 => "T2",
            Rule::T3 => "T3",
            Rule::T4 => "T4",
            Rule::T5 => "T5",
            Rule::T6 => "T6",
            Rule::W1 => "W1",
            Rule::W2 => "W2",
            Rule::W3 => "W3",
            Rule::W4 => "W4",
            Rule::W5 => "W5",
            Rule::W6 => "W6",
            Rule::W7 => "W7",
        }
    }

    /// The rule in a few words.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::T1 => "the path of a table must be absolute and of bounded length",
            Rule::T2 => {
                "the directories of a table must be writable by root or a declared owner only, and everything in a \
                 directory of a declared owner must belong to that owner"
            }
            Rule::T3 => {
                "symbolic links to a table must belong to root, in directories of root in which nobody else \
                         can write"
            }
            Rule::T4 => {
                "a table must be a regular file that only root or a declared owner can write or could have \
                         created there"
            }
            Rule::T5 => {
                "a table must be a stored file, not one that the kernel generates; a table that is written must not \
                 be a mount point"
            }
            Rule::T6 => "an account database with secrets is never a table",
            Rule::W1 => "tables in a directory of root are never written",
            Rule::W2 => "a table that is written, and its directory, must belong to the user who writes it",
            Rule::W3 => "a file that is written must not have a second name (hard link)",
            Rule::W4 => {
                "symbolic links to a table that is written must belong to root, in directories of root, and its \
                 files must not be symbolic links"
            }
            Rule::W5 => {
                "a table that is written, and its directories, must be writable by its user and root only"
            }
            Rule::W6 => "two tables that are written must not share a file",
            Rule::W7 => "only tables in the list of the update service are written",
        }
    }
}

/// Why a table was not opened. All paths are absolute, as seen from the anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else could have written the table, or it is not a table at all.
    Untrusted {
        /// The component of the path that breaks the rule.
        component: Vec<u8>,
        /// The rule that it breaks.
        rule: Rule,
        /// What is wrong with the component.
        problem: String,
        /// What the administrator can do about it: a command where one is enough.
        remedy: String,
    },
    /// The component does not exist (yet).
    Missing {
        /// The first component that does not exist.
        component: Vec<u8>,
    },
    /// The file kept changing during all attempts; a later attempt may succeed.
    Retry {
        /// The component that changed.
        component: Vec<u8>,
    },
    /// The kernel gave an error that says nothing about trust.
    Io {
        /// The component that was examined.
        component: Vec<u8>,
        /// The kernel's error.
        errno: Errno,
    },
}

impl Refusal {
    /// The rule that was broken, if any.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Refusal::Untrusted { rule, .. } => Some(*rule),
            _ => None,
        }
    }

    /// The component of the path that the refusal is about.
    #[must_use]
    pub fn component(&self) -> &[u8] {
        match self {
            Refusal::Untrusted { component, .. }
            | Refusal::Missing { component }
            | Refusal::Retry { component }
            | Refusal::Io { component, .. } => component,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = quoted(self.component());
        match self {
            Refusal::Untrusted { rule, problem, remedy, .. } => {
                write!(formatter, "{path} {problem} (rule {}: {}); {remedy}", rule.name(), rule.sentence())
            }
            Refusal::Missing { .. } => write!(formatter, "{path} does not exist"),
            Refusal::Retry { .. } => write!(formatter, "{path} kept changing while it was being opened"),
            Refusal::Io { errno, .. } => write!(formatter, "{path} cannot be examined: {}", errno.desc()),
        }
    }
}

impl std::error::Error for Refusal {}

/// A path for a message or a command: unchanged if it is plain, else in the shell's `$'...'` form, so that no byte of
/// it can break a log line or be special to the shell into which it is pasted.
pub(super) fn quoted(path: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@:,=%".contains(byte);
    if !path.is_empty() && path.iter().all(plain) {
        String::from_utf8_lossy(path).into_owned()
    } else {
        format!("$'{}'", path.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_plain_path_is_unchanged() {
        assert_eq!(quoted(b"/etc/postfix/virtual.db"), "/etc/postfix/virtual.db");
    }

    #[test]
    fn quoted_hostile_path_cannot_break_line_or_shell() {
        assert_eq!(quoted(b"/a b\n'\x1b;rm"), "$'/a b\\n\\'\\x1b;rm'");
        assert_eq!(quoted(b""), "$''");
        assert_eq!(quoted("/ü".as_bytes()), "$'/\\xc3\\xbc'");
    }

    #[test]
    fn display_untrusted_names_component_rule_and_remedy() {
        let refusal = Refusal::Untrusted {
            component: b"/etc/x".to_vec(),
            rule: Rule::T4,
            problem: "is a FIFO".to_owned(),
            remedy: "name a regular file".to_owned(),
        };
        let rule = Rule::T4.sentence();
        assert_eq!(refusal.to_string(), format!("/etc/x is a FIFO (rule T4: {rule}); name a regular file"));
    }
}
