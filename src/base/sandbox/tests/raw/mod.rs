//! Purpose: the few calls that no safe wrapper offers: any system call by number, fork, and the 32-bit entry. May: be
//! unsafe, as the only file of this room. Never: ships; it is part of the tests.

#![allow(unsafe_code, dead_code)]

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// A user and group that own nothing.
pub const NOBODY: u32 = 4_100_001;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It exited with this status.
    Exit(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// Killed by the filter.
pub const SIGSYS: Death = Death::Signal(libc::SIGSYS);

/// Makes system call `nr`; returns what libc's syscall(2) returns.
pub fn call(nr: i64, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: only made in a forked child that exits right after; whatever the kernel does to its memory, exit_group
    // follows.
    unsafe { libc::syscall(nr, a, b, c, d, e, f) }
}

/// Makes system call `nr` through the 32-bit table.
#[cfg(target_arch = "x86_64")]
pub fn call_32(nr: u32) -> i32 {
    let mut result = nr;
    // SAFETY: as for `call`; the entry keeps all registers but eax (and r8 to r11, named as lost).
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") result, in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result.cast_signed()
}

/// Duplicates descriptor `from` to `to`, whatever `to` was before; it survives an exec.
pub fn place(from: i32, to: i32) {
    let [from, to] = [from, to].map(|fd| u64::try_from(fd).expect("descriptor"));
    assert!(call(libc::SYS_dup2, [from, to, 0, 0, 0, 0]) >= 0);
}

/// Starts `program` as the product starts its processes, with the descriptors 0 to 5 that the caller has put in place.
pub fn spawn(program: &std::fs::File, arguments: &[std::ffi::CString]) -> Pid {
    use std::os::fd::{AsFd, BorrowedFd};
    // SAFETY: the caller has put descriptors there and keeps them open.
    let descriptors = [0, 1, 2, 3, 4, 5].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let executable = program.as_fd();
    let program = mapkeep_sys::spawn::Program { executable, arguments, descriptors: &descriptors };
    mapkeep_sys::spawn::spawn(&program).expect("spawn")
}

/// Exits without any of the things that Rust or libc do at exit.
pub fn exit_now(status: u64) -> ! {
    loop {
        call(libc::SYS_exit_group, [status, 0, 0, 0, 0, 0]);
    }
}

/// Runs `body` in a forked child, which exits with the status that `body` returns.
pub fn start(body: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the test program has one thread, so no lock can be held by another one in the copy.
    let forked = unsafe { fork() };
    match forked.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let limits = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
            // Nothing outlives the test program, however a check ends.
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            let body = std::panic::AssertUnwindSafe(|| if limits.is_ok() { body() } else { 125 });
            // A panic must not unwind into the copy of the test program.
            let status = std::panic::catch_unwind(body).unwrap_or(127);
            exit_now(u64::try_from(status).unwrap_or(126))
        }
    }
}

/// Waits for the end of `child`.
pub fn end(child: Pid) -> Death {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => return Death::Exit(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Death::Signal(signal as i32),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => panic!("waitpid: {e}"),
        }
    }
}

/// What children of [`isolate`] work on: an unnamed file, and a directory that has been removed.
static SCRATCH: OnceLock<[OwnedFd; 2]> = OnceLock::new();

/// How long a call may take, in seconds, that a filter should have stopped.
const HANG: u32 = 60;

/// Prepares the files for [`isolate`], and separates this program from the machine's host name, mounts, network and IPC
/// objects, if it is root and the kernel allows it. Must be called once, before any child.
pub fn prepare_scratch() {
    use nix::sched::{CloneFlags, unshare};
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    // The second line of defence: the first is that children run as an unprivileged user (`isolate`).
    let _ = unshare(spaces);
    let file = nix::sys::memfd::memfd_create(c"scratch", nix::sys::memfd::MFdFlags::empty()).expect("memfd");
    let directory = std::env::temp_dir().join(format!("mapkeep-rules-{}", nix::unistd::getpid()));
    std::fs::create_dir(&directory).expect("scratch directory");
    let open = std::fs::File::open(&directory).expect("scratch directory");
    std::fs::remove_dir(&directory).expect("rmdir");
    SCRATCH.set([file, open.into()]).expect("once");
}

/// Leaves the calling child nothing that outlives it: an unnamed file at each of the descriptors 0 to 9 and no other, a
/// directory that is already removed, and no rights over anything else, whatever a broken filter lets through.
pub fn isolate() {
    use std::os::fd::AsRawFd;
    let [file, directory] = SCRATCH.get().expect("prepare_scratch");
    nix::unistd::fchdir(directory).expect("fchdir");
    let file = file.as_raw_fd();
    for to in (0..10).filter(|to| *to != file) {
        place(file, to);
    }
    assert_eq!(call(libc::SYS_close_range, [10, u64::from(u32::MAX), 0, 0, 0, 0]), 0);
    nix::unistd::alarm::set(HANG);
    nix::unistd::setsid().expect("setsid");
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&[]).expect("setgroups");
        nix::unistd::setresgid(NOBODY.into(), NOBODY.into(), NOBODY.into()).expect("setresgid");
        nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into()).expect("setresuid");
    }
}

/// Runs `body` in a forked child and returns how it ended.
pub fn in_child(body: impl FnOnce() -> i32) -> Death {
    end(start(body))
}
