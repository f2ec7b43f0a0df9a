//! Recycled buffers, so that a transfer's memory is that of its queue and no page is cleared twice.
//!
//! Invariant: a buffer is in one place at a time, and comes back when the last slice of it is dropped.

use std::{
    fmt,
    hint::black_box,
    sync::{Arc, Mutex, Once, PoisonError},
};

use bytes::Bytes;

/// Freed at once, it tells glibc what size of buffer comes and goes here: above those of a connection that reads 256 KiB
/// frames.
const TYPICAL_BYTES: usize = 1 << 20;

/// Lets the allocator keep what connections free and take again, 2 MiB a thread. glibc gives memory back to the
/// system above a bound that follows the largest block that was ever freed; at its first value a download of 1 GiB pays
/// 50,000 page faults for its read buffers, a fifth of its CPU time. Harmless with other allocators.
pub fn keep_freed_memory() {
    static TOLD: Once = Once::new();
    // Never touched, so no page of it is ever there.
    TOLD.call_once(|| drop(black_box(Vec::<u8>::with_capacity(TYPICAL_BYTES))));
}

/// Buffers of one size; cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    // A std lock: held for one push or pop.
    free: Mutex<Vec<Vec<u8>>>,
    buffer_bytes: usize,
    keep: usize,
}

/// A buffer on loan.
pub struct Buffer {
    data: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Pool {
    /// Keeps at most `keep` buffers that nobody uses; more are given back to the system.
    pub fn new(buffer_bytes: usize, keep: usize) -> Self {
        Self(Arc::new(Inner { free: Mutex::default(), buffer_bytes, keep }))
    }

    /// A buffer with arbitrary content.
    pub fn take(&self) -> Buffer {
        let free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = free.unwrap_or_else(|| vec![0; self.0.buffer_bytes]);
        Buffer { len: data.len(), data, pool: self.clone() }
    }

    /// Size of every buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.0.buffer_bytes
    }
}

impl Buffer {
    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Its first `len` bytes, shared and immutable.
    pub fn freeze(mut self, len: usize) -> Bytes {
        self.len = len.min(self.data.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.0.keep {
            free.push(std::mem::take(&mut self.data));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("buffer_bytes", &self.0.buffer_bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_dropped() {
        let pool = Pool::new(8, 1);
        let mut buffer = pool.take();
        buffer.bytes_mut().copy_from_slice(b"abcdefgh");
        let frozen = buffer.freeze(5);
        let slice = frozen.slice(1..);
        drop(frozen);
        assert_eq!(pool.0.free.lock().expect("not poisoned").len(), 0);
        assert_eq!(&slice[..], b"bcde");
        drop(slice);
        assert_eq!(pool.0.free.lock().expect("not poisoned").len(), 1);
        let two = (pool.take(), pool.take());
        drop(two);
        assert_eq!(pool.0.free.lock().expect("not poisoned").len(), 1, "keeps no more than it may");
    }
}
