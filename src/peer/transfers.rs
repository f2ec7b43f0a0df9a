//! The transfers of a peer: what runs, what ended, and the one place that counts their bytes.
//!
//! Invariant: a transfer that began has an end, whichever way its task ends; at most [`MAX_RUNNING`] run or wait, and
//! the last [`MAX_ENDED`] that ended are remembered. Uploads are listed while they run only, or the files that others
//! fetch would push this person's own transfers off the list.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handle::Events;
use crate::{
    protocol::action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
    store::pool::keep_freed_memory,
};

/// Transfers that run or wait at once.
pub const MAX_RUNNING: usize = 1024;
/// Ended ones that are remembered.
pub const MAX_ENDED: usize = 100;
/// Progress is told no oftener; the last event is never held back.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transfers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // A std lock: held to look up, add or remove one transfer, or to copy the list.
    state: Mutex<State>,
    download_slots: Arc<Semaphore>,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    running: BTreeMap<u64, Running>,
    ended: VecDeque<Transfer>,
}

#[derive(Debug)]
struct Running {
    news: watch::Sender<Transfer>,
    cancel: CancellationToken,
}

/// A running transfer, held by the task that does it. Dropped without an end it counts as cancelled.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    table: Transfers,
    news: watch::Sender<Transfer>,
    cancel: CancellationToken,
    /// Fires with the final state, so that nobody has to be woken by every chunk to hear of it.
    ended: CancellationToken,
}

impl Transfers {
    /// With room for so many downloads at once; more wait.
    pub fn new(download_slots: usize) -> Self {
        keep_freed_memory();
        Self(Arc::new(Inner {
            state: Mutex::default(),
            download_slots: Arc::new(Semaphore::new(download_slots.max(1))),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
        }))
    }

    /// Lists a transfer as waiting.
    ///
    /// # Errors
    /// `Refused` when too many run.
    pub fn begin(
        &self,
        direction: Direction,
        name: impl Into<String>,
        size_bytes: u64,
        sources: Vec<String>,
    ) -> Result<Ticket, ActionError> {
        let mut state = self.lock();
        if state.running.len() >= MAX_RUNNING {
            let error = ActionError::new(ErrorKind::Refused, format!("{MAX_RUNNING} transfers run already"));
            return Err(error.hint("wait for some to end, or cancel some"));
        }
        state.last_id += 1;
        let id = state.last_id;
        let news = watch::Sender::new(Transfer {
            id,
            direction,
            state: TransferState::Waiting,
            name: name.into(),
            path: None,
            hash: None,
            size_bytes,
            done_bytes: 0,
            sources,
        });
        let cancel = CancellationToken::new();
        state.running.insert(id, Running { news: news.clone(), cancel: cancel.clone() });
        Ok(Ticket { id, table: self.clone(), news, cancel, ended: CancellationToken::new() })
    }

    /// Running ones and the last ended, in order of their ids.
    pub fn list(&self) -> Vec<Transfer> {
        let state = self.lock();
        let running = state.running.values().map(|running| running.news.borrow().clone());
        let mut list: Vec<Transfer> = state.ended.iter().cloned().chain(running).collect();
        list.sort_by_key(|transfer| transfer.id);
        list
    }

    /// Tells a transfer to end; nothing happens to one that has ended.
    ///
    /// # Errors
    /// `NotFound` when there was none of that number, or it is forgotten.
    pub fn cancel(&self, id: u64) -> Result<(), ActionError> {
        let state = self.lock();
        if let Some(running) = state.running.get(&id) {
            running.cancel.cancel();
        } else if !state.ended.iter().any(|ended| ended.id == id) {
            return Err(ActionError::new(ErrorKind::NotFound, format!("there is no transfer {id}")));
        }
        Ok(())
    }

    /// File bytes sent since the start.
    pub fn bytes_up(&self) -> u64 {
        self.0.bytes_up.load(Ordering::Relaxed)
    }

    /// File bytes received since the start.
    pub fn bytes_down(&self) -> u64 {
        self.0.bytes_down.load(Ordering::Relaxed)
    }

    /// Waits for a place among the downloads.
    pub(super) async fn download_slot(&self) -> OwnedSemaphorePermit {
        let slots = self.0.download_slots.clone();
        slots.acquire_owned().await.expect("the semaphore is never closed")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Completes when it is to end early.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// For work on another thread, which has to look at it.
    pub(super) fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Changes what others see, but the state only through [`Self::enter`] and [`Self::finish`].
    pub fn update(&self, change: impl FnOnce(&mut Transfer)) {
        self.news.send_modify(change);
    }

    /// Enters another state.
    pub fn enter(&self, state: TransferState) {
        self.news.send_if_modified(|transfer| {
            let is_new = transfer.state != state;
            transfer.state = state;
            is_new
        });
    }

    /// Counts file bytes that went over the network.
    pub fn count(&self, bytes: u64) {
        self.news.send_modify(|transfer| transfer.done_bytes += bytes);
        let totals = &self.table.0;
        let total = match self.news.borrow().direction {
            Direction::Upload | Direction::Send | Direction::Put => &totals.bytes_up,
            Direction::Download | Direction::Receive => &totals.bytes_down,
        };
        total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// As others see it now.
    pub fn transfer(&self) -> Transfer {
        self.news.borrow().clone()
    }

    /// Ends it.
    pub fn finish(self, state: TransferState) {
        self.enter(state);
    }

    /// What happens to it, the state of now first; ends after the final state. Dropping the events cancels it.
    pub fn events(&self) -> Events<Transfer> {
        let guard = self.cancel.clone().drop_guard();
        progress(self.news.subscribe(), self.ended.clone(), guard).map(Ok).boxed()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.news.borrow().state.is_final() {
            self.enter(TransferState::Cancelled);
        }
        self.ended.cancel();
        let transfer = self.transfer();
        let mut state = self.table.lock();
        state.running.remove(&self.id);
        if transfer.direction != Direction::Upload {
            if state.ended.len() == MAX_ENDED {
                state.ended.pop_front();
            }
            state.ended.push_back(transfer);
        }
    }
}

fn progress(
    news: watch::Receiver<Transfer>,
    ended: CancellationToken,
    guard: DropGuard,
) -> impl Stream<Item = Transfer> + Send {
    enum Next {
        First,
        Changed,
        Nothing,
    }
    futures::stream::unfold((news, ended, guard, Next::First), |(mut news, ended, guard, next)| async move {
        match next {
            Next::First => {}
            Next::Nothing => return None,
            Next::Changed => {
                news.changed().await.ok()?;
                // A burst of progress becomes one event; the end is told at once.
                let _ = tokio::time::timeout(TELL_EVERY, ended.cancelled()).await;
            }
        }
        let transfer = news.borrow_and_update().clone();
        let next = if transfer.state.is_final() { Next::Nothing } else { Next::Changed };
        Some((transfer, (news, ended, guard, next)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(table: &Transfers) -> Ticket {
        table.begin(Direction::Download, "f", 10, vec!["ana".into()]).expect("room")
    }

    #[tokio::test(start_paused = true)]
    async fn events_tell_progress_and_end_with_the_final_state() {
        let table = Transfers::new(1);
        let ticket = begin(&table);
        let mut events = ticket.events();
        assert_eq!(events.next().await.expect("first").expect("ok").state, TransferState::Waiting);
        ticket.enter(TransferState::Running);
        ticket.count(4);
        ticket.count(6);
        let news = events.next().await.expect("second").expect("ok");
        assert_eq!((news.state, news.done_bytes), (TransferState::Running, 10));
        ticket.finish(TransferState::Done);
        assert_eq!(events.next().await.expect("third").expect("ok").state, TransferState::Done);
        assert!(events.next().await.is_none());
        assert_eq!((table.bytes_down(), table.bytes_up()), (10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_events_cancel_and_a_dropped_ticket_ends() {
        let table = Transfers::new(1);
        let ticket = begin(&table);
        drop(ticket.events());
        ticket.cancelled().await;
        drop(ticket);
        assert_eq!(table.list()[0].state, TransferState::Cancelled);
        assert!(table.cancel(1).is_ok(), "ended already");
        assert_eq!(table.cancel(2).expect_err("unknown").kind, ErrorKind::NotFound);
    }

    #[test]
    fn the_table_is_bounded() {
        let table = Transfers::new(1);
        let running: Vec<Ticket> = (0..MAX_RUNNING).map(|_| begin(&table)).collect();
        let refused = table.begin(Direction::Send, "f", 0, vec![]);
        assert_eq!(refused.expect_err("full").kind, ErrorKind::Refused);
        drop(running);
        assert_eq!(table.list().len(), MAX_ENDED);
        drop(table.begin(Direction::Upload, "f", 0, vec![]).expect("room"));
        assert!(table.list().iter().all(|transfer| transfer.direction == Direction::Download));
    }
}
