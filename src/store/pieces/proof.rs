//! The last look at a part before it gets its name: brought to disk and read whole.
//!
//! Invariant: passed only by what was right in every byte, and was touched by nobody from before it was read until after.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use super::{READ_BYTES, is_right};
use crate::protocol::piece::Tree;

/// Threads that read and hash while the disk takes what is still in memory: it hides most of what they do.
const HASHERS: usize = 2;
/// Of fewer pieces a thread costs more than it saves.
const MIN_SPREAD_PIECES: u32 = 8;

/// What tells whether somebody touched a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    names: u64,
    size_bytes: u64,
    modified: (i64, i64),
    // Nobody can set it back.
    changed: (i64, i64),
}

impl Look {
    pub(super) fn at(file: &File) -> io::Result<Self> {
        let seen = file.metadata()?;
        Ok(Self {
            names: seen.nlink(),
            size_bytes: seen.len(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }

    /// Nothing was written to it since, and it has no name but its own.
    pub(super) fn is_still_so(&self, file: &File) -> bool {
        self.names == 1 && Self::at(file).is_ok_and(|now| now == *self)
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) synced: io::Result<()>,
    /// `Interrupted` when `go_on` said no. Means nothing when it was not synced.
    pub(super) is_right: io::Result<bool>,
}

/// Blocks. `go_on` is asked before every piece.
pub(super) fn sync_and_check(file: &File, tree: &Tree, go_on: impl Fn() -> bool + Sync) -> Proof {
    let (next, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let check = || check(file, tree, &next, &is_over, &go_on);
    if tree.layout().pieces() < MIN_SPREAD_PIECES {
        return Proof { synced: file.sync_all(), is_right: check() };
    }
    thread::scope(|scope| {
        // Those that the system does not give leave more to the others, and the last one is this thread.
        let hashers = (0..HASHERS).map(|_| thread::Builder::new().spawn_scoped(scope, check));
        let hashers: Vec<_> = hashers.flatten().collect();
        let synced = file.sync_all();
        if synced.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        let mut is_right = check();
        for hasher in hashers {
            let seen = hasher.join().unwrap_or_else(|_| Err(io::Error::other("a reader of it broke off")));
            if !matches!(is_right, Err(_) | Ok(false)) {
                is_right = seen;
            }
        }
        Proof { synced, is_right }
    })
}

/// The pieces that nobody else checks, until one is wrong.
fn check(
    file: &File,
    tree: &Tree,
    next: &AtomicU32,
    is_over: &AtomicBool,
    go_on: &impl Fn() -> bool,
) -> io::Result<bool> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let piece = next.fetch_add(1, Ordering::Relaxed);
        if piece >= tree.layout().pieces() || is_over.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let seen = is_right(tree, piece, &mut buffer, |bytes, at| file.read_at(bytes, at));
        if !matches!(seen, Ok(true)) {
            is_over.store(true, Ordering::Relaxed);
            return seen;
        }
    }
}
