//! Where a service of its own listens: the place that Postfix's clients look at, with owner and mode as master(8) gives.
//!
//! May: make and remove sockets, before lock-down. Never: follow a link with the rights of root in a directory that
//! somebody else can write.
//!
//! Source of the facts: sockets of Debian's Postfix 3.7.11 (owner and group mail_owner's, mode 0666, in a directory of
//! mail_owner with mode 0700); master(8) removes and binds again every socket that master.cf names. For activation:
//! sd_listen_fds(3).

use mapkeep_config_site::accounts::Ids;
use mapkeep_config_site::place::Place;
use mapkeep_sys::{inherit, listen, status};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat2};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getsockname,
    getsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode as Bits, umask};
use nix::unistd::{Gid, Uid, geteuid, setegid, seteuid};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Where descriptors of the service manager begin.
const FIRST_ACTIVATED: RawFd = 3;
/// What a socket's mode is without: all may read and write, which is what connecting takes.
const NO_EXECUTE: Bits = Bits::from_bits_truncate(0o111);

/// Why there is nothing to listen on.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// master.cf has the service, in this line.
    Taken { path: PathBuf, name: String, line: u32 },
    /// The directory is not there.
    NoDirectory(PathBuf),
    /// Somebody answers there.
    InUse(PathBuf),
    /// mail_owner is no user.
    NoOwner(String),
    /// The service manager's descriptors are not what it says.
    Activation(String),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::Taken { path, name, line } => write!(
                out,
                "{} belongs to the service \"{name}\" of master.cf (line {line}), and master(8) replaces it at each \
                 start and reload: set proxymap_service_name to another name in main.cf, or remove the service from \
                 master.cf, or use another path with --socket",
                path.display()
            ),
            SocketError::NoDirectory(path) => write!(
                out,
                "{} is not a directory: run \"postfix check\", which creates the directories of the queue, or use \
                 another path with --socket",
                path.display()
            ),
            SocketError::InUse(path) => write!(
                out,
                "{}: another service is listening there: stop that one first, or use another path with --socket",
                path.display()
            ),
            SocketError::NoOwner(name) => {
                write!(
                    out,
                    "no user \"{name}\" in /etc/passwd (mail_owner in main.cf), to whom the socket must belong"
                )
            }
            SocketError::Activation(what) => write!(out, "socket activation: {what}"),
            SocketError::Io(path, error) => write!(out, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

/// Refuses a path that master(8) would take over.
pub(crate) fn check(place: &Place, path: &Path) -> Result<(), SocketError> {
    let real = real(path);
    match place.taken.iter().find(|(taken, ..)| *taken == path || real.is_some() && self::real(taken) == real)
    {
        Some((_, name, line)) => {
            Err(SocketError::Taken { path: path.to_owned(), name: name.clone(), line: *line })
        }
        None => Ok(()),
    }
}

/// Listens at `path`.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub(crate) fn bind(place: &Place, path: &Path) -> Result<OwnedFd, SocketError> {
    check(place, path)?;
    let failed = |error: io::Error| SocketError::Io(path.to_owned(), error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = folder.metadata().ok().filter(std::fs::Metadata::is_dir);
    let Some(found) = found else { return Err(SocketError::NoDirectory(folder.to_owned())) };
    if !geteuid().is_root() {
        return listen_at(path);
    }
    if place.owner.is_none() && path == place.usual {
        return Err(SocketError::NoOwner(place.mail_owner.clone()));
    }
    match place.owner {
        // Whoever owns the directory can put a link in our way: all is done with no more than his rights.
        Some(owner) if found.uid() == owner.uid && owner.uid != 0 => {
            with_rights_of(owner, || listen_at(path))
        }
        Some(owner) if found.uid() == 0 && found.mode() & 0o022 == 0 => {
            let listener = listen_at(path)?;
            lchown(path, Some(owner.uid), Some(owner.gid)).map_err(failed)?;
            Ok(listener)
        }
        _ => listen_at(path),
    }
}

/// What the path stands for: device and inode number of its directory, and the name there. A reload asks, too, when the
/// C library's realpath would be the end of the process.
fn real(path: &Path) -> Option<(u64, u64, OsString)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let folder = openat2(AT_FDCWD, folder, how).ok()?;
    let status = status::of(folder.as_fd()).ok()?;
    Some((status.dev, status.ino, path.file_name()?.to_owned()))
}

fn with_rights_of<T>(owner: Ids, work: impl FnOnce() -> Result<T, SocketError>) -> Result<T, SocketError> {
    let failed = |error: nix::Error| SocketError::Io(PathBuf::from("rights of mail_owner"), error.into());
    let (uid, gid) = (geteuid(), nix::unistd::getegid());
    setegid(Gid::from_raw(owner.gid)).map_err(failed)?;
    seteuid(Uid::from_raw(owner.uid)).map_err(failed)?;
    let result = work();
    seteuid(uid).map_err(failed)?;
    setegid(gid).map_err(failed)?;
    result
}

/// A listening socket at `path` with mode 0666; a socket that nobody listens on is replaced.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
fn listen_at(path: &Path) -> Result<OwnedFd, SocketError> {
    let failed = |error: io::Error| SocketError::Io(path.to_owned(), error);
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match answers(path) {
            Ok(true) => return Err(SocketError::InUse(path.to_owned())),
            Ok(false) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
    }
    let before = umask(NO_EXECUTE);
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(failed)?;
    nix::sys::socket::listen(&listener, listen::backlog()).map_err(|error| failed(error.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener.into())
}

/// Whether somebody listens at `path`. Never waits: a queue that is full has a listener.
fn answers(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let caller = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(caller.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The sockets that the service manager has opened for us; everything else but the standard descriptors is closed.
pub(crate) fn activated() -> Result<Vec<OwnedFd>, SocketError> {
    let failed = |what: String| SocketError::Activation(what);
    let count = activation(|name| std::env::var(name).ok(), std::process::id()).map_err(failed)?;
    let numbers = FIRST_ACTIVATED..FIRST_ACTIVATED.saturating_add(count);
    inherit::close_from(numbers.end).map_err(|error| failed(error.to_string()))?;
    let take = |number: RawFd| {
        let wrong = |what: &str| {
            failed(format!("descriptor {number} is not a listening unix stream socket ({what})"))
        };
        let descriptor = inherit::take(number).map_err(|error| wrong(&error.to_string()))?;
        let kind = getsockopt(&descriptor, sockopt::SockType).map_err(|error| wrong(error.desc()))?;
        let listens = getsockopt(&descriptor, sockopt::AcceptConn).map_err(|error| wrong(error.desc()))?;
        let address: SockaddrStorage = getsockname(number).map_err(|error| wrong(error.desc()))?;
        if kind != SockType::Stream || !listens || address.family() != Some(AddressFamily::Unix) {
            return Err(wrong("ListenStream=PATH with Accept=no makes one"));
        }
        let listener = UnixListener::from(descriptor);
        // The broker takes clients until there is none: it must never wait for the next.
        listener.set_nonblocking(true).map_err(|error| wrong(&error.to_string()))?;
        Ok(listener.into())
    };
    numbers.map(take).collect()
}

/// How many descriptors the environment says are for process `pid`.
fn activation(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<RawFd, String> {
    // Variables of a process that started ours by a detour are not for us.
    if variable("LISTEN_PID").and_then(|text| text.parse().ok()) != Some(pid) {
        return Ok(0);
    }
    let text = variable("LISTEN_FDS").unwrap_or_default();
    let count: RawFd = text.parse().map_err(|_| format!("LISTEN_FDS is \"{text}\", not a number"))?;
    if !(0..=64).contains(&count) {
        return Err(format!("LISTEN_FDS is {count}, not 0 to 64"));
    }
    let names = variable("LISTEN_FDNAMES").map(|names| names.split(':').count());
    match names {
        Some(names) if count > 0 && names != usize::try_from(count).unwrap_or_default() => {
            Err(format!("LISTEN_FDNAMES has {names} names for {count} descriptors"))
        }
        _ => Ok(count),
    }
}

/// The path of a listening socket, for the log.
pub(crate) fn path_of(listener: &OwnedFd) -> Option<PathBuf> {
    let copy = listener.try_clone().ok()?;
    let address = UnixListener::from(copy).local_addr().ok()?;
    address.as_pathname().filter(|path| !path.as_os_str().as_bytes().is_empty()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_config_text::{Parameters, Service, Settings, parse_main, parse_master};

    fn place(main: &str, master: &str) -> Place {
        let settings = Settings::from(&Parameters::new(parse_main(main.as_bytes()).0)).0;
        Place::new(Service::Read, &settings, &parse_master(master.as_bytes()).0, None)
    }

    #[test]
    fn usual_place_follows_main_cf() {
        let place = place("queue_directory = /q\nproxymap_service_name = mapkeep\n", "");
        assert_eq!(place.usual, Path::new("/q/private/mapkeep"));
        assert!(check(&place, &place.usual).is_ok());
    }

    #[test]
    fn names_of_master_cf_are_refused_with_line_and_remedy() {
        let master = "# services\nproxymap unix - - n - - proxymap\nshowq unix n - y - - showq\n\
            1.2.3.4:25 inet n - y - - smtpd\n";
        let place = place("queue_directory = /q\n", master);
        let error = check(&place, &place.usual).unwrap_err().to_string();
        for part in ["/q/private/proxymap", "(line 2)", "proxymap_service_name", "--socket"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(check(&place, Path::new("/q/public/showq")).is_err());
        assert!(check(&place, Path::new("/q/private/showq")).is_ok(), "it is a public one");
        assert!(check(&place, Path::new("/q/private/other")).is_ok());
    }

    #[test]
    fn listener_with_a_full_queue_is_a_listener() {
        let path = std::env::temp_dir().join(format!("mapkeep-socket-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        // Nobody accepts: a connection that waits for that would wait for ever.
        assert!(answers(&path).unwrap());
        drop(listener);
        assert!(!answers(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(answers(&path).is_err());
    }

    #[test]
    fn activation_is_for_the_named_process_only() {
        let with = |pid: &str, count: &str, names: Option<&str>| {
            let (pid, count, names) = (pid.to_owned(), count.to_owned(), names.map(str::to_owned));
            activation(
                move |name| match name {
                    "LISTEN_PID" => Some(pid.clone()),
                    "LISTEN_FDS" => Some(count.clone()),
                    _ => names.clone(),
                },
                7,
            )
        };
        assert_eq!(with("7", "2", None), Ok(2));
        assert_eq!(with("7", "2", Some("a:b")), Ok(2));
        assert_eq!(with("8", "2", None), Ok(0));
        assert_eq!(with("", "2", None), Ok(0));
        assert!(with("7", "x", None).is_err());
        assert!(with("7", "65", None).is_err());
        assert!(with("7", "2", Some("a")).is_err());
    }
}
