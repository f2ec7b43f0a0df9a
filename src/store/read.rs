//! The bytes of a shared file on their way out, read on a thread of the blocking pool into a short queue.
//!
//! Invariant: a chunk is handed on only when the file was still what it was at the beginning right after the chunk was
//! read, so that nobody gets bytes of two versions without being told.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout},
};

use super::pool::{Buffer, Pool};
use crate::{
    protocol::{action::FileInfo, id::ContentHash, pace::LeastPace, piece::Tree, plan::FileName},
    shutdown::Shutdown,
};

/// Chunks read ahead of the network: hides one slow disk access, costs 1 MiB at 256 KiB each.
pub const READ_AHEAD_CHUNKS: usize = 4;
/// A fetcher that takes no chunk for so long is given up, and its slot with it; sooner when it was slow before.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a file cannot be read out.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not in the index, or not on disk any more.
    #[error("there is no such file")]
    NotFound,
    /// It is not what the index says, or changed while it was read.
    #[error("the file changed")]
    Changed,
    /// The offset lies behind its end.
    #[error("the offset lies behind the end of the file, which has {size_bytes} bytes")]
    OutOfRange {
        /// Of the file.
        size_bytes: u64,
    },
    /// The system refused.
    #[error("the file could not be read")]
    Io(#[from] io::Error),
}

/// Where shared files come from. Implemented by the index; called on the blocking pool.
pub trait FileSource: Send + Sync + 'static {
    /// Opens a shared file.
    ///
    /// # Errors
    /// `NotFound` when nothing of that name is shared, `Changed` when it is not any more what the index knows.
    fn open(&self, what: &FileName) -> Result<SourceFile, SourceError>;

    /// Opens a shared file when that needs no disk. Called on a worker of the runtime: never waits. `None` says nothing.
    fn open_cached(&self, _what: &FileName) -> Option<SourceFile> {
        None
    }

    /// The values of the pieces of a shared content, beside its hash; `None` when they are not known.
    fn tree(&self, hash: &ContentHash) -> Option<Tree>;
}

/// A shared file, open.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    info: FileInfo,
    stamp: Stamp,
}

impl SourceFile {
    /// From an open file and what the index knows of it.
    ///
    /// # Errors
    /// `Changed` when its size is another one; `NotFound` when it is not a regular file.
    pub fn new(file: File, info: FileInfo) -> Result<Self, SourceError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(SourceError::NotFound);
        }
        if metadata.len() != info.size_bytes {
            return Err(SourceError::Changed);
        }
        Ok(Self { file, info, stamp: Stamp::of(&metadata) })
    }

    /// As others see it.
    pub fn info(&self) -> &FileInfo {
        &self.info
    }

    /// Reads all of it; `bytes` is as long as its size. Blocks.
    ///
    /// # Errors
    /// `Changed` when it is not what it was when it was opened.
    pub fn read_whole(&self, bytes: &mut [u8]) -> Result<(), SourceError> {
        self.file.read_exact_at(bytes, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SourceError::Changed,
            _ => SourceError::Io(error),
        })?;
        if Stamp::of(&self.file.metadata()?) != self.stamp {
            return Err(SourceError::Changed);
        }
        Ok(())
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// What changes when a file is written. `ctime` catches writers that put `mtime` back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A part of a file, checked against its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Behind the last byte.
    pub end: u64,
}

impl Range {
    /// Cut at the end of the file; `None` is to the end.
    ///
    /// # Errors
    /// `OutOfRange` when it begins behind the end.
    pub fn within(size_bytes: u64, offset: u64, length: Option<u64>) -> Result<Self, SourceError> {
        if offset > size_bytes {
            return Err(SourceError::OutOfRange { size_bytes });
        }
        let end = length.map_or(size_bytes, |length| offset.saturating_add(length).min(size_bytes));
        Ok(Self { offset, end })
    }
}

/// A run of bytes of a file, behind free headroom in a buffer.
#[derive(Debug)]
pub struct Chunk {
    /// Where it belongs.
    pub offset: u64,
    /// Bytes of payload.
    pub payload_bytes: usize,
    /// Headroom, then the payload.
    pub buffer: Buffer,
}

/// Chunks in order; closed after the last one or after an error.
pub type Chunks = mpsc::Receiver<Result<Chunk, SourceError>>;

/// Reads a range in chunks of `chunk_bytes` (less when the pool's buffers hold less) behind `headroom` free bytes, at most
/// `ahead_chunks` ahead of who takes them.
/// `held` is dropped when reading has ended and every chunk was taken, or when nobody took any for a minute, or they are
/// taken more slowly than the [`LeastPace`]; the chunks end too early then.
pub fn chunks<H: Send + 'static>(
    source: SourceFile,
    range: Range,
    (pool, headroom, chunk_bytes): (&Pool, usize, usize),
    ahead_chunks: usize,
    held: H,
    shutdown: &Shutdown,
) -> Chunks {
    let (sender, chunks) = mpsc::channel(ahead_chunks.max(1));
    let (pool, stop, runtime) = (pool.clone(), shutdown.clone(), Handle::current());
    let chunk_bytes = chunk_bytes.min(pool.buffer_bytes().saturating_sub(headroom)).max(1);
    let read_all = move || {
        let (mut offset, mut pace) = (range.offset, LeastPace::new(STALL_TIMEOUT));
        // Once at least, so that an empty range tells of a changed file too.
        loop {
            match read_chunk(&source, &pool, headroom, offset, range.end, chunk_bytes) {
                Ok(Some(chunk)) => {
                    let bytes = chunk.payload_bytes as u64;
                    offset += bytes;
                    let began = Instant::now();
                    if stop.is_stopping() || !hand_on(&runtime, &sender, Ok(chunk), pace.patience()) {
                        return;
                    }
                    pace.waited(began.elapsed(), bytes);
                }
                Ok(None) => {}
                Err(error) => {
                    hand_on(&runtime, &sender, Err(error), pace.patience());
                    break;
                }
            }
            if offset == range.end {
                break;
            }
        }
        // All places of the queue are free when its chunks were taken: until then the slot stays taken.
        let taken = timeout(pace.patience(), sender.reserve_many(sender.max_capacity()));
        let _ = runtime.block_on(taken);
        drop(held);
    };
    drop(shutdown.spawn_blocking(read_all));
    chunks
}

/// The only chunk of a range that fits one, read at once; `None` of an empty range, where only the file's state is
/// checked. Blocks.
///
/// # Errors
/// `Changed` when the file is not what it was when it was opened.
pub fn only_chunk(
    source: &SourceFile,
    range: Range,
    (pool, headroom): (&Pool, usize),
) -> Result<Option<Chunk>, SourceError> {
    read_chunk(source, pool, headroom, range.offset, range.end, pool.buffer_bytes() - headroom)
}

/// As [`only_chunk`], when the bytes are in memory; never waits. No chunk of an empty range; `None` says nothing.
pub fn cached_chunk(
    source: &SourceFile,
    range: Range,
    (pool, headroom): (&Pool, usize),
) -> Option<Vec<Chunk>> {
    let payload_bytes = usize::try_from(range.end - range.offset).ok()?;
    let mut chunks = Vec::new();
    if payload_bytes > 0 {
        let mut buffer = pool.take();
        let payload = buffer.bytes_mut().get_mut(headroom..headroom + payload_bytes)?;
        read_cached(&source.file, payload, range.offset)?;
        chunks.push(Chunk { offset: range.offset, payload_bytes, buffer });
    }
    (Stamp::of(&source.file.metadata().ok()?) == source.stamp).then_some(chunks)
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, bytes: &mut [u8], offset: u64) -> Option<()> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    /// Of a file system that lies in memory, and so has no such flag.
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let size = bytes.len();
    match preadv2(file, &mut [io::IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => (read == size).then_some(()),
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)] // widths differ
        Err(Errno::OPNOTSUPP) => {
            let kind = i64::try_from(rustix::fs::fstatfs(file).ok()?.f_type).ok()?;
            (kind == TMPFS_MAGIC).then(|| file.read_exact_at(bytes, offset).ok()).flatten()
        }
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> Option<()> {
    None
}

fn hand_on<T>(runtime: &Handle, sender: &mpsc::Sender<T>, item: T, patience: Duration) -> bool {
    match sender.try_send(item) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(item)) => {
            runtime.block_on(timeout(patience, sender.send(item))).is_ok_and(|sent| sent.is_ok())
        }
    }
}

/// `None` at the end of an empty range, where only the file's state was checked.
fn read_chunk(
    source: &SourceFile,
    pool: &Pool,
    headroom: usize,
    offset: u64,
    end: u64,
    chunk_bytes: usize,
) -> Result<Option<Chunk>, SourceError> {
    let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
    let payload_bytes = left.min(chunk_bytes);
    let chunk = if payload_bytes == 0 {
        None
    } else {
        let mut buffer = pool.take();
        let payload = &mut buffer.bytes_mut()[headroom..headroom + payload_bytes];
        source.file.read_exact_at(payload, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SourceError::Changed,
            _ => SourceError::Io(error),
        })?;
        Some(Chunk { offset, payload_bytes, buffer })
    };
    if Stamp::of(&source.file.metadata()?) != source.stamp {
        return Err(SourceError::Changed);
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests;
