//! The calls of liblmdb, sent where the real `mapkeep-writer` sends them.
//!
//! That program is linked with `--wrap` options (build.rs), which Cargo cannot give to one test program alone. Here the
//! names themselves are defined, and a definition in the program goes before that in libc. So the store's code finds what
//! it finds in the product. Source of the names: src/table/store/lmdb/calls.rs.
#![allow(unsafe_code)]

use libc::{c_char, c_int, c_void, iovec, mode_t, off_t, pid_t, size_t, ssize_t, statfs};
// The library that defines the functions below must be in the program.
use mapkeep_table_store as _;

unsafe extern "C" {
    fn __wrap_open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __wrap_fstatfs(file: c_int, status: *mut statfs) -> c_int;
    safe fn __wrap_getpid() -> pid_t;
    safe fn __wrap_lseek(file: c_int, offset: off_t, whence: c_int) -> off_t;
    fn __wrap_writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    fn __wrap_pwrite(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t;
}

/// Names the functions, so that the linker takes them out of this library.
pub(crate) fn link() {
    let paths = [open as *const c_void, fstatfs as *const c_void, getpid as *const c_void];
    std::hint::black_box((paths, [lseek as *const c_void, writev as *const c_void, pwrite as *const c_void]));
}

/// open(2).
///
/// # Safety
/// As for libc's own: `path` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    unsafe { __wrap_open(path, flags, mode) }
}

/// fstatfs(2).
///
/// # Safety
/// As for libc's own: `status` has room for the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstatfs(file: c_int, status: *mut statfs) -> c_int {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    unsafe { __wrap_fstatfs(file, status) }
}

/// getpid(2).
#[unsafe(no_mangle)]
pub extern "C" fn getpid() -> pid_t {
    __wrap_getpid()
}

/// lseek(2).
#[unsafe(no_mangle)]
pub extern "C" fn lseek(file: c_int, offset: off_t, whence: c_int) -> off_t {
    __wrap_lseek(file, offset, whence)
}

/// writev(2).
///
/// # Safety
/// As for libc's own: there are `count` parts, which may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    unsafe { __wrap_writev(file, parts, count) }
}

/// pwrite(2).
///
/// # Safety
/// As for libc's own: `bytes` may be read for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    unsafe { __wrap_pwrite(file, bytes, count, offset) }
}
