//! How the C library's allocator gets its memory.

/// Makes the allocator take all memory from the heap (brk), so that the process needs no mmap afterwards.
///
/// Returns false if the C library refuses, which glibc does not.
#[must_use]
pub fn heap_only() -> bool {
    // SAFETY: mallopt changes a tuning value of the allocator and touches no memory of ours.
    let set = unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) };
    set == 1
}
