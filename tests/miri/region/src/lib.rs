//! What `src/secret` uses of the crate region, over the standard allocator. Protections change nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;

/// Pages.
pub mod page {
    /// The size of one, in bytes.
    pub fn size() -> usize {
        4096
    }
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection(u8);

impl Protection {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Reading and writing.
    pub const READ_WRITE: Self = Self(3);
}

/// Why there is no memory.
#[derive(Debug)]
pub struct Error(io::Error);

impl Error {
    /// As the standard library has it.
    pub fn into_io_error(self) -> io::Error {
        self.0
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.0
    }
}

fn layout(len: usize) -> Result<Layout, Error> {
    Layout::from_size_align(len, page::size())
        .ok()
        .filter(|layout| layout.size() > 0)
        .map(|layout| layout.pad_to_align())
        .ok_or_else(|| Error(io::ErrorKind::InvalidInput.into()))
}

/// Whole pages, with one owner.
pub struct Allocation {
    start: *mut u8,
    layout: Layout,
}

/// At least `len` zeroed bytes.
pub fn alloc(len: usize, _: Protection) -> Result<Allocation, Error> {
    let layout = layout(len)?;
    // SAFETY: the size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(Error(io::ErrorKind::OutOfMemory.into()));
    }
    Ok(Allocation { start, layout })
}

impl Allocation {
    /// Where it begins.
    pub fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.start.cast()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Whether it has none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves the pages to the caller.
    pub fn into_raw_parts<T>(self) -> (*mut T, usize) {
        let parts = (self.start.cast(), self.layout.size());
        std::mem::forget(self);
        parts
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout, and given back once.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Pages that stay in RAM as long as it lives.
pub struct LockGuard;

/// All pages do.
pub fn lock(_: *const u8, _: usize) -> Result<LockGuard, Error> {
    Ok(LockGuard)
}

/// Changes nothing.
///
/// # Safety
/// Nothing is required.
pub unsafe fn protect(_: *const u8, _: usize, _: Protection) -> Result<(), Error> {
    Ok(())
}

/// One mapping.
pub struct Region;

/// What the system knows of an address: nothing.
pub fn query(_: *const u8) -> Result<Region, Error> {
    Err(Error(io::ErrorKind::Unsupported.into()))
}

impl Region {
    /// Unknown.
    pub fn protection(&self) -> Protection {
        Protection::NONE
    }
}
