//! Fetches a folder from one holder: its list of files first, then many small files a call and large ones alone.
//!
//! Invariant: a folder appears at its destination only whole, every file of it verified; until then it lies in a stage,
//! which a later try goes on with, whoever starts it. One transfer stands for the whole folder.

mod large;
mod small;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

pub(super) use large::Search;

use super::{
    channels::Channels,
    download::{Source, store_error},
    handle::Events,
    transfers::{Interrupt, Ticket, Transfers, Turn},
};
use crate::{
    net::throttle::Throttle,
    protocol::{
        action::{ActionError, Direction, ErrorKind, HintCode, Transfer, TransferState},
        id::{ContentHash, PeerId},
        manifest::{Manifest, ManifestBuilder, ManifestFile, SMALL_FILE_BYTES},
        name::{Printable, to_portable_name},
    },
    shutdown::Shutdown,
    store::{
        StoreError,
        jobs::{Job, JobTarget},
        stage::{self, Stage},
    },
    wire::{
        folder::{MAX_FOLDER_MESSAGE_BYTES, files_page, to_files_request},
        pb::peer_service_client::PeerServiceClient,
    },
};

/// For one page of the list, dialing included.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Failures that are told by name.
const TOLD_FAILURES: usize = 5;
/// Failures that are remembered, to be told or counted by kind.
const KEPT_FAILURES: usize = 1000;

/// A folder to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderAsk {
    /// From whom.
    pub source: Source,
    /// `<share>` or `<share>/<folder>`.
    pub path: String,
    /// An existing folder to put it in, or the folder to make.
    pub destination: PathBuf,
}

/// The beginning of a folder's list of files.
#[derive(Debug, Clone)]
pub struct FirstPage {
    files: Vec<ManifestFile>,
    next: Option<String>,
}

/// Fetches folders; cheap to clone.
#[derive(Debug, Clone)]
pub struct FolderGetter {
    channels: Channels,
    transfers: Transfers,
    throttle: Throttle<SocketAddr>,
    shutdown: Shutdown,
}

/// Where a folder is gathered, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder to make.
    destination: PathBuf,
    /// Of its stage: the same for each try to fetch one folder of one peer, whatever lies in it by then.
    id: ContentHash,
}

impl Place {
    fn of(peer: &PeerId, path: &str, destination: &Path, is_folder: bool) -> Self {
        let mut id = blake3::Hasher::new();
        id.update(peer.as_bytes()).update(path.trim_end_matches('/').as_bytes());
        let mut destination = destination.to_path_buf();
        if is_folder {
            destination.push(folder_name(path));
        }
        Self { destination, id: ContentHash::from_bytes(*id.finalize().as_bytes()) }
    }

    /// Of a kept download, if it were one of a folder; `None` when it cannot be one.
    pub(super) fn of_job(job: &Job) -> Option<Self> {
        match &job.what {
            JobTarget::Path { peer, path } => Some(Self::of(peer, path, &job.destination, job.is_folder)),
            JobTarget::Hash(_) => None,
        }
    }

    /// Where it lies, when the stage of that inode was published already.
    pub(super) fn published(&self, inode: u64) -> Option<PathBuf> {
        if self.stage().exists() { None } else { stage::published_as(&self.destination, inode) }
    }

    /// The stage on disk, if there is one.
    pub(super) fn stage(&self) -> PathBuf {
        let (parent, name) = self.parent_and_name();
        Stage::path_in(parent, &name, &self.id)
    }

    fn parent_and_name(&self) -> (&Path, String) {
        let name = self.destination.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (self.destination.parent().unwrap_or(Path::new("/")), name)
    }
}

/// A folder to fetch, and where it is gathered.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) source: Source,
    pub(super) path: String,
    pub(super) place: Place,
    /// Who else has a file of it.
    pub(super) search: Option<Search>,
}

/// What came of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempted {
    /// It lies there.
    Done(PathBuf),
    /// What came so far is in the stage.
    Interrupted(Interrupt),
}

/// A file that did not come, and why.
type Failed = (String, ErrorKind, String);

/// What the parts of one try share.
struct Run {
    wanted: Wanted,
    manifest: Arc<Manifest>,
    // A std lock: taken on the blocking pool only, by one at a time but for the end.
    stage: Arc<Mutex<Option<Stage>>>,
    channels: Channels,
    throttle: Throttle<SocketAddr>,
    shutdown: Shutdown,
    ticket: Arc<Ticket>,
    /// Ends what runs on other threads when the try is over.
    over: CancellationToken,
}

impl FolderGetter {
    /// Over these channels, listed in this table; bytes pass the throttle under the address of their holder.
    pub fn new(
        channels: Channels,
        transfers: Transfers,
        throttle: Throttle<SocketAddr>,
        shutdown: Shutdown,
    ) -> Self {
        Self { channels, transfers, throttle, shutdown }
    }

    /// The first page of the files below a path of a peer; `None` when it has no folder there, or knows of no folders.
    ///
    /// # Errors
    /// It cannot be reached, or its answer makes no sense.
    pub async fn look(&self, source: &Source, path: &str) -> Result<Option<FirstPage>, ActionError> {
        match self.page(source, path, None).await {
            Ok((files, next)) => Ok(Some(FirstPage { files, next })),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts a fetch, which waits for a slot first. The events end with a final state; dropping them cancels it, and
    /// removes what came so far.
    ///
    /// # Errors
    /// `Refused` when too many transfers run.
    pub fn start(&self, ask: FolderAsk, first: FirstPage) -> Result<Events<Transfer>, ActionError> {
        let FolderAsk { source, path, destination } = ask;
        let peers = vec![source.name.clone()];
        let ticket = Arc::new(self.transfers.begin(Direction::Download, folder_name(&path), 0, peers)?);
        let events = ticket.events();
        // One look at the folder: answered from the kernel's cache.
        let place = Place::of(&source.peer_id, &path, &destination, destination.is_dir());
        let wanted = Wanted { source, path, place, search: None };
        let this = self.clone();
        drop(self.shutdown.spawn("folder", async move {
            // A paused one gives its slot to others.
            let state = loop {
                let Turn::Go(_slot) = ticket.turn().await else { break TransferState::Cancelled };
                match this.attempt(&wanted, first.clone(), &ticket).await {
                    Ok(Attempted::Done(_)) => break TransferState::Done,
                    Ok(Attempted::Interrupted(Interrupt::Pause)) => {}
                    Ok(Attempted::Interrupted(Interrupt::Cancel)) => break TransferState::Cancelled,
                    Err(error) if error.kind == ErrorKind::Cancelled => break TransferState::Cancelled,
                    Err(error) => break TransferState::Failed(error),
                }
            };
            // A stop of the peer leaves what came.
            if ticket.cancel_token().is_cancelled() {
                this.discard(&wanted.place).await;
            }
            ticket.enter(state);
        }));
        Ok(events)
    }

    /// Tries once, until the folder lies at its place, the try fails, or its person interrupts it. Nothing of it runs on
    /// then, and what came so far is in the stage. To be called with a slot.
    ///
    /// # Errors
    /// What did not come and why; `Cancelled` when the peer is stopping.
    pub(super) async fn attempt(
        &self,
        wanted: &Wanted,
        first: FirstPage,
        ticket: &Arc<Ticket>,
    ) -> Result<Attempted, ActionError> {
        ticket.update(|transfer| transfer.sources = vec![wanted.source.name.clone()]);
        let listed = tokio::select! {
            listed = self.manifest(wanted, first) => listed?,
            interrupt = ticket.interrupted() => return Ok(Attempted::Interrupted(interrupt)),
        };
        let manifest = Arc::new(listed);
        ticket.update(|transfer| transfer.size_bytes = manifest.size_bytes());
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let run = Run {
            wanted: wanted.clone(),
            manifest,
            stage: Arc::default(),
            channels: self.channels.clone(),
            throttle: self.throttle.clone(),
            shutdown: self.shutdown.clone(),
            ticket: ticket.clone(),
            over: over.clone(),
        };
        let gathered = tokio::select! {
            gathered = run.gather() => gathered.map(|()| None),
            interrupt = ticket.interrupted() => Ok(Some(interrupt)),
        };
        if let Ok(None) = gathered {
            // Not to be interrupted, and known again after a kill: what is published would be fetched once more.
            let look = |held: &mut Option<Stage>| held.as_ref().ok_or(StoreError::Stopped)?.inode();
            let inode = run.with_stage(look).await?;
            ticket.keep_job(|job| job.stage_inode = Some(inode));
            ticket.saved().await;
            let path = run.publish().await?;
            ticket.update(|transfer| transfer.path = Some(path.clone()));
            return Ok(Attempted::Done(path));
        }
        over.cancel();
        // Waits for whoever still writes, so that the next try finds the stage free.
        let release = |held: &mut Option<Stage>| {
            *held = None;
            Ok(())
        };
        run.with_stage(release).await?;
        match gathered? {
            Some(interrupt) => Ok(Attempted::Interrupted(interrupt)),
            None => Err(ActionError::new(ErrorKind::Failed, "the folder was gathered twice")),
        }
    }

    /// Removes what came so far of a folder that nobody wants any more.
    pub(super) async fn discard(&self, place: &Place) {
        let stage = place.stage();
        if self.shutdown.is_stopping() {
            return;
        }
        let removing = self.shutdown.spawn_blocking(move || {
            if let Err(error) = stage::remove(&stage) {
                tracing::warn!(stage = %stage.display(), %error, "could not remove a folder's stage");
            }
        });
        // A panic in it leaves only the stage behind.
        let _ = removing.await;
    }

    async fn manifest(&self, ask: &Wanted, first: FirstPage) -> Result<Manifest, ActionError> {
        let refused = |error: &dyn std::fmt::Display| {
            ActionError::new(ErrorKind::Refused, format!("could not fetch {}: {error}", Printable(&ask.path)))
                .hint("nothing was fetched; fetch its files one by one")
        };
        let mut builder = ManifestBuilder::default();
        let mut page = (first.files, first.next);
        loop {
            let is_empty = page.0.is_empty();
            for file in page.0 {
                builder.add(file).map_err(|invalid| refused(&invalid))?;
            }
            match page.1 {
                None => return Ok(builder.finish()),
                // It would never end.
                Some(_) if is_empty => return Err(refused(&"the list of its files makes no sense")),
                token => page = self.page(&ask.source, &ask.path, token).await?,
            }
        }
    }

    async fn page(
        &self,
        source: &Source,
        path: &str,
        token: Option<String>,
    ) -> Result<(Vec<ManifestFile>, Option<String>), ActionError> {
        let path = path.trim_end_matches('/');
        let channel = self
            .channels
            .to(source.to())
            .map_err(|forbidden| ActionError::new(ErrorKind::Refused, forbidden.to_string()))?;
        let mut client =
            PeerServiceClient::new((*channel).clone()).max_decoding_message_size(MAX_FOLDER_MESSAGE_BYTES);
        let answer = timeout(PAGE_TIMEOUT, client.list_files(to_files_request(path, token))).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("it does not answer")));
        let answer = answer.map_err(|status| failure(&source.name, path, &status))?.into_inner();
        files_page(path, answer).map_err(|invalid| {
            let message = format!("{} lists files that make no sense: {invalid}", source.name);
            ActionError::new(ErrorKind::Refused, message)
        })
    }
}

impl Run {
    /// Until every file is in the stage.
    async fn gather(&self) -> Result<(), ActionError> {
        let files = self.manifest.files();
        let is_present = self.open().await?;
        let missing = |is_small: bool| {
            let all = files.iter().enumerate();
            all.filter(move |(_, file)| (file.size_bytes <= SMALL_FILE_BYTES) == is_small)
                .map(|(at, _)| at)
                .filter(|&at| !is_present[at])
                .collect::<Vec<usize>>()
        };
        self.ticket.enter(TransferState::Running);
        let mut failed = self.fetch_small(missing(true)).await?;
        if failed.len() < KEPT_FAILURES {
            failed.extend(self.fetch_large(missing(false)).await?);
        }
        if failed.is_empty() { Ok(()) } else { Err(self.incomplete(&failed)) }
    }

    async fn publish(&self) -> Result<PathBuf, ActionError> {
        self.ticket.enter(TransferState::Verifying);
        let (manifest, destination) = (self.manifest.clone(), self.wanted.place.destination.clone());
        self.with_stage(move |held| {
            let stage = held.take().ok_or(StoreError::Stopped)?;
            stage.publish(&manifest, &destination)
        })
        .await
    }

    /// Opens the stage and looks at what an earlier try left in it.
    async fn open(&self) -> Result<Vec<bool>, ActionError> {
        let (manifest, place) = (self.manifest.clone(), self.wanted.place.clone());
        let (over, stop) = (self.over.clone(), self.shutdown.clone());
        let is_present = self
            .with_stage(move |held| {
                let (parent, name) = place.parent_and_name();
                let stage = Stage::open(parent, &name, &place.id)?;
                let stage = held.insert(stage);
                let is_present = stage.present(&manifest, || !stop.is_stopping() && !over.is_cancelled())?;
                let missing =
                    manifest.files().iter().zip(&is_present).filter(|(_, is_present)| !**is_present);
                let (count, bytes) = missing
                    .fold((0, 0_u64), |(count, bytes), (file, _)| (count + 1, bytes + file.size_bytes));
                stage.check_space(count, bytes)?;
                Ok(is_present)
            })
            .await?;
        let here = self.manifest.files().iter().zip(&is_present).filter(|(_, is_present)| **is_present);
        let here_bytes: u64 = here.map(|(file, _)| file.size_bytes).sum();
        self.ticket.update(|transfer| transfer.done_bytes = here_bytes);
        Ok(is_present)
    }

    /// As the holder calls it.
    fn shared_path(&self, file: &ManifestFile) -> String {
        format!("{}/{}", self.wanted.path.trim_end_matches('/'), file.path)
    }

    /// Runs on the blocking pool with the stage to itself.
    async fn with_stage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Stage>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActionError> {
        let stage = self.stage.clone();
        let working = self.shutdown.spawn_blocking(move || {
            let mut held = stage.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut held)
        });
        match working.await {
            Ok(worked) => worked.map_err(|error| store_error(&error)),
            Err(_) => Err(ActionError::new(ErrorKind::Failed, "writing the folder failed")),
        }
    }

    fn incomplete(&self, failed: &[Failed]) -> ActionError {
        let told = failed.iter().take(TOLD_FAILURES);
        let told: Vec<String> =
            told.map(|(path, _, reason)| format!("{}: {}", Printable(path), Printable(reason))).collect();
        let more = failed.len().saturating_sub(TOLD_FAILURES);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let kinds = || failed.iter().map(|(_, kind, _)| *kind);
        // A wrong content tells more than that another file could not be had.
        let kind = kinds().find(|kind| *kind == ErrorKind::Mismatch).or(kinds().next());
        let (count, all) = (failed.len(), self.manifest.files().len());
        let name = self.ticket.transfer().name;
        let message = format!("{count} of {all} files of {name} did not come: {}{more}", told.join("; "));
        ActionError::new(kind.unwrap_or(ErrorKind::Failed), message)
            .hint("what came is kept beside the destination; retry it, or get the folder again, to fetch only the rest")
    }
}

fn folder_name(path: &str) -> String {
    let path = path.trim_end_matches('/');
    to_portable_name(path.rsplit('/').next().unwrap_or(path))
}

fn failure(peer: &str, path: &str, status: &Status) -> ActionError {
    let said: String = status.message().chars().take(200).collect();
    let path = Printable(path);
    match status.code() {
        // A peer of an earlier version has no folders to fetch.
        Code::NotFound | Code::Unimplemented => {
            ActionError::new(ErrorKind::NotFound, format!("{peer} has no folder {path}"))
        }
        Code::Unavailable => ActionError::new(ErrorKind::Unreachable, format!("{peer} cannot be reached"))
            .hint_as(HintCode::ListPeers, "see `floodplain peers` for who is there"),
        Code::DeadlineExceeded => ActionError::new(ErrorKind::TimedOut, format!("{peer} does not answer")),
        _ => {
            let message = format!("could not list {path} of {peer}: {}", Printable(&said));
            ActionError::new(ErrorKind::Failed, message)
        }
    }
}
