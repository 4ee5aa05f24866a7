//! How the C library's allocator gets its memory.

/// Makes the allocator take all memory from the heap (brk), so that a process needs no mmap afterwards.
///
/// Returns false when the C library refuses, which only another libc than glibc does.
#[must_use]
pub fn heap_only() -> bool {
    // SAFETY: mallopt changes a tuning value of the allocator and touches no memory of ours.
    let set = unsafe { libc::mallopt(libc::M_MMAP_MAX, 0) };
    set == 1
}
