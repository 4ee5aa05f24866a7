//! What shows only a short name of a process, `top` or the kernel's log of a killed process, shows of ours.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// Sets the name of the process to the beginning of its first argument, which is its title. After execveat(2) its name
/// would be the number of a descriptor.
pub fn name_process() {
    let title = std::env::args_os().next().unwrap_or_default();
    // The kernel keeps 15 bytes, which is just "mapkeep: lookup".
    if let Ok(name) = CString::new(title.as_bytes().get(..15).unwrap_or(title.as_bytes())) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}
