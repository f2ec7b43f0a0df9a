//! What this peer keeps for the network, and what it has the network keep: keeper, holder and owner in one.
//!
//! Invariant: a content counts as kept only when it was pulled from a member of the roster, verified and on disk, with its
//! record beside it; what is on its way is bounded by the store.

mod others;
mod own;
mod put;
mod rounds;
mod scrub;
mod service;
mod staged;
mod turns;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use tonic::Status;

pub(super) use self::{service::ReplicaFace, staged::Staged, turns::Turns};
use super::{
    channels::Channels,
    download::{DownloadAsk, Downloader, Source},
    transfers::Transfers,
    view::View,
};
use crate::{
    index::Index,
    protocol::{action::TransferState, id::ContentHash, plan::FileName, roster::Member},
    shutdown::Shutdown,
    store::{
        puts::Puts,
        replica::{Admitted, Refusal, Replica, Replicas},
    },
    wire::replica::KeepAsk,
};

/// Contents that are pulled at once; more wait their turn, the store bounds how many. A guess: two hide each other's round
/// trips, and leave the person's own downloads most of the network.
pub(super) const PULLS_AT_ONCE: usize = 2;

/// The part of a peer that keeps for the network; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Keeping(Arc<Parts>);

/// What it works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Replicas,
    pub(super) puts: Puts,
    pub(super) staged: Staged,
    pub(super) turns: Turns,
    pub(super) view: View,
    pub(super) index: Index,
    pub(super) channels: Channels,
    /// With slots of its own: what the person pauses, reorders or waits for is none of it.
    pub(super) puller: Downloader,
    pub(super) transfers: Transfers,
    pub(super) grace: Duration,
    pub(super) shutdown: Shutdown,
    /// Since when too few holders of a content are seen. Bounded by what is kept.
    // A std lock: held for a look-up.
    pub(super) short: Mutex<HashMap<ContentHash, Instant>>,
    /// It hands over and goes: its copies do not count any more.
    pub(super) is_leaving: AtomicBool,
}

impl Keeping {
    /// Over the parts of one peer.
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// It counts as a holder again, after a leave.
    pub(super) fn come_back(&self) {
        self.0.is_leaving.store(false, Ordering::Release);
    }

    /// Ends in order. Blocks on the disk.
    pub(super) fn close(&self) {
        self.0.store.close();
    }

    fn is_leaving(&self) -> bool {
        self.0.is_leaving.load(Ordering::Acquire)
    }

    /// Keeps a content here: asks the store, pulls it from its source and publishes it. `begun` is called when there is room.
    /// Dropping it takes everything back.
    ///
    /// # Errors
    /// The status that a remote caller gets; nothing is kept then.
    async fn keep_here(&self, ask: KeepAsk, begun: impl FnOnce()) -> Result<(), Status> {
        let parts = &self.0;
        let source = self.member(&ask.source)?;
        let replica = Replica {
            hash: ask.hash,
            size_bytes: ask.size_bytes,
            name: ask.name.clone(),
            replicas: ask.replicas,
            owner_tag: ask.owner_tag,
            owner: ask.owner,
        };
        if self.is_leaving() {
            return Err(Status::resource_exhausted("this peer is leaving"));
        }
        let mut begun = Some(begun);
        let mut say_so = || {
            if let Some(begun) = begun.take() {
                begun();
            }
        };
        let reservation = loop {
            let ended = parts.store.pull_ended();
            match parts.store.admit(replica.clone()) {
                Ok(Admitted::Kept) => return Ok(()),
                Ok(Admitted::Pull(reservation)) => break reservation,
                // Two who repair at once ask the same keeper: one pull is for both.
                Err(Refusal::Coming) => {
                    say_so();
                    ended.await;
                }
                Err(refusal) => return Err(refused(&refusal)),
            }
        };
        say_so();
        let source = Source { peer_id: source.id, name: source.name.to_string(), address: source.address };
        let mut events = parts
            .puller
            .start(DownloadAsk {
                what: FileName::Hash(ask.hash),
                sources: vec![source],
                destination: reservation.incoming(),
                name: Some(ask.name),
                finder: None,
            })
            .map_err(|error| Status::resource_exhausted(error.message))?;
        let mut content = None;
        while let Some(event) = events.next().await {
            let transfer = event.map_err(|error| Status::aborted(error.message))?;
            if transfer.size_bytes > ask.size_bytes {
                return Err(Status::aborted("the content is larger than it was said to be"));
            }
            match transfer.state {
                TransferState::Done => content = transfer.path,
                TransferState::Failed(error) => return Err(Status::aborted(error.message)),
                TransferState::Cancelled => return Err(Status::cancelled("the transfer was cancelled here")),
                _ => {}
            }
        }
        let content = content.ok_or_else(|| Status::aborted("the transfer ended without a file"))?;
        let (index, hash) = (parts.index.clone(), ask.hash);
        let keeping = parts.shutdown.spawn_blocking(move || {
            let path = reservation.keep(&content)?;
            index.note_file(&path, hash);
            // Asked for once, its tree is made: the next fetcher is to have it at once.
            let _ = index.tree(&hash);
            Ok::<_, crate::store::StoreError>(())
        });
        match keeping.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not keep a content for the network");
                Err(Status::aborted("the content could not be stored"))
            }
            Err(_) => Err(Status::internal("storing the content failed")),
        }
    }

    /// A member of the roster, this peer included.
    fn member(&self, id: &crate::protocol::id::PeerId) -> Result<Member, Status> {
        let now = self.0.view.now();
        let known = if *id == now.me.id { Some(&now.me) } else { now.member(id) };
        known.cloned().ok_or_else(|| Status::failed_precondition("the source is not in this peer's zone"))
    }
}

fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::NoRoom { .. } | Refusal::Coming | Refusal::Busy => Status::resource_exhausted(text),
        Refusal::OtherOwner => Status::already_exists(text),
        Refusal::Released => Status::failed_precondition(text),
    }
}

/// The folder of the share of replicas: beside the inbox, as that of downloads.
pub(super) fn replicas_beside(inbox: &std::path::Path) -> std::path::PathBuf {
    inbox.parent().unwrap_or(std::path::Path::new(".")).join("replicas")
}
