//! A part file that several streams fill in any order, and that a later run goes on with.
//!
//! Invariant: a piece counts as there only when the bytes that this very file was given were right, first to last with
//! nobody else's between them, or were right when read back; nothing is written to it from then on, and the file gets its
//! name only when it is on disk, and nobody else has opened it or it was read whole once more and was right. What an earlier
//! run left under the part's name is worth what its bytes are worth: each piece is hashed before it is believed.

mod alone;
pub(super) mod hold;
mod open;
pub(super) mod proof;
mod seed;
mod shared;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Semaphore;

pub use seed::Seed;

use self::shared::{Shared, is_right};
use super::{PART_SUFFIX, StoreError, inline::has_workers, pool::Pool, publish::cut};
use crate::{
    protocol::{
        id::ContentHash,
        name::MAX_NAME_BYTES,
        piece::{Tree, set::PieceSet},
    },
    shutdown::Shutdown,
};

/// Of all files: as many are in use as pieces are being checked, and few are kept beyond that.
static BUFFERS: LazyLock<Pool> = LazyLock::new(|| Pool::new(READ_BYTES, MAX_THREADS));
/// Read back at a time: stays in the cache of the processor.
const READ_BYTES: usize = 256 << 10;
/// Threads that one file may hold when its disk hangs; those writers above it wait for one.
const MAX_THREADS: usize = 4;
/// Digits of the content hash in the name of a part.
const HASH_DIGITS: usize = 16;
/// Left free in that name for `.2` to `.9`, when several transfers of one content go into one folder.
const NUMBER_BYTES: usize = 2;

/// A piece that was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Its number.
    pub piece: u32,
    /// Whether the file holds it now. Stays so when it is right; else it is to be written again.
    pub is_right: bool,
}

/// One part file being filled; cheap to clone. When the last clone and the last writer are dropped the part stays, for
/// the next [`Self::open`].
#[derive(Debug, Clone)]
pub struct PieceFile(Arc<Shared>);

/// Writes consecutive bytes. Two writers should not be given one piece at a time: their bytes would mix, and both be
/// blamed when the piece is wrong.
#[derive(Debug)]
pub struct PieceWriter {
    part: Arc<Shared>,
    offset: u64,
    is_gone: Arc<AtomicBool>,
}

/// Where the part of a content is kept that is to get this name in this folder: hidden, recognised by its ending, the
/// same after a restart, and never longer than a name may be.
pub fn part_path(folder: &Path, hash: &ContentHash, name: &str) -> PathBuf {
    let hash = hash.to_string();
    let tail = format!(".{}{PART_SUFFIX}", cut(&hash, HASH_DIGITS));
    let name = name.replace(['/', '\0'], "_");
    folder.join(format!(".{}{tail}", cut(&name, MAX_NAME_BYTES - 1 - NUMBER_BYTES - tail.len())))
}

/// Removes the part at `part`, and those of that name with a number, but for what another transfer has or is no part.
/// What cannot be removed is warned of and left. Blocks.
pub fn remove_parts(part: &Path) {
    open::remove_all(part);
}

/// Whether a transfer has that part, here or in another process.
pub fn is_taken(part: &Path) -> bool {
    open::is_taken(part)
}

/// Removes a part unless another transfer has it. Blocks.
pub fn remove_part(part: &Path) {
    open::remove(part);
}

impl PieceFile {
    /// Opens the part at `part`, which lies where the file is to be published, or makes it and its folder. The part has
    /// to be a regular file of this user that has no other name; what else is there under its name is replaced, never
    /// followed. When another transfer has the part, the file is fetched into a part of its own with a number in its
    /// name. Gives the pieces that are there: all that is in the part was hashed. May be dropped half way.
    ///
    /// # Errors
    /// No space for the pieces that are missing; the system refuses; the tree is that of an empty file and its root is
    /// not; the stop. What was in the part stays there.
    pub async fn open(
        part: PathBuf,
        tree: Tree,
        shutdown: &Shutdown,
    ) -> Result<(Self, PieceSet), StoreError> {
        Self::open_with(part, tree, None, shutdown).await
    }

    /// As [`Self::open`], with what the seed has of the content put into the part first.
    ///
    /// # Errors
    /// As [`Self::open`]; no space for what is copied.
    pub async fn open_with(
        part: PathBuf,
        tree: Tree,
        seed: Option<Seed>,
        shutdown: &Shutdown,
    ) -> Result<(Self, PieceSet), StoreError> {
        let waits = tokio_util::sync::CancellationToken::new();
        let _gone = waits.clone().drop_guard();
        let stop = shutdown.clone();
        let opening = shutdown.spawn_blocking(move || {
            let go_on = || !(waits.is_cancelled() || stop.is_stopping());
            open::open(&part, &tree, seed.as_ref(), go_on).map(|opened| (opened, tree))
        });
        // A panic of it has closed the file; there is no more to say than that it stopped.
        let (open::Opened { file, path, right, alone }, tree) =
            opening.await.map_err(|_| StoreError::Stopped)??;
        let part = Shared {
            file,
            path,
            tree,
            right: Mutex::new(right.clone()),
            stripes: Default::default(),
            is_closed: AtomicBool::new(false),
            may_write_here: AtomicBool::new(has_workers()),
            threads: Arc::new(Semaphore::new(MAX_THREADS)),
            buffers: BUFFERS.clone(),
            alone,
            stop: shutdown.clone(),
        };
        Ok((Self(Arc::new(part)), right))
    }

    /// Where the part is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// For a stream of consecutive bytes from `offset`, the start of a piece, on.
    pub fn writer(&self, offset: u64) -> PieceWriter {
        PieceWriter { part: self.0.clone(), offset, is_gone: Arc::default() }
    }

    /// Ends all writing, brings everything to disk, reads the whole once more unless nobody else has opened it, and gives the file its name, or
    /// `name (1).ext` and so on when that is taken. Gives the path. Goes on when dropped half way.
    ///
    /// # Errors
    /// [`StoreError::NotOnDisk`]: the part was removed. [`StoreError::Changed`]: somebody else wrote to it; opened again it
    /// tells which pieces are still right. Any other: the part is left as it was.
    pub async fn publish(self, destination: &Path) -> Result<PathBuf, StoreError> {
        let destination = destination.to_path_buf();
        let part = self.0;
        let publishing = part.stop.clone().spawn_blocking(move || part.publish(&destination));
        publishing.await.map_err(|_| StoreError::Stopped)?
    }

    /// Ends all writing and removes the part. What cannot be removed is warned of and left. Goes on when dropped half
    /// way.
    pub async fn discard(self) {
        let part = self.0;
        let removing = part.stop.clone().spawn_blocking(move || {
            part.close();
            part.remove();
        });
        // A panic in it leaves the part behind, as a crash would.
        let _ = removing.await;
    }
}

impl PieceWriter {
    /// Where the next bytes go.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes the next bytes; waits when the disk is behind. Gives the pieces that are at their end now. Bytes of a piece
    /// that is there already, and those behind the end of the file, are passed over. May be dropped half way only
    /// together with the writer.
    ///
    /// # Errors
    /// The system refuses, or the part is closed. This writer is of no more use then; the part stays.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<Vec<Checked>, StoreError> {
        let mut checked = Vec::new();
        let layout = self.part.tree.layout();
        while !bytes.is_empty() && self.offset < layout.size_bytes() {
            if self.part.stop.is_stopping() {
                return Err(StoreError::Stopped);
            }
            let left = layout.range(layout.piece_at(self.offset)).end - self.offset;
            let now = bytes.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            let next = self.offset + now.len() as u64;
            let written = match self.part.write_here(self.offset, &now) {
                Some(written) => written,
                None => self.write_there(now).await,
            };
            checked.extend(written?);
            self.offset = next;
        }
        Ok(checked)
    }

    async fn write_there(&self, bytes: Bytes) -> Result<Option<Checked>, StoreError> {
        let part = self.part.clone();
        // Never closed.
        let thread = part.threads.clone().acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let (offset, is_gone) = (self.offset, self.is_gone.clone());
        let writing = part.stop.clone().spawn_blocking(move || {
            let _thread = thread;
            let mut stripe = part.stripe(offset).lock().unwrap_or_else(PoisonError::into_inner);
            // Late bytes of a writer that was dropped could spoil what its successor writes.
            if is_gone.load(Ordering::Acquire) {
                return Err(StoreError::Stopped);
            }
            part.write(&mut stripe, offset, &bytes)
        });
        writing.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
