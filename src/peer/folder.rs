//! Fetches a folder from one holder: its list of files first, then many small files a call and large ones alone.
//!
//! Invariant: a folder appears at its destination only whole, every file of it verified; until then it lies in a stage,
//! which a later try goes on with. One transfer stands for the whole folder.

mod small;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{
    channels::Channels,
    download::{DownloadAsk, Downloader, Source, store_error},
    handle::Events,
    transfers::{Interrupt, Ticket, Transfers, Turn},
};
use crate::{
    net::throttle::Throttle,
    protocol::{
        action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
        manifest::{Manifest, ManifestBuilder, ManifestFile, SMALL_FILE_BYTES},
        name::{Printable, to_portable_name},
        plan::FileName,
    },
    shutdown::Shutdown,
    store::{StoreError, stage::Stage},
    wire::{
        folder::{MAX_FOLDER_MESSAGE_BYTES, files_page, to_files_request},
        pb::peer_service_client::PeerServiceClient,
    },
};

/// For one page of the list, dialing included.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Large files of one folder at once: one is verified and brought to disk while the other comes.
const LARGE_AT_ONCE: usize = 2;
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

/// A file that did not come, and why.
type Failed = (String, ErrorKind, String);

/// What the parts of one fetch share.
struct Run {
    ask: FolderAsk,
    manifest: Arc<Manifest>,
    // A std lock: taken on the blocking pool only, by one at a time but for the end.
    stage: Arc<Mutex<Option<Stage>>>,
    channels: Channels,
    throttle: Throttle<SocketAddr>,
    shutdown: Shutdown,
    ticket: Arc<Ticket>,
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
        let name = to_portable_name(ask.path.rsplit('/').next().unwrap_or(&ask.path));
        let peers = vec![ask.source.name.clone()];
        let ticket = Arc::new(self.transfers.begin(Direction::Download, &name, 0, peers)?);
        let events = ticket.events();
        let this = self.clone();
        drop(self.shutdown.spawn("folder", async move {
            // A paused one gives its slot to others, and finds what came so far in the stage again.
            let ended = loop {
                let Turn::Go(_slot) = ticket.turn().await else { break Ok(None) };
                tokio::select! {
                    ended = this.run(ask.clone(), name.clone(), first.clone(), &ticket) => break ended,
                    interrupt = ticket.interrupted() => match interrupt {
                        Interrupt::Cancel => break Ok(None),
                        Interrupt::Pause => {}
                    },
                }
            };
            match ended {
                Ok(Some(path)) => {
                    ticket.update(|transfer| transfer.path = Some(path));
                    ticket.enter(TransferState::Done);
                }
                Ok(None) => ticket.enter(TransferState::Cancelled),
                Err(error) if error.kind == ErrorKind::Cancelled => ticket.enter(TransferState::Cancelled),
                Err(error) => ticket.enter(TransferState::Failed(error)),
            }
        }));
        Ok(events)
    }

    async fn run(
        &self,
        ask: FolderAsk,
        name: String,
        first: FirstPage,
        ticket: &Arc<Ticket>,
    ) -> Result<Option<PathBuf>, ActionError> {
        let manifest = Arc::new(self.manifest(&ask, first).await?);
        ticket.update(|transfer| transfer.size_bytes = manifest.size_bytes());
        let destination =
            if ask.destination.is_dir() { ask.destination.join(name) } else { ask.destination.clone() };
        let run = Run {
            ask,
            manifest,
            stage: Arc::default(),
            channels: self.channels.clone(),
            throttle: self.throttle.clone(),
            shutdown: self.shutdown.clone(),
            ticket: ticket.clone(),
        };
        let _at_the_end = DiscardCancelled(&run);
        run.gather(destination).await.map(Some)
    }

    async fn manifest(&self, ask: &FolderAsk, first: FirstPage) -> Result<Manifest, ActionError> {
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
            .to(source.address)
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
    async fn gather(&self, destination: PathBuf) -> Result<PathBuf, ActionError> {
        let files = self.manifest.files();
        let is_present = self.open(&destination).await?;
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
        if !failed.is_empty() {
            return Err(self.incomplete(&failed));
        }
        self.ticket.enter(TransferState::Verifying);
        let manifest = self.manifest.clone();
        self.with_stage(move |held| {
            let stage = held.take().ok_or(StoreError::Stopped)?;
            stage.publish(&manifest, &destination)
        })
        .await
    }

    /// Opens the stage and looks at what an earlier try left in it.
    async fn open(&self, destination: &Path) -> Result<Vec<bool>, ActionError> {
        let (manifest, destination) = (self.manifest.clone(), destination.to_path_buf());
        let (cancel, stop) = (self.ticket.cancel_token(), self.shutdown.clone());
        let is_present = self
            .with_stage(move |held| {
                let (parent, name) = (destination.parent(), destination.file_name());
                let name = name.unwrap_or_default().to_string_lossy();
                let stage = Stage::open(parent.unwrap_or(Path::new("/")), &name, &manifest.id())?;
                let stage = held.insert(stage);
                let is_present =
                    stage.present(&manifest, || !stop.is_stopping() && !cancel.is_cancelled())?;
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

    /// Each large file by a download of its own, in a table that nobody sees: the folder is what is listed.
    async fn fetch_large(&self, missing: Vec<usize>) -> Result<Vec<Failed>, ActionError> {
        let table = Transfers::new(LARGE_AT_ONCE);
        let downloader =
            Downloader::new(self.channels.clone(), table, self.shutdown.clone(), self.throttle.clone());
        let fetches = futures::stream::iter(missing).map(|at| self.fetch_one(&downloader, at));
        let mut fetches = std::pin::pin!(fetches.buffer_unordered(LARGE_AT_ONCE));
        let mut failed = Vec::new();
        while let Some(fetched) = fetches.next().await {
            failed.extend(fetched?);
            if failed.len() >= KEPT_FAILURES {
                break;
            }
        }
        Ok(failed)
    }

    async fn fetch_one(&self, downloader: &Downloader, at: usize) -> Result<Option<Failed>, ActionError> {
        let manifest = self.manifest.clone();
        let file = &self.manifest.files()[at];
        let place = self.with_stage(move |held| {
            held.as_mut().ok_or(StoreError::Stopped)?.place(&manifest.files()[at].path)
        });
        let place = place.await?;
        let what = file.hash.map_or_else(|| FileName::Path(self.shared_path(file)), FileName::Hash);
        let mut events = downloader.start(DownloadAsk {
            what,
            sources: vec![self.ask.source.clone()],
            destination: place.clone(),
            name: None,
            finder: None,
        })?;
        let (mut counted, mut last) = (0, None);
        while let Some(event) = events.next().await {
            let transfer = event?;
            // A download that begins anew is counted once.
            self.ticket.count(transfer.done_bytes.saturating_sub(counted));
            counted = counted.max(transfer.done_bytes);
            last = Some(transfer);
        }
        let failed = |kind, reason: &str| Ok(Some((file.path.clone(), kind, reason.to_owned())));
        match last {
            Some(transfer) => match transfer.state {
                TransferState::Failed(error) => failed(error.kind, &error.message),
                TransferState::Done if transfer.path.as_ref() != Some(&place) => {
                    failed(ErrorKind::Failed, "its place in the stage was taken by something else")
                }
                TransferState::Done if transfer.size_bytes != file.size_bytes => {
                    failed(ErrorKind::Mismatch, "it has another size than the list said")
                }
                TransferState::Done => Ok(None),
                _ => failed(ErrorKind::Cancelled, "its download was stopped"),
            },
            None => failed(ErrorKind::Failed, "its download ended without a word"),
        }
    }

    /// As the holder calls it.
    fn shared_path(&self, file: &ManifestFile) -> String {
        format!("{}/{}", self.ask.path.trim_end_matches('/'), file.path)
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
            .hint("what came is kept beside the destination; get the folder again to fetch only the rest")
    }
}

/// Removes the stage of a fetch that was cancelled; any other end leaves it for another try.
struct DiscardCancelled<'a>(&'a Run);

impl Drop for DiscardCancelled<'_> {
    fn drop(&mut self) {
        let run = self.0;
        if run.ticket.cancel_token().is_cancelled() && !run.shutdown.is_stopping() {
            let stage = run.stage.clone();
            drop(run.shutdown.spawn_blocking(move || {
                let stage = stage.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(stage) = stage {
                    stage.discard();
                }
            }));
        }
    }
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
            .hint("see `floodplain peers` for who is there"),
        Code::DeadlineExceeded => ActionError::new(ErrorKind::TimedOut, format!("{peer} does not answer")),
        _ => {
            let message = format!("could not list {path} of {peer}: {}", Printable(&said));
            ActionError::new(ErrorKind::Failed, message)
        }
    }
}
