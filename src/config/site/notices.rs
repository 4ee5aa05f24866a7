//! Tables that are served in part: what the log at the start and `mapkeep tables` say about them.
//!
//! May: read nsswitch.conf and, where `compat` is named, the account
//! files. Never: ask the name service.

use mapkeep_config_text::{
    Database, Elsewhere, MasterCf, NSSWITCH, Parameters, PostfixVersion, tables_of_file_content,
};
use mapkeep_name::{Kind, split};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is missing from the file of a table, or from the table as it is written.
#[derive(Debug)]
pub struct Notices {
    passwd: Elsewhere,
    group: Elsewhere,
    file_tables: BTreeSet<Vec<u8>>,
}

/// A notice about a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
    /// Whether clients get temporary errors because of it.
    pub fails: bool,
}

impl Notices {
    /// Reads what they depend on; `inside` is the root for account files, empty for `/`. `read` reads a file.
    pub fn read(
        params: &Parameters,
        master: &MasterCf,
        version: PostfixVersion,
        inside: &Path,
        read: &dyn Fn(&Path) -> Option<Vec<u8>>,
    ) -> Notices {
        let nsswitch = read(Path::new(NSSWITCH));
        let elsewhere = |database: Database| {
            let file = Path::new("/").join(inside).join("etc").join(database.name());
            Elsewhere::of(database, nsswitch.as_deref(), &read(&file).unwrap_or_default())
        };
        Notices {
            passwd: elsewhere(Database::Passwd),
            group: elsewhere(Database::Group),
            file_tables: tables_of_file_content(params, master, version),
        }
    }

    fn accounts(&self, name: &[u8]) -> Option<(Database, &Elsewhere)> {
        match Kind::of(name) {
            Kind::Passwd => Some((Database::Passwd, &self.passwd)),
            Kind::Group => Some((Database::Group, &self.group)),
            _ => None,
        }
    }

    /// Whether an entry that is not in the table's file may be in another source, so that "not found" would be wrong.
    #[must_use]
    pub fn is_incomplete(&self, name: &[u8]) -> bool {
        self.accounts(name).is_some_and(|(_, elsewhere)| elsewhere.is_unknown())
    }

    /// The notices about the table `name` (`type:rest`).
    #[must_use]
    pub fn of(&self, name: &[u8]) -> Option<Notice> {
        if let Some((database, elsewhere)) = self.accounts(name) {
            let (problem, remedy) = (elsewhere.problem(database)?, elsewhere.remedy(database)?);
            return Some(Notice { problem, remedy, fails: elsewhere.is_unknown() });
        }
        self.file_tables.contains(name).then(|| file_names(name)).flatten()
    }
}

/// For a table in tls_server_sni_maps: its text has the names of files, but clients want the contents of the files.
fn file_names(name: &[u8]) -> Option<Notice> {
    let members = mapkeep_name::leaves(name).unwrap_or_default();
    let is_text = |name: &[u8]| Kind::of(name).is_source_text();
    if !is_text(name) && !members.iter().any(|member| is_text(member)) {
        return None;
    }
    let rest = split(name).1;
    // A name with special characters for the shell is not put into a command.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@,=%".contains(byte);
    let remedy = if Kind::of(name) == Kind::Texthash && rest.iter().all(plain) {
        let path = OsStr::from_bytes(rest).to_string_lossy();
        format!(
            "run: chmod 600 {path} && postmap -F hash:{path} (or lmdb:{path}), since that table holds private keys and has the \
             mode of its text; name it in tls_server_sni_maps and proxy_read_maps"
        )
    } else {
        "write keys and file names into a text file F of mode 0600, which the table with the private keys will have, too; run \
         postmap -F hash:F (or lmdb:F), and name that table in tls_server_sni_maps and proxy_read_maps"
            .to_owned()
    };
    let problem = "for tls_server_sni_maps each entry is a temporary error: its value is the name of a file, whose contents \
                   postmap -F would have put in its place"
        .to_owned();
    Some(Notice { problem, remedy, fails: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_config_text::{parse_main, parse_master};

    fn notices(main: &str, nsswitch: Option<&str>) -> Notices {
        let params = Parameters::new(parse_main(main.as_bytes()).0);
        let read = |path: &Path| match path.to_str() {
            Some(NSSWITCH) => nsswitch.map(|text| text.as_bytes().to_vec()),
            Some("/queue/etc/passwd") => Some(b"+:::::\n".to_vec()),
            _ => None,
        };
        Notices::read(&params, &parse_master(b"").0, params.version(), Path::new("queue"), &read)
    }

    #[test]
    fn accounts_by_what_nsswitch_conf_names() {
        let found = notices("", Some("passwd: files sss\ngroup: files systemd\n"));
        let passwd = found.of(b"unix:passwd.byname").unwrap();
        assert!(passwd.fails && passwd.problem.contains("\"sss\""), "{passwd:?}");
        assert!(found.is_incomplete(b"unix:passwd.byname"));
        let group = found.of(b"unix:group.byname").unwrap();
        assert!(!group.fails && group.problem.contains("systemd"), "{group:?}");
        assert!(!found.is_incomplete(b"unix:group.byname"));
        assert_eq!(found.of(b"hash:/x"), None);
        assert!(!found.is_incomplete(b"hash:/x"));
        let missing = notices("", None);
        assert_eq!(
            (missing.of(b"unix:passwd.byname"), missing.is_incomplete(b"unix:passwd.byname")),
            (None, false)
        );
        // The lines with + are in the file that is served.
        assert!(notices("", Some("passwd: compat\n")).is_incomplete(b"unix:passwd.byname"));
    }

    #[test]
    fn tables_of_text_that_name_certificates() {
        let main = "tls_server_sni_maps = proxy:texthash:/sni, proxy:hash:/made, proxy:pipemap:{inline:{a=b},hash:/c}\n";
        let found = notices(main, None);
        let text = found.of(b"texthash:/sni").unwrap();
        assert!(
            text.fails && text.remedy.contains("run: chmod 600 /sni && postmap -F hash:/sni (or lmdb:/sni)"),
            "{text:?}"
        );
        assert!(found.of(b"pipemap:{inline:{a=b},hash:/c}").unwrap().remedy.contains("postmap -F"));
        assert_eq!(found.of(b"hash:/made"), None);
        assert_eq!(found.of(b"texthash:/other"), None);
    }
}
