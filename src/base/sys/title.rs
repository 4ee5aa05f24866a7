//! What `ps` shows of a process: its title, and no longer the arguments behind it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// Leaves the first argument, which is the title, and overwrites the others, once they have been read. To be called by
/// a process with one thread, before its lock-down: it reads /proc/self/stat. Where that says nothing, nothing happens.
///
/// Also names the process for those who show only that (`top`, the kernel's log of a killed process): after execveat(2)
/// it would be the number of a descriptor.
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn keep_only() {
    let title = std::env::args_os().next().unwrap_or_default();
    // The kernel keeps 15 bytes, which is just "mapkeep: lookup".
    if let Ok(name) = CString::new(title.as_bytes().get(..15).unwrap_or(title.as_bytes())) {
        let _ = nix::sys::prctl::set_name(&name);
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some((start, end)) = argument_area(&stat) else { return };
    let title_end = start.saturating_add(title.len());
    for address in title_end..end {
        let byte = std::ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the kernel says that [start, end) holds the strings of our arguments. It put them on our stack, which
        // is writable; there is no other thread, and whoever reads arguments afterwards finds them empty, each still
        // with a NUL at its end.
        unsafe { byte.write_volatile(0) };
    }
}

/// Where the arguments are: fields 48 and 49 of /proc/PID/stat (proc(5)), zero for who may not know.
fn argument_area(stat: &str) -> Option<(usize, usize)> {
    // The name in parentheses, field 2, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(45);
    let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start > 0 && start <= end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_area_is_that_of_this_process() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (start, end) = argument_area(&stat).unwrap();
        assert_eq!(end - start, std::fs::read("/proc/self/cmdline").unwrap().len());
        assert_eq!(argument_area("1 (a) b) S 1"), None);
        assert_eq!(argument_area(&format!("1 (a) S{}", " 0".repeat(60))), None);
    }
}
