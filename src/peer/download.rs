//! Fetches one file from whoever has it, several holders at once, and goes on where an earlier try ended.
//!
//! Invariant: a file appears at its destination only whole and verified. A download that failed or was stopped leaves its
//! verified pieces in a part beside the destination; a cancelled one leaves nothing. Either says why.

pub(super) mod fetch;
mod opening;
mod people;
mod run;
mod sequential;
mod shared;
mod stream;
mod swarm;
mod telling;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use self::{
    run::{Early, Run},
    shared::{Contents, Followed, Left, Sharing},
};
use super::{
    channels::Channels,
    handle::Events,
    transfers::{DownloadSlot, Interrupt, Ticket, Transfers, Turn},
};
use crate::{
    index::Index,
    net::{To, throttle::Throttle},
    protocol::{
        action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
        id::{ContentHash, PeerId},
        name::to_portable_name,
        piece::Tree,
        plan::{FileName, Patience},
    },
    shutdown::Shutdown,
    store::{
        StoreError,
        pieces::{self, part_path},
        publish::find_published,
        sweep::remove_parts_called,
    },
};

/// A begun file is never given up while its hash may turn up again: the wait between two searches, from the first to
/// the longest.
const FIRST_SEARCH_WAIT: Duration = Duration::from_secs(1);
const LONGEST_SEARCH_WAIT: Duration = Duration::from_secs(60);

/// A holder of the file, the address taken from the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Who.
    pub peer_id: PeerId,
    /// Its name, for messages.
    pub name: String,
    /// Where it is dialed.
    pub address: SocketAddr,
}

impl Source {
    /// How it is dialed.
    pub fn to(&self) -> To {
        To { address: self.address, peer: self.peer_id }
    }
}

/// Looks for the holders of a file once more; cheap to clone.
#[derive(Clone)]
pub struct Finder {
    search: Arc<dyn Fn() -> BoxFuture<'static, Vec<Source>> + Send + Sync>,
    is_of_folder: bool,
}

impl Finder {
    /// By that search, which ends by itself. No holder found is an empty list.
    pub fn new(search: impl Fn() -> BoxFuture<'static, Vec<Source>> + Send + Sync + 'static) -> Self {
        Self { search: Arc::new(search), is_of_folder: false }
    }

    /// For a file of a folder: asked as soon as the file is begun, for one holder alone is known; and when nobody is left
    /// the file fails, for it is the folder that waits then.
    pub(super) fn of_folder(
        search: impl Fn() -> BoxFuture<'static, Vec<Source>> + Send + Sync + 'static,
    ) -> Self {
        Self { is_of_folder: true, ..Self::new(search) }
    }

    fn find(&self) -> BoxFuture<'static, Vec<Source>> {
        (self.search)()
    }
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finder")
    }
}

/// What to download, from whom, and where to.
#[derive(Debug, Clone)]
pub struct DownloadAsk {
    /// What.
    pub what: FileName,
    /// From whom, the best first. By path there is one.
    pub sources: Vec<Source>,
    /// An existing folder to put it in, or the file to make.
    pub destination: PathBuf,
    /// Its name in that folder; `None` takes the first holder's. Made portable.
    pub name: Option<String>,
    /// Who else has it, asked while it runs and when nobody is left. Without it a download fails when its sources do.
    pub finder: Option<Finder>,
}

impl DownloadAsk {
    fn hash(&self) -> Option<ContentHash> {
        match self.what {
            FileName::Hash(hash) => Some(hash),
            FileName::Path(_) => None,
        }
    }

    /// The file to make, when its holder calls it so.
    fn destination_for(&self, told_name: &str) -> PathBuf {
        let mut destination = self.destination.clone();
        // One look at the folder: answered from the kernel's cache.
        if destination.is_dir() {
            destination.push(to_portable_name(self.name.as_deref().unwrap_or(told_name)));
        }
        destination
    }
}

fn folder_and_name(destination: &Path) -> (&Path, String) {
    let name = destination.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty());
    (folder.unwrap_or(Path::new(".")), name)
}

/// Finds out what to fetch from whom, each time that a download begins or goes on.
pub(super) type Find = Box<dyn FnMut() -> BoxFuture<'static, Result<DownloadAsk, ActionError>> + Send>;

/// Downloads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Downloader {
    channels: Channels,
    transfers: Transfers,
    shutdown: Shutdown,
    throttle: Throttle<SocketAddr>,
    contents: Contents,
    index: Option<Index>,
    patience: Patience,
}

impl Downloader {
    /// Over these channels, listed in this table; bytes pass the throttle under the address of their holder.
    pub fn new(
        channels: Channels,
        transfers: Transfers,
        shutdown: Shutdown,
        throttle: Throttle<SocketAddr>,
    ) -> Self {
        Self {
            channels,
            transfers,
            shutdown,
            throttle,
            contents: Contents::default(),
            index: None,
            patience: Patience::default(),
        }
    }

    /// Leaves the tree of what was fetched with that index, so that it is not read again to be shared.
    #[must_use]
    pub fn with_index(self, index: Index) -> Self {
        Self { index: Some(index), ..self }
    }

    /// With other waits for holders.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Starts a download, which waits for a slot first. The events end with a final state; dropping them cancels it.
    ///
    /// # Errors
    /// `Refused` when too many transfers run, `NotFound` without a source.
    pub fn start(&self, ask: DownloadAsk) -> Result<Events<Transfer>, ActionError> {
        if ask.sources.is_empty() {
            return Err(ActionError::new(ErrorKind::NotFound, "nobody is known to have the file"));
        }
        let name = ask.name.clone().unwrap_or_else(|| match &ask.what {
            FileName::Path(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
            FileName::Hash(hash) => hash.to_string(),
        });
        let ticket = self.transfers.begin(Direction::Download, to_portable_name(&name), 0, Vec::new())?;
        let events = ticket.events();
        let this = self.clone();
        let place = DownloadAsk { sources: Vec::new(), ..ask.clone() };
        let find: Find = Box::new(move || {
            let ask = ask.clone();
            async { Ok(ask) }.boxed()
        });
        let run = async move { this.run(Arc::new(ticket), None, place, find, false).await };
        drop(self.shutdown.spawn("download", run));
        Ok(events)
    }

    /// Does a download until it has ended, however often it is paused meanwhile. Who has the file is asked each time that
    /// it begins or goes on; `place` is what is known of it before, `slot` is there when its turn has come already. One
    /// that an earlier run of this program left (`is_revived`) may be done. Gives the transfer with its final state. When
    /// it is dropped, what was verified stays in the part.
    pub(super) async fn run(
        self,
        ticket: Arc<Ticket>,
        mut slot: Option<DownloadSlot>,
        mut place: DownloadAsk,
        mut find: Find,
        is_revived: bool,
    ) -> Transfer {
        let mut wait = FIRST_SEARCH_WAIT;
        let mut is_to_be_looked_for = is_revived;
        let mut sharing = Sharing::new(&self.contents);
        if let Some(hash) = place.hash() {
            sharing.join(hash);
        }
        let state = loop {
            let turn = match slot.take() {
                Some(slot) => Turn::Go(slot),
                None => ticket.turn().await,
            };
            let slot = match turn {
                Turn::Go(slot) => slot,
                Turn::Cancel => break TransferState::Cancelled,
            };
            if std::mem::take(&mut is_to_be_looked_for)
                && let Some(hash) = place.hash()
                && let Some(path) = self.done_before(&place, hash, &ticket).await
            {
                ticket.update(|transfer| transfer.path = Some(path));
                break TransferState::Done;
            }
            // What is here needs nobody.
            let is_here = sharing.has_published();
            let finding = async { if is_here { Ok(place.clone()) } else { find().await } };
            let found = tokio::select! {
                found = finding => found,
                interrupt = ticket.interrupted() => match interrupt {
                    Interrupt::Cancel => break TransferState::Cancelled,
                    Interrupt::Pause => continue,
                },
            };
            match found {
                Ok(ask) => {
                    place = DownloadAsk { sources: Vec::new(), ..ask.clone() };
                    if let Some(state) = self.attempt(ask, slot, &mut sharing, is_revived, &ticket).await {
                        break state;
                    }
                }
                Err(error) if may_turn_up(&error) && ticket.transfer().done_bytes > 0 => {
                    drop(slot);
                    tracing::info!(reason = %error, "a begun download waits for holders");
                    ticket.enter(TransferState::Waiting);
                    tokio::select! {
                        () = ticket.wait(wait, &error.message) => wait = (wait * 2).min(LONGEST_SEARCH_WAIT),
                        interrupt = ticket.interrupted() => match interrupt {
                            Interrupt::Cancel => break TransferState::Cancelled,
                            Interrupt::Pause => {}
                        },
                    }
                }
                Err(error) => break TransferState::Failed(error),
            }
        };
        if state == TransferState::Cancelled {
            self.remove_part(&place, sharing, &ticket).await;
        }
        ticket.enter(state);
        ticket.transfer()
    }

    /// `None` when it is paused, or to be gone on with.
    async fn attempt(
        &self,
        ask: DownloadAsk,
        slot: DownloadSlot,
        sharing: &mut Sharing,
        is_revived: bool,
        ticket: &Arc<Ticket>,
    ) -> Option<TransferState> {
        let mut run = Run::new(ask, sharing, is_revived, self, ticket.clone());
        let ended = tokio::select! {
            ended = run.until_ended(slot) => ended.map_err(Ok),
            interrupt = ticket.interrupted() => Err(Err(interrupt)),
        };
        let (state, published, part) = match ended {
            Ok(Ok(path)) => {
                ticket.update(|transfer| transfer.path = Some(path.clone()));
                (Some(TransferState::Done), Some(path), None)
            }
            Err(Err(Interrupt::Pause) | Ok(Early::Again)) => (None, None, run.leave().await),
            Ok(Err(error)) if error.kind != ErrorKind::Cancelled => {
                (Some(TransferState::Failed(error)), None, run.leave().await)
            }
            Err(Err(Interrupt::Cancel)) => (Some(TransferState::Cancelled), None, run.cancel().await),
            // The peer is stopping.
            Ok(Err(_)) => (Some(TransferState::Cancelled), None, run.leave().await),
            Err(Ok(Early::Elsewhere)) => {
                return match sharing.follow(ticket).await {
                    Followed::Ended | Followed::Interrupted(Interrupt::Pause) => None,
                    Followed::Interrupted(Interrupt::Cancel) => Some(TransferState::Cancelled),
                };
            }
        };
        drop(run);
        sharing.end(published.as_deref(), part);
        state
    }

    /// What an earlier run or an earlier turn left of it, unless another download of that content may be writing there.
    async fn remove_part(&self, place: &DownloadAsk, sharing: Sharing, ticket: &Ticket) {
        if self.shutdown.is_stopping() {
            return;
        }
        let transfer = ticket.transfer();
        let hash = place.hash().or(transfer.hash);
        // Those that may have their part there; what is being written is locked besides.
        let others = self.transfers.list().into_iter().filter(|other| {
            other.id != transfer.id
                && other.direction == Direction::Download
                && other.name == transfer.name
                && may_go_on(&other.state)
        });
        let others: Vec<Option<ContentHash>> = others.map(|other| other.hash).collect();
        let orphan = match sharing.leave() {
            Left::ForOthers => return,
            Left::Part(part) => Some(part),
            Left::Nothing => None,
        };
        let destination = place.destination_for(&transfer.name);
        let removing = self.shutdown.spawn_blocking(move || {
            if let Some(orphan) = orphan {
                pieces::remove_part(&orphan);
            }
            let (folder, name) = folder_and_name(&destination);
            match hash {
                Some(hash) if others.contains(&Some(hash)) => {}
                Some(hash) => pieces::remove_parts(&part_path(folder, &hash, &name)),
                // It was known by its path alone; the part of another one might be meant.
                None if others.contains(&None) => {}
                None => remove_parts_called(folder, &name, |part| {
                    others.iter().flatten().any(|hash| part_path(folder, hash, &name) == part)
                }),
            }
        });
        // A panic in it leaves the part behind, as a crash would.
        let _ = removing.await;
    }

    /// The file of that content which an earlier run of this program published under this name, and was ended before it
    /// could say so. What has a part was not published.
    async fn done_before(&self, ask: &DownloadAsk, hash: ContentHash, ticket: &Ticket) -> Option<PathBuf> {
        let Transfer { name, size_bytes, .. } = ticket.transfer();
        let (destination, stop) = (ask.destination_for(&name), self.shutdown.clone());
        let looking = self.shutdown.spawn_blocking(move || {
            let (folder, name) = folder_and_name(&destination);
            if part_path(folder, &hash, &name).is_file() {
                return None;
            }
            let size_bytes = Some(size_bytes).filter(|&size_bytes| size_bytes > 0);
            find_published(&destination, &hash, size_bytes, || !stop.is_stopping())
        });
        let path = looking.await.ok().flatten()?;
        let size_bytes = tokio::fs::metadata(&path).await.ok()?.len();
        tracing::info!(path = %path.display(), "an earlier run published it");
        ticket.update(|transfer| {
            (transfer.size_bytes, transfer.done_bytes) = (size_bytes, size_bytes);
            transfer.hash = Some(hash);
        });
        Some(path)
    }

    /// Before the file is told of: whoever learns of it may ask for its tree at once.
    async fn keep_tree(&self, tree: Tree) {
        let Some(index) = self.index.clone() else { return };
        let _ = self.shutdown.spawn_blocking(move || index.note_tree(&tree)).await;
    }
}

fn may_go_on(state: &TransferState) -> bool {
    !state.is_final() || matches!(state, TransferState::Failed(_))
}

/// Whether holders may be found later.
fn may_turn_up(error: &ActionError) -> bool {
    matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unreachable | ErrorKind::TimedOut)
}

/// A failure of this machine's disk, for a face.
pub(super) fn store_error(error: &StoreError) -> ActionError {
    use std::error::Error;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let (kind, hint) = match error {
        StoreError::NoSpace { .. } => (ErrorKind::Failed, "make room, or choose another folder"),
        StoreError::Mismatch { .. } => (ErrorKind::Mismatch, "nothing was kept"),
        StoreError::Stopped => (ErrorKind::Cancelled, ""),
        StoreError::NamesTaken(_) => (ErrorKind::Failed, "choose another name"),
        StoreError::TooLarge { .. } => (ErrorKind::Failed, "choose a folder on another file system"),
        StoreError::NotOnDisk { .. } => (ErrorKind::Failed, "check the disk, then start again"),
        StoreError::Changed(_) => {
            (ErrorKind::Failed, "find out which program writes there, then start again")
        }
        StoreError::Lost(_) | StoreError::Incomplete { .. } => (ErrorKind::Failed, "start again"),
        StoreError::Io { .. } => (ErrorKind::Failed, "check the folder and its permissions"),
    };
    ActionError::new(kind, format!("{error}{cause}")).hint(hint)
}
