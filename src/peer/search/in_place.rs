//! A query that runs where it is listened to: whoever asks for what it finds carries it on, so that no change of threads
//! lies between an answer and its listener.
//!
//! Invariant: it ends when it is dropped, and at its latest time under a listener that neither reads nor goes away; one that
//! waits then hears of it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{
    FutureExt, Stream,
    future::BoxFuture,
    task::{ArcWake, waker_ref},
};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::coop::{Unconstrained, unconstrained},
    time::{Sleep, sleep_until},
};

use crate::wire::peer::Found;

/// A listener that comes back sooner has not been away: it was only not on a CPU.
const ABSENCE: Duration = Duration::from_millis(1);

/// When the listener came back the last time, in nanoseconds after the query began: what happened before was seen late.
#[derive(Debug)]
pub(super) struct Absences {
    begun: Instant,
    back_at: AtomicU64,
}

impl Absences {
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, back_at: AtomicU64::new(0) }
    }

    fn on_back(&self) {
        self.back_at.store(self.since_begun(), Relaxed);
    }

    /// The listener was away within this time.
    pub(super) fn was_within(&self, time: Duration) -> bool {
        let back_at = self.back_at.load(Relaxed);
        back_at > 0 && Duration::from_nanos(self.since_begun().saturating_sub(back_at)) <= time
    }

    fn since_begun(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What runs. It is woken when its latest time has come.
struct Slot {
    run: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Of who waits for it: all others go with what runs.
    listener: Mutex<Waker>,
    latest: tokio::time::Instant,
}

impl Slot {
    // The lock is held to take or to put, never while the query is polled or dropped.
    fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, run: BoxFuture<'static, ()>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }
}

impl Slot {
    fn listen(&self, waker: &Waker) {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone_from(waker);
    }

    /// One that is polled at this moment has a listener, who looks again behind it.
    fn end_if_late(&self) {
        if tokio::time::Instant::now() >= self.latest
            && let Some(run) = self.take()
        {
            drop(run);
            let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listener.wake();
        }
    }
}

impl ArcWake for Slot {
    fn wake_by_ref(slot: &Arc<Self>) {
        slot.end_if_late();
    }
}

/// The query and what it has found.
pub(super) struct InPlace {
    slot: Arc<Slot>,
    _latest: Pin<Box<Unconstrained<Sleep>>>,
    found: mpsc::Receiver<Found>,
    absences: Arc<Absences>,
    gave_at: Option<Instant>,
}

impl InPlace {
    /// Carries on what was begun. It puts what it finds where `found` reads.
    pub(super) fn new(
        run: BoxFuture<'static, ()>,
        latest: Instant,
        found: mpsc::Receiver<Found>,
        absences: Arc<Absences>,
    ) -> Self {
        let latest = latest.into();
        let slot = Arc::new(Slot {
            run: Mutex::new(Some(run)),
            listener: Mutex::new(Waker::noop().clone()),
            latest,
        });
        // Of the time that a task may take before it has to let others run, this takes none: it would be told to come again,
        // and nobody would.
        let mut latest = Box::pin(unconstrained(sleep_until(latest)));
        // Nobody need poll this again: at its time it wakes the slot, wherever the listener is.
        if latest.as_mut().poll(&mut Context::from_waker(&waker_ref(&slot))).is_ready() {
            drop(slot.take());
        }
        Self { slot, _latest: latest, found, absences, gave_at: None }
    }

    fn give(&mut self, found: Found) -> Poll<Option<Found>> {
        self.gave_at = Some(Instant::now());
        Poll::Ready(Some(found))
    }
}

impl Stream for InPlace {
    type Item = Found;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        if self.gave_at.take().is_some_and(|at| at.elapsed() > ABSENCE) {
            self.absences.on_back();
        }
        if let Ok(found) = self.found.try_recv() {
            return self.give(found);
        }
        self.slot.listen(cx.waker());
        let Some(mut run) = self.slot.take() else {
            return Poll::Ready(None);
        };
        if run.poll_unpin(cx).is_pending() {
            self.slot.put(run);
            self.slot.end_if_late();
        }
        // What it found just now need not wake anybody.
        match self.found.try_recv() {
            Ok(found) => self.give(found),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, future::poll_fn};

    use super::*;
    use crate::protocol::report::Report;

    fn in_place(run: BoxFuture<'static, ()>, found: mpsc::Receiver<Found>) -> InPlace {
        let now = tokio::time::Instant::now().into_std();
        InPlace::new(run, now + Duration::from_secs(4), found, Arc::new(Absences::new(now)))
    }

    /// Runs until it is dropped, and holds this.
    fn endless(held: &Arc<()>) -> BoxFuture<'static, ()> {
        let held = held.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
        }
        .boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_listens_to_ends_at_its_latest_time() {
        let (held, (_out, found)) = (Arc::new(()), mpsc::channel(2));
        let mut place = in_place(endless(&held), found);
        assert!(futures::poll!(place.next()).is_pending());
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&held), 1, "nobody asked for anything meanwhile");
        assert!(place.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_what_never_comes_is_told_at_its_latest_time() {
        let (held, (_out, found)) = (Arc::new(()), mpsc::channel(2));
        let (mut place, begun) = (in_place(endless(&held), found), tokio::time::Instant::now());
        let heard = tokio::time::timeout(Duration::from_secs(60), place.next()).await;
        assert!(heard.is_ok_and(|found| found.is_none()));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_task_that_has_done_much_already_does_not_end_it() {
        let (held, (busy, mut queue)) = (Arc::new(()), mpsc::channel(1000));
        for _ in 0..1000 {
            busy.try_send(()).expect("room");
        }
        let place = poll_fn(|cx| {
            while queue.poll_recv(cx).is_ready() {}
            Poll::Ready(in_place(endless(&held), mpsc::channel(2).1))
        })
        .await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(place);
        assert_eq!(Arc::strong_count(&held), 1, "who goes away ends it");
    }

    #[tokio::test]
    async fn everything_that_was_found_comes_before_the_end() {
        let (out, found) = mpsc::channel(2);
        let run = async move {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                out.send(Found::Done(Report::duplicate())).await.expect("someone listens");
            }
        };
        assert_eq!(in_place(run.boxed(), found).count().await, 5);
    }

    #[test]
    fn delays_while_the_listener_was_away_are_told_apart() {
        let absences = Absences::new(Instant::now());
        assert!(!absences.was_within(Duration::from_secs(9)));
        absences.on_back();
        assert!(absences.was_within(Duration::from_secs(9)));
    }
}
