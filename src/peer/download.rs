//! Fetches one file from whoever has it, several holders at once, and goes on where an earlier try ended.
//!
//! Invariant: a file appears at its destination only whole and verified. A download that failed or was stopped leaves its
//! verified pieces in a part beside the destination; a cancelled one leaves nothing. Either says why.

pub(super) mod fetch;
mod opening;
mod people;
mod sequential;
mod stream;
mod swarm;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use self::{
    opening::{Opened, Opening},
    people::People,
    sequential::Sequential,
    swarm::{Halt, Swarm},
};
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
        plan::{
            FileName, Patience,
            holders::{Holders, MAX_HOLDERS},
        },
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
pub struct Finder(Arc<dyn Fn() -> BoxFuture<'static, Vec<Source>> + Send + Sync>);

impl Finder {
    /// By that search, which ends by itself. No holder found is an empty list.
    pub fn new(search: impl Fn() -> BoxFuture<'static, Vec<Source>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(search))
    }

    fn find(&self) -> BoxFuture<'static, Vec<Source>> {
        (self.0)()
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
        Self { channels, transfers, shutdown, throttle, patience: Patience::default() }
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
        drop(self.shutdown.spawn("download", async move { this.run(ticket, place, find).await }));
        Ok(events)
    }

    /// Does a download until it has ended, however often it is paused meanwhile. Who has the file is asked each time that
    /// it begins or goes on; `place` is what is known of it before. Gives the transfer with its final state.
    pub(super) async fn run(self, ticket: Ticket, mut place: DownloadAsk, mut find: Find) -> Transfer {
        let ticket = Arc::new(ticket);
        let mut wait = FIRST_SEARCH_WAIT;
        let state = loop {
            let slot = match ticket.turn().await {
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
                        () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_SEARCH_WAIT),
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

/// Why a try ended.
enum Halted {
    /// Nobody is left; others may turn up.
    Nobody(ActionError),
    /// For good.
    Failed(ActionError),
}

impl From<StoreError> for Halted {
    fn from(error: StoreError) -> Self {
        Self::Failed(store_error(&error))
    }
}

/// One download over all its tries.
struct Run<'a> {
    ask: DownloadAsk,
    people: People,
    /// Until the swarm has them.
    holders: Holders,
    swarm: Option<Swarm>,
    has_begun_again: bool,
    with: &'a Downloader,
    ticket: Arc<Ticket>,
}

impl<'a> Run<'a> {
    fn new(mut ask: DownloadAsk, with: &'a Downloader, ticket: Arc<Ticket>) -> Self {
        let mut sources = std::mem::take(&mut ask.sources);
        sources.truncate(MAX_HOLDERS);
        let holders = Holders::new(sources.len());
        let people = People::new(sources);
        Self { ask, people, holders, swarm: None, has_begun_again: false, with, ticket }
    }

    async fn until_ended(&mut self, slot: DownloadSlot) -> Result<PathBuf, ActionError> {
        let mut wait = FIRST_SEARCH_WAIT;
        let mut slot = slot;
        loop {
            let had = self.verified_bytes();
            let halted = match self.fetch().await {
                Ok(path) => return Ok(path),
                Err(Halted::Failed(error)) => return Err(error),
                Err(Halted::Nobody(error)) => error,
            };
            // Others may run while this one waits.
            drop(slot);
            let Some(finder) = self.ask.finder.clone().filter(|_| self.has_pieces()) else {
                return Err(halted);
            };
            if self.verified_bytes() > had {
                wait = FIRST_SEARCH_WAIT;
            }
            tracing::info!(reason = %halted, "a begun download waits for holders");
            loop {
                self.ticket.enter(TransferState::Waiting);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_SEARCH_WAIT);
                let found = finder.find().await;
                if !found.is_empty() {
                    self.add(found);
                    break;
                }
            }
            slot = match self.ticket.turn().await {
                Turn::Go(slot) => slot,
                Turn::Cancel => std::future::pending().await,
            };
        }
    }

    /// Until it is published or halted.
    async fn fetch(&mut self) -> Result<PathBuf, Halted> {
        loop {
            if self.swarm.is_none() {
                match self.open().await? {
                    Ok(swarm) => self.swarm = Some(swarm),
                    Err(path) => return Ok(path),
                }
            }
            // Stays in its place all the while, so that whoever stops it finds it.
            let Some(swarm) = &mut self.swarm else { continue };
            let finder = self.ask.finder.as_ref();
            swarm.gather(&mut self.people, self.with, finder).await.map_err(|halt| match halt {
                Halt::Nobody(outcome) => {
                    Halted::Nobody(self.people.failure(&self.ticket.transfer().name, outcome))
                }
                Halt::Here(error) => error.into(),
            })?;
            self.ticket.enter(TransferState::Verifying);
            let Some(swarm) = self.swarm.take() else { continue };
            match swarm.publish().await {
                Err(StoreError::NotOnDisk { path, .. }) if !self.has_begun_again => {
                    tracing::warn!(path = %path.display(), "the disk lost a part; it is fetched again");
                    self.has_begun_again = true;
                    self.holders = Holders::new(self.people.sources().len());
                }
                published => return Ok(published?),
            }
        }
    }

    /// A swarm, or the file when it was fetched another way.
    async fn open(&mut self) -> Result<Result<Swarm, PathBuf>, Halted> {
        let opening = Opening {
            ask: &self.ask,
            holders: &mut self.holders,
            people: &mut self.people,
            channels: &self.with.channels,
            throttle: &self.with.throttle,
            ticket: &self.ticket,
            patience: self.with.patience,
        };
        match opening.run().await {
            Opened::Known(known) => {
                let destination = self.ask.destination_for(&known.name);
                let (_, name) = folder_and_name(&destination);
                self.ticket.update(|transfer| transfer.name = name);
                let holders = self.holders.clone();
                Ok(Ok(Swarm::open(known, holders, destination, &self.ticket, &self.with.shutdown).await?))
            }
            Opened::NoTree(having) => self.fetch_sequentially(&having).await.map(Err),
            Opened::Nobody => {
                let name = self.ticket.transfer().name;
                Err(Halted::Nobody(self.people.failure(&name, self.holders.given_up())))
            }
        }
    }

    /// From those that have it first, then from the rest.
    async fn fetch_sequentially(&self, having: &[usize]) -> Result<PathBuf, Halted> {
        let others = (0..self.people.sources().len()).filter(|holder| !having.contains(holder));
        let order: Vec<usize> = having.iter().copied().chain(others).collect();
        let sources = order.iter().map(|&holder| self.people.source(holder).clone()).collect();
        self.ticket.update(|transfer| transfer.sources.clear());
        let with = self.with;
        let mut sequential = Sequential::new(&self.ask, sources, with, &self.ticket);
        match (sequential.gather().await, sequential.part.take()) {
            (Ok(()), Some(part)) => Ok(part.publish().await?),
            (Ok(()), None) => {
                Err(Halted::Failed(ActionError::new(ErrorKind::Failed, "no holder told what the file is")))
            }
            (Err(error), part) => {
                if let Some(part) = part {
                    part.discard().await;
                }
                Err(Halted::Failed(error))
            }
        }
    }

    fn add(&mut self, found: Vec<Source>) {
        if let Some(swarm) = &self.swarm {
            return swarm.add(found, &mut self.people);
        }
        for source in found {
            match self.people.find(&source) {
                Some(known) => self.holders.renew(known),
                None if self.holders.add().is_some() => self.people.add(source),
                None => break,
            }
        }
    }

    /// In this run, or left by an earlier one.
    fn has_pieces(&self) -> bool {
        match &self.swarm {
            Some(swarm) => swarm.has_pieces(),
            // One look at the folder: answered from the kernel's cache.
            None => self.part().is_some_and(|part| part.is_file()),
        }
    }

    fn verified_bytes(&self) -> u64 {
        self.swarm.as_ref().map_or(0, Swarm::verified_bytes)
    }

    /// Where an earlier run may have left pieces.
    fn part(&self) -> Option<PathBuf> {
        let hash = self.ask.hash()?;
        let destination = self.ask.destination_for(&self.ticket.transfer().name);
        let (folder, name) = folder_and_name(&destination);
        Some(part_path(folder, &hash, &name))
    }

    /// Stops, and keeps the part if it is worth anything.
    async fn leave(&mut self) {
        if let Some(mut swarm) = self.swarm.take() {
            swarm.stop().await;
            if !swarm.has_pieces() {
                swarm.discard().await;
            }
        }
    }

    /// Stops, and removes the part.
    async fn discard(&mut self) {
        if let Some(mut swarm) = self.swarm.take() {
            swarm.stop().await;
            swarm.discard().await;
        }
    }
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
        StoreError::Lost(_) | StoreError::Incomplete { .. } => (ErrorKind::Failed, "start again"),
        StoreError::Io { .. } => (ErrorKind::Failed, "check the folder and its permissions"),
    };
    ActionError::new(kind, format!("{error}{cause}")).hint(hint)
}
