//! Memory for keys: locked, kept from core dumps and from children, between guard pages. And
//! Argon2's work space, which is too large to lock.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::Block;
use region::{Allocation, Protection};
use zeroize::Zeroize;

use crate::sys::memory::{keep_in_process, lock_limit, prefer_large_pages};
use crate::sys::reason;

/// Bytes of keys that are reserved at once. A mesh of 64 links fits into one chunk, and the usual
/// limit of 8 MiB locked memory has room for 32. A multiple of every page size in use.
const CHUNK: usize = 256 << 10;

/// Slots of one size come from a strip of a chunk.
const STRIP: usize = 4096;

/// The sizes of slots. All divide [`STRIP`].
const SIZES: [usize; 3] = [32, 64, 128];

/// The largest slot.
pub(super) const MAX: usize = SIZES[SIZES.len() - 1];

static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

/// Whether the memory of keys can be swapped out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// All of it stays in RAM.
    Locked {
        /// How much there is, in bytes.
        bytes: usize,
    },
    /// At least a part may be swapped out.
    Unlocked {
        /// Why, and what to raise: one line for people.
        error: String,
    },
}

/// Sets the function that gets [`LockState::Unlocked`]'s line, once, if memory could not be locked:
/// at once if that has already happened, otherwise before the first secret is stored there. It must
/// not use this memory itself.
pub fn on_unlocked(listener: impl FnOnce(String) + Send + 'static) {
    let mut arena = arena();
    arena.listener = Some(Box::new(listener));
    arena.tell();
}

/// The state of all key memory so far. The first call reserves the first chunk.
pub fn lock_state() -> LockState {
    let mut arena = arena();
    if arena.chunks.is_empty() {
        arena.grow();
    }
    arena.lock_state()
}

/// Overwrites all key memory, for a panic, including slots in use: a thread that still works with
/// them gets unpredictable bytes, so that nothing is sealed under a key of zeros in the moment
/// before the process image is gone.
pub fn wipe_all() {
    let mut noise = [0; 64];
    // Without randomness, zeros have to do.
    if getrandom::fill(&mut noise).is_err() {
        noise = [0; 64];
    }
    arena().overwrite(&noise);
    noise.zeroize();
}

/// The arena. If a thread dies with the lock held, no slot is lost, because every step of the
/// book-keeping leaves it consistent.
fn arena() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slot of at least `len` zeroed bytes, `len` being at most [`MAX`].
pub(super) fn take(len: usize) -> Slot {
    arena().take(class(len))
}

/// Takes back a slot that was taken for `len` bytes and is zeroed again.
pub(super) fn give(slot: Slot, len: usize) {
    arena().give(slot, class(len));
}

fn class(len: usize) -> usize {
    SIZES
        .iter()
        .position(|size| *size >= len)
        .unwrap_or(SIZES.len() - 1)
}

/// Bytes of a chunk with one owner: the free list, or a [`Secret`](super::Secret).
pub(super) struct Slot(pub(super) NonNull<u8>);

// SAFETY: a slot is the sole owner of its bytes, which belong to no thread.
unsafe impl Send for Slot {}

/// Memory that is never given back to the system, so that slots stay valid.
struct Chunk(NonNull<u8>);

// SAFETY: a chunk is only an address; its bytes are reached through slots, and by `overwrite`.
unsafe impl Send for Chunk {}

struct Arena {
    chunks: Vec<Chunk>,
    /// How much of the last chunk has been cut into slots.
    cut: usize,
    /// Free slots of each size, the last one given back on top.
    free: [Vec<Slot>; SIZES.len()],
    /// How many slots of each size there are.
    made: [usize; SIZES.len()],
    /// Why memory could not be locked, at the first failure.
    failure: Option<String>,
    /// The function that gets that failure.
    listener: Option<FailureHook>,
}

type FailureHook = Box<dyn FnOnce(String) + Send>;

impl Arena {
    const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            cut: CHUNK,
            free: [const { Vec::new() }; SIZES.len()],
            made: [0; SIZES.len()],
            failure: None,
            listener: None,
        }
    }

    fn take(&mut self, class: usize) -> Slot {
        loop {
            if let Some(slot) = self.free[class].pop() {
                return slot;
            }
            self.cut_strip(class);
        }
    }

    fn give(&mut self, slot: Slot, class: usize) {
        self.free[class].push(slot);
    }

    /// Cuts one strip into slots of a size.
    fn cut_strip(&mut self, class: usize) {
        if self.cut == CHUNK {
            self.grow();
        }
        let Some(Chunk(chunk)) = self.chunks.last() else {
            return;
        };
        let size = SIZES[class];
        let count = STRIP / size;
        self.made[class] += count;
        // Enough capacity for all slots, so that giving one back never allocates.
        self.free[class].reserve(self.made[class]);
        for i in (0..count).rev() {
            // SAFETY: the strip lies within the chunk, which is CHUNK bytes.
            self.free[class].push(Slot(unsafe { chunk.add(self.cut + i * size) }));
        }
        self.cut += STRIP;
    }

    /// Adds a chunk, as well protected as the system allows.
    fn grow(&mut self) {
        let chunk = match reserve() {
            Ok(chunk) => {
                self.lock(chunk);
                chunk
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| reason(&error));
                NonNull::from(Box::leak(vec![0; CHUNK].into_boxed_slice())).cast()
            }
        };
        self.chunks.push(Chunk(chunk));
        self.cut = 0;
        self.tell();
    }

    fn tell(&mut self) {
        if let LockState::Unlocked { error } = self.lock_state()
            && let Some(listener) = self.listener.take()
        {
            listener(error);
        }
    }

    fn lock(&mut self, chunk: NonNull<u8>) {
        match region::lock(chunk.as_ptr(), CHUNK) {
            // Locked for as long as the process lives.
            Ok(guard) => std::mem::forget(guard),
            Err(error) => {
                self.failure
                    .get_or_insert_with(|| reason(&error.into_io_error()));
            }
        }
    }

    fn lock_state(&self) -> LockState {
        let bytes = self.chunks.len() * CHUNK;
        let Some(why) = &self.failure else {
            return LockState::Locked { bytes };
        };
        let need = bytes >> 10;
        let error = format!(
            "cannot lock the memory for keys, so it may be swapped out: {why}; raise `ulimit -l` (in a systemd unit, LimitMEMLOCK={need}K) to at least {need} KiB{}",
            lock_limit().map_or(String::new(), |kib| format!(" (now {kib} KiB)")),
        );
        LockState::Unlocked { error }
    }

    fn overwrite(&mut self, pattern: &[u8; 64]) {
        for Chunk(chunk) in &self.chunks {
            for i in 0..CHUNK {
                // SAFETY: within the chunk, which is never unmapped. Other threads may be using
                // slots. They are about to end, every value of a byte is valid to them, and half a
                // key is of no use.
                unsafe { chunk.add(i).write_volatile(pattern[i % pattern.len()]) };
            }
        }
    }
}

/// [`CHUNK`] bytes between two pages that fault when touched.
fn reserve() -> io::Result<NonNull<u8>> {
    let page = region::page::size();
    let mut map = region::alloc(CHUNK + 2 * page, Protection::READ_WRITE)?;
    let base: *mut u8 = map.as_mut_ptr();
    // SAFETY: both pages belong to the mapping, and nothing refers to them.
    let inner = unsafe {
        region::protect(base, page, Protection::NONE)?;
        region::protect(base.add(page + CHUNK), page, Protection::NONE)?;
        base.add(page)
    };
    let inner = NonNull::new(inner).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    keep_in_process(inner, CHUNK);
    // The slots need it for as long as the process lives.
    let _ = map.into_raw_parts::<u8>();
    Ok(inner)
}

/// Argon2's work space: memory of its own, kept from core dumps, not locked; wiped and given back
/// to the system when dropped.
pub struct Work {
    map: Allocation,
    blocks: usize,
}

// SAFETY: the mapping has one owner and belongs to no thread.
unsafe impl Send for Work {}

impl Work {
    /// Work space of `blocks` blocks of 1 KiB each, zeroed.
    ///
    /// # Errors
    /// The system's, if it does not have enough memory; `InvalidInput` if `blocks` is 0 or the size
    /// does not fit a `usize`.
    pub fn new(blocks: usize) -> io::Result<Self> {
        let size = blocks
            .checked_mul(Block::SIZE)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut map = region::alloc(size, Protection::READ_WRITE)?;
        if let Some(start) = NonNull::new(map.as_mut_ptr()) {
            keep_in_process(start, map.len());
            prefer_large_pages(start, map.len());
        }
        Ok(Self { map, blocks })
    }
}

impl AsMut<[Block]> for Work {
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: the mapping holds this number of blocks, is aligned to a page and thus to a
        // block, is borrowed as long as the slice, and every pattern of bits is a valid block.
        unsafe { slice::from_raw_parts_mut(self.map.as_mut_ptr(), self.blocks) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the mapping is `len` bytes, readable and writable, and not borrowed elsewhere.
        unsafe { slice::from_raw_parts_mut(self.map.as_mut_ptr::<u8>(), self.map.len()) }.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slots_do_not_overlap_and_the_arena_grows() {
        let mut arena = Arena::new();
        let mut taken = BTreeSet::new();
        // Three sizes in turn, until the third chunk.
        while arena.chunks.len() < 3 {
            for (class, size) in SIZES.iter().enumerate() {
                let start = arena.take(class).0.addr().get();
                assert!(taken.insert((start, start + size)), "given out twice");
            }
        }
        let mut end = 0;
        for (start, stop) in taken {
            assert!(end <= start);
            end = stop;
        }
    }

    #[test]
    fn a_slot_given_back_is_given_out_again() {
        let mut arena = Arena::new();
        let first = arena.take(0).0;
        arena.give(Slot(first), 0);
        assert_eq!(arena.take(0).0, first);
        assert_eq!(arena.chunks.len(), 1);
    }

    #[test]
    fn lengths_find_their_size() {
        assert_eq!(
            [1, 32, 33, 64, 65, 128].map(|len| SIZES[class(len)]),
            [32, 32, 64, 64, 128, 128]
        );
    }

    #[test]
    fn overwriting_reaches_every_byte_of_every_chunk() {
        let mut arena = Arena::new();
        arena.grow();
        arena.grow();
        arena.overwrite(&[0xa5; 64]);
        for Chunk(chunk) in &arena.chunks {
            // SAFETY: a chunk is CHUNK initialised bytes.
            let bytes = unsafe { slice::from_raw_parts(chunk.as_ptr(), CHUNK) };
            assert!(bytes.iter().all(|byte| *byte == 0xa5));
        }
    }

    #[test]
    fn failure_to_lock_is_kept_with_advice() {
        let mut arena = Arena::new();
        arena.grow();
        arena.failure = Some("Cannot allocate memory".into());
        arena.grow();
        let LockState::Unlocked { error } = arena.lock_state() else {
            panic!("locked")
        };
        assert!(
            error.contains("`ulimit -l`") && error.contains("LimitMEMLOCK=512K"),
            "{error}"
        );
    }

    #[test]
    fn failure_to_lock_is_reported_once_before_use() {
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let mut arena = Arena::new();
        let listener = std::sync::Arc::clone(&told);
        arena.listener = Some(Box::new(move |why| listener.lock().unwrap().push(why)));
        arena.failure = Some("Cannot allocate memory".into());
        arena.grow();
        assert_eq!(told.lock().unwrap().len(), 1);
        arena.grow();
        assert_eq!(told.lock().unwrap().len(), 1);
        assert_eq!(arena.made, [0; SIZES.len()]);
    }

    #[test]
    fn a_chunk_is_locked_and_kept_from_dumps_between_guard_pages() {
        let mut arena = Arena::new();
        arena.grow();
        if let LockState::Unlocked { error } = arena.lock_state() {
            eprintln!("skipped: {error}");
            return;
        }
        let start = arena.chunks[0].0.addr().get();
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
            eprintln!("skipped: this system does not tell how memory is mapped");
            return;
        };
        let lines: Vec<&str> = maps.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.starts_with(&format!("{start:x}-")))
            .expect("a mapping of its own");
        let flags = lines[at..]
            .iter()
            .find(|line| line.starts_with("VmFlags:"))
            .unwrap();
        for flag in ["lo", "dd", "dc"] {
            assert!(
                flags.split(' ').any(|f| f == flag),
                "{flag} missing: {flags}"
            );
        }
        let guard = |address: usize| {
            region::query(std::ptr::without_provenance::<u8>(address))
                .unwrap()
                .protection()
        };
        assert_eq!(guard(start - 1), Protection::NONE);
        assert_eq!(guard(start + CHUNK), Protection::NONE);
    }

    #[test]
    fn work_space_is_zeroed_writable_and_as_large_as_asked() {
        let mut work = Work::new(64).unwrap();
        let blocks = work.as_mut();
        assert_eq!(blocks.len(), 64);
        assert!(
            blocks
                .iter()
                .all(|block| block.as_ref().iter().all(|word| *word == 0))
        );
        blocks[63].as_mut().fill(u64::MAX);
        assert!(Work::new(0).is_err());
        assert!(Work::new(usize::MAX).is_err());
    }
}
