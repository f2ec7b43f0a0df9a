//! What the streams of one download tell together, as one state and one note.
//!
//! Invariant: it runs while any stream brings bytes. When none does and some stand in holders' queues, it waits and says
//! in which; of holders that failed the last one is named, until it brings bytes again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    peer::transfers::Ticket,
    protocol::{
        action::{NoteCode, TransferState},
        name::Printable,
        plan::Failure,
    },
};

/// Of the streams of one download, together.
#[derive(Debug)]
pub(super) struct Telling {
    ticket: Arc<Ticket>,
    // A std lock: held to change one entry and the ticket with it, so that both say the same.
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Streams that bring bytes.
    flowing: BTreeSet<u64>,
    /// Streams that stand in a queue, and what is said of that.
    queued: BTreeMap<u64, String>,
    /// The holder that failed last, and what is said of it.
    failed: Option<(usize, NoteCode, String)>,
}

impl Telling {
    pub(super) fn new(ticket: Arc<Ticket>) -> Self {
        Self { ticket, now: Mutex::default() }
    }

    /// A stream that nothing is known of yet.
    pub(super) fn stream(self: &Arc<Self>, task: u64, holder: usize) -> StreamTelling {
        StreamTelling { telling: self.clone(), task, holder }
    }

    /// No stream is left for a while. When one is asked again, if that is known.
    pub(super) fn rests(&self, wait: Option<Duration>) {
        self.with(|now| {
            self.ticket.enter(TransferState::Waiting);
            let Some((_, code, reason)) = &now.failed else { return };
            match wait {
                Some(wait) => self.ticket.note(NoteCode::AsksAgain, resting(wait, reason)),
                None => self.ticket.note(*code, reason.clone()),
            }
        });
    }

    /// A holder failed and may be asked again.
    pub(super) fn failed(&self, holder: usize, name: &str, failure: &Failure) {
        self.aside(holder, NoteCode::HolderFailed, failed(name, failure));
    }

    /// A holder sent what is wrong and is not asked again.
    pub(super) fn lied(&self, holder: usize, name: &str) {
        let reason = format!("{name} sent a wrong piece and is left aside");
        self.aside(holder, NoteCode::HolderLeftAside, reason);
    }

    fn aside(&self, holder: usize, code: NoteCode, reason: String) {
        self.with(|now| {
            if !now.flowing.is_empty() {
                self.ticket.note(code, reason.clone());
            }
            now.failed = Some((holder, code, reason));
        });
    }

    fn with(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Of one stream; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct StreamTelling {
    telling: Arc<Telling>,
    task: u64,
    holder: usize,
}

impl StreamTelling {
    /// It has that place in the queue of its holder.
    pub(super) fn stands(&self, name: &str, position: u32) {
        let ticket = &self.telling.ticket;
        self.telling.with(|now| {
            now.queued.insert(self.task, queue_note(name, position));
            if now.flowing.is_empty() {
                now.tell_queues(ticket);
            }
        });
    }

    /// Its bytes come.
    pub(super) fn flows(&self) {
        let ticket = &self.telling.ticket;
        self.telling.with(|now| {
            now.queued.remove(&self.task);
            now.flowing.insert(self.task);
            ticket.enter(TransferState::Running);
            if now.failed.as_ref().is_some_and(|(holder, ..)| *holder == self.holder) {
                now.failed = None;
            }
            match &now.failed {
                Some((_, code, reason)) => ticket.note(*code, reason.clone()),
                None => ticket.unsay(),
            }
        });
    }
}

impl Drop for StreamTelling {
    fn drop(&mut self) {
        let ticket = &self.telling.ticket;
        self.telling.with(|now| {
            now.queued.remove(&self.task);
            let was_flowing = now.flowing.remove(&self.task);
            if was_flowing && now.flowing.is_empty() && !now.queued.is_empty() {
                now.tell_queues(ticket);
            }
        });
    }
}

impl Now {
    fn tell_queues(&self, ticket: &Ticket) {
        ticket.enter(TransferState::Waiting);
        let notes: Vec<&str> = self.queued.values().map(String::as_str).collect();
        ticket.note(NoteCode::QueuedAtHolder, notes.join(", "));
    }
}

/// The place in a holder's queue, while nothing else comes.
pub(super) fn tell_queue(ticket: &Ticket, name: &str, position: u32) {
    tracing::debug!(holder = name, position, "waits in a holder's queue");
    ticket.enter(TransferState::Waiting);
    ticket.note(NoteCode::QueuedAtHolder, queue_note(name, position));
}

fn queue_note(name: &str, position: u32) -> String {
    format!("place {position} in {name}'s queue")
}

/// What is said of a holder that failed.
pub(super) fn failed(name: &str, failure: &Failure) -> String {
    format!("{name}: {}", Printable(&failure.reason))
}

/// What is said until a holder that failed is asked again.
pub(super) fn resting(wait: Duration, reason: &str) -> String {
    format!("asks again in {} s: {reason}", wait.as_secs_f64().ceil())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::transfers::Transfers,
        protocol::{
            action::{Direction, Transfer},
            plan::FailureKind,
        },
    };

    fn begun() -> (Transfers, Arc<Telling>) {
        let table = Transfers::new(1);
        let ticket = table.begin(Direction::Download, "f", 10, vec![]).expect("room");
        (table, Arc::new(Telling::new(Arc::new(ticket))))
    }

    fn told(table: &Transfers) -> (TransferState, String) {
        let Transfer { state, note, .. } = table.list().remove(0);
        (state, note)
    }

    #[test]
    fn a_download_waits_in_a_queue_only_while_nobody_else_brings_bytes() {
        let (table, telling) = begun();
        let (ana, ben) = (telling.stream(1, 0), telling.stream(2, 1));
        ana.stands("ana", 3);
        assert_eq!(told(&table), (TransferState::Waiting, "place 3 in ana's queue".into()));
        ben.flows();
        assert_eq!(told(&table), (TransferState::Running, String::new()));
        ana.stands("ana", 2);
        assert_eq!(told(&table), (TransferState::Running, String::new()));
        drop(ben);
        assert_eq!(told(&table), (TransferState::Waiting, "place 2 in ana's queue".into()));
        telling.stream(3, 1).stands("ben", 1);
        ana.flows();
        drop(ana);
        assert_eq!(told(&table).0, TransferState::Running, "the next stream begins at once");
    }

    #[test]
    fn a_holder_that_failed_is_named_until_it_brings_bytes_again() {
        let (table, telling) = begun();
        let ana = telling.stream(1, 0);
        ana.flows();
        telling.failed(1, "ben", &Failure::new(FailureKind::Passing, "it cannot be\u{7} reached"));
        assert_eq!(told(&table), (TransferState::Running, "ben: it cannot be\\u{7} reached".into()));
        telling.stream(2, 0).flows();
        assert_ne!(told(&table).1, "", "that was another one");
        drop(ana);
        telling.rests(Some(Duration::from_millis(1500)));
        assert_eq!(
            told(&table),
            (TransferState::Waiting, "asks again in 2 s: ben: it cannot be\\u{7} reached".into())
        );
        telling.stream(3, 1).flows();
        assert_eq!(told(&table), (TransferState::Running, String::new()));
        telling.lied(1, "ben");
        assert_ne!(
            told(&table).1,
            "ben sent a wrong piece and is left aside",
            "none flows that could run on"
        );
        let ana = telling.stream(4, 0);
        ana.flows();
        assert_eq!(told(&table).1, "ben sent a wrong piece and is left aside");
    }
}
