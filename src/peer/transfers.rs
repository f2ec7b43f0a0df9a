//! The transfers of a peer: what runs, what ended, and the one place that counts their bytes.
//!
//! Invariant: a transfer that began has an end, whichever way its task ends; at most [`MAX_RUNNING`] run or wait, and
//! the last [`MAX_ENDED`] that ended are remembered. A download that failed is kept besides, to be tried again. Uploads
//! are listed while they run only, or the files that others fetch would push this person's own transfers off the list.

mod control;
mod saver;
mod slots;
mod speed;
mod ticket;
mod totals;

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use slots::DownloadSlot;
pub use speed::WINDOW as SPEED_WINDOW;
pub use ticket::{Interrupt, Ticket, Turn};
pub use totals::{Slots, TransferCount};

use self::{saver::Saver, slots::Queue, speed::Meter, totals::Totals};
use crate::{
    protocol::action::{ActionError, Direction, ErrorKind, Priority, Transfer, TransferState},
    shutdown::Shutdown,
    store::{
        StoreError,
        jobs::{Job, JobState, JobTarget, Jobs, MAX_JOBS},
        pool::keep_freed_memory,
    },
};

/// Transfers that run or wait at once.
pub const MAX_RUNNING: usize = 1024;
/// Ended ones that are remembered.
pub const MAX_ENDED: usize = 100;
/// Downloads that wait or failed; one more makes the oldest failed one be forgotten, or is refused.
const MAX_DOWNLOADS: usize = MAX_JOBS;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transfers(Arc<Inner>);

/// Downloads that are to be started: those of an earlier run, and those that are tried again.
pub type Revived = mpsc::Receiver<(Job, Ticket)>;

#[derive(Debug)]
struct Inner {
    // A std lock: held to look up, add or remove one transfer, or to walk the list.
    state: Mutex<State>,
    saver: Option<Arc<Saver>>,
    /// Holds each of at most `MAX_RUNNING` once.
    revived: mpsc::Sender<(Job, Ticket)>,
    shutdown: Shutdown,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    running: BTreeMap<u64, Running>,
    failed: BTreeMap<u64, (Transfer, Job)>,
    ended: VecDeque<Transfer>,
    queue: Queue,
}

#[derive(Debug)]
struct Running {
    news: watch::Sender<Transfer>,
    meter: Arc<Mutex<Meter>>,
    cancel: CancellationToken,
    is_paused: watch::Sender<bool>,
    job: Option<Job>,
    seat: Option<oneshot::Sender<DownloadSlot>>,
}

impl Transfers {
    /// With room for so many downloads at once, more wait; nothing outlives the process.
    pub fn new(download_slots: usize) -> Self {
        Self::with(download_slots, None, Shutdown::new(), Arc::default()).0
    }

    /// For what this peer fetches by itself: a table with slots of its own, which this one's list, queue and control know
    /// nothing of, and whose bytes count here. Ends with the same stop.
    #[must_use]
    pub fn aside(&self, slots: usize) -> Self {
        Self::with(slots, None, self.0.shutdown.clone(), self.0.totals.clone()).0
    }

    /// With the downloads of an earlier run, kept in the data folder. What waits is to be started as it comes out of
    /// [`Revived`].
    ///
    /// # Errors
    /// The folder of the kept downloads cannot be made or read.
    pub fn open(
        download_slots: usize,
        data: &Path,
        shutdown: &Shutdown,
    ) -> Result<(Self, Revived), StoreError> {
        let (jobs, kept, last_id) = Jobs::open(data)?;
        let saver = Saver::start(jobs, shutdown);
        let (this, revived) = Self::with(download_slots, Some(saver), shutdown.clone(), Arc::default());
        this.lock().last_id = last_id;
        for job in kept {
            this.restore(job);
        }
        Ok((this, revived))
    }

    fn with(
        download_slots: usize,
        saver: Option<Arc<Saver>>,
        shutdown: Shutdown,
        totals: Arc<Totals>,
    ) -> (Self, Revived) {
        keep_freed_memory();
        let (revived, receiver) = mpsc::channel(MAX_RUNNING);
        let state = State { queue: Queue::new(download_slots.max(1)), ..State::default() };
        let inner = Inner { state: Mutex::new(state), saver, revived, shutdown, totals };
        (Self(Arc::new(inner)), receiver)
    }

    fn restore(&self, job: Job) {
        let mut transfer = blank(job.id, Direction::Download, shown_name(&job), job.size_bytes.unwrap_or(0));
        transfer.priority = job.priority;
        transfer.done_bytes = job.done_bytes;
        if let JobTarget::Hash(hash) = &job.what {
            transfer.hash = Some(*hash);
        }
        if let JobState::Failed(error) = &job.state {
            transfer.state = TransferState::Failed(error.clone());
            self.lock().failed.insert(job.id, (transfer, job));
            return;
        }
        let ticket = self.insert(&mut self.lock(), transfer, Some(job.clone()));
        ticket.leave_untouched();
        self.revive(job, ticket);
    }

    /// Has a download started, by whoever listens.
    fn revive(&self, job: Job, ticket: Ticket) {
        // Closed when this peer is stopping; the job stays on disk then.
        let _ = self.0.revived.try_send((job, ticket));
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
        state.check_room()?;
        let mut transfer = blank(state.next_id(), direction, name.into(), size_bytes);
        transfer.sources = sources;
        self.note_id(transfer.id);
        Ok(self.insert(&mut state, transfer, None))
    }

    /// Lists a download as waiting that is to outlive the process; the id of the job given here does not count. It is
    /// on disk once [`Self::saved`] has answered.
    ///
    /// # Errors
    /// `Refused` when too many run.
    pub fn begin_download(&self, mut job: Job) -> Result<Ticket, ActionError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.check_room()?;
        let mut forgotten = None;
        if state.running.len() + state.failed.len() >= MAX_DOWNLOADS
            && let Some((id, (transfer, job))) = state.failed.pop_first()
        {
            self.save(id, None);
            // Its task is started to discard what it stored.
            let ticket = self.insert(state, transfer, Some(job.clone()));
            ticket.cancel_token().cancel();
            forgotten = Some((job, ticket));
        }
        job.id = state.next_id();
        job.state = JobState::Queued;
        let mut transfer = blank(job.id, Direction::Download, shown_name(&job), job.size_bytes.unwrap_or(0));
        transfer.priority = job.priority;
        if let JobTarget::Hash(hash) = &job.what {
            transfer.hash = Some(*hash);
        }
        self.note_id(job.id);
        self.save(job.id, Some(&job));
        let ticket = self.insert(state, transfer, Some(job));
        drop(guard);
        if let Some((job, ticket)) = forgotten {
            self.revive(job, ticket);
        }
        Ok(ticket)
    }

    fn insert(&self, state: &mut State, mut transfer: Transfer, job: Option<Job>) -> Ticket {
        let is_paused = job.as_ref().is_some_and(|job| job.state == JobState::Paused);
        transfer.state = if is_paused { TransferState::Paused } else { TransferState::Waiting };
        let id = transfer.id;
        let (is_paused, paused) = watch::channel(is_paused);
        let running = Running {
            news: watch::Sender::new(transfer),
            meter: Arc::default(),
            cancel: CancellationToken::new(),
            is_paused,
            job,
            seat: None,
        };
        let ticket = Ticket::new(id, self.clone(), &running, paused);
        state.running.insert(id, running);
        ticket
    }

    /// Running ones, failed downloads and the last ended, in order of their ids.
    pub fn list(&self) -> Vec<Transfer> {
        let state = self.lock();
        let running = state.running.values().map(|running| seen(&running.news, &running.meter));
        let failed = state.failed.values().map(|(transfer, _)| transfer.clone());
        let mut list: Vec<Transfer> = state.ended.iter().cloned().chain(failed).chain(running).collect();
        list.sort_by_key(|transfer| transfer.id);
        list
    }

    /// The downloads that outlive the process, in no order.
    pub(super) fn kept(&self) -> Vec<Job> {
        let state = self.lock();
        let running = state.running.values().filter_map(|running| running.job.clone());
        state.failed.values().map(|(_, job)| job.clone()).chain(running).collect()
    }

    /// Waits until all that was kept so far is on disk, as far as it can be written at all.
    pub async fn saved(&self) {
        if let Some(saver) = &self.0.saver {
            saver.saved().await;
        }
    }

    /// File bytes sent since the start.
    pub fn bytes_up(&self) -> u64 {
        self.0.totals.up.load(Ordering::Relaxed)
    }

    /// File bytes received since the start.
    pub fn bytes_down(&self) -> u64 {
        self.0.totals.down.load(Ordering::Relaxed)
    }

    fn note_id(&self, id: u64) {
        if let Some(saver) = &self.0.saver {
            saver.note_id(id);
        }
    }

    fn save(&self, id: u64, job: Option<&Job>) {
        if let Some(saver) = &self.0.saver {
            saver.save(id, job.cloned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn check_room(&self) -> Result<(), ActionError> {
        if self.running.len() < MAX_RUNNING {
            return Ok(());
        }
        let error = ActionError::new(ErrorKind::Refused, format!("{MAX_RUNNING} transfers run already"));
        Err(error.hint("wait for some to end, or cancel some"))
    }

    fn remember(&mut self, transfer: Transfer) {
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(transfer);
    }
}

fn blank(id: u64, direction: Direction, name: String, size_bytes: u64) -> Transfer {
    Transfer {
        id,
        direction,
        state: TransferState::Waiting,
        name,
        path: None,
        hash: None,
        size_bytes,
        done_bytes: 0,
        sources: Vec::new(),
        priority: Priority::Normal,
        bytes_per_second: 0,
        queue_position: None,
        note: String::new(),
        note_code: None,
    }
}

/// What a download is called before its holders tell.
fn shown_name(job: &Job) -> String {
    let name = job.name.clone().unwrap_or_else(|| match &job.what {
        JobTarget::Path { path, .. } => {
            path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned()
        }
        JobTarget::Hash(hash) => hash.to_string(),
    });
    crate::protocol::name::to_portable_name(&name)
}

/// As others see it now.
fn seen(news: &watch::Sender<Transfer>, meter: &Mutex<Meter>) -> Transfer {
    with_speed(news.borrow().clone(), meter)
}

fn with_speed(mut transfer: Transfer, meter: &Mutex<Meter>) -> Transfer {
    if transfer.state == TransferState::Running {
        let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        transfer.bytes_per_second = meter.bytes_per_second(Instant::now());
    }
    transfer
}

#[cfg(test)]
mod tests;
