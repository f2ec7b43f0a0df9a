//! A file that is being written: hidden under a part name until it is whole, then published in one step.
//!
//! Invariant: the part file is removed by whatever way its transfer ends, and publishing never replaces a file. Hashed
//! as it is written, by the thread that writes it; what the disk itself spoils is found by the next scan of the
//! index, and a part that failed to reach the disk is discarded, not trusted. A disk that makes one write wait gets a
//! thread of its own.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use rand::RngExt;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    PART_SUFFIX, SpaceWatch, StoreError, check_space,
    inline::{SLOW_WRITE, at_the_disk, has_workers},
    pieces::hold::is_at,
    publish::{cut, folder_of, publish},
    verify::Running,
};
use crate::{
    protocol::{id::ContentHash, name::MAX_NAME_BYTES},
    shutdown::Shutdown,
};

/// DATA frames between the network and the disk: at most 2 MiB of 256 KiB frames.
const QUEUE_FRAMES: usize = 8;
/// Names that are tried for a part, each taken away by a sweep between its making and its lock.
const MAX_NAMES: usize = 4;

enum Order {
    Write(Bytes),
    /// Away with what was written.
    Restart,
    Sum(oneshot::Sender<Sum>),
    Publish(oneshot::Sender<PathBuf>),
}

/// What was written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub size_bytes: u64,
    /// Their hash.
    pub hash: ContentHash,
}

/// A file being written. Dropping it stops the writer and removes the part file soon after; [`Self::discard`] waits
/// for that.
#[derive(Debug)]
pub struct PartFile {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    may_write_here: bool,
    stop: Shutdown,
}

#[derive(Debug, Default)]
struct Shared {
    is_dropped: AtomicBool,
    /// Orders that the writer has not carried out yet. Only the face adds to it.
    orders: AtomicUsize,
    // A std lock: held while writing, by the writer or by a face that saw that there is no order.
    part: Mutex<Option<Part>>,
    // A std lock: taken once by the writer when it fails and once by whoever hears of it.
    error: Mutex<Option<StoreError>>,
}

impl PartFile {
    /// Opens a part file beside `destination`, which is where the file is to be published. The folder is made when it
    /// is missing. `size_bytes` is checked against the free space.
    ///
    /// # Errors
    /// No space, or the system refuses. Nothing is left behind.
    pub async fn create(
        destination: PathBuf,
        size_bytes: u64,
        shutdown: &Shutdown,
    ) -> Result<Self, StoreError> {
        let (orders, queue) = mpsc::channel(QUEUE_FRAMES);
        let (opened, is_open) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let for_writer = shared.clone();
        let stop = shutdown.clone();
        let writer = shutdown.spawn_blocking(move || {
            let part = match Part::create(destination, size_bytes) {
                Ok(part) => part,
                Err(error) => return for_writer.fail(error),
            };
            *for_writer.part() = Some(part);
            if opened.send(()).is_ok()
                && let Err(error) = obey(queue, &for_writer, &stop)
            {
                for_writer.fail(error);
            }
            drop(for_writer.part().take());
        });
        let may_write_here = has_workers();
        let part = Self { orders, shared, writer: Some(writer), may_write_here, stop: shutdown.clone() };
        if is_open.await.is_err() { Err(part.discard().await) } else { Ok(part) }
    }

    /// Writes the next bytes or queues them; waits when the disk is behind. May be dropped half way only together with
    /// the part.
    ///
    /// # Errors
    /// An earlier write failed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match self.write_here(&bytes) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                // What the file holds now is not what was hashed: nothing can be done with it but to discard it.
                self.shared.fail(error);
                self.close();
                Err(self.failure().await)
            }
            None => self.order(Order::Write(bytes)).await,
        }
    }

    /// `None` when it is the writer's turn.
    fn write_here(&mut self, bytes: &[u8]) -> Option<Result<(), StoreError>> {
        let has_orders = self.shared.orders.load(Ordering::Acquire) > 0;
        if !self.may_write_here || has_orders || self.stop.is_stopping() {
            return None;
        }
        let _at_the_disk = at_the_disk()?;
        let mut part = self.shared.part();
        let began = Instant::now();
        let written = part.as_mut()?.write(bytes);
        self.may_write_here = began.elapsed() < SLOW_WRITE;
        Some(written)
    }

    /// Throws away what was written.
    ///
    /// # Errors
    /// An earlier write failed.
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        self.order(Order::Restart).await
    }

    /// Waits for the queue and gives size and hash of what was written.
    ///
    /// # Errors
    /// A write failed.
    pub async fn sum(&mut self) -> Result<Sum, StoreError> {
        let (answer, sum) = oneshot::channel();
        self.order(Order::Sum(answer)).await?;
        match sum.await {
            Ok(sum) => Ok(sum),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Brings everything to disk and gives it its name, or `name (1).ext` and so on when that is taken. Gives the path.
    ///
    /// # Errors
    /// The system refuses; the part is removed then.
    pub async fn publish(mut self) -> Result<PathBuf, StoreError> {
        let (answer, path) = oneshot::channel();
        self.order(Order::Publish(answer)).await?;
        match path.await {
            Ok(path) => Ok(path),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Removes the part and waits until it is gone. Gives the error of the writer if it had one.
    pub async fn discard(mut self) -> StoreError {
        self.shared.is_dropped.store(true, Ordering::Relaxed);
        self.close();
        self.failure().await
    }

    /// The writer removes the part and ends.
    fn close(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.orders = closed;
        self.may_write_here = false;
    }

    async fn order(&mut self, order: Order) -> Result<(), StoreError> {
        self.shared.orders.fetch_add(1, Ordering::Relaxed);
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    async fn failure(&mut self) -> StoreError {
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has unwound the part away; there is no more to say than that it stopped.
            let _ = writer.await;
        }
        self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(StoreError::Stopped)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn fail(&self, error: StoreError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn part(&self) -> MutexGuard<'_, Option<Part>> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer: takes orders until the face of the part is gone.
fn obey(mut queue: mpsc::Receiver<Order>, shared: &Shared, stop: &Shutdown) -> Result<(), StoreError> {
    while let Some(order) = queue.blocking_recv() {
        if stop.is_stopping() {
            return Err(StoreError::Stopped);
        }
        let mut held = shared.part();
        let Some(part) = held.as_mut() else { return Ok(()) };
        match order {
            Order::Publish(answer) => {
                // The order was given, so it is carried out even if nobody waits for the answer any more.
                let path = part.publish()?;
                let _ = answer.send(path);
                return Ok(());
            }
            _ if shared.is_dropped.load(Ordering::Relaxed) => return Ok(()),
            Order::Write(bytes) => part.write(&bytes)?,
            Order::Restart => part.restart()?,
            Order::Sum(answer) => {
                let _ = answer.send(Sum { size_bytes: part.size_bytes, hash: part.hash.hash() });
            }
        }
        drop(held);
        shared.orders.fetch_sub(1, Ordering::Release);
    }
    Ok(())
}

/// The file itself; removed when dropped unpublished.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    destination: PathBuf,
    hash: Running,
    size_bytes: u64,
    space: SpaceWatch,
    is_published: bool,
}

impl Part {
    fn create(destination: PathBuf, size_bytes: u64) -> Result<Self, StoreError> {
        let folder = &folder_of(&destination).to_path_buf();
        std::fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
        check_space(folder, size_bytes)?;
        let (file, path) = Self::held(folder, &destination)?;
        let (hash, space) = (Running::default(), SpaceWatch::of(folder));
        Ok(Self { file, path, destination, hash, size_bytes: 0, space, is_published: false })
    }

    /// A new file that no sweep takes for dead: whoever removes parts asks for its lock before.
    fn held(folder: &Path, destination: &Path) -> Result<(File, PathBuf), StoreError> {
        for _ in 0..MAX_NAMES {
            let path = folder.join(part_name(destination));
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            let file = file.map_err(StoreError::io("create", &path))?;
            // File systems without locks go without.
            let is_lost = flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
            if !is_lost && is_at(&file, &path) {
                return Ok((file, path));
            }
            // A sweep was quicker than the lock, and removes it or leaves it behind empty.
            _ = std::fs::remove_file(&path);
        }
        Err(StoreError::NamesTaken(destination.to_path_buf()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write", &self.path))?;
        // Right after the write, while the bytes are still in the cache of the processor.
        self.hash.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.space.wrote(bytes.len())
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        use std::io::Seek;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(StoreError::io("empty", &self.path))?;
        self.hash = Running::default();
        self.size_bytes = 0;
        Ok(())
    }

    fn publish(&mut self) -> Result<PathBuf, StoreError> {
        self.file.sync_all().map_err(StoreError::io("bring to disk", &self.path))?;
        let published = publish(&self.path, &self.destination)?;
        self.is_published = true;
        Ok(published)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a part file");
        }
    }
}

/// Hidden, recognised by its ending, and never longer than a name may be.
pub(super) fn part_name(destination: &Path) -> String {
    let name = destination.file_name().unwrap_or_default().to_string_lossy();
    let random: u64 = rand::rng().random();
    let tail = format!(".{random:016x}{PART_SUFFIX}");
    format!(".{}{tail}", cut(&name, MAX_NAME_BYTES - 1 - tail.len()))
}

#[cfg(test)]
mod tests;
