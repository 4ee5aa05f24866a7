//! A lock on the system calls of the calling thread, and the shortest way out of a process.
#![allow(unsafe_code)]

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// From now on this thread may make the calls `allowed`, and leave; any other one kills the process. The calls `failing`
/// fail with EIO; if there are any of these, all others are allowed.
pub fn confine(allowed: &[libc::c_long], failing: &[libc::c_long]) {
    let fail = libc::SECCOMP_RET_ERRNO | libc::EIO as u32;
    let others = if failing.is_empty() { libc::SECCOMP_RET_KILL_PROCESS } else { ALLOW };
    let rules = allowed.iter().map(|call| (*call, ALLOW)).chain(failing.iter().map(|call| (*call, fail)));
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call stands at the beginning of what a filter sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (call, result) in rules.chain([(libc::SYS_exit_group, ALLOW)]) {
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1));
        program.push(step(libc::BPF_RET | libc::BPF_K, result, 0, 0));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, others, 0, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: this option takes a number and three zeros.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    assert_eq!(promised, 0);
    // SAFETY: `filter` and the program that it points at live through the call, which copies them.
    let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as u64, &filter) };
    assert_eq!(installed, 0);
}

/// Ends the process with success, without anything that runs at the end.
pub fn leave() -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(0) }
}
