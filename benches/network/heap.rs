//! The bytes that this process holds: counted while a figure asks for it, so that no other figure pays.

#![allow(unsafe_code)] // an allocator cannot be written otherwise

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

#[global_allocator]
static HEAP: Counting = Counting;
static IS_COUNTED: AtomicBool = AtomicBool::new(false);
static GROWTH_BYTES: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

/// Counts from now on, from nought.
pub(crate) fn begin() {
    GROWTH_BYTES.store(0, Relaxed);
    ALLOCATIONS.store(0, Relaxed);
    IS_COUNTED.store(true, Relaxed);
}

/// What is held more than at the beginning.
pub(crate) fn growth_bytes() -> i64 {
    GROWTH_BYTES.load(Relaxed)
}

/// How often memory was asked for since the beginning.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// Counts no more.
pub(crate) fn end() {
    IS_COUNTED.store(false, Relaxed);
}

fn count(layout: Layout, sign: i64) {
    if IS_COUNTED.load(Relaxed) {
        GROWTH_BYTES.fetch_add(sign * i64::try_from(layout.size()).unwrap_or(0), Relaxed);
        ALLOCATIONS.fetch_add(u64::from(sign > 0), Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: as of the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: as of the caller.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout, -1);
        count(Layout::from_size_align(size, layout.align()).unwrap_or(layout), 1);
        // SAFETY: as of the caller.
        unsafe { System.realloc(at, layout, size) }
    }
}
