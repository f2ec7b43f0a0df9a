//! One download from its first try to its last: opens, gathers, publishes, and waits for holders in between.
//!
//! Invariant: what was verified stays in the part until somebody discards it, whichever way a try ends.

use std::{path::PathBuf, sync::Arc};

use super::{
    DownloadAsk, Downloader, FIRST_SEARCH_WAIT, LONGEST_SEARCH_WAIT, Source, folder_and_name,
    opening::{Opened, Opening},
    people::People,
    sequential::Sequential,
    store_error,
    swarm::{Halt, Swarm},
};
use crate::{
    peer::transfers::{DownloadSlot, Ticket, Turn},
    protocol::{
        action::{ActionError, ErrorKind, TransferState},
        plan::holders::{Holders, MAX_HOLDERS},
    },
    store::{StoreError, pieces::part_path},
};

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
pub(super) struct Run<'a> {
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
    pub(super) fn new(mut ask: DownloadAsk, with: &'a Downloader, ticket: Arc<Ticket>) -> Self {
        let mut sources = std::mem::take(&mut ask.sources);
        sources.truncate(MAX_HOLDERS);
        let holders = Holders::new(sources.len());
        let people = People::new(sources);
        Self { ask, people, holders, swarm: None, has_begun_again: false, with, ticket }
    }

    pub(super) async fn until_ended(&mut self, slot: DownloadSlot) -> Result<PathBuf, ActionError> {
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
            let finder = self.ask.finder.clone().filter(|finder| !finder.is_of_folder && self.has_pieces());
            let Some(finder) = finder else {
                return Err(halted);
            };
            if self.verified_bytes() > had {
                wait = FIRST_SEARCH_WAIT;
            }
            tracing::info!(reason = %halted, "a begun download waits for holders");
            loop {
                self.ticket.enter(TransferState::Waiting);
                self.ticket.wait(wait, &halted.message).await;
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
        };
        match opening.run().await {
            Opened::Known(known) => {
                let destination = self.ask.destination_for(&known.name);
                let (_, name) = folder_and_name(&destination);
                self.ticket.update(|transfer| transfer.name = name);
                if let Some(path) =
                    known.store_whole(&destination, &self.people, &self.ticket, &self.with.shutdown).await?
                {
                    return Ok(Err(path));
                }
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
    pub(super) async fn leave(&mut self) {
        if let Some(mut swarm) = self.swarm.take() {
            swarm.stop().await;
            if !swarm.has_pieces() {
                swarm.discard().await;
            }
        }
    }

    /// Stops, and removes the part.
    pub(super) async fn discard(&mut self) {
        if let Some(mut swarm) = self.swarm.take() {
            swarm.stop().await;
            swarm.discard().await;
        }
    }
}
