//! Fetches one file from whoever has it, driven by the plan.
//!
//! Invariant: a file appears at its destination only whole and verified; whatever else happens, nothing is left behind
//! and the transfer says why.

pub(super) mod fetch;

use std::{net::SocketAddr, path::PathBuf};

use super::{
    channels::Channels,
    handle::Events,
    transfers::{Ticket, Transfers},
};
use crate::{
    net::throttle::Throttle,
    protocol::{
        action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
        id::{ContentHash, PeerId},
        name::{Printable, to_portable_name},
        plan::{Assignment, Failure, FailureKind, FileName, Outcome, Plan, Step},
    },
    shutdown::Shutdown,
    store::{StoreError, part::PartFile},
};
use fetch::{Fetch, Stop};

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

/// What to download, from whom, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadAsk {
    /// What.
    pub what: FileName,
    /// From whom, the best first. By path there is one.
    pub sources: Vec<Source>,
    /// An existing folder to put it in, or the file to make.
    pub destination: PathBuf,
    /// Its name in that folder; `None` takes the first holder's. Made portable.
    pub name: Option<String>,
}

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
        drop(self.shutdown.spawn("download", async move { this.run(ask, ticket).await }));
        Ok(events)
    }

    async fn run(self, ask: DownloadAsk, ticket: Ticket) {
        let _slot = tokio::select! {
            slot = self.transfers.download_slot() => slot,
            () = ticket.cancelled() => return ticket.finish(TransferState::Cancelled),
        };
        let mut run = Run {
            expected: match ask.what {
                FileName::Hash(hash) => Some(hash),
                FileName::Path(_) => None,
            },
            plan: Plan::new(ask.sources.len()),
            kinds: vec![ErrorKind::Failed; ask.sources.len()],
            known: None,
            part: None,
            no_space: None,
            channels: &self.channels,
            shutdown: &self.shutdown,
            throttle: &self.throttle,
            ticket: &ticket,
            ask,
        };
        let gathered = tokio::select! {
            gathered = run.gather() => gathered,
            () = ticket.cancelled() => Err(ActionError::new(ErrorKind::Cancelled, "cancelled")),
        };
        let part = run.part.take();
        let ended = match (gathered, part) {
            (Ok(()), Some(part)) => part.publish().await.map_err(|error| store_error(&error)),
            (Ok(()), None) => Err(ActionError::new(ErrorKind::Failed, "no holder told what the file is")),
            (Err(error), part) => {
                if let Some(part) = part {
                    part.discard().await;
                }
                Err(error)
            }
        };
        drop(run);
        match ended {
            Ok(path) => {
                ticket.update(|transfer| transfer.path = Some(path));
                ticket.finish(TransferState::Done);
            }
            Err(error) if error.kind == ErrorKind::Cancelled => ticket.finish(TransferState::Cancelled),
            Err(error) => ticket.finish(TransferState::Failed(error)),
        }
    }
}

/// What the holders said of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    size_bytes: u64,
    hash: Option<ContentHash>,
}

struct Run<'a> {
    ask: DownloadAsk,
    expected: Option<ContentHash>,
    plan: Plan,
    /// What each holder's last failure means to a face.
    kinds: Vec<ErrorKind>,
    known: Option<Known>,
    part: Option<PartFile>,
    no_space: Option<StoreError>,
    channels: &'a Channels,
    shutdown: &'a Shutdown,
    throttle: &'a Throttle<SocketAddr>,
    ticket: &'a Ticket,
}

impl Run<'_> {
    /// Until the part holds the whole, verified. May be dropped; the part is to be discarded then.
    async fn gather(&mut self) -> Result<(), ActionError> {
        loop {
            match self.plan.step() {
                Step::Fetch(assignment) => self.fetch(assignment).await?,
                Step::Verify => {
                    self.ticket.enter(TransferState::Verifying);
                    let is_right = self.verify().await.map_err(|error| store_error(&error))?;
                    self.plan.verified(is_right);
                }
                Step::End(Outcome::Done(holders)) => {
                    let names: Vec<String> = holders.iter().map(|&holder| self.name_of(holder)).collect();
                    if !names.is_empty() {
                        self.ticket.update(|transfer| transfer.sources = names);
                    }
                    return Ok(());
                }
                Step::End(outcome) => return Err(self.failure(outcome)),
            }
        }
    }

    async fn fetch(&mut self, assignment: Assignment) -> Result<(), ActionError> {
        if assignment.offset == 0 {
            self.known = None;
            self.ticket.update(|transfer| transfer.done_bytes = 0);
            if let Some(part) = &mut self.part {
                part.restart().await.map_err(|error| store_error(&error))?;
            }
        }
        if !assignment.after.is_zero() {
            self.ticket.enter(TransferState::Waiting);
            tokio::time::sleep(assignment.after).await;
        }
        let source = &self.ask.sources[assignment.holder];
        let name = source.name.clone();
        self.ticket.update(|transfer| {
            if !transfer.sources.contains(&name) {
                transfer.sources.push(name.clone());
            }
        });
        let fetched = match self.channels.to(source.address) {
            Ok(channel) => {
                let range = assignment.offset..u64::MAX;
                Fetch::open(&channel, &self.ask.what, range, false).await
            }
            Err(forbidden) => Err(Stop::last(ErrorKind::Refused, forbidden.to_string())),
        };
        let ended = match fetched {
            Ok(mut fetch) => self.take_all(&mut fetch, self.ask.sources[assignment.holder].address).await,
            Err(stop) => Err(stop),
        };
        match ended {
            Ok(()) => self.plan.completed(),
            Err(Stop::Holder(mut failure, kind)) => {
                // What lies at a path may change; it is then fetched anew. What has a hash is gone when it changes.
                if failure.kind == FailureKind::Changed && self.expected.is_none() {
                    failure.kind = FailureKind::Disagrees;
                }
                tracing::debug!(holder = %name, reason = %failure.reason, "a holder failed");
                self.kinds[assignment.holder] = kind;
                self.plan.failed(failure);
            }
            Err(Stop::Here(error)) => return Err(store_error(&error)),
        }
        Ok(())
    }

    async fn take_all(&mut self, fetch: &mut Fetch, holder: SocketAddr) -> Result<(), Stop> {
        let (told, _) = fetch.file().await?;
        let known = Known { size_bytes: told.size_bytes, hash: told.hash };
        if let (Some(expected), Some(hash)) = (self.expected, told.hash)
            && expected != hash
        {
            return Err(Stop::last(ErrorKind::Mismatch, "it says that the file has another content"));
        }
        match self.known {
            Some(before) if before != known => {
                return Err(Stop::disagrees("it says something else of the file than what came before"));
            }
            _ => self.known = Some(known),
        }
        self.prepare(known.size_bytes, told.name()).await?;
        self.ticket.enter(TransferState::Running);
        while let Some(bytes) = fetch.bytes(known.size_bytes).await? {
            let count = bytes.len() as u64;
            self.throttle.pass(holder, count).await;
            let part = self.part.as_mut().expect("prepared above");
            part.write(bytes).await.map_err(Stop::Here)?;
            self.plan.received(count);
            self.ticket.count(count);
        }
        Ok(())
    }

    /// Opens the part when there is none. A holder may tell any size: too large a one is its failure, not the end.
    async fn prepare(&mut self, size_bytes: u64, told_name: &str) -> Result<(), Stop> {
        let hash = self.expected.or(self.known.and_then(|known| known.hash));
        self.ticket.update(|transfer| {
            transfer.size_bytes = size_bytes;
            transfer.hash = hash;
        });
        if self.part.is_some() {
            return Ok(());
        }
        let mut destination = self.ask.destination.clone();
        // One look at the folder: answered from the kernel's cache.
        if destination.is_dir() {
            let name = to_portable_name(self.ask.name.as_deref().unwrap_or(told_name));
            destination.push(name);
        }
        if let Some(name) = destination.file_name().map(|name| name.to_string_lossy().into_owned()) {
            self.ticket.update(|transfer| transfer.name = name);
        }
        match PartFile::create(destination, size_bytes, self.shutdown).await {
            Ok(part) => self.part = Some(part),
            Err(error @ StoreError::NoSpace { .. }) => {
                let stop = Stop::last(ErrorKind::Failed, error.to_string());
                self.no_space = Some(error);
                return Err(stop);
            }
            Err(error) => return Err(Stop::Here(error)),
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<bool, StoreError> {
        let Some(part) = &mut self.part else { return Ok(false) };
        let sum = part.sum().await?;
        let Some(known) = self.known else { return Ok(false) };
        // By path, while the holder is still hashing, there is nothing but the size to compare with.
        let expected = self.expected.or(known.hash);
        self.ticket.update(|transfer| transfer.hash = Some(sum.hash));
        Ok(sum.size_bytes == known.size_bytes && expected.is_none_or(|expected| expected == sum.hash))
    }

    fn name_of(&self, holder: usize) -> String {
        self.ask.sources[holder].name.clone()
    }

    fn failure(&self, outcome: Outcome) -> ActionError {
        let name = self.ticket.transfer().name;
        let reasons = |failed: &[(usize, Failure)]| {
            let reasons = failed.iter().map(|(holder, failure)| {
                format!("{}: {}", self.name_of(*holder), Printable(&failure.reason))
            });
            reasons.collect::<Vec<_>>().join("; ")
        };
        match outcome {
            Outcome::Done(_) => ActionError::new(ErrorKind::Failed, "ended twice"),
            Outcome::Mismatch { wrong, failed } => {
                let wrong: Vec<String> = wrong.iter().map(|&holder| self.name_of(holder)).collect();
                let mut message =
                    format!("{} sent bytes of {name} that do not match its hash", wrong.join(", "));
                if !failed.is_empty() {
                    message = format!("{message}; {}", reasons(&failed));
                }
                ActionError::new(ErrorKind::Mismatch, message).hint("nothing was kept; try another holder")
            }
            Outcome::AllFailed(failed) => {
                if let Some(error) = &self.no_space {
                    return store_error(error);
                }
                let kinds: Vec<ErrorKind> = failed.iter().map(|(holder, _)| self.kinds[*holder]).collect();
                // What one holder lacks another may have had: the more telling reason decides.
                let telling = kinds.iter().find(|&&kind| kind != ErrorKind::NotFound).or(kinds.first());
                let kind = telling.copied().unwrap_or(ErrorKind::NotFound);
                ActionError::new(kind, format!("could not download {name}: {}", reasons(&failed)))
                    .hint("nothing was kept; search again for other holders")
            }
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
        StoreError::Io { .. } => (ErrorKind::Failed, "check the folder and its permissions"),
    };
    ActionError::new(kind, format!("{error}{cause}")).hint(hint)
}
