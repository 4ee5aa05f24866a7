//! The calls of the C library that liblmdb makes, as far as they are not left to the C library.
//!
//! liblmdb opens its file by name, twice; here there are no names, but two descriptors. Every program that changes lmdb
//! tables is therefore linked with `--wrap=NAME` for the six names below (see build.rs), which makes the linker send such
//! calls to `__wrap_NAME` here. Inside of liblmdb (see [`inside`], [`opening`]):
//!
//! | call | what happens | why |
//! |---|---|---|
//! | open | gives one of the two descriptors | there is no path |
//! | fstatfs | says: some file system | liblmdb looks for ext4 of Linux before 3.6, to use fsync there |
//! | getpid | says: 0 | liblmdb needs the number for its lock file only, which is not used |
//! | lseek, writev | pwrite for each page | a short write is continued, so that its reason is learnt; two calls less |
//! | pwrite | likewise until all is written | liblmdb makes EIO of a short write, which hides a full disk |
//!
//! Everywhere else in the program they do what the C library does. In a program that is linked without them, open
//! gets the empty path, which no file has: nothing is ever opened by name (see `Env::open`).
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_long, c_void};
use std::os::fd::{IntoRawFd, OwnedFd};

use libc::{iovec, off_t, size_t, ssize_t};
use nix::errno::Errno;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("offsets are passed to the kernel as one word each");

thread_local! {
    /// Whether this thread is in a call of liblmdb.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Where the next writev goes.
    static PLACE: Cell<off_t> = const { Cell::new(0) };
    /// The descriptors for the two calls of open: of the data, and of the meta pages.
    static FILES: RefCell<[Option<OwnedFd>; 2]> = const { RefCell::new([None, None]) };
}

/// Runs a call of liblmdb.
pub(super) fn inside<T>(call: impl FnOnce() -> T) -> T {
    INSIDE.set(true);
    let result = call();
    INSIDE.set(false);
    result
}

/// Runs a call of liblmdb that opens its file. False: it has not asked for both descriptors.
pub(super) fn opening<T>(data: OwnedFd, meta: OwnedFd, call: impl FnOnce() -> T) -> (T, bool) {
    FILES.set([Some(data), Some(meta)]);
    let result = inside(call);
    let left = FILES.take();
    (result, left.iter().all(Option::is_none))
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    if !INSIDE.get() {
        // SAFETY: the arguments are those of open(2), passed on as they came.
        return unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int };
    }
    let which = usize::from(flags & libc::O_DSYNC == libc::O_DSYNC);
    let file = FILES.with_borrow_mut(|files| files.get_mut(which).and_then(Option::take));
    match file {
        Some(file) => file.into_raw_fd(),
        None => {
            Errno::ENOENT.set();
            -1
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_fstatfs(file: c_int, status: *mut libc::statfs) -> c_int {
    if !INSIDE.get() {
        // SAFETY: the arguments are those of fstatfs(2), passed on as they came.
        return unsafe { libc::syscall(libc::SYS_fstatfs, file, status) as c_int };
    }
    // SAFETY: liblmdb passes a whole `struct statfs` of its own, in which every byte may be zero.
    unsafe { status.write_bytes(0, 1) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_getpid() -> libc::pid_t {
    if INSIDE.get() {
        return 0;
    }
    // SAFETY: getpid(2) has no arguments and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as libc::pid_t }
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_lseek(file: c_int, offset: off_t, whence: c_int) -> off_t {
    if INSIDE.get() && whence == libc::SEEK_SET {
        PLACE.set(offset);
        return offset;
    }
    // SAFETY: the arguments are those of lseek(2), passed on as they came.
    unsafe { libc::syscall(libc::SYS_lseek, file, offset, whence) }
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if !INSIDE.get() {
        // SAFETY: the arguments are those of writev(2), passed on as they came.
        return unsafe { libc::syscall(libc::SYS_writev, file, parts, count) as ssize_t };
    }
    let mut written = 0;
    for part in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: liblmdb passes `count` parts, and `part` is less than that.
        let part = unsafe { parts.wrapping_add(part).read() };
        let wrote = write_all(file, part.iov_base, part.iov_len, PLACE.get() + written);
        if wrote < 0 {
            return wrote;
        }
        written += wrote as off_t;
    }
    written as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_pwrite(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    if INSIDE.get() {
        write_all(file, bytes, count, offset)
    } else {
        write_some(file, bytes, count, offset) as ssize_t
    }
}

/// pwrite(2) until all is written: `count`, or -1 with the error of the first write that has written nothing.
fn write_all(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    let mut written = 0;
    while written < count {
        let rest = bytes.cast::<u8>().wrapping_add(written).cast();
        match write_some(file, rest, count - written, offset + written as off_t) {
            0 => {
                Errno::EIO.set();
                return -1;
            }
            wrote if wrote > 0 => written += wrote as size_t,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return -1,
        }
    }
    count as ssize_t
}

fn write_some(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> c_long {
    #[cfg(test)]
    let (count, result) = super::tests::faults::next(count);
    // SAFETY: the callers of pwrite(2) and of writev(2) promise `count` readable bytes; the kernel checks the rest.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, file, bytes, count, offset) };
    #[cfg(test)]
    if let Some(error) = result {
        error.set();
        return -1;
    }
    written
}
