//! nsswitch.conf(5), as far as it says where accounts are that are not in /etc/passwd or /etc/group.
//!
//! Pure. No process of ours asks the name service, so what it might know is either said to be unknown or warned of.
//!
//! The facts are those of glibc 2.36, measured with getent(1) under files of each shape: the colon may be left out; a line
//! whose first character is `#` is a comment, and no other `#` begins one; the last line for a database counts; names of
//! databases and sources keep their case, those of statuses and actions do not; one action that cannot be read, in the line
//! of any database, and no source of any database is asked; a database without a line has the source `files`, and so has
//! each without the file.

/// Where the file is. A service whose tables are below the queue directory has it from there, too: stock's proxymap has read
/// it before it changes its root.
pub const NSSWITCH: &str = "/etc/nsswitch.conf";

/// Databases whose lines are read; one that cannot be read spoils them all.
const DATABASES: [&[u8]; 16] = [
    b"aliases",
    b"ethers",
    b"group",
    b"group_compat",
    b"gshadow",
    b"hosts",
    b"initgroups",
    b"netgroup",
    b"networks",
    b"passwd",
    b"passwd_compat",
    b"protocols",
    b"publickey",
    b"rpc",
    b"services",
    b"shadow",
];

/// Whose accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Users, in /etc/passwd.
    Passwd,
    /// Groups, in /etc/group.
    Group,
}

impl Database {
    /// Its name in nsswitch.conf, which is also that of its file in /etc.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Database::Passwd => "passwd",
            Database::Group => "group",
        }
    }
}

/// Where accounts may be that are not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nowhere.
    Nowhere,
    /// With systemd only: dynamic users, machines, and the records of userdb.
    Systemd,
    /// With a source of this name (sss, ldap, winbind, extrausers and others).
    Source(String),
    /// In NIS or what else `compat` asks, since the file has lines that begin with `+`.
    Compat,
    /// nsswitch.conf cannot be read as the C library reads it, because of this line, counted from 1.
    Unclear(usize),
}

impl Elsewhere {
    /// Reads nsswitch.conf for a database; `None` where there is no such file. `accounts` is the text of the database's own
    /// file.
    #[must_use]
    pub fn of(database: Database, nsswitch: Option<&[u8]>, accounts: &[u8]) -> Elsewhere {
        let line = match last_line(nsswitch.unwrap_or_default(), database) {
            Ok(line) => line,
            Err(number) => return Elsewhere::Unclear(number),
        };
        let mut found = Elsewhere::Nowhere;
        for Source { name, ends } in line {
            match name.as_slice() {
                b"files" if ends => break,
                b"files" => {}
                b"compat" => {
                    let asks = |line: &[u8]| line.trim_ascii_start().starts_with(b"+");
                    if accounts.split(|byte| *byte == b'\n').any(asks) {
                        return Elsewhere::Compat;
                    }
                    if ends {
                        break;
                    }
                }
                // Where its library is not installed, the sources after it are asked, whatever its actions are.
                b"systemd" => found = Elsewhere::Systemd,
                other => return Elsewhere::Source(crate::error::shown(other)),
            }
        }
        found
    }

    /// Whether an account that is not in the file may be one all the same, so that nobody can say that it is none. Systemd's
    /// are no mailboxes, as a rule, and it is a source on nearly every machine: a warning is enough.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !matches!(self, Elsewhere::Nowhere | Elsewhere::Systemd)
    }

    /// What follows for the table of this database; nothing where its file has all accounts.
    #[must_use]
    pub fn problem(&self, database: Database) -> Option<String> {
        let name = database.name();
        let why = match self {
            Elsewhere::Nowhere => return None,
            Elsewhere::Systemd => {
                return Some(format!(
                    "systemd's own accounts, which {NSSWITCH} names for {name}, are not found: only /etc/{name} is read"
                ));
            }
            Elsewhere::Source(source) => {
                format!("{NSSWITCH} names \"{source}\" for {name}, which this service does not query")
            }
            Elsewhere::Compat => {
                format!(
                    "lines of /etc/{name} that begin with \"+\" name accounts of NIS, which this service does \
                         not query"
                )
            }
            Elsewhere::Unclear(line) => {
                format!("line {line} of {NSSWITCH} cannot be parsed, nor can the C library parse it")
            }
        };
        Some(format!("an account that is not in /etc/{name} is a temporary error: {why}"))
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self, database: Database) -> Option<String> {
        let name = database.name();
        match self {
            Elsewhere::Nowhere => None,
            Elsewhere::Systemd => Some(format!(
                "if one of those accounts receives mail, add it to /etc/{name}, or stay with stock's proxymap for now"
            )),
            Elsewhere::Source(_) | Elsewhere::Compat => {
                Some("if that source has accounts, stay with stock's proxymap for now".to_owned())
            }
            Elsewhere::Unclear(_) => Some("correct the line".to_owned()),
        }
    }
}

/// One source, and whether those after it are not asked for what it does not find.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    name: Vec<u8>,
    ends: bool,
}

/// The sources of a database; or the line that cannot be read.
fn last_line(text: &[u8], database: Database) -> Result<Vec<Source>, usize> {
    let mut found = vec![Source { name: b"files".to_vec(), ends: false }];
    for (number, line) in (1_usize..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii_start();
        let end = line.iter().position(|byte| *byte == b':' || is_space(*byte)).unwrap_or(line.len());
        let Some((name, rest)) = line.split_at_checked(end) else { continue };
        if name.first() == Some(&b'#') || !DATABASES.contains(&name) {
            continue;
        }
        let sources = sources(rest).ok_or(number)?;
        if name == database.name().as_bytes() {
            found = sources;
        }
    }
    Ok(found)
}

/// What follows the name of a database; nothing where an action cannot be read.
fn sources(text: &[u8]) -> Option<Vec<Source>> {
    let colons = text.iter().take_while(|byte| **byte == b':' || is_space(**byte)).count();
    let mut rest = text.get(colons..)?;
    let mut sources: Vec<Source> = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"[") {
            let end = after.iter().position(|byte| *byte == b']')?;
            let (actions, after) = after.split_at_checked(end)?;
            let source = sources.last_mut()?;
            source.ends = not_found_ends(actions, source.ends)?;
            rest = after.strip_prefix(b"]")?;
            continue;
        }
        if rest.is_empty() {
            return Some(sources);
        }
        let end = rest.iter().position(|byte| *byte == b'[' || is_space(*byte)).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        sources.push(Source { name: name.to_vec(), ends: false });
        rest = after;
    }
}

/// Whether the search ends with what is not found, after the actions in brackets. `ends` is what holds without them.
fn not_found_ends(actions: &[u8], mut ends: bool) -> Option<bool> {
    let mut rest = actions.trim_ascii();
    while !rest.is_empty() {
        let (status, after) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'=')?)?;
        let after = after.strip_prefix(b"=")?.trim_ascii_start();
        let end = after.iter().position(|byte| is_space(*byte)).unwrap_or(after.len());
        let (action, after) = after.split_at_checked(end)?;
        let status = status.trim_ascii();
        let (negated, status) = match status.strip_prefix(b"!") {
            Some(status) => (true, status.trim_ascii_start()),
            None => (false, status),
        };
        let known = [&b"success"[..], b"notfound", b"unavail", b"tryagain"];
        let place = known.iter().position(|known| status.eq_ignore_ascii_case(known))?;
        let ending = match () {
            () if action.eq_ignore_ascii_case(b"return") => true,
            () if action.eq_ignore_ascii_case(b"continue") || action.eq_ignore_ascii_case(b"merge") => false,
            () => return None,
        };
        if (place == 1) != negated {
            ends = ending;
        }
        rest = after.trim_ascii_start();
    }
    Some(ends)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwd(text: &str) -> Elsewhere {
        Elsewhere::of(Database::Passwd, Some(text.as_bytes()), b"root:x:0:0::/root:/bin/sh\n")
    }

    /// Each line was given to getent(1) of glibc 2.36, with a source `sss` that knows an account.
    #[test]
    fn of_lines_as_the_c_library_reads_them() {
        for text in [
            "passwd: files sss\n",
            "  passwd:files sss\n",
            "passwd : files sss\n",
            "passwd files sss\n",
            "passwd:: files sss\n",
            "passwd: files # sss\n",
            "passwd: files\tsss\n",
            "passwd: files sss\r\n",
            "passwd: files #sss\npasswd: files sss\n",
            "passwd: files [NOTFOUND=continue] sss\n",
            "passwd: files [NOTFOUND=merge] sss\n",
            "passwd: files [UNAVAIL=return] sss\n",
            "passwd: sss files\n",
        ] {
            assert!(matches!(passwd(text), Elsewhere::Source(_)), "{text}");
            assert!(passwd(text).is_unknown());
        }
        for text in [
            "",
            "PASSWD: files sss\n",
            "group: files sss\n",
            "passwd: files\n#passwd: files sss\n",
            "  # passwd: files sss\n",
            "passwd: files sss\npasswd: files\n",
            "passwd: files [NOTFOUND=return] sss\n",
            "passwd: files [notfound=RETURN] sss\n",
            "passwd: files [!SUCCESS=return] sss\n",
            "passwd: files [!UNAVAIL=return] sss\n",
            "passwd: files [SUCCESS=return TRYAGAIN=continue NOTFOUND=return] sss\n",
            "passwd: files [UNAVAIL=return] [NOTFOUND=return] sss\n",
            "passwd: files[NOTFOUND=return]sss\n",
            "passwd: files [NOTFOUND = return] sss\n",
            "passwd:\n",
            "passwd: compat\n",
            "nosuch: [x=\npasswd: files\n",
        ] {
            assert_eq!(passwd(text), Elsewhere::Nowhere, "{text}");
        }
        for (text, line) in [
            ("passwd: files [NOTFOUND=bogus] sss\n", 1),
            ("passwd: files sss [NOTFOUND=\n", 1),
            ("hosts: bogus [x=\npasswd: files\n", 1),
            ("passwd: files\n\npasswd: [SUCCESS=return] files\n", 3),
        ] {
            assert_eq!(passwd(text), Elsewhere::Unclear(line), "{text}");
            assert!(passwd(text).is_unknown());
        }
    }

    #[test]
    fn of_no_file_means_files() {
        assert_eq!(Elsewhere::of(Database::Passwd, None, b"+:::::\n"), Elsewhere::Nowhere);
    }

    #[test]
    fn of_each_kind_of_source() {
        assert_eq!(passwd("passwd: files sss systemd"), Elsewhere::Source("sss".to_owned()));
        assert_eq!(passwd("passwd: files systemd sss"), Elsewhere::Source("sss".to_owned()));
        // Names keep their case: this is none of the two that are read.
        assert_eq!(passwd("passwd: FILES"), Elsewhere::Source("FILES".to_owned()));
        assert_eq!(passwd("passwd: files systemd"), Elsewhere::Systemd);
        assert_eq!(passwd("passwd: files [NOTFOUND=return] systemd"), Elsewhere::Nowhere);
        assert_eq!(passwd("passwd: systemd [NOTFOUND=return] sss"), Elsewhere::Source("sss".to_owned()));
        assert!(!Elsewhere::Systemd.is_unknown());
        let group = |text: &[u8]| Elsewhere::of(Database::Group, Some(b"group: compat\n"), text);
        assert_eq!(group(b"root:x:0:\n"), Elsewhere::Nowhere);
        for text in [&b"root:x:0:\n+:::\n"[..], b"+mail:::", b" +@staff:::\n"] {
            assert_eq!(group(text), Elsewhere::Compat);
        }
        assert_eq!(group(b"-mail:::\nroot:x:0:\n"), Elsewhere::Nowhere);
    }

    #[test]
    fn problems_name_file_source_and_database() {
        let source = Elsewhere::Source("sss".to_owned());
        let problem = source.problem(Database::Group).unwrap();
        assert!(problem.contains("/etc/nsswitch.conf names \"sss\" for group"), "{problem}");
        assert!(source.remedy(Database::Group).unwrap().contains("stay with stock's proxymap"));
        assert_eq!(Elsewhere::Nowhere.problem(Database::Passwd), None);
        assert!(Elsewhere::Systemd.problem(Database::Passwd).unwrap().contains("systemd"));
        assert!(Elsewhere::Unclear(7).problem(Database::Passwd).unwrap().contains("line 7"));
    }
}
