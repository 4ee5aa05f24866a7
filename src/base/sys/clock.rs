//! Wall-clock time in the zone of the machine.

use std::io;
use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment as log lines show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Month, 0 to 11.
    pub month: usize,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 60.
    pub second: u8,
}

/// Now, in local time.
///
/// The C library reads the zone file at the first call of a process and keeps it: the first call must come
/// before lock-down, later ones open nothing.
///
/// # Errors
/// The clock shows a time before 1970, or one that the C library cannot represent.
pub fn local_now() -> io::Result<LocalTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let seconds = libc::time_t::try_from(since.as_secs()).map_err(io::Error::other)?;
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, and localtime_r writes only to the second.
    let filled = unsafe { libc::localtime_r(&raw const seconds, parts.as_mut_ptr()) };
    if filled.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: localtime_r returned non-null, so it has filled the structure.
    let parts = unsafe { parts.assume_init() };
    let small = |value: libc::c_int| u8::try_from(value).unwrap_or_default();
    Ok(LocalTime {
        month: usize::from(small(parts.tm_mon)),
        day: small(parts.tm_mday),
        hour: small(parts.tm_hour),
        minute: small(parts.tm_min),
        second: small(parts.tm_sec),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn local_now_is_in_range() {
        let now = super::local_now().unwrap();
        assert!(now.month < 12 && (1..=31).contains(&now.day) && now.hour < 24 && now.minute < 60);
    }
}
