//! The global allocator: the system's, but it zeroes everything that is freed, so that strings,
//! buffers and the internals of libraries leave nothing behind in normal operation.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::slice;

/// Zeroes what it frees. Growing and shrinking make a new block and free the old one.
///
/// It does not reach the C heap of libraries, or blocks that are never freed.
pub struct Wiping;

// SAFETY: every call goes to the system's allocator with the caller's own arguments; before
// freeing, only the caller's block is written.
//
// `realloc` is the trait's own: allocate, copy, free. The system's would be faster, but when it
// moves a block it leaves the old bytes behind.
unsafe impl GlobalAlloc for Wiping {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's to give back, and `layout.size()` bytes long.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }
}

/// Zeroes bytes, initialised or not, in a way that the compiler keeps although they are not read
/// again. As it knows what `free` does, it would drop plain writes before it.
///
/// # Safety
/// `len` bytes from `start` on are writable and belong only to the caller.
#[inline]
unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: the caller's promise; the slice is made of bytes just initialised.
    unsafe {
        start.write_bytes(0, len);
        zeroize::optimization_barrier(slice::from_raw_parts(start, len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_bytes_when_they_grow_and_shrink() {
        for align in [1, 8, 64, 4096] {
            let layout = Layout::from_size_align(100, align).unwrap();
            let grown = Layout::from_size_align(100_000, align).unwrap();
            // SAFETY: each block is used within its size and freed once with its layout.
            unsafe {
                let block = Wiping.alloc(layout);
                assert!(block.addr().is_multiple_of(align));
                block.write_bytes(0x5a, 100);
                let block = Wiping.realloc(block, layout, grown.size());
                assert!(block.addr().is_multiple_of(align));
                block.add(100).write_bytes(0x5a, 99_900);
                assert!(
                    slice::from_raw_parts(block, 100_000)
                        .iter()
                        .all(|byte| *byte == 0x5a)
                );
                let block = Wiping.realloc(block, grown, layout.size());
                assert!(
                    slice::from_raw_parts(block, 100)
                        .iter()
                        .all(|byte| *byte == 0x5a)
                );
                Wiping.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn wiping_stays_within_its_bounds() {
        let mut bytes = [0xff_u8; 300];
        // SAFETY: within the array.
        unsafe { wipe(bytes[1..].as_mut_ptr(), 298) };
        assert_eq!(bytes[0], 0xff);
        assert!(bytes[1..299].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[299], 0xff);
    }
}
