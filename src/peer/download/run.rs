//! One download from its first try to its last: opens, gathers, publishes, and waits for holders in between.
//!
//! Invariant: what was verified stays in the part until somebody discards it, whichever way a try ends.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DownloadAsk, Downloader, FIRST_SEARCH_WAIT, LONGEST_SEARCH_WAIT, Source, folder_and_name, may_turn_up,
    opening::{Known, Opened, Opening},
    people::{People, only_reasons},
    sequential::Sequential,
    shared::Sharing,
    store_error,
    swarm::{Halt, Swarm},
};
use crate::{
    peer::transfers::{DownloadSlot, Ticket, Turn},
    protocol::{
        action::{ActionError, ErrorKind, TransferState},
        id::ContentHash,
        name::to_portable_name,
        plan::holders::{Holders, MAX_HOLDERS},
    },
    store::{
        StoreError,
        jobs::JobTarget,
        pieces::{Seed, part_path},
    },
};

/// A file that the disk loses, or that somebody else writes to, is begun again this often.
const MAX_BEGUN_AGAIN: u32 = 3;

/// Why a try ended.
enum Halted {
    /// Nobody is left; others may turn up.
    Nobody(ActionError),
    Early(Early),
    /// For good.
    Failed(ActionError),
}

impl From<StoreError> for Halted {
    fn from(error: StoreError) -> Self {
        Self::Failed(store_error(&error))
    }
}

/// Why a run ended without the file, but not for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    /// Another download fetches the same content: it is to be followed.
    Elsewhere,
    /// What was here of it is of no use: it is to be looked for anew.
    Again,
}

/// How a run ended.
pub(super) type Ended = Result<Result<PathBuf, ActionError>, Early>;

/// One download over all its tries.
pub(super) struct Run<'a> {
    ask: DownloadAsk,
    people: People,
    /// Until the swarm has them.
    holders: Holders,
    swarm: Option<Swarm>,
    begun_again: u32,
    /// Copies what another download published, and fetches only what is wrong of that.
    is_copy: bool,
    /// An earlier run of this program may have published it.
    is_revived: bool,
    sharing: &'a mut Sharing,
    with: &'a Downloader,
    ticket: Arc<Ticket>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        mut ask: DownloadAsk,
        sharing: &'a mut Sharing,
        is_revived: bool,
        with: &'a Downloader,
        ticket: Arc<Ticket>,
    ) -> Self {
        let mut sources = std::mem::take(&mut ask.sources);
        sources.truncate(MAX_HOLDERS);
        let holders = Holders::new(sources.len());
        let people = People::new(sources);
        let (swarm, begun_again, is_copy) = (None, 0, false);
        Self { ask, people, holders, swarm, begun_again, is_copy, is_revived, sharing, with, ticket }
    }

    pub(super) async fn until_ended(&mut self, slot: DownloadSlot) -> Ended {
        let mut wait = FIRST_SEARCH_WAIT;
        let mut slot = slot;
        loop {
            let had = self.verified_bytes();
            let halted = match self.fetch().await {
                Ok(path) => return Ok(Ok(path)),
                Err(Halted::Early(early)) => return Err(early),
                Err(Halted::Failed(error)) => return Ok(Err(error)),
                Err(Halted::Nobody(error)) => error,
            };
            // Others may run while this one waits.
            drop(slot);
            let has_begun = self.has_pieces() || self.ticket.transfer().done_bytes > 0;
            let finder = self.ask.finder.clone().filter(|finder| !finder.is_of_folder && has_begun);
            let Some(finder) = finder else {
                return Ok(Err(halted));
            };
            if self.verified_bytes() > had {
                wait = FIRST_SEARCH_WAIT;
            }
            tracing::info!(reason = %halted, "a begun download waits for holders");
            let name = self.ticket.transfer().name;
            let reason = only_reasons(&halted, &name);
            loop {
                self.ticket.enter(TransferState::Waiting);
                self.ticket.wait(wait, reason).await;
                wait = (wait * 2).min(LONGEST_SEARCH_WAIT);
                let found = finder.find().await;
                if !found.is_empty() {
                    match &self.swarm {
                        Some(swarm) => swarm.pardon(),
                        None => self.holders.pardon(),
                    }
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
            let gathered = swarm.gather(&mut self.people, self.with, finder).await;
            match gathered {
                Ok(()) => {}
                Err(Halt::Nobody(_)) if self.is_copy => {
                    self.sharing.forget_published();
                    return Err(Halted::Early(Early::Again));
                }
                Err(Halt::Nobody(outcome)) => {
                    let error = self.people.failure(&self.ticket.transfer().name, outcome);
                    return Err(Halted::Nobody(error));
                }
                Err(Halt::Here(error)) => return Err(error.into()),
            }
            self.ticket.enter(TransferState::Verifying);
            let Some(swarm) = self.swarm.take() else { continue };
            let tree = swarm.tree().clone();
            match swarm.publish().await {
                Err(error @ (StoreError::NotOnDisk { .. } | StoreError::Changed(_)))
                    if self.begun_again < MAX_BEGUN_AGAIN =>
                {
                    tracing::warn!(%error, "what is wrong of it is fetched again");
                    self.begun_again += 1;
                    self.holders = Holders::new(self.people.sources().len());
                }
                published => {
                    let path = published?;
                    self.with.keep_tree(tree).await;
                    return Ok(path);
                }
            }
        }
    }

    /// A swarm, or the file when it was fetched another way.
    async fn open(&mut self) -> Result<Result<Swarm, PathBuf>, Halted> {
        if let Some(hash) = self.ask.hash()
            && let Some((known, seed)) = self.here(hash).await?
        {
            return self.begin(known, seed).await.map(Ok);
        }
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
                let hash = known.tree.root();
                self.name(&known);
                if std::mem::take(&mut self.is_revived)
                    && let Some(path) = self.with.done_before(&self.ask, hash, &self.ticket).await
                {
                    return Ok(Err(path));
                }
                if self.ask.hash().is_none()
                    && let Some((known, seed)) = self.here(hash).await?
                {
                    return self.begin(known, seed).await.map(Ok);
                }
                self.may_go_on()?;
                self.sharing.know(&known.tree, &known.name);
                let seed = self.part_to_go_on_with(hash, &known.name);
                if seed.is_none() {
                    let destination = self.name(&known);
                    let with = (&self.people, &*self.ticket, &self.with.shutdown);
                    if let Some(path) = known.store_whole(&destination, with).await? {
                        return Ok(Err(path));
                    }
                }
                self.begin(known, seed).await.map(Ok)
            }
            Opened::NoTree(having) => {
                self.may_go_on()?;
                self.fetch_sequentially(&having).await.map(Err)
            }
            Opened::Nobody => {
                let name = self.ticket.transfer().name;
                Err(Halted::Nobody(self.people.failure(&name, self.holders.given_up())))
            }
        }
    }

    /// What other downloads of this content have brought here. `None` when this one is to find it out.
    async fn here(&mut self, hash: ContentHash) -> Result<Option<(Known, Option<Seed>)>, Halted> {
        self.sharing.join(hash);
        let known = |tree, name| Known { tree, name, came: Vec::new(), teller: None };
        if !self.sharing.is_fetching()
            && let Some(published) = self.sharing.published(&self.with.shutdown).await
        {
            self.is_copy = true;
            return Ok(Some((known(published.tree, published.name), Some(Seed::File(published.path)))));
        }
        self.is_copy = false;
        if self.people.sources().is_empty() {
            // Nobody was looked for, as it was to be here.
            return Err(Halted::Early(Early::Again));
        }
        let was_fetching = self.sharing.is_fetching();
        if !self.sharing.may_fetch(&self.ticket, self.people.sources()) {
            return Err(Halted::Early(Early::Elsewhere));
        }
        if !was_fetching && let Some(finder) = self.ask.finder.take() {
            self.ask.finder = Some(self.sharing.finder(finder));
        }
        let Some((tree, name)) = self.sharing.known() else { return Ok(None) };
        self.sharing.is_under_way();
        let seed = self.part_to_go_on_with(hash, &name);
        Ok(Some((known(tree, name), seed)))
    }

    /// What another download of this content gave up, or left in an earlier run of this program, when this one has nothing.
    fn part_to_go_on_with(&mut self, hash: ContentHash, told_name: &str) -> Option<Seed> {
        let handed_over = self.sharing.take_part();
        let part_of = |destination: &Path| {
            let (folder, name) = folder_and_name(destination);
            part_path(folder, &hash, &name)
        };
        let left = || {
            // A look at a few folders: answered from the kernel's cache.
            if part_of(&self.ask.destination_for(told_name)).is_file() {
                return None;
            }
            let kept = self.with.transfers.kept().into_iter();
            let others = kept.filter(|job| job.what == JobTarget::Hash(hash)).map(|job| {
                let name = job.name.as_deref().unwrap_or(told_name);
                if job.is_folder { job.destination.join(to_portable_name(name)) } else { job.destination }
            });
            others.map(|destination| part_of(&destination)).find(|part| part.is_file())
        };
        handed_over.or_else(left).map(Seed::Part)
    }

    async fn begin(&mut self, known: Known, seed: Option<Seed>) -> Result<Swarm, Halted> {
        let destination = self.name(&known);
        let holders = self.holders.clone();
        Ok(Swarm::open(known, seed, holders, destination, &self.ticket, &self.with.shutdown).await?)
    }

    /// Another download may have begun while the holders of this one were asked what it is.
    fn may_go_on(&mut self) -> Result<(), Halted> {
        if !self.sharing.may_fetch(&self.ticket, self.people.sources()) {
            return Err(Halted::Early(Early::Elsewhere));
        }
        self.sharing.is_under_way();
        Ok(())
    }

    /// Shows what it is. Gives the file to make.
    fn name(&self, known: &Known) -> PathBuf {
        let destination = self.ask.destination_for(&known.name);
        let (_, name) = folder_and_name(&destination);
        self.ticket.update(|transfer| {
            transfer.name = name;
            transfer.size_bytes = known.tree.layout().size_bytes();
            transfer.hash = Some(known.tree.root());
        });
        destination
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
                // It begins anew then, and by pieces when a holder has made their values meanwhile.
                Err(if may_turn_up(&error) { Halted::Nobody(error) } else { Halted::Failed(error) })
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

    /// Stops, and keeps the part if it is worth anything. Gives where it is.
    pub(super) async fn leave(&mut self) -> Option<PathBuf> {
        let mut swarm = self.swarm.take()?;
        swarm.stop().await;
        let part = swarm.part().to_path_buf();
        if !swarm.has_pieces() {
            swarm.discard().await;
            return None;
        }
        Some(part)
    }

    /// Stops; keeps the part for another download when this one fetched for it, else removes it.
    pub(super) async fn cancel(&mut self) -> Option<PathBuf> {
        if self.sharing.is_fetching() && self.sharing.has_others() {
            return self.leave().await;
        }
        self.discard().await;
        None
    }

    /// Stops, and removes the part.
    async fn discard(&mut self) {
        if let Some(mut swarm) = self.swarm.take() {
            swarm.stop().await;
            swarm.discard().await;
        }
    }
}
