//! One errand: a holder's stream of consecutive pieces into the part, as a task of its own.
//!
//! Invariant: it writes nothing but what the plan has admitted, so that no two streams write one piece, and it is ended
//! by its token, between two writes, or together with the part.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::fetch::{Fetch, Range, Stop};
use super::telling::{StreamTelling, Telling};
use crate::{
    net::throttle::Throttle,
    peer::transfers::Ticket,
    protocol::{
        action::ErrorKind,
        id::ContentHash,
        piece::{PieceCheck, Tree},
        plan::{
            FileName,
            pieces::{Errand, Pieces},
        },
    },
    store::pieces::{PieceFile, PieceWriter},
};

/// What the streams of one download share.
#[derive(Debug)]
pub(super) struct Common {
    // A std lock: held for a step of the rules, never across an await.
    plan: Mutex<Pieces>,
    pub(super) tree: Tree,
    pub(super) part: PieceFile,
    pub(super) ticket: Arc<Ticket>,
    pub(super) telling: Arc<Telling>,
}

impl Common {
    pub(super) fn new(plan: Pieces, tree: Tree, part: PieceFile, ticket: Arc<Ticket>) -> Self {
        let telling = Arc::new(Telling::new(ticket.clone()));
        Self { plan: Mutex::new(plan), tree, part, ticket, telling }
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Pieces> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self) -> ContentHash {
        self.tree.root()
    }
}

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With all that was wanted of it.
    Through,
    /// With a piece that is wrong.
    Wrong(u32),
    /// A right copy of a piece that another stream is writing.
    Spare(u32, Bytes),
    /// Early.
    Failed(Stop),
}

pub(super) struct Stream {
    pub(super) common: Arc<Common>,
    pub(super) errand: Errand,
    /// Of its holder.
    pub(super) name: String,
    pub(super) telling: StreamTelling,
    pub(super) address: SocketAddr,
    pub(super) throttle: Throttle<SocketAddr>,
    pub(super) channel: Arc<Channel>,
    pub(super) leave: CancellationToken,
    pub(super) stall: Duration,
}

impl Stream {
    /// Gives the number of the task.
    pub(super) async fn run(self) -> (u64, Ended) {
        let leave = self.leave.clone();
        // Nothing is being written before the first bytes come: up to there it may be dropped anywhere.
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = leave.cancelled() => return (self.errand.task, Ended::Through),
        };
        let ended = match opened {
            Ok(fetch) if self.errand.is_spare => self.spare(fetch).await,
            Ok(fetch) => self.bring(fetch).await,
            Err(stop) => Err(stop),
        };
        (self.errand.task, ended.unwrap_or_else(Ended::Failed))
    }

    async fn open(&self) -> Result<Fetch, Stop> {
        let (hash, layout) = (self.common.hash(), self.common.tree.layout());
        let (start, end) = (self.errand.start, layout.bytes_of(self.errand.pieces.clone()).end);
        let range = Range { offset: start, length: end - start, with_tree: false };
        let mut fetch = Fetch::open_within(&self.channel, &FileName::Hash(hash), range, self.stall).await?;
        let queued = |position| {
            self.common.plan().holders_mut().made_wait(self.errand.holder);
            self.telling.stands(&self.name, position);
        };
        let (told, _) = fetch.file_from_best(queued, || self.has_better()).await?;
        if told.hash.is_some_and(|told| told != hash) {
            return Err(Stop::last(ErrorKind::Mismatch, "it says that the file has another content"));
        }
        if told.size_bytes != layout.size_bytes() {
            return Err(Stop::last(ErrorKind::Mismatch, "it has another size of the file than was proved"));
        }
        self.telling.flows();
        Ok(fetch)
    }

    async fn bring(&self, mut fetch: Fetch) -> Result<Ended, Stop> {
        let (common, task) = (&self.common, self.errand.task);
        let layout = common.tree.layout();
        let end = layout.bytes_of(self.errand.pieces.clone()).end;
        let mut writer = common.part.writer(self.errand.start);
        while let Some(bytes) = self.next(&mut fetch, end).await? {
            if !self.take(&mut writer, bytes).await? {
                return Ok(Ended::Wrong(layout.piece_at(writer.offset().saturating_sub(1))));
            }
            if common.plan().is_through(task) {
                break;
            }
        }
        Ok(Ended::Through)
    }

    /// False when a piece is wrong.
    async fn take(&self, writer: &mut PieceWriter, mut bytes: Bytes) -> Result<bool, Stop> {
        let (common, task) = (&self.common, self.errand.task);
        let kept = common.plan().admit(task, bytes.len() as u64);
        bytes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let checked = writer.write(bytes).await.map_err(Stop::Here)?;
        common.ticket.count(kept);
        let mut plan = common.plan();
        let is_right = checked.iter().all(|checked| {
            plan.checked(task, checked.piece, checked.is_right);
            checked.is_right
        });
        Ok(is_right)
    }

    async fn spare(&self, mut fetch: Fetch) -> Result<Ended, Stop> {
        let piece = self.errand.pieces.start;
        let range = self.common.tree.layout().range(piece);
        let mut held = BytesMut::new();
        let mut check = PieceCheck::new(&self.common.tree, piece);
        while let Some(bytes) = self.next(&mut fetch, range.end).await? {
            self.common.plan().admit(self.errand.task, bytes.len() as u64);
            check.update(&bytes);
            held.extend_from_slice(&bytes);
        }
        if self.leave.is_cancelled() {
            return Ok(Ended::Through);
        }
        if check.is_right() {
            return Ok(Ended::Spare(piece, held.freeze()));
        }
        self.common.plan().checked(self.errand.task, piece, false);
        Ok(Ended::Wrong(piece))
    }

    /// `None` when nothing more is wanted.
    async fn next(&self, fetch: &mut Fetch, end: u64) -> Result<Option<Bytes>, Stop> {
        let got = tokio::select! {
            got = fetch.bytes_from_best(end, || self.has_better()) => got?,
            () = self.leave.cancelled() => return Ok(None),
        };
        if let Some(bytes) = &got {
            self.throttle.pass(self.address, bytes.len() as u64).await;
        }
        Ok(got)
    }

    fn has_better(&self) -> bool {
        self.common.plan().holders().has_better(self.errand.holder)
    }
}
