//! The checked directories that a walk stands in and below.

use std::os::fd::OwnedFd;

use mapkeep_sys::status::Status;

/// Who can create names in a directory that meets the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openness {
    /// Its owner only.
    Closed,
    /// A group, but the sticky bit protects what is root's.
    Shared,
    /// Somebody for whom the administrator vouches.
    Vouched,
}

/// One checked directory on the path of the walk.
pub(super) struct Level {
    pub handle: OwnedFd,
    pub name: Vec<u8>,
    pub status: Status,
    pub openness: Openness,
}

/// The directories from the anchor to the current one.
pub(super) struct Stack {
    pub root: Level,
    pub below: Vec<Level>,
}

impl Stack {
    pub(super) fn top(&self) -> &Level {
        self.below.last().unwrap_or(&self.root)
    }

    /// The parent of the current directory.
    pub(super) fn above_top(&self) -> Option<&Level> {
        let (_, above) = self.below.split_last()?;
        Some(above.last().unwrap_or(&self.root))
    }

    pub(super) fn into_top(self) -> Level {
        let Stack { root, mut below } = self;
        below.pop().unwrap_or(root)
    }

    /// The absolute path of the current directory; `/` for the anchor.
    pub(super) fn path(&self) -> Vec<u8> {
        join(self.below.iter().map(|level| level.name.as_slice()))
    }

    /// The absolute path of `name` in that directory.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        join(self.below.iter().map(|level| level.name.as_slice()).chain([name]))
    }

    /// Every level with its path, the anchor first.
    pub(super) fn levels(&self) -> impl Iterator<Item = (Vec<u8>, &Level)> {
        let below = self.below.iter().enumerate().map(|(index, level)| {
            let names = self.below.iter().take(index.saturating_add(1)).map(|level| level.name.as_slice());
            (join(names), level)
        });
        [(b"/".to_vec(), &self.root)].into_iter().chain(below)
    }
}

pub(super) fn join<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}
