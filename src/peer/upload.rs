//! Gives files of the index to others: the Download service.
//!
//! Two faces over one reading: [`FastDownload`] answers with a body framed by hand, one buffer per DATA frame and no copy;
//! [`Uploads::stream`] gives the generated messages. Invariant: at most so many uploads read at once as there are slots,
//! no fetcher has more than half of them, and none keeps one that takes bytes too slowly. The others wait their turn in a
//! fair queue, each for as long as its fetcher keeps the stream open.

mod fast;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use self::fast::FastDownload;
use super::transfers::{Slots, Ticket, Transfers};
use crate::{
    net::{
        Caller, CallerKey,
        queue::{Place, Queue, Turn},
        shelter::own_fault,
        throttle::Throttle,
    },
    protocol::{
        action::Direction,
        bucket::RateLimits,
        pace::LEAST_BYTES_PER_SECOND,
        queue::{QueueBounds, QueueFull},
    },
    shutdown::Shutdown,
    store::{
        pool::Pool,
        read::{
            Chunk, FileSource, READ_AHEAD_CHUNKS, Range, SourceError, SourceFile, cached_chunk, chunks,
            only_chunk,
        },
    },
    wire::{
        common::to_file_entry,
        pb,
        transfer::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, RangeAsk, frame, range_ask},
    },
};

/// How long a fetcher may take to say what it wants, and a disk to open it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// When a fetcher may ask again that found the queue full. A guess: some files of a few MB.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Fetches that wait for a slot, in all and of one fetcher; more are refused. Each costs a task and a stream.
const MAX_WAITING: usize = 1024;
/// See [`MAX_WAITING`]: a batch of files is fetched by some streams each.
const MAX_WAITING_PER_FETCHER: usize = 64;
/// Positions that a fetcher has not read yet, before it is told no more, and one place for the upload itself.
const UNREAD_NEWS: usize = 4;
/// Chunks that a rate limit is cut into, at least, so that none keeps the others waiting for long.
const CHUNKS_PER_SECOND: u64 = 16;
/// Buffers kept beyond their use, per slot: what is read ahead and what the connection holds.
const SPARE_BUFFERS_PER_SLOT: usize = 8;
/// A range of at most so many bytes is read by the task that opens the file: a thread of its own costs more than that.
const AT_ONCE_BYTES: u64 = 64 << 10;
/// How long a fetcher may leave such bytes untaken and keep the slot.
const UNTAKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Chunks that all uploads read ahead together, about: each fewer the more there are. Many at once hide each other's disk
/// accesses, and would else take 1 MiB each for it.
const READ_AHEAD_IN_ALL: usize = 32;

/// The uploads of a peer; cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    source: Arc<dyn FileSource>,
    slots: Queue<CallerKey>,
    throttle: Throttle<CallerKey>,
    /// Chunks are no larger: under a low rate, large ones would come too seldom.
    most_chunk_bytes: usize,
    pool: Pool,
    large_pool: Pool,
    transfers: Transfers,
    shutdown: Shutdown,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("taken_slots", &self.0.slots.holding()).finish_non_exhaustive()
    }
}

pub(super) type Slot = Place<CallerKey>;

/// A file that was asked for and opened, and its slot.
struct Upload {
    source: SourceFile,
    tree: Bytes,
    range: Range,
    /// All of a small range.
    at_once: Option<Vec<Chunk>>,
    chunk_bytes: usize,
    slot: Slot,
    fetcher: CallerKey,
    ticket: Ticket,
}

/// The values of its pieces are those that were asked for; a small range has been read.
type OpenedFile = (SourceFile, Bytes, Range, Option<Vec<Chunk>>, Slot);

/// One message of an answer.
enum Part {
    /// A position, or the file.
    Word(pb::DownloadResponse),
    /// Bytes of it.
    Chunk(Chunk),
}

type Parts = BoxStream<'static, Result<Part, Status>>;

/// What a call for many files runs with.
pub(super) struct ManyPlace {
    pub(super) slot: Slot,
    pub(super) fetcher: CallerKey,
    pub(super) throttle: Throttle<CallerKey>,
    pub(super) ticket: Ticket,
    pub(super) source: Arc<dyn FileSource>,
    pub(super) shutdown: Shutdown,
}

impl Uploads {
    /// With no upload yet, and so many slots; a fetcher gets half of them at most, but one at least. A rate limit leaves
    /// no more slots than it brings forward at twice the least pace.
    pub fn new(
        source: Arc<dyn FileSource>,
        slots: usize,
        limits: RateLimits,
        transfers: Transfers,
        shutdown: Shutdown,
    ) -> Self {
        let within = |rate: u64, slots: usize| match rate {
            0 => slots.max(1),
            rate => {
                let paced = usize::try_from(rate / (2 * LEAST_BYTES_PER_SECOND)).unwrap_or(usize::MAX);
                slots.min(paced).max(1)
            }
        };
        let slots = within(limits.whole, slots);
        let least_rate = [limits.whole, limits.per_peer].into_iter().filter(|&rate| rate > 0).min();
        let paced_chunk = usize::try_from(least_rate.unwrap_or(u64::MAX) / CHUNKS_PER_SECOND);
        let keep = slots.saturating_mul(SPARE_BUFFERS_PER_SLOT).min(256);
        Self(Arc::new(Inner {
            source,
            slots: Queue::new(QueueBounds {
                places: slots,
                places_per_caller: within(limits.per_peer, slots / 2),
                keeps_room: false,
                waiting: MAX_WAITING,
                waiting_per_caller: MAX_WAITING_PER_FETCHER,
            }),
            throttle: Throttle::new(limits),
            most_chunk_bytes: paced_chunk.unwrap_or(usize::MAX).clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES),
            pool: Pool::new(frame::HEADROOM + DEFAULT_CHUNK_BYTES, keep),
            large_pool: Pool::new(frame::HEADROOM + MAX_CHUNK_BYTES, keep / 4),
            transfers,
            shutdown,
        }))
    }

    /// Answers as generated code wants it. `fetcher` is shown in the list of transfers.
    ///
    /// # Errors
    /// As the proto file says.
    pub async fn stream(
        &self,
        request: pb::DownloadRequest,
        fetcher: Caller,
    ) -> Result<BoxStream<'static, Result<pb::DownloadResponse, Status>>, Status> {
        let parts = self.answer(range_ask(request)?, fetcher).await?;
        let messages = parts.map(|part| {
            Ok(match part? {
                Part::Word(message) => message,
                Part::Chunk(Chunk { offset, payload_bytes, buffer }) => {
                    let end = frame::HEADROOM + payload_bytes;
                    let data = buffer.freeze(end).slice(frame::HEADROOM..);
                    pb::DownloadResponse { offset, data, ..Default::default() }
                }
            })
        });
        Ok(messages.boxed())
    }

    /// A slot for a call for many files, or a place in the queue for it.
    pub(super) fn enter_for_many(&self, fetcher: Caller) -> Result<Slot, Status> {
        self.0.slots.enter(fetcher.key()).map_err(full)
    }

    /// A place in the list for whoever has a slot, and where its files come from.
    pub(super) fn place_for_many(&self, slot: Slot, fetcher: Caller) -> Result<ManyPlace, Status> {
        let begun = self.0.transfers.begin(Direction::Upload, "small files", 0, vec![fetcher.to_string()]);
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        let (source, throttle) = (self.0.source.clone(), self.0.throttle.clone());
        let (fetcher, shutdown) = (fetcher.key(), self.0.shutdown.clone());
        Ok(ManyPlace { slot, fetcher, throttle, ticket, source, shutdown })
    }

    /// The place in the line that a new fetcher would get now; 0 when it would begin at once.
    pub(super) fn next_place(&self) -> u32 {
        u32::try_from(self.0.slots.next_place()).unwrap_or(u32::MAX)
    }

    /// The slots of uploads.
    pub(super) fn slots(&self) -> Slots {
        let queue = &self.0.slots;
        let (limit, in_use, waiting) = (queue.places(), queue.holding(), queue.waiting());
        Slots { limit: limit as u64, in_use: in_use as u64, waiting: waiting as u64 }
    }

    /// With which its tasks end.
    pub(super) fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    async fn answer(&self, ask: RangeAsk, fetcher: Caller) -> Result<Parts, Status> {
        let mut slot = self.0.slots.enter(fetcher.key()).map_err(full)?;
        if slot.is_mine() {
            return Ok(self.read(self.open(ask, fetcher, slot).await?));
        }
        let (news, parts) = mpsc::channel(UNREAD_NEWS);
        // A task of its own: a fetcher that reads nothing is to lose the slot when its turn has come.
        let waiting = self.clone().wait(slot, ask, fetcher, news);
        drop(self.0.shutdown.spawn("queue", waiting));
        Ok(ReceiverStream::new(parts).flatten().boxed())
    }

    /// Tells of the place in the queue, then hands the whole upload on.
    async fn wait(self, mut slot: Slot, ask: RangeAsk, fetcher: Caller, news: mpsc::Sender<Parts>) {
        let only = |part: Result<Part, Status>| stream::iter([part]).boxed();
        loop {
            let turn = tokio::select! {
                () = news.closed() => return,
                () = self.0.shutdown.stopping() => break,
                turn = slot.news() => turn,
            };
            match turn {
                Turn::Position(queue_position) if news.capacity() > 1 => {
                    let told = pb::DownloadResponse { queue_position, ..Default::default() };
                    let _ = news.try_send(only(Ok(Part::Word(told))));
                }
                Turn::Position(_) => {}
                Turn::Now => {
                    let opened = tokio::select! {
                        () = news.closed() => return,
                        opened = self.open(ask, fetcher, slot) => opened,
                    };
                    // There is room: one place was always left.
                    let _ = news.try_send(match opened {
                        Ok(upload) => self.read(upload),
                        Err(status) => only(Err(status)),
                    });
                    return;
                }
            }
        }
        let _ = news.try_send(only(Err(Status::unavailable("this peer is stopping"))));
    }

    async fn open(&self, ask: RangeAsk, fetcher: Caller, slot: Slot) -> Result<Upload, Status> {
        let opened = match self.open_now(&ask) {
            Some((source, range, chunks)) => (source, Bytes::new(), range, Some(chunks), slot),
            None => self.open_there(&ask, slot).await?,
        };
        let (source, tree, range, at_once, slot) = opened;
        let size_bytes = range.end - range.offset;
        let begun = self.0.transfers.begin(
            Direction::Upload,
            source.info().name(),
            size_bytes,
            vec![fetcher.to_string()],
        );
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        ticket.update(|transfer| transfer.hash = source.info().hash);
        let chunk_bytes = ask.chunk_bytes.min(self.0.most_chunk_bytes);
        Ok(Upload { source, tree, range, at_once, chunk_bytes, slot, fetcher: fetcher.key(), ticket })
    }

    /// A small file that lies in memory, and all of what is wanted of it.
    fn open_now(&self, ask: &RangeAsk) -> Option<(SourceFile, Range, Vec<Chunk>)> {
        let source = self.0.source.open_cached(&ask.file)?;
        let size_bytes = source.info().size_bytes;
        let range = Range::within(size_bytes, ask.offset, ask.length).ok()?;
        // It has one piece, and so no values to look up.
        (size_bytes <= self.at_once_bytes(ask)).then_some(())?;
        let chunks = cached_chunk(&source, range, (&self.0.pool, frame::HEADROOM))?;
        Some((source, range, chunks))
    }

    fn at_once_bytes(&self, ask: &RangeAsk) -> u64 {
        AT_ONCE_BYTES.min(ask.chunk_bytes.min(self.0.most_chunk_bytes) as u64)
    }

    /// On a thread that may wait for the disk.
    async fn open_there(&self, ask: &RangeAsk, slot: Slot) -> Result<OpenedFile, Status> {
        let (inner, ask, at_once_bytes) = (self.0.clone(), ask.clone(), self.at_once_bytes(ask));
        // A network drive may hang: the call ends then, and the slot is given back when the drive answers.
        let opening = self.0.shutdown.spawn_blocking(move || {
            let source = inner.source.open(&ask.file)?;
            let range = Range::within(source.info().size_bytes, ask.offset, ask.length)?;
            let hash = source.info().hash.filter(|_| ask.with_tree);
            let tree = hash.and_then(|hash| inner.source.tree(&hash));
            // Values of another size are not those of this file.
            let tree = tree.filter(|tree| tree.layout().size_bytes() == source.info().size_bytes);
            let tree = tree.map_or_else(Bytes::new, |tree| tree.values().into());
            let is_small = range.end - range.offset <= at_once_bytes;
            let buffers = (&inner.pool, frame::HEADROOM);
            let at_once =
                is_small.then(|| only_chunk(&source, range, buffers)).transpose()?.map(Vec::from_iter);
            Ok((source, tree, range, at_once, slot))
        });
        let opened = tokio::time::timeout(REQUEST_TIMEOUT, opening)
            .await
            .map_err(|_| Status::deadline_exceeded("the disk did not answer in time"))?
            .map_err(|_| own_fault(Code::Internal, "opening the file failed"))?;
        opened.map_err(|error| source_status(&error))
    }

    /// The file, then its bytes. Reading begins now, whether or not anyone takes them.
    fn read(&self, mut upload: Upload) -> Parts {
        let file = Some(to_file_entry(upload.source.info()));
        let first = pb::DownloadResponse { file, tree: upload.tree.clone(), ..Default::default() };
        let first = stream::iter([Ok(Part::Word(first))]);
        match upload.at_once.take() {
            Some(chunks) => {
                first.chain(self.give_at_once(upload, chunks).map(|c| Ok(Part::Chunk(c)))).boxed()
            }
            None => first.chain(self.read_chunks(upload).map(|chunk| Ok(Part::Chunk(chunk?)))).boxed(),
        }
    }

    /// What was read with the opening. As with all else the slot is taken until the bytes are.
    fn give_at_once(&self, upload: Upload, chunks: Vec<Chunk>) -> impl Stream<Item = Chunk> + Send + use<> {
        let Upload { slot, fetcher, ticket, .. } = upload;
        let slot = Arc::new(Mutex::new((!chunks.is_empty()).then_some(slot)));
        let give_back = |slot: &Mutex<Option<Slot>>| drop(slot.lock().map(|mut slot| slot.take()));
        let (taken, is_taken) = oneshot::channel::<()>();
        let kept = slot.clone();
        drop(self.0.shutdown.spawn("upload", async move {
            let _ = tokio::time::timeout(UNTAKEN_TIMEOUT, is_taken).await;
            give_back(&kept);
        }));
        ticket.enter(crate::protocol::action::TransferState::Running);
        let held = Arc::new((self.0.throttle.clone(), ticket, taken));
        stream::iter(chunks).then(move |chunk| {
            let (held, slot) = (held.clone(), slot.clone());
            async move {
                let bytes = chunk.payload_bytes as u64;
                held.0.pass(fetcher, bytes).await;
                held.1.count(bytes);
                // Before the end is told, so that whoever hears of it may have it next.
                give_back(&slot);
                chunk
            }
        })
    }

    fn read_chunks(&self, upload: Upload) -> impl Stream<Item = Result<Chunk, Status>> + Send + use<> {
        use crate::protocol::action::TransferState::Running;
        let Upload { source, range, chunk_bytes, slot, fetcher, ticket, .. } = upload;
        let throttle = self.0.throttle.clone();
        let pool = if chunk_bytes > DEFAULT_CHUNK_BYTES { &self.0.large_pool } else { &self.0.pool };
        let end = range.end;
        let buffers = (pool, frame::HEADROOM, chunk_bytes);
        let ahead_chunks = ahead_of_each(self.0.slots.holding());
        let chunks = chunks(source, range, buffers, ahead_chunks, slot, &self.0.shutdown);
        ticket.enter(Running);
        stream::unfold(Some((chunks, throttle, ticket, range.offset)), move |state| async move {
            let (mut chunks, throttle, ticket, reached) = state?;
            match chunks.recv().await {
                Some(Ok(chunk)) => {
                    let bytes = chunk.payload_bytes as u64;
                    throttle.pass(fetcher, bytes).await;
                    ticket.count(bytes);
                    Some((Ok(chunk), Some((chunks, throttle, ticket, reached + bytes))))
                }
                Some(Err(error)) => Some((Err(source_status(&error)), None)),
                None if reached < end => {
                    Some((Err(Status::unavailable("the upload was stopped, or the fetcher stalled")), None))
                }
                None => None,
            }
        })
    }
}

/// Chunks that an upload reads ahead when so many run, itself among them.
fn ahead_of_each(uploads: usize) -> usize {
    (READ_AHEAD_IN_ALL / uploads.max(1)).clamp(1, READ_AHEAD_CHUNKS)
}

fn full(full: QueueFull) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    let message = match full {
        QueueFull::Caller => "you have too many fetches waiting for an upload slot",
        QueueFull::Total => "too many fetches wait for an upload slot",
    };
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn source_status(error: &SourceError) -> Status {
    let code = match error {
        SourceError::NotFound => Code::NotFound,
        SourceError::Changed => Code::Aborted,
        SourceError::OutOfRange { .. } => Code::OutOfRange,
        SourceError::Io(cause) => {
            tracing::warn!(%cause, "could not read a shared file");
            Code::Internal
        }
    };
    // A file that became shorter is not the fetcher's fault, and a disk that fails is ours.
    own_fault(code, error.to_string())
}
