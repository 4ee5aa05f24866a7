//! Deeds at files, inside and outside of the directories of tables, and at the tables themselves.

use super::*;
use crate::Outcome::{Allowed, Killed};
use crate::call;
use libc::*;

fn open(path: &CStr, flags: i32) -> Answer {
    let how = [flags as u64, if flags & O_CREAT != 0 { 0o600 } else { 0 }, 0];
    call!(SYS_openat2, AT_FDCWD, path, &how, 24)
}

/// What a checkpoint of a table is called before it has its place.
const NEW: &str = "data/victim.db.mapkeep-new";

fn change_mode(scene: &Scene<'_>, mode: u32) -> Answer {
    let table = open(&scene.path(NEW), O_RDWR | O_CREAT)?;
    call!(SYS_fchmod, table, mode)
}

fn rename(scene: &Scene<'_>, to: &str, flags: u32) -> Answer {
    let [from, to] = [NEW, to].map(|name| scene.path(name));
    call!(SYS_renameat2, AT_FDCWD, from.as_c_str(), AT_FDCWD, to.as_c_str(), flags)
}

/// Opens a device and asks for something that only its driver knows.
fn device(_: &Scene<'_>) -> Answer {
    let null = call!(SYS_openat, AT_FDCWD, c"/dev/null", O_RDONLY | O_CLOEXEC)?;
    let done = call!(SYS_ioctl, null, TCGETS as i64, &mut [0_u64; 8]);
    let _ = call!(SYS_close, null);
    done
}

/// In the order in which they are made.
pub(super) const DEEDS: &[Deed] = &[
    Deed {
        what: "write a file outside of the tables' directories",
        run: |scene| open(&scene.path("../elsewhere/outside"), O_RDWR),
        locked: &[(OUTER, NO_ACCESS), (BROKERS, NO_ACCESS), (WORKERS, Killed), (&[Logger], Killed)],
        open: &[(&[Logger], NO_ACCESS), (WORKERS, NOT_THERE)],
    },
    Deed {
        what: "make a file outside",
        run: |scene| open(&scene.path("../elsewhere/new"), O_RDWR | O_CREAT | O_EXCL),
        locked: &[(OUTER, NO_ACCESS), (BROKERS, NO_ACCESS)],
        open: &[(&[Logger], NO_ACCESS)],
    },
    Deed {
        what: "read a file outside",
        run: |scene| open(&scene.path("../elsewhere/outside"), O_RDONLY),
        locked: &[(&[Supervisor], Allowed), (BROKERS, NO_ACCESS)],
        open: &[(&[Logger], NO_ACCESS)],
    },
    Deed {
        what: "read /etc/shadow",
        run: |_| open(c"/etc/shadow", O_RDONLY),
        // The broker of the read service has /etc, for the tables of accounts.
        locked: &[(&[WriteBroker], NO_ACCESS)],
        open: &[(&[Logger], NO_ACCESS), (WORKERS, NOT_THERE)],
    },
    Deed {
        what: "write a table of the read service",
        run: |scene| open(&scene.path("text"), O_RDWR),
        locked: &[(SUPERVISORS, NO_ACCESS), (&[Broker], NO_ACCESS)],
        open: &[],
    },
    Deed {
        what: "read a table of the read service",
        run: |scene| open(&scene.path("text"), O_RDONLY),
        locked: &[(&[Broker], Allowed)],
        open: &[],
    },
    Deed {
        what: "make a file beside the tables of the writing service",
        run: |scene| open(&scene.path(NEW), O_RDWR | O_CREAT),
        locked: &[(&[WriteBroker], Allowed)],
        open: &[],
    },
    Deed {
        what: "make a link beside the tables",
        run: |scene| call!(SYS_symlink, c"/etc/shadow", scene.path("data/victim.db.corrupt-1").as_c_str()),
        locked: &[(&[WriteBroker], Killed)],
        open: &[(&[WriteBroker], NO_ACCESS)],
    },
    Deed {
        what: "make a FIFO beside the tables",
        run: |scene| call!(SYS_mknod, scene.path("data/victim.db.corrupt-2").as_c_str(), S_IFIFO | 0o600, 0),
        locked: &[(&[WriteBroker], Killed)],
        open: &[(&[WriteBroker], NO_ACCESS)],
    },
    Deed {
        what: "cut a file outside by its path",
        run: |scene| call!(SYS_truncate, scene.path("../elsewhere/outside").as_c_str(), 0),
        locked: &[(SERVANTS, Killed)],
        open: &[(SUPERVISORS, NO_ACCESS), (SERVANTS, NO_ACCESS)],
    },
    Deed {
        what: "ask a device's driver",
        run: device,
        locked: &[(&[Supervisor, Starting], Killed)],
        open: &[(SUPERVISORS, NO_ACCESS)],
    },
    Deed {
        what: "lock a table against its writers",
        run: |scene| {
            let table = open(&scene.path("text"), O_RDONLY)?;
            call!(SYS_flock, table, LOCK_EX | LOCK_NB)
        },
        locked: &[(&[Broker], Killed)],
        open: &[],
    },
    Deed {
        what: "give a table away by its mode",
        run: |scene| change_mode(scene, 0o666),
        locked: &[(&[WriteBroker], Killed)],
        open: &[],
    },
    Deed {
        what: "make a set-user-id file of a table",
        run: |scene| change_mode(scene, 0o4644),
        locked: &[(&[WriteBroker], Killed)],
        open: &[],
    },
    Deed {
        what: "rename over a table unseen",
        run: |scene| rename(scene, "data/answers.db", 0),
        locked: &[(&[WriteBroker], Killed)],
        open: &[],
    },
    Deed {
        what: "remove a directory",
        run: |scene| call!(SYS_unlinkat, AT_FDCWD, scene.path("data").as_c_str(), AT_REMOVEDIR),
        locked: &[(&[WriteBroker], Killed)],
        open: &[],
    },
    Deed {
        what: "rename a table out of its directory",
        run: |scene| rename(scene, "../elsewhere/victim.db", RENAME_NOREPLACE),
        locked: &[(&[WriteBroker], Errno(&[EACCES, EXDEV]))],
        open: &[],
    },
];
