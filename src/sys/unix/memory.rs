//! Advice about memory, and the limit of what can be locked.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use nix::libc;

/// Keeps whole pages out of core dumps and out of children. On a kernel without this advice only
/// the core limit of the process protects them.
pub fn keep_in_process(start: NonNull<u8>, len: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
        advise(start, len, advice);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, len);
}

/// Asks the kernel to use large pages for this memory: Argon2 walks through its memory at random,
/// which they make much faster.
pub fn prefer_large_pages(start: NonNull<u8>, len: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    advise(start, len, libc::MADV_HUGEPAGE);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, len);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(start: NonNull<u8>, len: usize, advice: libc::c_int) {
    // SAFETY: the advice above changes no byte of this process, whatever is mapped there.
    unsafe { libc::madvise(start.as_ptr().cast(), len, advice) };
}

/// How much memory may be locked, in KiB, if there is a limit.
pub fn lock_limit() -> Option<u64> {
    let mut limits = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel fills the struct, which is read only if it did.
    let limit = unsafe {
        // On macOS the nix crate does not have this limit.
        match libc::getrlimit(libc::RLIMIT_MEMLOCK, limits.as_mut_ptr()) {
            0 => limits.assume_init().rlim_cur,
            _ => return None,
        }
    };
    (limit != libc::RLIM_INFINITY).then_some(limit as u64 >> 10)
}
