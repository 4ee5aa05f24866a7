//! SQLite's way to files: descriptors that were registered before, under a number, and nothing else.
//!
//! Purpose: be SQLite's VFS, its default one from [`install`] on. May: turn SQLite's pointers into slices and hand them
//! to a [`Handle`]. Never: know a path; open, create, remove or look for a file; lock (the store holds its lock for
//! life); decide. The only file of this engine with `unsafe`. Called by: SQLite; the store, to install.
//!
//! SQLite's own unix VFS would not do: it calls fsync(2) and getpid(2) past its table of replaceable system calls, asks
//! for files by path in many places, and its POSIX locks end when any other descriptor of the file is closed.
//! The interface: <https://sqlite.org/vfs.html>, <https://sqlite.org/c3ref/io_methods.html>.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::zeroed;
use std::slice;
use std::sync::OnceLock;

use libsqlite3_sys as ffi;
use rusqlite::Connection;

use super::descriptors::CHECKSUM;
use super::handle::Handle;

/// Registers this as SQLite's only way to access files, for the whole process, and seeds SQLite's random numbers, which
/// makes the only system call here that is not on a descriptor. False if SQLite refused.
pub(super) fn install() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| {
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<Open>() as c_int,
            mxPathname: 64,
            zName: c"mapkeep".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_name),
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            // SAFETY: integers, pointers and optional functions, for all of which zeros are a valid value.
            ..unsafe { zeroed() }
        };
        let mut byte = 0_u8;
        // SAFETY: the structure is never freed, and its functions are those of version 1 of the interface.
        let result = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1) };
        // SAFETY: there is room for one byte of randomness.
        unsafe { ffi::sqlite3_randomness(1, (&raw mut byte).cast()) };
        result == ffi::SQLITE_OK
    })
}

/// Has SQLite leave room for the checksum on each page of a database that is still empty.
pub(super) fn reserve_checksum(connection: &Connection) -> bool {
    let mut bytes = CHECKSUM as c_int;
    let (operation, argument) = (ffi::SQLITE_FCNTL_RESERVE_BYTES, (&raw mut bytes).cast());
    // SAFETY: nothing here closes the connection.
    let database = unsafe { connection.handle() };
    // SAFETY: the connection is open while it is borrowed, and this operation reads and writes one int.
    let result = unsafe { ffi::sqlite3_file_control(database, c"main".as_ptr(), operation, argument) };
    result == ffi::SQLITE_OK
}

/// What SQLite holds as an open file. It begins with what SQLite looks at; the handle lives until [`close`].
#[repr(C)]
struct Open(ffi::sqlite3_file, *mut Handle);

/// Without shared memory, which SQLite does not need when no other connection may come.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(control),
    xDeviceCharacteristics: Some(characteristics),
    // SAFETY: optional functions, for which zeros are a valid value.
    ..unsafe { zeroed() }
};

type File = *mut ffi::sqlite3_file;
type Vfs = *mut ffi::sqlite3_vfs;

unsafe extern "C" fn open(_: Vfs, name: *const c_char, file: File, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: a name that is not null is a C string.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    let Some(handle) = name.and_then(|name| Handle::named(name.to_bytes())) else {
        // SAFETY: SQLite gives `szOsFile` bytes for the file; null says that there is nothing to close.
        unsafe { (*file).pMethods = std::ptr::null() };
        return ffi::SQLITE_CANTOPEN;
    };
    let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
    // SAFETY: SQLite gives `szOsFile` bytes for the file.
    unsafe { file.cast::<Open>().write(Open(base, Box::into_raw(Box::new(handle)))) };
    if !out.is_null() {
        // SAFETY: SQLite gives room for the flags, or null.
        unsafe { out.write(flags) };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: File) -> c_int {
    // SAFETY: SQLite closes what `open` filled.
    let handle = unsafe { (*file.cast::<Open>()).1 };
    // SAFETY: the pointer is from `Box::into_raw`, and SQLite closes a file once.
    drop(unsafe { Box::from_raw(handle) });
    ffi::SQLITE_OK
}

/// # Safety
/// `file` was filled by [`open`], and is not closed as long as the result is used.
unsafe fn handle<'a>(file: File) -> &'a Handle {
    // SAFETY: the caller's promise.
    let handle = unsafe { (*file.cast::<Open>()).1 };
    // SAFETY: the handle lives until the file is closed, and is never changed.
    unsafe { &*handle }
}

unsafe extern "C" fn read(file: File, out: *mut c_void, amount: c_int, at: i64) -> c_int {
    let amount = usize::try_from(amount).unwrap_or(0);
    // SAFETY: SQLite gives room for `amount` bytes.
    unsafe { out.cast::<u8>().write_bytes(0, amount) };
    // SAFETY: they are valid now, and nothing else uses them meanwhile.
    let out = unsafe { slice::from_raw_parts_mut(out.cast(), amount) };
    // SAFETY: an open file.
    unsafe { handle(file) }.read(at, out)
}

unsafe extern "C" fn write(file: File, bytes: *const c_void, amount: c_int, at: i64) -> c_int {
    let amount = usize::try_from(amount).unwrap_or(0);
    // SAFETY: SQLite gives `amount` bytes, which nothing changes meanwhile.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast(), amount) };
    // SAFETY: an open file.
    unsafe { handle(file) }.write(at, bytes)
}

unsafe extern "C" fn truncate(file: File, size: i64) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.truncate(size)
}

unsafe extern "C" fn sync(file: File, _: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.sync()
}

unsafe extern "C" fn file_size(file: File, out: *mut i64) -> c_int {
    // SAFETY: an open file.
    let (code, size) = unsafe { handle(file) }.size();
    // SAFETY: SQLite gives room for the number.
    unsafe { out.write(size) };
    code
}

/// Nothing to do: the store has locked the file before, against everybody.
unsafe extern "C" fn lock(_: File, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn is_reserved(_: File, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives room for the answer.
    unsafe { out.write(0) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_: File, operation: c_int, argument: *mut c_void) -> c_int {
    if operation != ffi::SQLITE_FCNTL_PERSIST_WAL {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: the argument of this operation is an int: whether the log stays when the database is closed.
    unsafe { argument.cast::<c_int>().write(1) };
    ffi::SQLITE_OK
}

/// A write that is cut short by a power failure harms no byte outside of it.
unsafe extern "C" fn characteristics(_: File) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// Nothing is ever removed.
unsafe extern "C" fn delete(_: Vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE
}

/// Whether a file is there: an empty one is not, and there is never a rollback journal.
unsafe extern "C" fn access(_: Vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives a C string.
    let file = Handle::named(unsafe { CStr::from_ptr(name) }.to_bytes());
    // SAFETY: SQLite gives room for the answer.
    unsafe { out.write(c_int::from(file.is_some_and(|file| file.size().1 > 0))) };
    ffi::SQLITE_OK
}

/// Names are whole as they are.
unsafe extern "C" fn full_name(_: Vfs, name: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| name.len() <= room) {
        // SAFETY: SQLite gives `room` bytes, elsewhere than the name.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
        return ffi::SQLITE_OK;
    }
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn randomness(_: Vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives room for `count` bytes.
    let filled = unsafe { libc::getrandom(out.cast(), usize::try_from(count).unwrap_or(0), 0) };
    c_int::try_from(filled).unwrap_or(0).max(0)
}

/// It never waits: a lock that is held is an error at once.
unsafe extern "C" fn sleep(_: Vfs, _: c_int) -> c_int {
    0
}

/// No statement asks for the time.
unsafe extern "C" fn current_time(_: Vfs, _: *mut f64) -> c_int {
    ffi::SQLITE_ERROR
}
