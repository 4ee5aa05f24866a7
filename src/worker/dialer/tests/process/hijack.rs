//! Hostile code inside the dialer and its connectors, under the lock that the product itself installs.
//!
//! `getaddrinfo` and `recv` are defined here and so go before those in libc: nothing in the product's code is changed or left
//! out for this. A connector that is asked for a name `deed-D-N.connector` does deed D where it would parse what name
//! servers say; a dialer that hears of the path `deed-D-N.dialer` does it where it reads. Both say how it ended as the answer
//! to wish N. May: be unsafe, as the only file of these tests. Never: ships.
#![allow(unsafe_code)]

use crate::escapes::deeds;
use libc::{addrinfo, c_char, c_int, c_long, c_void, size_t, ssize_t};
use mapkeep_proto::{Decode, DialerToBroker};
use std::ffi::CStr;

/// What a system call gave: its value, or the error number.
pub type Answer = Result<i64, i32>;

/// The number of a connector's channel.
const CHANNEL: c_int = 256;

/// Names both functions, so that the linker keeps them.
pub fn arm() {
    std::hint::black_box([getaddrinfo as *const c_void, recv as *const c_void]);
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

/// `system_call!(SYS_name, arguments...)`: the system call, whatever comes of it.
macro_rules! system_call {
    ($nr:expr $(, $argument:expr)* $(,)?) => {
        $crate::hijack::make($nr, &[$($crate::hijack::Word::word($argument)),*])
    };
}
pub(crate) use system_call;

/// Makes system call `nr`. At most six arguments; those left out are 0.
pub fn make(nr: c_long, arguments: &[u64]) -> Answer {
    let word = |index: usize| arguments.get(index).copied().unwrap_or_default();
    // SAFETY: there is none. The process is meant to be the attacker's, and does not outlive the deed by much.
    let got = unsafe { libc::syscall(nr, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if got == -1 { Err(nix::errno::Errno::last_raw()) } else { Ok(got) }
}

/// The deed and the wish that a text names, if it is an order for this `whom`.
fn order(text: &str, whom: &str) -> Option<(usize, u32)> {
    let (_, rest) = text.split_once("deed-")?;
    let (numbers, _) = rest.split_once(whom)?;
    let (deed, wish) = numbers.split_once('-')?;
    Some((deed.parse().ok()?, wish.parse().ok()?))
}

/// Does it, and answers the wish with what came of it, by the one call that the process has for that.
fn obey((deed, number): (usize, u32), channel: c_int) {
    let Some(deed) = deeds().get(deed) else { return };
    let reason = match (deed.run)() {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("failed {error}"),
    };
    let packet = DialerToBroker::Failed { number, reason }.encode();
    let part = [packet.as_ptr() as u64, packet.len() as u64];
    // struct msghdr: no address, one part, no descriptors, no flags.
    let header = [0, 0, part.as_ptr() as u64, 1, 0, 0, 0];
    let _ = system_call!(libc::SYS_sendmsg, channel, &header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
}

type Resolver =
    unsafe extern "C" fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;

/// getaddrinfo(3), or the attacker's code instead.
///
/// # Safety
/// As for libc's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    if !name.is_null() {
        // SAFETY: a caller of getaddrinfo gives a string that ends with a zero byte.
        let text = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        if let Some(order) = order(&text, ".connector") {
            obey(order, CHANNEL);
            let _ = system_call!(libc::SYS_exit_group, 0);
        }
    }
    // SAFETY: asks for the next definition of a name; touches no memory of ours.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getaddrinfo".as_ptr()) };
    // SAFETY: it is libc's function of this name, which has this type.
    let next = unsafe { std::mem::transmute::<*mut c_void, Resolver>(next) };
    // SAFETY: the arguments are those of the caller, who vouches for them.
    unsafe { next(name, service, hints, found) }
}

/// recv(2), and then the attacker's code with what came.
///
/// # Safety
/// As for libc's own: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the arguments are those of the caller, who vouches for them.
    let got = unsafe { libc::syscall(libc::SYS_recvfrom, fd, buffer, length, flags, 0, 0) } as ssize_t;
    if let Ok(count @ 1..) = usize::try_from(got) {
        // SAFETY: the kernel has just filled so many bytes of the caller's buffer, or all of it.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count.min(length)) };
        if let Some(order) = order(&String::from_utf8_lossy(bytes), ".dialer") {
            obey(order, fd);
        }
    }
    got
}
