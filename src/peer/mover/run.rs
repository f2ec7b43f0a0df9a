//! Does the downloads that are kept, of files and of whole folders, in the background.
//!
//! Invariant: nobody is asked for anything before the download has its slot, and none is held while only others can help.
//! What lies at a path is found out then; that it is a folder is kept with the job.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, sleep};

use super::{Mover, nobody_has_it, source};
use crate::{
    peer::{
        download::{DownloadAsk, Find, Finder, Source},
        folder::{Attempted, FirstPage, Place, Search, Wanted},
        handle::Outcome,
        transfers::{DownloadSlot, Interrupt, Revived, Ticket, Turn},
    },
    protocol::{
        action::{ActionError, ErrorKind, Transfer, TransferState},
        id::PeerId,
        plan::FileName,
    },
    store::jobs::{Job, JobTarget},
};

/// Who was found to have a file is believed for so long; a download that waited longer asks again.
const FOUND_LASTS: Duration = Duration::from_secs(30);
/// How long after its own start a peer looks again for those who have what an earlier run did not finish: after a power
/// cut others may be back later.
const PATIENCE_AFTER_START: Duration = Duration::from_secs(120);
const FIND_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// Looks at a path whose peer does not answer, before anything of it is here.
const MAX_LOOKS: u32 = 3;
/// Looks for a begun folder at a peer that says it has none: it may only just read its shares again.
const MAX_MISSES: u32 = 8;
/// Between two tries, from the first to the longest; a begun folder is never given up while its peer may come back.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What lies at a path.
enum Looked {
    File,
    /// Nothing to be fetched: it lies here since just before the last process was killed.
    Published(PathBuf),
    Folder(Box<Wanted>, FirstPage),
}

/// What is left to do with a download when it is known what lies at its path.
enum FoundOut {
    /// To fetch a file; with the slot, unless that is still to be waited for.
    File(Option<DownloadSlot>),
    /// It was a folder, or nothing, and came to this end.
    Ended(TransferState),
}

impl Mover {
    /// Starts what an earlier run left, and what is tried again, until the stop.
    pub(in crate::peer) fn start_revived(&self, mut revived: Revived) {
        let mut this = self.clone();
        this.patient_until = Instant::now() + PATIENCE_AFTER_START;
        drop(self.shutdown.spawn("revive transfers", async move {
            // Those of an earlier run are there already; what comes later is tried again.
            let mut left_over = revived.len();
            while let Some((job, ticket)) = revived.recv().await {
                this.run(job, ticket, None, left_over > 0);
                left_over = left_over.saturating_sub(1);
            }
        }));
    }

    /// Does a download in the background. `found` is who has it as far as that is known already; one that an earlier run
    /// of this program left (`is_revived`) may be done.
    pub(super) fn run(&self, mut job: Job, ticket: Ticket, found: Option<DownloadAsk>, is_revived: bool) {
        let this = self.clone();
        drop(self.shutdown.spawn("download", async move {
            let ticket = Arc::new(ticket);
            let known = found.as_ref().and_then(|found| found.sources.first().cloned());
            match this.find_out(&mut job, &ticket, known).await {
                FoundOut::File(slot) => this.run_file(job, ticket, slot, found, is_revived).await,
                FoundOut::Ended(state) => {
                    // A stop of the peer leaves what came.
                    if ticket.cancel_token().is_cancelled() {
                        this.discard(&job).await;
                    }
                    ticket.enter(state);
                }
            }
        }));
    }

    async fn run_file(
        &self,
        job: Job,
        ticket: Arc<Ticket>,
        slot: Option<DownloadSlot>,
        found: Option<DownloadAsk>,
        is_revived: bool,
    ) {
        let place = DownloadAsk {
            what: match &job.what {
                JobTarget::Hash(hash) => FileName::Hash(*hash),
                JobTarget::Path { path, .. } => FileName::Path(path.clone()),
            },
            sources: Vec::new(),
            destination: job.destination.clone(),
            name: job.name.clone(),
            finder: None,
        };
        let mut found = found.map(|ask| (ask, Instant::now()));
        let finder = self.clone();
        let find: Find = Box::new(move || {
            let fresh = found.take().filter(|(_, at)| at.elapsed() < FOUND_LASTS);
            match fresh {
                Some((ask, _)) => async { Ok(ask) }.boxed(),
                None => finder.clone().find_again(job.clone()).boxed(),
            }
        });
        let ended = self.downloader.clone().run(ticket, slot, place, find, is_revived).await;
        // Has a finished download found at once, so that others may get it from here.
        if let Transfer { state: TransferState::Done, path: Some(path), hash: Some(hash), .. } = ended {
            let index = self.index.clone();
            drop(self.shutdown.spawn_blocking(move || {
                index.note_file(&path, hash);
                // Asked for once, its tree is made: the next fetcher is to have it at once.
                let _ = index.tree(&hash);
            }));
        }
    }

    /// Looks what lies at a path, and fetches it when it is a folder. `known` is its peer, when that was just found.
    async fn find_out(&self, job: &mut Job, ticket: &Arc<Ticket>, mut known: Option<Source>) -> FoundOut {
        let Some(place) = Place::of_job(job) else { return FoundOut::File(None) };
        if !job.is_tree && job.size_bytes.is_some() {
            // A peer told of a file there.
            return FoundOut::File(None);
        }
        let (mut tries, mut wait) = (0, FIRST_WAIT);
        loop {
            let slot = match ticket.turn().await {
                Turn::Go(slot) => slot,
                Turn::Cancel => return FoundOut::Ended(TransferState::Cancelled),
            };
            let looked = tokio::select! {
                looked = self.look(job, &place, known.take()) => looked,
                interrupt = ticket.interrupted() => match interrupt {
                    Interrupt::Cancel => return FoundOut::Ended(TransferState::Cancelled),
                    Interrupt::Pause => continue,
                },
            };
            let had_bytes = ticket.transfer().done_bytes;
            let error = match looked {
                Ok(Looked::File) => return FoundOut::File(Some(slot)),
                Ok(Looked::Published(path)) => {
                    ticket.update(|transfer| {
                        transfer.path = Some(path);
                        transfer.done_bytes = transfer.size_bytes;
                    });
                    return FoundOut::Ended(TransferState::Done);
                }
                Ok(Looked::Folder(wanted, first)) => {
                    job.is_tree = true;
                    ticket.keep_job(|job| job.is_tree = true);
                    match self.folders.attempt(&wanted, first, ticket).await {
                        Ok(Attempted::Done(_)) => return FoundOut::Ended(TransferState::Done),
                        Ok(Attempted::Interrupted(Interrupt::Cancel)) => {
                            return FoundOut::Ended(TransferState::Cancelled);
                        }
                        Ok(Attempted::Interrupted(Interrupt::Pause)) => continue,
                        Err(error) if error.kind == ErrorKind::Cancelled => {
                            return FoundOut::Ended(TransferState::Cancelled);
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            // Others may run while this one waits.
            drop(slot);
            if ticket.transfer().done_bytes > had_bytes {
                (tries, wait) = (0, FIRST_WAIT);
            }
            tries += 1;
            if !self.may_turn_up(&error, tries, &place) {
                return FoundOut::Ended(TransferState::Failed(error));
            }
            tracing::info!(reason = %error, tries, "a download waits for its peer");
            ticket.enter(TransferState::Waiting);
            tokio::select! {
                () = ticket.wait(wait, &error.message) => wait = (wait * 2).min(LONGEST_WAIT),
                interrupt = ticket.interrupted() => if interrupt == Interrupt::Cancel {
                    return FoundOut::Ended(TransferState::Cancelled);
                },
            }
        }
    }

    /// Whether it is to be tried once more after so many tries that brought nothing.
    fn may_turn_up(&self, error: &ActionError, tries: u32, place: &Place) -> bool {
        let is_early = || Instant::now() < self.patient_until;
        // One look at the folder: answered from the kernel's cache.
        let has_begun = || place.stage().is_dir();
        match error.kind {
            ErrorKind::Unreachable | ErrorKind::TimedOut => tries < MAX_LOOKS || is_early() || has_begun(),
            ErrorKind::NotFound => is_early() || (tries < MAX_MISSES && has_begun()),
            _ => false,
        }
    }

    async fn look(&self, job: &Job, place: &Place, known: Option<Source>) -> Outcome<Looked> {
        if let Some(inode) = job.stage_inode {
            let place = place.clone();
            let looking = self.shutdown.spawn_blocking(move || place.published(inode));
            if let Ok(Some(path)) = looking.await {
                return Ok(Looked::Published(path));
            }
        }
        refuse_lost_folder(job)?;
        let JobTarget::Path { peer, path } = &job.what else { return Ok(Looked::File) };
        let source = match known {
            Some(source) => source,
            None => self.peer_again(peer).await.map_err(|error| match error.kind {
                // A begun folder waits for its peer, wherever that is meanwhile.
                ErrorKind::NotFound if job.is_tree => ActionError { kind: ErrorKind::Unreachable, ..error },
                _ => error,
            })?,
        };
        match self.folders.look(&source, path).await? {
            None if job.is_tree => {
                let message = format!("{} has no folder {path} any more", source.name);
                Err(ActionError::new(ErrorKind::NotFound, message))
            }
            None => Ok(Looked::File),
            Some(first) => {
                let search = Some(self.search());
                let wanted = Wanted { source, path: path.clone(), place: place.clone(), search };
                Ok(Looked::Folder(Box::new(wanted), first))
            }
        }
    }

    async fn peer_again(&self, peer: &PeerId) -> Outcome<Source> {
        // Nobody can be reached before, however long it takes.
        self.view.until(|now| now.roster.is_some()).await;
        self.directory.find(&peer.to_string()).await.map(|member| source(&member))
    }

    /// Removes what a folder left, unless another download of it is kept that goes on with that.
    async fn discard(&self, job: &Job) {
        let Some(place) = Place::of_job(job) else { return };
        let is_same = |other: &Job| other.id != job.id && Place::of_job(other).as_ref() == Some(&place);
        if !self.transfers.kept().iter().any(is_same) {
            self.folders.discard(&place).await;
        }
    }

    /// Who has the file now. Right after a start of the whole network others may come back later than this peer: a while
    /// is given to them.
    async fn find_again(self, job: Job) -> Outcome<DownloadAsk> {
        refuse_lost_folder(&job)?;
        // Nobody can be reached before, however long it takes.
        self.view.until(|now| now.roster.is_some()).await;
        loop {
            let found = match &job.what {
                JobTarget::Hash(hash) => self.by_hash(*hash).await,
                JobTarget::Path { peer, path } => {
                    let found = self.peer_again(peer).await;
                    found.map(|source| (FileName::Path(path.clone()), None, vec![source]))
                }
            };
            let error = match found {
                Ok((what, file, sources)) if !sources.is_empty() => {
                    let name = job.name.clone().or(file.map(|file| file.name().to_owned()));
                    let finder = Some(self.finder(&what, &sources));
                    return Ok(DownloadAsk { what, sources, destination: job.destination, name, finder });
                }
                Ok(_) => nobody_has_it(),
                Err(error) => error,
            };
            if Instant::now() >= self.patient_until {
                return Err(error);
            }
            sleep(FIND_AGAIN_EVERY).await;
        }
    }

    /// Holders that turn up while a download runs, or waits for them.
    pub(super) fn finder(&self, what: &FileName, sources: &[Source]) -> Finder {
        let (this, what, known) = (self.clone(), what.clone(), sources.to_vec());
        Finder::new(move || {
            let (this, what, known) = (this.clone(), what.clone(), known.clone());
            async move {
                // What has no hash has no other holder; this one may come back, and at another address.
                let FileName::Hash(hash) = what else { return this.where_now(known).await };
                match this.by_hash(hash).await {
                    Ok((_, _, sources)) => sources,
                    Err(error) => {
                        tracing::debug!(%error, "found no holder");
                        Vec::new()
                    }
                }
            }
            .boxed()
        })
    }

    async fn where_now(&self, mut known: Vec<Source>) -> Vec<Source> {
        for holder in &mut known {
            if let Ok(member) = self.directory.find(&holder.peer_id.to_string()).await {
                *holder = source(&member);
            }
        }
        known
    }

    /// Other peers that have a file of a folder.
    fn search(&self) -> Search {
        let this = self.clone();
        Arc::new(move |hash| {
            let this = this.clone();
            async move {
                let me = this.view.now().me.id;
                let mut sources =
                    this.by_hash(hash).await.map_or_else(|_| Vec::new(), |(_, _, sources)| sources);
                sources.retain(|source| source.peer_id != me);
                sources
            }
            .boxed()
        })
    }
}

fn refuse_lost_folder(job: &Job) -> Outcome<()> {
    // One look at the folder: answered from the kernel's cache.
    if !job.is_folder || job.destination.is_dir() {
        return Ok(());
    }
    let folder = PathBuf::from(&job.destination);
    let error = ActionError::new(ErrorKind::Failed, format!("the folder {} is gone", folder.display()));
    Err(error.hint("make it and retry, or cancel this one"))
}
