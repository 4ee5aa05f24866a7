//! The directories of tables, as Landlock takes them, and where walks to them begin.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use mapkeep_sandbox::Located;

use super::write::directory_of;
use super::{Anchor, Directory, WriteFiles};

/// The directories of these tables (`type:path`) in which the user `writer` can change tables. Directories that break a
/// rule are included, because they may be corrected later; until then their tables are refused.
pub fn write_directories<'n>(
    names: impl Iterator<Item = &'n [u8]>,
    inside: &Path,
    anchor: &Anchor,
    writer: u32,
) -> Vec<Located> {
    let mut found: Vec<Located> = Vec::new();
    for name in names {
        let Some(files) = WriteFiles::of(name) else { continue };
        let Ok(directory) = directory_of(anchor, &files, writer) else { continue };
        let located = located(inside, directory);
        if !found.contains(&located) {
            found.push(located);
        }
    }
    found
}

/// Where walks for the paths of tables begin: `inside`, or the host's root if that is empty.
///
/// # Errors
/// What cannot be examined, as a message.
#[allow(
    clippy::disallowed_methods,
    reason = "before the lock, or at a reload by the supervisor: openat, which its list allows"
)]
pub fn anchor_at(inside: &Path) -> io::Result<Anchor> {
    let anchor = match inside.as_os_str().is_empty() {
        true => Anchor::host(),
        false => Anchor::inside(std::fs::File::open(inside)?.into()),
    };
    anchor.map_err(io::Error::other)
}

/// A directory that a walk has found, for Landlock.
#[must_use]
pub fn located(inside: &Path, Directory { path, dev, ino }: Directory) -> Located {
    Located { root: Path::new("/").join(inside), path: OsString::from_vec(path).into(), dev, ino }
}
