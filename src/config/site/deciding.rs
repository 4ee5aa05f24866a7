//! The files that decide what is served: the configuration, and the programs that act on it.
//!
//! Whoever can write one of them decides as much as whoever can write a table, so the rules of tables hold for them.
//! What follows from a breach differs: see the callers. May: look at files by name, before lock-down and, for the
//! configuration, at a reload. Never: read one.

use crate::options::Mode;
use mapkeep_broker_trust::{Anchor, Owners, People, Refusal, open_table};
use mapkeep_sys::status::{self, Status};
use nix::fcntl::OFlag;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why somebody other than root and these owners could have written the file at `path`; `None` if nobody could, if
/// there is no such file, or if the service does not run as root. The text names the path component at fault.
#[must_use]
pub fn distrusted(path: &Path, owners: &Owners) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let opened =
        Anchor::host().and_then(|host| open_table(&host, path.as_os_str().as_bytes(), owners, u64::MAX));
    match opened {
        Ok(_) | Err(Refusal::Missing { .. }) => None,
        Err(Refusal::Untrusted { component, problem, .. }) => {
            Some(format!("{} {problem}", String::from_utf8_lossy(&component)))
        }
        Err(refusal) => Some(refusal.to_string()),
    }
}

/// What is wrong with a program or a directory on the way to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Whether everybody, not only an owner or a group, could replace a program.
    pub to_everybody: bool,
    /// Whether only the owner could.
    pub to_owner: bool,
    /// The problem and the remedy.
    pub text: String,
}

impl Exposed {
    /// Whether a service started in this mode must refuse to start.
    pub fn is_fatal(&self, mode: Mode) -> bool {
        self.to_everybody || (mode == Mode::Master && !self.to_owner)
    }
}

/// Who besides root could replace `own`, or a program of one of these names beside it. The path is absolute and free of
/// links.
pub fn exposed_programs<'n>(
    own: &Path,
    names: impl IntoIterator<Item = &'n str>,
    people: &People,
) -> Vec<Exposed> {
    let programs: Vec<PathBuf> = names.into_iter().map(|name| own.with_file_name(name)).collect();
    let mut programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
    if !programs.contains(&own) {
        programs.push(own);
    }
    exposed(own.parent().unwrap_or(Path::new("/")), &programs, people)
}

/// Who besides root could replace one of these programs in `directory`, which is absolute and free of links.
fn exposed(directory: &Path, programs: &[&Path], people: &People) -> Vec<Exposed> {
    let mut found = Vec::new();
    let above = directory.ancestors().skip(1).map(|path| (path, true));
    for (path, is_above) in above.chain([(directory, false)]).chain(programs.iter().map(|one| (*one, false)))
    {
        let Some((handle, status)) = look(path) else { continue };
        let mode = status.mode & 0o7777;
        // In a sticky directory, others cannot replace files that are not theirs.
        let others =
            people.others_write(handle.as_fd(), &status, status.uid) && !(is_above && mode & 0o1000 != 0);
        if others || status.uid != 0 {
            let who = if !others {
                format!("belongs to uid {}", status.uid)
            } else {
                format!("can be written by others than its owner (mode {mode:04o})")
            };
            found.push(Exposed {
                to_everybody: others && mode & 0o002 != 0,
                to_owner: !others,
                text: format!(
                    "{} {who}, so that programs which run as root could be replaced; install them in a directory \
                     where only root can write, such as /usr/lib/mapkeep",
                    path.display()
                ),
            });
        }
    }
    found
}

#[allow(clippy::disallowed_methods, reason = "before the lock: only the start looks at programs")]
fn look(path: &Path) -> Option<(File, Status)> {
    let file = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).ok()?;
    let status = status::of(file.as_fd()).ok()?;
    Some((file, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_broker_trust::testbed::{Bed, STRANGER};

    #[test]
    fn exposed_programs_are_those_that_others_can_exchange() {
        let Some(bed) = Bed::new() else { return };
        bed.directory("lib/sbin");
        bed.file("lib/sbin/program", b"");
        let (directory, program) = (bed.path("lib/sbin"), bed.path("lib/sbin/program"));
        let look = || exposed(&directory, &[&program], &People::default());
        assert_eq!(look(), []);
        type Case = (&'static str, &'static str, fn(&Bed, &str), bool, bool);
        let cases: [Case; 6] = [
            ("directory 0777", "lib/sbin", |b, n| b.mode(n, 0o777), true, false),
            ("directory 1777", "lib/sbin", |b, n| b.mode(n, 0o1777), true, false),
            ("directory 0775", "lib/sbin", |b, n| b.mode(n, 0o775), false, false),
            ("directory above 0777", "lib", |b, n| b.mode(n, 0o777), true, false),
            ("program 0757", "lib/sbin/program", |b, n| b.mode(n, 0o757), true, false),
            ("directory of a stranger", "lib", |b, n| b.owner(n, STRANGER), false, true),
        ];
        for (what, name, spoil, to_everybody, to_owner) in cases {
            spoil(&bed, name);
            let found = look();
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert_eq!((found[0].to_everybody, found[0].to_owner), (to_everybody, to_owner), "{what}");
            assert!(found[0].text.starts_with(&format!("{} ", bed.path(name).display())), "{what}");
            bed.owner(name, 0);
            bed.mode(name, 0o755);
        }
        bed.mode("lib", 0o1777);
        assert_eq!(look(), [], "a sticky directory above");
    }

    #[test]
    fn distrusted_configuration_names_the_component() {
        let Some(bed) = Bed::new() else { return };
        bed.directory("etc");
        bed.file("etc/mapkeep.cf", b"");
        let look = || distrusted(&bed.path("etc/mapkeep.cf"), &Owners::root());
        assert_eq!(look(), None);
        assert_eq!(distrusted(&bed.path("etc/none"), &Owners::root()), None);
        bed.mode("etc/mapkeep.cf", 0o666);
        let text = look().expect("everybody writes it");
        assert!(text.contains("etc/mapkeep.cf can be written by its group and everybody"), "{text}");
        bed.mode("etc/mapkeep.cf", 0o644);
        bed.mode("etc", 0o777);
        assert!(look().expect("everybody exchanges it").contains("/etc can be written by"));
    }
}
