//! Hostile code in every process of a real service, the supervisor included, under the lock that the product installs.
//!
//! Purpose: the processes that read from no client have no bytes by which to be hijacked. Here they take orders from a file that
//! each of them maps when it starts, and look at it wherever they wait for events. On the same order sheet stands whether the
//! system call filters are to be the product's, or filters that let everything through: then the other layers of the
//! product's lock are seen by themselves. May: be unsafe. Never: ships.
//!
//! `epoll_wait`, `poll` and `syscall` are defined here and so go before those in libc, as in `raw.rs`: nothing in the product's code
//! is changed or left out for this.
#![allow(unsafe_code)]

use crate::deeds::{Process, Scene, deeds};
use crate::raw;
use libc::{c_int, c_long, c_void, epoll_event};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The name of the order sheet, beside the programs.
pub const SHEET: &str = "orders";
/// Its length in bytes.
pub const LENGTH: usize = 4096;
/// Where the number of the latest order stands, as a little-endian u32; it is written last.
pub const NUMBER: usize = 4;
/// Where the rest of an order begins; see [`order`].
pub const REST: usize = 8;

/// How long a hijacked process waits before it looks at its orders again, in milliseconds.
const GLANCE: c_int = 20;

static SHEET_AT: OnceLock<usize> = OnceLock::new();
static PROCESS: OnceLock<Process> = OnceLock::new();
static DONE: AtomicU32 = AtomicU32::new(0);
/// Whether filters let everything through.
static OPEN: AtomicBool = AtomicBool::new(false);

/// A fresh sheet, for filters as they are or for open ones, with the directory in which all that deeds go for is.
#[must_use]
pub fn sheet(open: bool, folder: &Path) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    bytes.splice(0..1, [u8::from(open)]);
    let path = folder.as_os_str().as_encoded_bytes();
    bytes.splice(64..64 + path.len(), path.iter().copied());
    bytes
}

/// The rest of an order: who is to do what, to which process, on which port.
#[must_use]
pub fn order(process: Process, deed: usize, target: u32, port: u16) -> Vec<u8> {
    let mut bytes = vec![process as u8, u8::try_from(deed).unwrap_or(u8::MAX)];
    bytes.extend(port.to_le_bytes());
    bytes.extend(target.to_le_bytes());
    bytes
}

/// Makes this process hostile from the first event on that it waits for; one that reads from clients also before its
/// lock-down, if so ordered. Must be called at its start.
///
/// # Errors
/// If there is no order sheet.
pub fn hijack(process: Process) -> io::Result<()> {
    std::hint::black_box([epoll_wait as *const c_void, poll as *const c_void, syscall as *const c_void]);
    let file = File::open(std::env::current_exe()?.with_file_name(SHEET))?;
    // SAFETY: a new mapping at an address that the kernel chooses; it stays for as long as the process lives.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), LENGTH, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let _ = SHEET_AT.set(at as usize);
    OPEN.store(byte(0) != 0, Ordering::Relaxed);
    let hears_clients = matches!(process, Process::Lookup | Process::Writer);
    if hears_clients && byte(REST) == Process::Starting as u8 {
        obey(Process::Starting);
    }
    // What was ordered before, an earlier process of this kind has done.
    DONE.store(number(), Ordering::Relaxed);
    let _ = PROCESS.set(process);
    Ok(())
}

fn byte(index: usize) -> u8 {
    let at = SHEET_AT.get().copied().unwrap_or_default() as *const u8;
    // SAFETY: within the sheet, which stays mapped; another process may write it meanwhile, hence volatile.
    unsafe { at.wrapping_add(index).read_volatile() }
}

fn number() -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|index| byte(NUMBER + index)))
}

/// Carries out the latest order, once, if it is for this process.
fn obey(process: Process) {
    let number = number();
    if number == DONE.load(Ordering::Relaxed) || byte(REST) != process as u8 {
        return;
    }
    DONE.store(number, Ordering::Relaxed);
    let Some(deed) = deeds().nth(usize::from(byte(REST + 1))) else { return };
    let at = SHEET_AT.get().copied().unwrap_or_default() as *const u8;
    let scene = Scene {
        // SAFETY: the sheet has a path here that ends with a zero byte and never changes.
        folder: unsafe { CStr::from_ptr(at.wrapping_add(64).cast()) },
        target: i32::from_le_bytes([4, 5, 6, 7].map(|index| byte(REST + index))),
        port: u16::from_le_bytes([2, 3].map(|index| byte(REST + index))),
    };
    tell(process, &format!("deed {number} begins"));
    let report = match (deed.run)(&scene) {
        Ok(value) => format!("deed {number} returned {value}"),
        Err(errno) => format!("deed {number} failed {errno}"),
    };
    tell(process, &report);
}

/// Says something by a call that this process has for its log lines.
fn tell(process: Process, text: &str) {
    let line = format!("\0{text}");
    let words = |fd: u64| [fd, line.as_ptr() as u64, line.len() as u64];
    let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u64;
    match process {
        Process::Supervisor | Process::WriteSupervisor | Process::Logger => {
            let line = format!("{text}\n");
            let _ = raw::call(libc::SYS_write, &[2, line.as_ptr() as u64, line.len() as u64]);
        }
        Process::Broker | Process::WriteBroker => {
            let part = [line.as_ptr() as u64, line.len() as u64];
            // struct msghdr: no address, one part, no descriptors, no flags.
            let header = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
            let _ = raw::call(libc::SYS_sendmsg, &[4, header.as_ptr() as u64, flags]);
        }
        Process::Lookup | Process::Writer | Process::Starting => {
            let [fd, at, length] = words(4);
            let _ = raw::call(libc::SYS_sendto, &[fd, at, length, flags, 0, 0]);
        }
    }
}

/// Waits by `wait`, which is given a time in milliseconds, and looks at the orders every now and then.
fn attentively(timeout: c_int, wait: impl Fn(c_int) -> c_int) -> c_int {
    let mut left = timeout;
    loop {
        let process = PROCESS.get().copied();
        process.into_iter().for_each(obey);
        let pause = match left {
            _ if process.is_none() => left,
            ..0 => GLANCE,
            _ => left.min(GLANCE),
        };
        let got = wait(pause);
        if left >= 0 {
            left -= pause;
        }
        if got != 0 || process.is_none() || left == 0 {
            return got;
        }
    }
}

/// epoll_wait(2), by which all processes but the supervisor wait.
///
/// # Safety
/// As for libc's own: `events` must have room for `room` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
) -> c_int {
    attentively(timeout, |pause| {
        // SAFETY: the arguments are those of the caller, who vouches for them.
        unsafe { libc::syscall(libc::SYS_epoll_wait, epoll, events, room, pause) as c_int }
    })
}

/// poll(2), by which the supervisor waits.
///
/// # Safety
/// As for libc's own: there must be `count` entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(entries: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int {
    attentively(timeout, |pause| {
        // SAFETY: the arguments are those of the caller, who vouches for them.
        unsafe { libc::syscall(libc::SYS_poll, entries, count, pause) as c_int }
    })
}

/// A filter that lets every call through, as an array of one `struct sock_filter`: return, with SECCOMP_RET_ALLOW.
static EVERYTHING: [libc::sock_filter; 1] =
    [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];

/// syscall(2), save that a filter about to be installed becomes one that lets everything through, where that is ordered.
///
/// # Safety
/// As for libc's own.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(nr: c_long, a: u64, b: u64, mut c: u64, d: u64, e: u64, f: u64) -> c_long {
    let program = libc::sock_fprog { len: 1, filter: (&raw const EVERYTHING).cast_mut().cast() };
    if OPEN.load(Ordering::Relaxed)
        && nr == libc::SYS_seccomp
        && a == u64::from(libc::SECCOMP_SET_MODE_FILTER)
    {
        c = (&raw const program) as u64;
    }
    let mut got = nr;
    // SAFETY: the caller vouches for the call; the entry keeps all registers but rax, rcx and r11.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") got, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    if (-4095..0).contains(&got) {
        // SAFETY: the thread's own error number.
        unsafe { *libc::__errno_location() = (-got) as c_int };
        return -1;
    }
    got
}
