//! Advice about memory, and the limit of what can be locked.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Keeps whole pages out of core dumps and out of children. A kernel that knows no such advice
/// leaves it at the core limit of the process.
pub fn keep_in_process(start: NonNull<u8>, len: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    for advice in [nix::libc::MADV_DONTDUMP, nix::libc::MADV_DONTFORK] {
        advise(start, len, advice);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, len);
}

/// Has the kernel back this memory by large pages: Argon2 walks through its memory at random, which
/// they make a good deal faster.
pub fn prefer_large_pages(start: NonNull<u8>, len: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    advise(start, len, nix::libc::MADV_HUGEPAGE);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, len);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(start: NonNull<u8>, len: usize, advice: nix::libc::c_int) {
    // SAFETY: the advice above changes no byte of this process, whatever is mapped there.
    unsafe { nix::libc::madvise(start.as_ptr().cast(), len, advice) };
}

/// How much memory may be locked, in KiB, where there is a limit.
pub fn lock_limit() -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (limit != RLIM_INFINITY).then_some(limit >> 10)
}
