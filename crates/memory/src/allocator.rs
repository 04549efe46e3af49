//! mimalloc by its plain entries.
//!
//! The crate `mimalloc` asks for each block by `mi_malloc_aligned`, which takes blocks of some kilobytes for over-aligned
//! ones: it makes them larger, and freeing them has to find their beginning first. What [`GUARANTEED`] covers needs none
//! of that. A small request through the gateway has one such block and about twenty others; see
//! `docs/operator/gateway/performance.md` for what it saves.

#![expect(
    unsafe_code,
    reason = "an allocator has no other interface; each call passes its contract on unchanged"
)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// Every block has this alignment, if it is not smaller than it (`MI_MAX_ALIGN_SIZE` in mimalloc's `types.h`).
const GUARANTEED: usize = 16;

pub(crate) struct Allocator;

const fn is_plain(size: usize, align: usize) -> bool {
    align <= GUARANTEED && align <= size
}

// SAFETY: `mi_malloc` and its family keep the contract of `malloc`, `free` and `realloc`, and answer null where they fail;
// the alignment that is asked for is either guaranteed or passed on.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: allocating has no precondition.
        unsafe { if is_plain(size, align) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller has `block` from this allocator, and mimalloc knows its size.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: allocating has no precondition.
        unsafe { if is_plain(size, align) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller has `block` from this allocator.
        unsafe {
            if is_plain(size, align) {
                mi_realloc(block.cast(), size)
            } else {
                mi_realloc_aligned(block.cast(), size, align)
            }
        }
        .cast()
    }
}
