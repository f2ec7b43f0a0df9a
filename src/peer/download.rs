//! Fetches one file from whoever has it, several holders at once, and goes on where an earlier try ended.
//!
//! Invariant: a file appears at its destination only whole and verified. A download that failed or was stopped leaves its
//! verified pieces in a part beside the destination; a cancelled one leaves nothing. Either says why.

pub(super) mod fetch;
mod opening;
mod people;
mod run;
mod sequential;
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

use self::run::Run;
use super::{
    channels::Channels,
    handle::Events,
    transfers::{DownloadSlot, Interrupt, Ticket, Transfers, Turn},
};
use crate::{
    net::throttle::Throttle,
    protocol::{
        action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
        id::{ContentHash, PeerId},
        name::to_portable_name,
        plan::FileName,
    },
    shutdown::Shutdown,
    store::{StoreError, pieces::part_path},
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
}

impl Downloader {
    /// Over these channels, listed in this table; bytes pass the throttle under the address of their holder.
    pub fn new(
        channels: Channels,
        transfers: Transfers,
        shutdown: Shutdown,
        throttle: Throttle<SocketAddr>,
    ) -> Self {
        Self { channels, transfers, shutdown, throttle }
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
        drop(
            self.shutdown
                .spawn("download", async move { this.run(Arc::new(ticket), None, place, find).await }),
        );
        Ok(events)
    }

    /// Does a download until it has ended, however often it is paused meanwhile. Who has the file is asked each time that
    /// it begins or goes on; `place` is what is known of it before, `slot` is there when its turn has come already. Gives
    /// the transfer with its final state. When it is dropped, what was verified stays in the part.
    pub(super) async fn run(
        self,
        ticket: Arc<Ticket>,
        mut slot: Option<DownloadSlot>,
        mut place: DownloadAsk,
        mut find: Find,
    ) -> Transfer {
        let mut wait = FIRST_SEARCH_WAIT;
        let state = loop {
            let turn = match slot.take() {
                Some(slot) => Turn::Go(slot),
                None => ticket.turn().await,
            };
            let slot = match turn {
                Turn::Go(slot) => slot,
                Turn::Cancel => break TransferState::Cancelled,
            };
            let found = tokio::select! {
                found = find() => found,
                interrupt = ticket.interrupted() => match interrupt {
                    Interrupt::Cancel => break TransferState::Cancelled,
                    Interrupt::Pause => continue,
                },
            };
            match found {
                Ok(ask) => {
                    place = DownloadAsk { sources: Vec::new(), ..ask.clone() };
                    if let Some(state) = self.attempt(ask, slot, &ticket).await {
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
            self.remove_part(&place, &ticket).await;
        }
        ticket.enter(state);
        ticket.transfer()
    }

    /// `None` when it is paused.
    async fn attempt(
        &self,
        ask: DownloadAsk,
        slot: DownloadSlot,
        ticket: &Arc<Ticket>,
    ) -> Option<TransferState> {
        let mut run = Run::new(ask, self, ticket.clone());
        let ended = tokio::select! {
            ended = run.until_ended(slot) => Ok(ended),
            interrupt = ticket.interrupted() => Err(interrupt),
        };
        match ended {
            Ok(Ok(path)) => {
                ticket.update(|transfer| transfer.path = Some(path));
                Some(TransferState::Done)
            }
            Err(Interrupt::Pause) => {
                run.leave().await;
                None
            }
            Ok(Err(error)) if error.kind != ErrorKind::Cancelled => {
                run.leave().await;
                Some(TransferState::Failed(error))
            }
            Err(Interrupt::Cancel) => {
                run.discard().await;
                Some(TransferState::Cancelled)
            }
            // The peer is stopping.
            Ok(Err(_)) => {
                run.leave().await;
                Some(TransferState::Cancelled)
            }
        }
    }

    /// What an earlier run or an earlier turn left of it, unless another download of that content may be writing there.
    async fn remove_part(&self, place: &DownloadAsk, ticket: &Ticket) {
        let transfer = ticket.transfer();
        let Some(hash) = place.hash().or(transfer.hash).filter(|_| !self.shutdown.is_stopping()) else {
            return;
        };
        let is_other = |other: &Transfer| {
            other.id != transfer.id && other.hash == Some(hash) && other.direction == Direction::Download
        };
        if self.transfers.list().iter().any(|other| is_other(other) && !other.state.is_final()) {
            return;
        }
        let destination = place.destination_for(&transfer.name);
        let (folder, name) = folder_and_name(&destination);
        let part = part_path(folder, &hash, &name);
        match tokio::fs::remove_file(&part).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(part = %part.display(), %error, "could not remove a part file");
            }
            _ => {}
        }
    }
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
