//! Hash and tree of one shared file in one reading; nothing when it changed meanwhile.

use std::{
    io::{self, Read},
    sync::atomic::Ordering,
};

use super::{Inner, path, path::Stamp};
use crate::{
    protocol::piece::{Tree, TreeHasher},
    shutdown::Shutdown,
};

/// Large enough to hash at full speed, small enough to stay in the second level cache.
const BUFFER_BYTES: usize = 256 * 1024;

/// Hash and tree of a file in one reading.
pub(super) fn read_one(
    inner: &Inner,
    folder: &std::path::Path,
    inside: &str,
    stamp: Stamp,
    buffer: &mut Vec<u8>,
    shutdown: &Shutdown,
) -> io::Result<Tree> {
    let changed = || io::Error::other("it changed");
    let (mut file, found) = path::open_regular(folder, inside)?;
    if found != stamp {
        return Err(changed());
    }
    inner.files_read.fetch_add(1, Ordering::Relaxed);
    // One byte more than the file has, so that a small one ends with the second read.
    let wanted =
        usize::try_from(stamp.size_bytes).unwrap_or(BUFFER_BYTES).saturating_add(1).min(BUFFER_BYTES);
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let (mut hasher, mut total) = (TreeHasher::new(stamp.size_bytes), 0u64);
    loop {
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        total += count as u64;
        if total > stamp.size_bytes || shutdown.is_stopping() {
            return Err(changed());
        }
    }
    if path::stamp_of(&file)? != stamp {
        return Err(changed());
    }
    hasher.finish().ok_or_else(changed)
}
