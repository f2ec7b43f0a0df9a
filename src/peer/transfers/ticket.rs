//! A running transfer as the task that does it holds it.
//!
//! Invariant: whichever way the task ends, its transfer has a final state, and a kept download is forgotten only when
//! it is done or its person cancelled it; what a stop of the peer breaks off goes on after the next start.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Running, Transfers, seen, slots::DownloadSlot, speed::Meter, with_speed};
use crate::{
    peer::handle::Events,
    protocol::action::{
        ActionError, Direction, ErrorKind, MAX_NOTE_CHARS, NoteCode, Transfer, TransferState,
    },
    store::jobs::{Job, JobState},
};

/// Progress is told no oftener; the last event is never held back.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// A running transfer is told so often even when no byte comes, so that its speed falls where it is shown.
const TELL_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// A running transfer, held by the task that does it. Dropped without an end it counts as cancelled, a kept download as
/// failed.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    table: Transfers,
    news: watch::Sender<Transfer>,
    meter: Arc<Mutex<Meter>>,
    cancel: CancellationToken,
    is_paused: watch::Receiver<bool>,
    /// Fires with the final state, so that nobody has to be woken by every chunk to hear of it.
    ended: CancellationToken,
    /// Of an earlier run, and nobody has begun with it.
    is_untouched: AtomicBool,
}

/// What came of waiting for a slot.
#[derive(Debug)]
pub enum Turn {
    /// To fetch, for as long as the slot is held.
    Go(DownloadSlot),
    /// To end; what was stored is to be discarded.
    Cancel,
}

/// Why a running download is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// For good: what was stored is to be discarded.
    Cancel,
    /// For now: what was stored is kept, the slot given back, and [`Ticket::turn`] waits for it to go on.
    Pause,
}

impl Ticket {
    pub(super) fn new(
        id: u64,
        table: Transfers,
        running: &Running,
        is_paused: watch::Receiver<bool>,
    ) -> Self {
        Self {
            id,
            table,
            news: running.news.clone(),
            meter: Arc::clone(&running.meter),
            cancel: running.cancel.clone(),
            is_paused,
            ended: CancellationToken::new(),
            is_untouched: AtomicBool::new(false),
        }
    }

    /// It was kept by an earlier run: until its first [`Self::turn`] a drop changes nothing of what is on disk, as when
    /// the start of the peer fails.
    pub(super) fn leave_untouched(&self) {
        self.is_untouched.store(true, Ordering::Relaxed);
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Completes when it is to end early.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Completes when it is to be paused or to end early. May be dropped at any point.
    pub async fn interrupted(&self) -> Interrupt {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Interrupt::Cancel,
            () = self.paused(true) => Interrupt::Pause,
        }
    }

    /// Waits until it is not paused and has a slot. May be dropped at any point.
    pub async fn turn(&self) -> Turn {
        self.is_untouched.store(false, Ordering::Relaxed);
        loop {
            if *self.is_paused.borrow() {
                self.enter(TransferState::Paused);
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Turn::Cancel,
                    () = self.paused(false) => {}
                }
            }
            self.enter(TransferState::Waiting);
            let granted = self.table.take_seat(self.id);
            let interrupt = tokio::select! {
                biased;
                interrupt = self.interrupted() => interrupt,
                slot = granted => match slot {
                    Ok(slot) => return Turn::Go(slot),
                    // The entry is gone only when this ticket is.
                    Err(_) => Interrupt::Cancel,
                },
            };
            self.table.leave_seat(self.id);
            if interrupt == Interrupt::Cancel {
                return Turn::Cancel;
            }
        }
    }

    async fn paused(&self, is_wanted: bool) {
        let mut is_paused = self.is_paused.clone();
        if is_paused.wait_for(|is_paused| *is_paused == is_wanted).await.is_err() {
            // The sender lives as long as the entry, and that as long as this.
            std::future::pending::<()>().await;
        }
    }

    /// For work on another thread, which has to look at it.
    pub(in crate::peer) fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Changes what others see, but the state only through [`Self::enter`] and [`Self::finish`].
    pub fn update(&self, change: impl FnOnce(&mut Transfer)) {
        self.news.send_modify(change);
    }

    /// Enters another state. What is known of a kept download by now is kept with it.
    pub fn enter(&self, state: TransferState) {
        if state != TransferState::Running {
            self.meter.lock().unwrap_or_else(PoisonError::into_inner).stop();
        }
        let mut is_new = false;
        self.news.send_if_modified(|transfer| {
            is_new = transfer.state != state;
            // Streams come and go while it runs: that is no reason to forget what was said of it.
            let is_old_news = (is_new || state != TransferState::Running) && !transfer.note.is_empty();
            if is_old_news {
                transfer.note.clear();
                transfer.note_code = None;
            }
            transfer.state = state;
            is_new || is_old_news
        });
        if is_new {
            self.keep();
        }
    }

    /// Says what it waits for or does now that its state does not say. Cut to [`MAX_NOTE_CHARS`], and gone with the next
    /// [`Self::enter`].
    pub fn note(&self, code: NoteCode, note: impl Into<String>) {
        self.say(Some(code), note.into());
    }

    /// Takes back what was said.
    pub fn unsay(&self) {
        self.say(None, String::new());
    }

    /// Says what another transfer says.
    pub fn note_as(&self, other: &Transfer) {
        self.say(other.note_code, other.note.clone());
    }

    fn say(&self, code: Option<NoteCode>, mut note: String) {
        if let Some((end, _)) = note.char_indices().nth(MAX_NOTE_CHARS) {
            note.truncate(end);
        }
        self.news.send_if_modified(|transfer| {
            let is_new = transfer.note != note && !transfer.state.is_final();
            if is_new {
                transfer.note = note;
                transfer.note_code = code;
            }
            is_new
        });
    }

    /// Waits for those who may turn up and says why, and how long until they are looked for; then that they are. May be
    /// dropped at any point.
    pub async fn wait(&self, wait: Duration, reason: &str) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.note(NoteCode::LooksForHolders, format!("looks for holders: {reason}"));
            }
            let said = format!("looks for holders in {} s: {reason}", left.as_secs_f64().ceil());
            self.note(NoteCode::LooksForHolders, said);
            sleep(left.min(Duration::from_secs(1))).await;
        }
    }

    /// Keeps name, size and progress with the job.
    fn keep(&self) {
        let transfer = self.news.borrow().clone();
        let mut table = self.table.lock();
        let Some(job) = table.running.get_mut(&self.id).and_then(|running| running.job.as_mut()) else {
            return;
        };
        let before = job.clone();
        if transfer.size_bytes > 0 {
            job.size_bytes = Some(transfer.size_bytes);
            job.name = Some(transfer.name);
        }
        job.done_bytes = transfer.done_bytes;
        if *job != before {
            self.table.save(self.id, Some(job));
        }
    }

    /// Keeps what is now known of a kept download, what is to be fetched above all; see [`Self::saved`].
    pub(in crate::peer) fn keep_job(&self, change: impl FnOnce(&mut Job)) {
        let mut table = self.table.lock();
        let job = table.running.get_mut(&self.id).and_then(|running| running.job.as_mut());
        if let Some(job) = job.filter(|_| !self.cancel.is_cancelled()) {
            let before = job.clone();
            change(job);
            if *job != before {
                self.table.save(self.id, Some(job));
            }
        }
    }

    /// Waits until what was kept so far is on disk, as far as it can be written at all.
    pub(in crate::peer) async fn saved(&self) {
        self.table.saved().await;
    }

    /// Counts file bytes that went over the network.
    pub fn count(&self, bytes: u64) {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).count(bytes, Instant::now());
        self.news.send_modify(|transfer| transfer.done_bytes += bytes);
        let totals = &self.table.0.totals;
        let total = match self.news.borrow().direction {
            Direction::Upload | Direction::Send | Direction::Put => &totals.up,
            Direction::Download | Direction::Receive => &totals.down,
        };
        total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Shows what has come to another transfer that fetches the same bytes for this one too. They are counted there.
    pub(in crate::peer) fn follow(&self, fetching: &Transfer) {
        let state = &fetching.state;
        if matches!(state, TransferState::Waiting | TransferState::Running | TransferState::Verifying) {
            self.enter(state.clone());
            self.note(NoteCode::FetchedByOther, format!("transfer {} fetches it", fetching.id));
        }
        self.news.send_modify(|transfer| {
            let came = fetching.done_bytes.saturating_sub(transfer.done_bytes);
            self.meter.lock().unwrap_or_else(PoisonError::into_inner).count(came, Instant::now());
            transfer.done_bytes = fetching.done_bytes;
            transfer.size_bytes = fetching.size_bytes;
            transfer.hash = fetching.hash.or(transfer.hash);
            transfer.sources.clone_from(&fetching.sources);
        });
    }

    /// As others see it now.
    pub fn transfer(&self) -> Transfer {
        seen(&self.news, &self.meter)
    }

    /// Ends it.
    pub fn finish(self, state: TransferState) {
        self.enter(state);
    }

    /// What happens to it, the state of now first; ends after the final state. Dropping the events cancels it, unless the
    /// peer is stopping.
    pub fn events(&self) -> Events<Transfer> {
        self.told(Some(Watcher { cancel: self.cancel.clone(), table: self.table.clone() }))
    }

    /// As [`Self::events`]; dropping them cancels nothing.
    pub fn detached_events(&self) -> Events<Transfer> {
        self.told(None)
    }

    fn told(&self, watcher: Option<Watcher>) -> Events<Transfer> {
        let (news, meter, ended) = (self.news.subscribe(), Arc::clone(&self.meter), self.ended.clone());
        progress(Progress { news, meter, ended, _watcher: watcher }).map(Ok).boxed()
    }
}

/// The one who asked for it and is there to see its end.
#[derive(Debug)]
struct Watcher {
    cancel: CancellationToken,
    table: Transfers,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A stop ends all events; what was watched goes on after the next start, as all else.
        if !self.table.0.shutdown.is_stopping() {
            self.cancel.cancel();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let is_untouched = self.is_untouched.load(Ordering::Relaxed);
        let is_stopping = self.table.0.shutdown.is_stopping() || is_untouched;
        let mut state = self.table.lock();
        self.table.unqueue(&mut state, self.id);
        let job = state.running.remove(&self.id).and_then(|running| running.job);
        let is_cancelled = self.cancel.is_cancelled();
        self.news.send_if_modified(|transfer| {
            transfer.queue_position = None;
            transfer.note.clear();
            transfer.note_code = None;
            let is_ended = transfer.state.is_final();
            if !is_ended {
                transfer.state = match &job {
                    Some(_) if !is_cancelled && !is_stopping => TransferState::Failed(broke_off()),
                    _ => TransferState::Cancelled,
                };
            }
            !is_ended
        });
        self.ended.cancel();
        let transfer = self.news.borrow().clone();
        self.table.0.totals.count_end(&transfer);
        match (&transfer.state, job) {
            // On disk it is as it was.
            (TransferState::Failed(_) | TransferState::Cancelled, Some(_))
                if is_stopping && !is_cancelled =>
            {
                state.remember(transfer);
            }
            (TransferState::Failed(error), Some(mut job)) => {
                job.state = JobState::Failed(error.clone());
                self.table.save(self.id, Some(&job));
                state.failed.insert(self.id, (transfer, job));
            }
            (_, job) => {
                if job.is_some() {
                    self.table.save(self.id, None);
                }
                if transfer.direction != Direction::Upload {
                    state.remember(transfer);
                }
            }
        }
    }
}

fn broke_off() -> ActionError {
    ActionError::new(ErrorKind::Failed, "the download broke off").hint("retry it; its log tells more")
}

struct Progress {
    news: watch::Receiver<Transfer>,
    meter: Arc<Mutex<Meter>>,
    ended: CancellationToken,
    _watcher: Option<Watcher>,
}

fn progress(progress: Progress) -> impl Stream<Item = Transfer> + Send {
    enum Next {
        First,
        Changed,
        Nothing,
    }
    futures::stream::unfold((progress, Next::First), |(mut progress, next)| async move {
        match next {
            Next::First => {}
            Next::Nothing => return None,
            Next::Changed => {
                let is_running = progress.news.borrow().state == TransferState::Running;
                let changed = progress.news.changed();
                let changed = if is_running {
                    // Late: no byte came, and that is news as well.
                    tokio::time::timeout(TELL_AT_LEAST_EVERY, changed).await.unwrap_or(Ok(()))
                } else {
                    changed.await
                };
                changed.ok()?;
                // A burst of progress becomes one event; the end is told at once.
                let _ = tokio::time::timeout(TELL_EVERY, progress.ended.cancelled()).await;
            }
        }
        let transfer = progress.news.borrow_and_update().clone();
        let transfer = with_speed(transfer, &progress.meter);
        let next = if transfer.state.is_final() { Next::Nothing } else { Next::Changed };
        Some((transfer, (progress, next)))
    })
}
