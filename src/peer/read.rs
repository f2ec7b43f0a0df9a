//! Reads a file of others, or a range of it, in order and while it arrives, without a copy on this disk.
//!
//! Invariant: every byte that comes out belongs to a piece that was checked against the content hash; a holder that
//! fails or lies is left for the next one at the piece where it did. Memory is bounded by one piece and a short queue.

use std::{net::SocketAddr, ops::Range, time::Duration};

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{
    channels::Channels,
    download::{
        Source,
        fetch::{Fetch, Range as Asked, Stop},
    },
    handle::Events,
};
use crate::{
    net::throttle::Throttle,
    protocol::{
        action::{ActionError, ErrorKind, FileInfo, ReadEvent},
        id::ContentHash,
        name::Printable,
        piece::{PieceCheck, Tree},
        plan::{Failure, FailureKind, FileName},
    },
    shutdown::Shutdown,
};

/// Runs of bytes between the network and the reader, each at most one DATA frame: one piece and some more.
const QUEUE_RUNS: usize = 8;
/// Tries of one holder that break in a row; one that brought a piece begins anew. As of a download.
const MAX_TRIES: u32 = 3;
/// Before a holder is asked again; doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What to read, and from whom.
#[derive(Debug, Clone)]
pub(super) struct ReadFrom {
    pub(super) what: FileName,
    /// The best first.
    pub(super) sources: Vec<Source>,
    pub(super) offset: u64,
    /// `None` to the end.
    pub(super) length: Option<u64>,
}

/// Reads; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    channels: Channels,
    throttle: Throttle<SocketAddr>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Holder {
    source: Source,
    tries: u32,
    /// Not to be asked again.
    is_out: bool,
    last: Option<(ErrorKind, String)>,
}

/// What the holders told, and how far the reader is.
struct Run {
    ask: ReadFrom,
    holders: Vec<Holder>,
    expected: Option<ContentHash>,
    /// The first byte that the reader has not.
    reached: u64,
    is_announced: bool,
    throttle: Throttle<SocketAddr>,
    events: mpsc::Sender<Result<ReadEvent, ActionError>>,
}

/// The reader has gone.
struct Gone;

impl Reader {
    pub(super) fn new(channels: Channels, throttle: Throttle<SocketAddr>, shutdown: Shutdown) -> Self {
        Self { channels, throttle, shutdown }
    }

    /// Starts to read. The file comes first, then its bytes; dropping the events ends it.
    pub(super) fn start(&self, ask: ReadFrom) -> Events<ReadEvent> {
        let (events, receiver) = mpsc::channel(QUEUE_RUNS);
        let holder = |source: &Source| Holder { source: source.clone(), tries: 0, is_out: false, last: None };
        let run = Run {
            holders: ask.sources.iter().map(holder).collect(),
            expected: match ask.what {
                FileName::Hash(hash) => Some(hash),
                FileName::Path(_) => None,
            },
            reached: ask.offset,
            is_announced: false,
            throttle: self.throttle.clone(),
            events,
            ask,
        };
        let channels = self.channels.clone();
        let reading = self.shutdown.spawn("read", async move {
            let left = run.events.clone();
            tokio::select! {
                () = run.read(&channels) => {}
                () = left.closed() => {}
            }
        });
        // The task ends with the stream, which closes the queue.
        drop(reading);
        stream::StreamExt::boxed(ReceiverStream::new(receiver))
    }
}

impl Run {
    async fn read(mut self, channels: &Channels) {
        while let Some(number) = self.next_holder() {
            let wait = wait_before(self.holders[number].tries);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let reached = self.reached;
            let stop = match channels.to(self.holders[number].source.to()) {
                Ok(channel) => self.read_from(&channel, self.holders[number].source.address).await,
                Err(forbidden) => Err(Stop::last(ErrorKind::Refused, forbidden.to_string())),
            };
            match stop {
                // Nothing is stored here, so that nothing can fail here.
                Ok(Ok(()) | Err(Gone)) | Err(Stop::Here(_)) => return,
                Err(Stop::Holder(failure, kind)) => {
                    let holder = &mut self.holders[number];
                    holder.tries = if self.reached > reached { 1 } else { holder.tries + 1 };
                    let may_return = matches!(failure.kind, FailureKind::Passing | FailureKind::Busy);
                    holder.is_out = !may_return || holder.tries >= MAX_TRIES;
                    holder.last = Some((kind, failure.reason));
                }
            }
        }
        let _ = self.events.send(Err(self.failure())).await;
    }

    /// Whoever failed least.
    fn next_holder(&self) -> Option<usize> {
        let able = self.holders.iter().enumerate().filter(|(_, holder)| !holder.is_out);
        able.min_by_key(|(_, holder)| holder.tries).map(|(number, _)| number)
    }

    async fn read_from(&mut self, channel: &Channel, holder: SocketAddr) -> Result<Result<(), Gone>, Stop> {
        // Without the size the beginning of its piece is not known: the first look only learns it.
        let mut first =
            Fetch::open(channel, &self.ask.what, Asked { offset: 0, length: 1, with_tree: true }).await?;
        let (file, values) = first.file(|_| ()).await?;
        drop(first);
        let tree = self.tree(&file, &values)?;
        if !self.is_announced {
            if self.ask.offset > file.size_bytes {
                let said = format!("the file has {} bytes", file.size_bytes);
                return Err(Stop::last(ErrorKind::Usage, said));
            }
            self.is_announced = true;
            if self.events.send(Ok(ReadEvent::File(file.clone()))).await.is_err() {
                return Ok(Err(Gone));
            }
        }
        let end = self.ask.length.map_or(file.size_bytes, |length| self.ask.offset.saturating_add(length));
        let end = end.min(file.size_bytes);
        if self.reached >= end && file.size_bytes > 0 {
            return Ok(Ok(()));
        }
        let layout = tree.layout();
        let last = layout.piece_at(end.saturating_sub(1));
        let mut piece = layout.piece_at(self.reached);
        let range = layout.bytes_of(piece..last.saturating_add(1));
        // From now on the name is the content: what lies at a path may change between two calls.
        let name = FileName::Hash(tree.root());
        let length = range.end - range.start;
        let asked = Asked { offset: range.start, length, with_tree: false };
        let mut fetch = Fetch::open(channel, &name, asked).await?;
        fetch.file(|_| ()).await?;
        let mut waiting = Vec::new();
        let (mut at, mut check) = (range.start, PieceCheck::new(&tree, piece));
        while let Some(mut bytes) = fetch.bytes(range.end).await? {
            self.throttle.pass(holder, bytes.len() as u64).await;
            while !bytes.is_empty() {
                let left = layout.range(piece).end - at;
                let now = bytes.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
                check.update(&now);
                at += now.len() as u64;
                waiting.push(now);
                if at < layout.range(piece).end {
                    continue;
                }
                if !check.is_right() {
                    return Err(Stop::last(ErrorKind::Mismatch, "it sent bytes that do not match the hash"));
                }
                let begin = layout.range(piece).start;
                if self.hand_on(begin, std::mem::take(&mut waiting), self.reached..end).await.is_err() {
                    return Ok(Err(Gone));
                }
                self.reached = at.min(end);
                piece += 1;
                check = PieceCheck::new(&tree, piece);
            }
        }
        // An empty file has no piece: its hash alone tells that it is right.
        if file.size_bytes == 0 && !check.is_right() {
            return Err(Stop::last(ErrorKind::Mismatch, "it says that the file is empty, which it is not"));
        }
        Ok(Ok(()))
    }

    /// What lies within `wanted` of a checked piece that begins at `at`.
    async fn hand_on(&self, mut at: u64, runs: Vec<Bytes>, wanted: Range<u64>) -> Result<(), Gone> {
        for run in runs {
            let end = at + run.len() as u64;
            let cut = |offset: u64| usize::try_from(offset.clamp(at, end) - at).expect("within the run");
            let bytes = run.slice(cut(wanted.start)..cut(wanted.end).max(cut(wanted.start)));
            at = end;
            if !bytes.is_empty() {
                self.events.send(Ok(ReadEvent::Data(bytes))).await.map_err(|_| Gone)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, file: &FileInfo, values: &[u8]) -> Result<Tree, Stop> {
        let hash = match (self.expected, file.hash) {
            (Some(expected), Some(told)) if expected != told => {
                return Err(Stop::last(ErrorKind::Mismatch, "it says that the file has another content"));
            }
            (Some(expected), _) => expected,
            (None, Some(told)) => told,
            // A small file is read for its hash within moments of its change.
            (None, None) => return Err(not_yet("it does not know the hash of the file yet")),
        };
        self.expected = Some(hash);
        Tree::from_values(hash, file.size_bytes, values).map_err(|wrong| {
            if values.is_empty() {
                not_yet("it does not know the pieces of the file yet")
            } else {
                Stop::last(ErrorKind::Mismatch, wrong.to_string())
            }
        })
    }

    fn failure(&self) -> ActionError {
        let reasons = self.holders.iter().filter_map(|holder| {
            let (_, reason) = holder.last.as_ref()?;
            Some(format!("{}: {}", holder.source.name, Printable(reason)))
        });
        let reasons: Vec<String> = reasons.collect();
        let kinds = || self.holders.iter().filter_map(|holder| Some(holder.last.as_ref()?.0));
        // What one holder lacks another may have had: the more telling reason decides.
        let kind = kinds().find(|kind| *kind != ErrorKind::NotFound).or_else(|| kinds().next());
        ActionError::new(
            kind.unwrap_or(ErrorKind::NotFound),
            format!(
                "could not read on after {} bytes: {}",
                self.reached - self.ask.offset,
                reasons.join("; ")
            ),
        )
        .hint("search again for other holders")
    }
}

fn not_yet(reason: &str) -> Stop {
    Stop::Holder(Failure::new(FailureKind::Passing, reason), ErrorKind::Refused)
}

fn wait_before(tries: u32) -> Duration {
    match tries.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => (FIRST_WAIT * (1 << doublings.min(16))).min(LONGEST_WAIT),
    }
}
