//! What the writers of one part file share. Bytes of a piece are written and hashed under its lock, and a piece that is right
//! is never written to again.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::Semaphore;

use super::{Checked, alone::Alone, hold::is_at, proof};
use crate::{
    protocol::piece::{PieceCheck, Tree, set::PieceSet},
    shutdown::Shutdown,
    store::{
        StoreError,
        inline::{SLOW_WRITE, at_the_disk},
        pool::Pool,
        publish::publish,
    },
};

/// A larger piece is written and checked on a thread that may take its time: 4 MiB are hashed in 1 to 2 ms.
const MAX_INLINE_PIECE_BYTES: u64 = 4 << 20;
/// Locks for the pieces of a file; a few writers rarely meet on one of them.
const STRIPES: usize = 16;

/// What the bytes last written to one of the pieces of a lock are worth.
pub(super) type Stripe = Option<Box<Written>>;

/// A piece from its first byte to `end`, hashed as it was written. Holds while its lock saw no other bytes for it.
#[derive(Debug)]
pub(super) struct Written {
    piece: u32,
    end: u64,
    check: PieceCheck,
}

/// One part file: where it is, what of it is right, and what its writers are at.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) tree: Tree,
    // A std lock: held for a look or a change of a bit.
    pub(super) right: Mutex<PieceSet>,
    // Std locks: a piece's is held while bytes of it are written or checked, on a thread that may wait or by the one
    // worker that is at the disk, which only tries to take it.
    pub(super) stripes: [Mutex<Stripe>; STRIPES],
    /// Told before every stripe is taken once: nothing is written from then on.
    pub(super) is_closed: AtomicBool,
    pub(super) may_write_here: AtomicBool,
    pub(super) threads: Arc<Semaphore>,
    pub(super) buffers: Pool,
    pub(super) alone: Alone,
    pub(super) stop: Shutdown,
}

impl Shared {
    pub(super) fn stripe(&self, offset: u64) -> &Mutex<Stripe> {
        // Spread: writers that are a round number of pieces apart are not to meet at every one of them.
        let spread = self.tree.layout().piece_at(offset).wrapping_mul(0x9e37_79b1) >> 16;
        &self.stripes[spread as usize % STRIPES]
    }

    pub(super) fn right(&self) -> MutexGuard<'_, PieceSet> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when this worker is not to wait for the disk.
    pub(super) fn write_here(
        &self,
        offset: u64,
        bytes: &[u8],
    ) -> Option<Result<Option<Checked>, StoreError>> {
        let is_small = self.tree.layout().piece_bytes() <= MAX_INLINE_PIECE_BYTES;
        if !(is_small && self.may_write_here.load(Ordering::Relaxed)) {
            return None;
        }
        let _at_the_disk = at_the_disk()?;
        let mut stripe = match self.stripe(offset).try_lock() {
            Ok(stripe) => stripe,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.write(&mut stripe, offset, bytes))
    }

    /// Bytes of one piece. Its lock is held.
    pub(super) fn write(
        &self,
        stripe: &mut Stripe,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Checked>, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        let layout = self.tree.layout();
        let piece = layout.piece_at(offset);
        let range = layout.range(piece);
        let end = offset + bytes.len() as u64;
        if self.right().contains(piece) {
            return Ok((end == range.end).then_some(Checked { piece, is_right: true }));
        }
        // Nothing is known of the bytes of a write that fails half way.
        let written = stripe.take().filter(|written| (written.piece, written.end) == (piece, offset));
        self.timed(|| self.file.write_all_at(bytes, offset)).map_err(|error| self.refused(error))?;
        let written = if offset == range.start {
            Some(Box::new(Written { piece, end: offset, check: PieceCheck::new(&self.tree, piece) }))
        } else {
            written
        };
        // Hashed while the cache of this processor holds them.
        let written = written.map(|mut written| {
            written.check.update(bytes);
            written.end = end;
            written
        });
        if end < range.end {
            *stripe = written;
            return Ok(None);
        }
        let is_right = match written {
            Some(written) => written.check.is_right(),
            None => self.check(piece).map_err(StoreError::io("read back", &self.path))?,
        };
        if is_right {
            self.right().insert(piece);
        }
        Ok(Some(Checked { piece, is_right }))
    }

    fn check(&self, piece: u32) -> io::Result<bool> {
        let mut buffer = self.buffers.take();
        is_right(&self.tree, piece, buffer.bytes_mut(), |bytes, offset| {
            self.timed(|| self.file.read_at(bytes, offset))
        })
    }

    /// Hashing takes longer on a slow processor, and says nothing about the disk.
    pub(super) fn timed<T>(&self, disk: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = disk();
        if began.elapsed() >= SLOW_WRITE {
            self.may_write_here.store(false, Ordering::Relaxed);
        }
        done
    }

    fn refused(&self, error: io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return StoreError::TooLarge {
                path: self.path.clone(),
                size_bytes: self.tree.layout().size_bytes(),
            };
        }
        StoreError::io("write", &self.path)(error)
    }

    /// Returns when nobody writes any more, nor will.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for stripe in &self.stripes {
            drop(stripe.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(super) fn publish(&self, destination: &Path) -> Result<PathBuf, StoreError> {
        self.close();
        let missing = {
            let right = self.right();
            right.pieces() - right.len()
        };
        if missing > 0 {
            return Err(StoreError::Incomplete { path: self.path.clone(), missing });
        }
        // An earlier owner of the name may have had a longer file.
        self.file.set_len(self.tree.layout().size_bytes()).map_err(|error| self.refused(error))?;
        let last_look = proof::Look::at(&self.file).map_err(StoreError::io("look at", &self.path))?;
        let mut proof = None;
        if self.alone.is_proved() {
            let synced = self.file.sync_all();
            // Somebody may have come while the disk took it.
            if synced.is_err() || self.alone.is_proved() {
                proof = Some(proof::Proof { synced, is_right: Ok(true) });
            }
        }
        let proof = proof
            .unwrap_or_else(|| proof::sync_and_check(&self.file, &self.tree, || !self.stop.is_stopping()));
        if let Err(source) = proof.synced {
            // The system may have dropped what it could not write, and would say so only once: what is read back from
            // now on proves nothing.
            self.remove();
            return Err(StoreError::NotOnDisk { path: self.path.clone(), source });
        }
        if !is_at(&self.file, &self.path) {
            return Err(StoreError::Lost(self.path.clone()));
        }
        let is_right = match proof.is_right {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(StoreError::Stopped),
            is_right => is_right.map_err(StoreError::io("read back", &self.path))?,
        };
        if !is_right || !last_look.is_still_so(&self.file) {
            return Err(StoreError::Changed(self.path.clone()));
        }
        publish(&self.path, destination)
    }

    /// Removes the part, unless something else took its name.
    pub(super) fn remove(&self) {
        if is_at(&self.file, &self.path)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a part file");
        }
    }
}

/// Whether the piece is what the tree says, by what `read` gives of it.
pub(super) fn is_right(
    tree: &Tree,
    piece: u32,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<bool> {
    let range = tree.layout().range(piece);
    let mut check = PieceCheck::new(tree, piece);
    let mut offset = range.start;
    while offset < range.end {
        let now = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        match read(&mut buffer[..now], offset) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                check.update(&buffer[..read]);
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(check.is_right())
}
