//! Purpose: starts processes that enter the lock, and reads what they report.
//!
//! A child has /dev/null at 0 to 2, a channel to the test at 3 and 4, and an epoll descriptor at 5: the numbers that the
//! real processes use. After `enter` it says "ready" and waits for the end of the channel.

#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use mapkeep_sandbox::{
    Account, FileRules, Limits, Lock, LockError, Privilege, Role, Root, enter, expected, inspect,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, getpid, getppid};

use crate::raw::{self, Death, end, start};

pub const UID: u32 = 4_100_001;
pub const GID: u32 = 4_100_002;
/// Supplementary groups of the one role that has some; not as the kernel sorts them.
pub const GROUPS: &[u32] = &[4_100_004, 4_100_003];
pub const DESCRIPTORS: &[i32] = &[0, 1, 2, 3, 4, 5];

/// Limits that suit every role here; `lookup_entered_limits_are_in_force` knows the numbers.
pub fn limits() -> Limits {
    Limits { core: 0, nproc: 0, nofile: 64, fsize: 0, address_space: 1 << 30, data: 1 << 28 }
}

/// The lock of a role as its row has it; the directories of brokers are left to the tests.
pub fn lock(role: Role, jail: &Path) -> Lock<'static> {
    let row = role.row();
    let (uid, gid) = if row.account == Account::Root { (0, 0) } else { (UID, GID) };
    let chroot = (row.root == Root::Empty).then(|| jail.to_owned());
    let starts = role.is_supervisor();
    let all = || vec!["/".into()];
    Lock {
        role,
        privilege: match row.account {
            Account::MailOwnerWithGroups => Privilege::Account { uid, gid, groups: GROUPS.to_vec() },
            _ => Privilege::Root { uid, gid, chroot, keep: row.keep },
        },
        limits: match starts {
            true => Limits { nproc: Limits::UNLIMITED, nofile: Limits::UNLIMITED, ..limits() },
            false => limits(),
        },
        files: match starts {
            true => FileRules { read_beneath: all(), execute_beneath: all(), ..FileRules::default() },
            false => FileRules::default(),
        },
        expected_descriptors: DESCRIPTORS,
        parent_pid: (!starts).then(|| getppid().as_raw()),
    }
}

pub fn lookup(jail: &Path) -> Lock<'static> {
    lock(Role::Lookup, jail)
}

pub fn logger() -> Lock<'static> {
    lock(Role::Logger, Path::new("/"))
}

pub fn broker() -> Lock<'static> {
    lock(Role::Broker, Path::new("/"))
}

pub fn supervisor() -> Lock<'static> {
    lock(Role::Supervisor, Path::new("/"))
}

/// Starts a process of `role`, and compares its status, read from outside, with the expected one.
pub fn assert_as_expected(role: Role, lock: impl Fn() -> Lock<'static>) {
    let privilege = lock().privilege;
    let (child, test) = start_with(lock);
    assert_eq!(receive(&test), "ready");
    let found =
        inspect(child.as_raw(), &fs::read_to_string(format!("/proc/{child}/status")).unwrap()).unwrap();
    assert_eq!(expected(role, &privilege, 0).differences(&found), Vec::<String>::new());
    // The files of a process that cannot be dumped, or debugged by its own user, belong to root.
    assert_eq!(fs::metadata(format!("/proc/{child}/status")).unwrap().uid(), 0);
    println!("    {}: {found}", role.name());
    drop(test);
    assert_eq!(end(child), Death::Exit(0));
}

/// The error with which the lock that `lock` makes in a child is refused.
pub fn refused(lock: impl FnOnce() -> Lock<'static>) -> String {
    let (child, test) = start_with(lock);
    let error = receive(&test);
    drop(test);
    assert_eq!(end(child), Death::Exit(1), "{error}");
    error
}

pub fn start_with(lock: impl FnOnce() -> Lock<'static>) -> (Pid, OwnedFd) {
    let (test, child_side) = channel();
    let child = start(|| {
        prepare_descriptors(&child_side);
        serve(lock())
    });
    (child, test)
}

/// Enters, tells the test, and waits for the end of the channel with calls that every role has.
pub fn serve(lock: Lock<'_>) -> i32 {
    match enter(lock) {
        Err(LockError { layer, reason }) => {
            send(3, format!("{layer:?}: {reason}").as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
            1
        }
        Ok((confined, _)) => {
            let text = "ready";
            let flags = u64::try_from(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).unwrap();
            if confined.role().rules().iter().all(|rule| rule.syscall != "sendto") {
                let part = [text.as_ptr() as u64, 5];
                let message = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
                raw::call(libc::SYS_sendmsg, [3, message.as_ptr() as u64, flags, 0, 0, 0]);
            } else {
                // The logger may send on 4 only.
                raw::call(libc::SYS_sendto, [4, text.as_ptr() as u64, 5, flags, 0, 0]);
            }
            let mut event = [0_u8; 12];
            raw::call(libc::SYS_epoll_wait, [5, event.as_mut_ptr() as u64, 1, u64::MAX, 0, 0]);
            0
        }
    }
}

pub fn after_enter(lock: Lock<'_>, body: impl FnOnce() -> i32) -> i32 {
    prepare_descriptors_alone();
    if enter(lock).is_err() {
        return 98;
    }
    body()
}

pub fn openat2(path: &Path, flags: i32) -> i32 {
    let path = format!("{}\0", path.display());
    let how = [u64::try_from(flags).unwrap(), 0, 0];
    let at = u64::try_from(libc::AT_FDCWD).unwrap_or(u64::MAX);
    errno_of(raw::call(libc::SYS_openat2, [at, path.as_ptr() as u64, how.as_ptr() as u64, 24, 0, 0]))
}

pub fn errno_of(result: i64) -> i32 {
    if result >= 0 { 0 } else { nix::errno::Errno::last_raw() }
}

pub fn answer_enosys(nr: i64) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let action = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new([(nr, vec![])].into(), SeccompAction::Allow, action, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// An empty directory of root, removed afterwards.
pub fn with_jail(body: impl FnOnce(&Path)) {
    let jail = std::env::temp_dir().join(format!("mapkeep-entering-{}", getpid()));
    // Left by an earlier test that was killed and had our process id.
    let _ = fs::remove_dir_all(&jail);
    let _ = fs::remove_file(jail.with_extension("log"));
    let _ = fs::remove_file(jail.with_extension("link"));
    fs::create_dir(&jail).unwrap();
    fs::set_permissions(&jail, PermissionsExt::from_mode(0o755)).unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&jail)));
    fs::remove_dir_all(&jail).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub fn channel() -> (OwnedFd, OwnedFd) {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    // Far longer than anything here takes: a child that hangs must fail the test, not block it.
    setsockopt(&pair.0, sockopt::ReceiveTimeout, &TimeVal::seconds(60)).unwrap();
    pair
}

pub fn receive(test: &OwnedFd) -> String {
    let mut buffer = [0; 512];
    let length = recv(test.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// In a child: puts the descriptors where the roles expect them, and closes all others.
pub fn prepare_descriptors(channel: &OwnedFd) {
    // Groups to give up, whichever user runs the tests.
    nix::unistd::setgroups(&[4.into(), 20.into()]).unwrap();
    let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let epoll = raw::call(libc::SYS_epoll_create1, [0; 6]);
    // To high numbers first: any of them may have a number that another one must get.
    let sources = [(null.as_raw_fd(), 100), (channel.as_raw_fd(), 101), (i32::try_from(epoll).unwrap(), 102)];
    let places = [(100, 0), (100, 1), (100, 2), (101, 3), (101, 4), (102, 5)];
    for (from, to) in sources.into_iter().chain(places) {
        raw::place(from, to);
    }
    std::mem::forget(null);
    raw::call(libc::SYS_close_range, [6, u64::from(u32::MAX), 0, 0, 0, 0]);
    // struct epoll_event is packed: 4 bytes of events, 8 of data.
    let mut event = [0_u8; 12];
    event[..4].copy_from_slice(&libc::EPOLLIN.to_ne_bytes());
    let add = u64::try_from(libc::EPOLL_CTL_ADD).unwrap();
    assert_eq!(raw::call(libc::SYS_epoll_ctl, [5, add, 3, event.as_ptr() as u64, 0, 0]), 0);
}

/// The same, for a child that sends nothing to the test.
pub fn prepare_descriptors_alone() {
    let pair = channel();
    prepare_descriptors(&pair.1);
    // Other descriptors have these numbers now.
    std::mem::forget(pair);
}
