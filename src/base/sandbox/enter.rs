//! Purpose: installs every layer of the lock, in the one order that works, and checks the result. May: end in an error
//! at any point. Never: goes on without a layer.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::dir::Dir;
use nix::sys::{prctl, signal::Signal};
use nix::unistd::{getpid, getppid};

use crate::error::{Layer, LockError};
use crate::privilege::Privilege;
use crate::role::Role;
use crate::status::{Expected, Found, expected, inspect};
use crate::{FileRules, Limits, files, filter, privilege};

/// Everything that distinguishes one process's lock from another's.
#[derive(Debug)]
pub struct Lock<'a> {
    /// Selects the system call list.
    pub role: Role,
    /// Ids, root directory, capabilities.
    pub privilege: Privilege,
    /// Resource limits.
    pub limits: Limits,
    /// What Landlock still lets the process reach.
    pub files: FileRules,
    /// The descriptors that must be open, and no other, in any order.
    pub expected_descriptors: &'a [i32],
    /// The process that this one must not outlive; `None` for the supervisor, whose starter may leave before it.
    pub parent_pid: Option<i32>,
}

/// Proof that [`enter`] succeeded in this process. Loops that serve somebody demand it.
#[must_use = "a loop that serves clients must be given this"]
#[derive(Debug)]
pub struct Confined {
    role: Role,
}

impl Confined {
    /// The role whose lock is in force.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

/// What the self-check found, just before the system call filter was installed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The role.
    pub role: Role,
    /// The process's own status. Its `seccomp_filters` are the inherited ones.
    pub found: Found,
    /// The open descriptors, sorted.
    pub descriptors: Vec<i32>,
    /// The number of system calls that the filter allows.
    pub system_calls: usize,
    /// The layers that cannot be had without root, in plain words; empty when started by root.
    pub missing: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} landlock=full system_calls={} descriptors={:?}",
            self.role.name(),
            self.found,
            self.system_calls,
            self.descriptors
        )?;
        for missing in &self.missing {
            write!(f, "; without root: {missing}")?;
        }
        Ok(())
    }
}

/// Locks the calling process in: limits, chroot, ids, capabilities, process attributes, Landlock, system calls.
///
/// Must be called while the process has one thread. Returns the proof and what was found.
///
/// # Errors
/// If any layer cannot be installed in full, or if the process then differs from what was asked for in any point. The
/// process must then exit: some layers may be in force.
pub fn enter(lock: Lock<'_>) -> Result<(Confined, Report), LockError> {
    check_request(&lock)?;

    // Whatever needs a path or a free descriptor comes first: after the chroot there is no /proc, and after the limits
    // there may be no descriptor to spare.
    let program = filter::compile(lock.role)?;
    let mirror = Mirror::open()?;
    let before = mirror.status()?;
    if before.threads != 1 {
        // Capabilities and Landlock hold for the calling thread only.
        return Err(LockError::new(
            Layer::Request,
            format!("{} threads; lock before starting any", before.threads),
        ));
    }
    let ruleset = files::prepare(&lock.files)?;
    let new_root = match &lock.privilege {
        Privilege::Root { chroot: Some(path), .. } => Some(privilege::open_new_root(path)?),
        _ => None,
    };

    lock.limits.apply()?;
    // The chroot needs root; so it precedes the change of ids, which is final.
    if let Some(new_root) = new_root {
        privilege::enter_new_root(new_root)?;
    }
    if let Privilege::Root { uid, gid, keep, .. } = &lock.privilege {
        privilege::become_user(*uid, *gid, keep)?;
    }
    // A change of ids resets both of these attributes; so they follow it.
    own_process(lock.parent_pid)?;
    // Landlock asks for no_new_privs; so it follows too. The descriptors of the mirror keep their rights.
    files::enforce(ruleset)?;

    let found = mirror.status()?;
    let locked = expected(lock.role, &lock.privilege, before.seccomp_filters);
    // All that the role shall be, save for the filter that is still to come.
    let now = Expected { seccomp_filters: before.seccomp_filters, ..locked };
    let differences = now.differences(&found);
    if !differences.is_empty() {
        return Err(LockError::new(Layer::SelfCheck, differences.join("; ")));
    }
    // Reading the list ends with closing the two descriptors that show it.
    let descriptors = mirror.descriptors()?;
    let mut wanted = lock.expected_descriptors.to_vec();
    wanted.sort_unstable();
    if descriptors != wanted {
        let reason =
            format!("descriptors {descriptors:?} are open, should be {wanted:?}; close the others before");
        return Err(LockError::new(Layer::SelfCheck, reason));
    }
    let report = Report {
        role: lock.role,
        found,
        descriptors,
        system_calls: lock.role.rules().len(),
        missing: missing(&lock.privilege),
    };

    // The filter is last, since all of the above needs calls that it forbids. That it is in force, the supervisor reads
    // from outside: most roles cannot look at themselves any more.
    filter::install(&program)?;
    Ok((Confined { role: lock.role }, report))
}

/// Refuses requests that contradict the role, before anything is changed.
fn check_request(lock: &Lock<'_>) -> Result<(), LockError> {
    lock.privilege.check(lock.role)?;
    lock.limits.check(lock.role)?;
    lock.files.check(lock.role)?;
    if lock.parent_pid.is_none() && !lock.role.parents().is_empty() {
        return Err(LockError::new(Layer::Request, "every process but the supervisor dies with its parent"));
    }
    Ok(())
}

/// No dump, no debugger of the same uid, no new privileges by exec, and death with the parent.
fn own_process(parent_pid: Option<i32>) -> Result<(), LockError> {
    let failed = |reason: String| LockError::new(Layer::Process, reason);
    prctl::set_dumpable(false).map_err(|e| failed(format!("PR_SET_DUMPABLE: {e}")))?;
    prctl::set_no_new_privs().map_err(|e| failed(format!("PR_SET_NO_NEW_PRIVS: {e}")))?;
    if let Some(parent) = parent_pid {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| failed(format!("PR_SET_PDEATHSIG: {e}")))?;
        // The parent may have died before the signal was ordered; then there is another one now.
        if getppid().as_raw() != parent {
            return Err(failed(format!("the parent {parent} is gone")));
        }
    }
    if prctl::get_dumpable() != Ok(false) {
        return Err(failed("the process can still be dumped".into()));
    }
    Ok(())
}

fn missing(privilege: &Privilege) -> Vec<String> {
    match privilege {
        Privilege::Root { .. } => Vec::new(),
        Privilege::Rootless => vec![
            "a user id of its own (it runs as the user who started it and can signal that user's other processes \
             only as far as Landlock lets it)"
                .into(),
            "an empty root directory (Landlock alone keeps it from files)".into(),
            "an empty capability bounding set (no_new_privs keeps it from gaining any)".into(),
        ],
    }
}

/// The process's view of itself, opened while /proc can still be reached.
struct Mirror {
    status: File,
    descriptors: Dir,
}

impl Mirror {
    #[allow(clippy::disallowed_methods, reason = "before the filter: see `enter`")]
    fn open() -> Result<Self, LockError> {
        let open = |path: &str| {
            File::open(path)
                .map_err(|e| LockError::new(Layer::SelfCheck, format!("{path}: {e}; mount /proc")))
        };
        let status = open("/proc/self/status")?;
        let descriptors = Dir::from_fd(OwnedFd::from(open("/proc/self/fd")?)).map_err(unlisted)?;
        Ok(Mirror { status, descriptors })
    }

    fn status(&self) -> Result<Found, LockError> {
        let failed = |e: std::io::Error| LockError::new(Layer::SelfCheck, format!("/proc/self/status: {e}"));
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let offset = u64::try_from(text.len()).unwrap_or(u64::MAX);
            match self.status.read_at(&mut chunk, offset).map_err(failed)? {
                0 => break,
                length => text.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            }
        }
        inspect(getpid().as_raw(), &String::from_utf8_lossy(&text))
    }

    /// The open descriptors, sorted, without the mirror's own two, which are closed.
    fn descriptors(mut self) -> Result<Vec<i32>, LockError> {
        let own = [self.status.as_raw_fd(), self.descriptors.as_raw_fd()];
        let mut list = Vec::new();
        for entry in self.descriptors.iter() {
            let entry = entry.map_err(unlisted)?;
            let name = entry.file_name().to_bytes();
            if [&b"."[..], b".."].contains(&name) {
                continue;
            }
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse::<i32>().ok());
            let number =
                number.ok_or_else(|| LockError::new(Layer::SelfCheck, "/proc/self/fd lists no number"))?;
            if !own.contains(&number) {
                list.push(number);
            }
        }
        list.sort_unstable();
        Ok(list)
    }
}

fn unlisted(e: nix::Error) -> LockError {
    LockError::new(Layer::SelfCheck, format!("/proc/self/fd: {e}"))
}
