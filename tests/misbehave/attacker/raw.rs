//! The calls that no safe wrapper offers: any system call by number, its old entries, fork, and two functions of libc in
//! the attacker's version.
//!
//! May: be unsafe, as do `lmdb.rs` and `hijack.rs` beside it. Never: ships.
//!
//! `read`, `recvmsg` and `close` are the names that the worker's code is linked against, and a definition in the program
//! goes before that in libc. So the program under test needs no hook for an attacker: it is the product's code throughout.
#![allow(unsafe_code)]

use crate::Answer;
use libc::{c_int, c_long, c_void, size_t, ssize_t};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pause};
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// What runs when a client's bytes have come in; true if they were meant for it.
pub type Hook = fn(client: i32, bytes: &[u8]) -> bool;

/// What sees the start of each message with descriptors.
pub type Note = fn(packet: &[u8]);

/// Which of the nameless files that the process has been handed the attacker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one that was closed first.
    First,
    /// The one that was closed last.
    Last,
}

static HOOK: OnceLock<Hook> = OnceLock::new();
static NOTE: OnceLock<Note> = OnceLock::new();
static KEEP_FIRST: AtomicBool = AtomicBool::new(false);
static OWN_PID: AtomicI32 = AtomicI32::new(0);
static HANDED: AtomicI32 = AtomicI32::new(-1);

/// Arms `read` and `close` below. Must be called at the start of the process, while it may still ask for its own id.
pub fn on_client_bytes(hook: Hook, keep: Keep) {
    KEEP_FIRST.store(keep == Keep::First, Ordering::Relaxed);
    OWN_PID.store(std::process::id().cast_signed(), Ordering::Relaxed);
    // Names both functions, so that the linker takes them out of this library.
    std::hint::black_box([read as *const c_void, close as *const c_void]);
    let _ = HOOK.set(hook);
}

/// Arms `recvmsg` below.
pub fn on_messages(note: Note) {
    std::hint::black_box(recvmsg as *const c_void);
    let _ = NOTE.set(note);
}

/// This process's id, found before the lock.
#[must_use]
pub fn own_pid() -> i32 {
    OWN_PID.load(Ordering::Relaxed)
}

/// The nameless file that was kept; -1 if there was none.
#[must_use]
pub fn handed() -> i32 {
    HANDED.load(Ordering::Relaxed)
}

/// read(2), and then the attacker's code with what came.
///
/// # Safety
/// As for libc's own: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    let got = unsafe { libc::syscall(libc::SYS_read, fd, buffer, length) };
    let Some(hook) = HOOK.get() else { return got as ssize_t };
    let Some(count) = usize::try_from(got).ok().filter(|count| *count > 0) else { return got as ssize_t };
    // SAFETY: the kernel has just filled this many bytes of the caller's buffer.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    // To the worker, an attack that it has survived looks like the end of the connection.
    if hook(fd, bytes) { 0 } else { got as ssize_t }
}

/// recvmsg(2), and then the attacker's code with what came.
///
/// # Safety
/// As for libc's own: `message` must describe memory that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    let got = unsafe { libc::syscall(libc::SYS_recvmsg, fd, message, flags) };
    if let (Some(note), Ok(count @ 1..)) = (NOTE.get(), usize::try_from(got)) {
        // SAFETY: the kernel has just filled a part or more of the caller's.
        let part = unsafe { (*message).msg_iov.read() };
        // SAFETY: it has filled `count` bytes, from the first part on.
        note(unsafe { std::slice::from_raw_parts(part.iov_base.cast::<u8>(), count.min(part.iov_len)) });
    }
    got as ssize_t
}

/// close(2), except for nameless files, one of which the attacker keeps open.
///
/// # Safety
/// As for libc's own: nobody may use the number afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut unwanted = fd;
    let full = KEEP_FIRST.load(Ordering::Relaxed) && handed() >= 0;
    if HOOK.get().is_some() && !full && is_nameless_file(fd) {
        unwanted = HANDED.swap(fd, Ordering::Relaxed);
    }
    if unwanted < 0 && unwanted != fd {
        return 0;
    }
    // SAFETY: the caller has given up this number, or an earlier caller has given up the one kept until now.
    unsafe { libc::syscall(libc::SYS_close, unwanted) as c_int }
}

/// Whether this is a regular file that no directory names, as memory files are.
fn is_nameless_file(fd: c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a whole `stat` there if it succeeds. Not libc's fstat: the filter forbids the call that it
    // makes.
    let done = unsafe { libc::syscall(libc::SYS_fstat, fd, found.as_mut_ptr()) } == 0;
    // SAFETY: written by the kernel, as the value says.
    done && unsafe { found.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFREG
        // SAFETY: as above.
        && unsafe { found.assume_init() }.st_nlink == 0
}

/// An argument of a system call.
pub trait Word {
    /// Its bits.
    fn word(self) -> u64;
}

macro_rules! numbers {
    ($($number:ty),+) => { $(impl Word for $number {
        fn word(self) -> u64 { self as u64 }
    })+ };
}
numbers!(i32, u32, i64, u64, usize);

impl Word for &CStr {
    fn word(self) -> u64 {
        self.as_ptr() as u64
    }
}

impl<T, const N: usize> Word for &[T; N] {
    fn word(self) -> u64 {
        self.as_ptr() as u64
    }
}

impl<T, const N: usize> Word for &mut [T; N] {
    fn word(self) -> u64 {
        self.as_mut_ptr() as u64
    }
}

/// `call!(SYS_name, arguments...)`: the system call, whatever comes of it.
#[macro_export]
macro_rules! call {
    ($nr:expr $(, $argument:expr)* $(,)?) => {
        $crate::raw::call($nr, &[$($crate::raw::Word::word($argument)),*])
    };
}

/// Makes system call `nr`. At most six arguments; those left out are 0.
///
/// # Errors
/// The error number of the kernel.
pub fn call(nr: c_long, arguments: &[u64]) -> Answer {
    let word = |index: usize| arguments.get(index).copied().unwrap_or_default();
    // SAFETY: there is none. The process is meant to be under the attacker's control, and exits soon after the attempt.
    let got = unsafe { libc::syscall(nr, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if got == -1 { Err(nix::errno::Errno::last_raw()) } else { Ok(got) }
}

/// Makes system call `nr` of the 32-bit table.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn call_32(nr: u32) -> i32 {
    let mut result = nr;
    // SAFETY: as for `call`; the entry keeps all registers but eax, and r8 to r11, which are named as lost.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") result, in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result.cast_signed()
}

/// A page of code that this process does not run: an attempt on it that succeeds returns and can be reported. (A crash
/// would look like a death at the call, since the run-time's handler makes a forbidden call.)
#[must_use]
pub fn code_page() -> u64 {
    (libc::qsort as *const c_void as u64) & !0xfff
}

/// Says something to a client, by the one call that the worker has for it.
pub fn tell(client: i32, text: &[u8]) {
    let _ = call(libc::SYS_write, &[client.word(), text.as_ptr() as u64, text.len().word()]);
}

/// Runs `body` in a forked child, and returns its result. Must be called by a process with one thread.
///
/// # Errors
/// The error number that `body` returned; -1 if the child ended in another way.
pub fn in_child(body: impl FnOnce() -> Answer) -> Answer {
    // SAFETY: the caller has one thread, so the copy finds every lock of the C library free.
    match unsafe { fork() }.map_err(|error| error as i32)? {
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(0),
            Ok(WaitStatus::Exited(_, number)) => Err(number),
            _ => Err(-1),
        },
        ForkResult::Child => {
            let body = std::panic::AssertUnwindSafe(body);
            let status = match std::panic::catch_unwind(body) {
                Ok(Ok(_)) => 0,
                Ok(Err(number)) => number,
                Err(_) => 255,
            };
            // SAFETY: _exit runs none of the parent's code for the end of a process.
            unsafe { libc::_exit(status) }
        }
    }
}

/// A process that does nothing, for others to go for. It has the same addresses as this one. Dropping it ends it.
#[derive(Debug)]
pub struct Idler(Pid);

impl Idler {
    /// Starts it. Must be called by a process with one thread.
    ///
    /// # Errors
    /// Those of fork(2).
    pub fn start() -> nix::Result<Idler> {
        // SAFETY: the caller has one thread; the copy makes system calls only.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Idler(child)),
            ForkResult::Child => {
                let _ = call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    pause();
                }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.as_raw()
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}
