//! A file that cannot be checked piece by piece, because its holders have no tree of it or do not know its hash yet: one
//! holder at a time, each from where the last one broke, and one look at the whole in the end.
//!
//! Invariant: nothing is kept of what did not arrive whole and verified.

use std::net::SocketAddr;

use super::{
    DownloadAsk, Downloader, Source,
    fetch::{Fetch, Range, Stop},
    people::People,
    store_error,
    telling::{failed, resting, tell_queue},
};
use crate::{
    peer::transfers::Ticket,
    protocol::{
        action::{ActionError, ErrorKind, NoteCode, TransferState},
        id::ContentHash,
        plan::{Assignment, FailureKind, Outcome, Plan, Step},
    },
    store::{StoreError, part::PartFile},
};

/// What the holders said of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    size_bytes: u64,
    hash: Option<ContentHash>,
}

pub(super) struct Sequential<'a> {
    ask: &'a DownloadAsk,
    expected: Option<ContentHash>,
    plan: Plan,
    people: People,
    known: Option<Known>,
    pub(super) part: Option<PartFile>,
    last_failure: String,
    with: &'a Downloader,
    ticket: &'a Ticket,
}

impl<'a> Sequential<'a> {
    /// From those holders, the best first.
    pub(super) fn new(
        ask: &'a DownloadAsk,
        sources: Vec<Source>,
        with: &'a Downloader,
        ticket: &'a Ticket,
    ) -> Self {
        Self {
            ask,
            expected: ask.hash(),
            plan: Plan::new(sources.len()),
            people: People::new(sources),
            known: None,
            part: None,
            last_failure: String::new(),
            with,
            ticket,
        }
    }

    /// Until the part holds the whole, verified. May be dropped; the part is to be discarded then.
    pub(super) async fn gather(&mut self) -> Result<(), ActionError> {
        loop {
            match self.plan.step() {
                Step::Fetch(assignment) => self.fetch(assignment).await?,
                Step::Verify => {
                    self.ticket.enter(TransferState::Verifying);
                    let is_right = self.verify().await.map_err(|error| store_error(&error))?;
                    self.plan.verified(is_right);
                }
                Step::End(Outcome::Done(holders)) => {
                    let names = self.people.names(&holders);
                    if !names.is_empty() {
                        self.ticket.update(|transfer| transfer.sources = names);
                    }
                    return Ok(());
                }
                Step::End(outcome) => return Err(self.people.failure(&self.ticket.transfer().name, outcome)),
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
            self.ticket.note(NoteCode::AsksAgain, resting(assignment.after, &self.last_failure));
            tokio::time::sleep(assignment.after).await;
        }
        let source = self.people.source(assignment.holder).clone();
        let name = source.name.clone();
        self.ticket.update(|transfer| {
            if !transfer.sources.contains(&name) {
                transfer.sources.push(name.clone());
            }
        });
        let fetched = match self.with.channels.to(source.to()) {
            Ok(channel) => {
                let range = Range { offset: assignment.offset, length: 0, with_tree: false };
                Fetch::open_within(&channel, &self.ask.what, range, self.with.patience.stall).await
            }
            Err(forbidden) => Err(Stop::last(ErrorKind::Refused, forbidden.to_string())),
        };
        let ended = match fetched {
            Ok(mut fetch) => self.take_all(&mut fetch, &name, source.address).await,
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
                self.people.note(assignment.holder, kind);
                self.last_failure = failed(&name, &failure);
                self.plan.failed(failure);
            }
            Err(Stop::Here(error)) => return Err(store_error(&error)),
        }
        Ok(())
    }

    async fn take_all(&mut self, fetch: &mut Fetch, name: &str, holder: SocketAddr) -> Result<(), Stop> {
        let ticket = self.ticket;
        let queued = |position| tell_queue(ticket, name, position);
        let (told, _) = fetch.file_from_best(queued, || self.plan.has_other()).await?;
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
        while let Some(bytes) = fetch.bytes_from_best(known.size_bytes, || self.plan.has_other()).await? {
            let count = bytes.len() as u64;
            self.with.throttle.pass(holder, count).await;
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
        let destination = self.ask.destination_for(told_name);
        if let Some(name) = destination.file_name().map(|name| name.to_string_lossy().into_owned()) {
            self.ticket.update(|transfer| transfer.name = name);
        }
        match PartFile::create(destination, size_bytes, &self.with.shutdown).await {
            Ok(part) => self.part = Some(part),
            Err(error @ StoreError::NoSpace { .. }) => {
                let stop = Stop::last(ErrorKind::Failed, error.to_string());
                self.people.no_space = Some(error);
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
}
