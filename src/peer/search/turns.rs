//! Turns at the index, and the time of a core that each sender's queries may take.
//!
//! Invariant: own queries never wait here for those of others, however many there are, and a sender whose queries took more
//! than its part of a core begins its next one when that is even again, whatever a query costs.

use std::{
    collections::HashMap,
    num::{NonZeroU64, NonZeroUsize},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peer::room::Sender;
use crate::protocol::bucket::Bucket;

/// Senders of which nothing runs and nothing is to be remembered are forgotten when there are more.
const IDLE_SENDERS: usize = 64;
/// Nanoseconds of a core that the queries of one sender may take in a second, once they are ahead of it by
/// [`AHEAD`](crate::protocol::bucket::AHEAD): a quarter. It is time that elapsed, or nobody would pay for a core that many want.
const WORK_PER_SECOND: NonZeroU64 = NonZeroU64::new(250_000_000).expect("not zero");
/// What the next query will take is taken to be what the last ones took: this part is that of the last.
const LAST: u64 = 4;

/// Turns at the index. Those of others leave one core alone, and senders take turns, however many queries each has.
#[derive(Debug)]
pub(crate) struct Turns {
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
    per_sender: usize,
    // Held for a look-up, never across an await. At most as many as queries run, those that have debts, and some idle ones.
    lines: Mutex<HashMap<Sender, Arc<Line>>>,
}

/// The queries of one other sender.
#[derive(Debug)]
pub(crate) struct Line {
    turns: Arc<Semaphore>,
    // Held to count, never across an await.
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// In nanoseconds for bytes.
    bucket: Bucket,
    /// Of one query.
    usual_nanos: u64,
}

/// A turn; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _at_index: OwnedSemaphorePermit,
    _of_sender: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// For an index on this machine.
    pub(crate) fn of_machine() -> Self {
        Self::new(available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn new(cores: usize) -> Self {
        let others = cores.saturating_sub(1).max(1);
        Self {
            own: Arc::new(Semaphore::new(cores)),
            others: Arc::new(Semaphore::new(others)),
            per_sender: others.div_ceil(2),
            lines: Mutex::new(HashMap::new()),
        }
    }

    /// Where the queries of that sender stand; own ones stand in none.
    pub(crate) fn line(&self, sender: Sender, now: Instant) -> Option<Arc<Line>> {
        if sender == Sender::Me {
            return None;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lines.get(&sender) {
            return Some(known.clone());
        }
        if lines.len() >= IDLE_SENDERS {
            lines.retain(|_, line| Arc::strong_count(line) > 1 || !line.work().bucket.is_even(now));
        }
        let work = Work { bucket: Bucket::new(WORK_PER_SECOND), usual_nanos: 0 };
        let line =
            Arc::new(Line { turns: Arc::new(Semaphore::new(self.per_sender)), work: Mutex::new(work) });
        lines.insert(sender, line.clone());
        Some(line)
    }

    /// Waits for a turn. May be dropped at any point, which ends the waiting.
    pub(crate) async fn take(&self, line: Option<&Line>) -> Turn {
        const OPEN: &str = "the semaphores are never closed";
        let Some(line) = line else {
            let at_index = self.own.clone().acquire_owned().await.expect(OPEN);
            return Turn { _at_index: at_index, _of_sender: None };
        };
        // Whoever has as many turns as it may have waits here, and only then among the other senders: they come in turn.
        let of_sender = line.turns.clone().acquire_owned().await.expect(OPEN);
        let at_index = self.others.clone().acquire_owned().await.expect(OPEN);
        Turn { _at_index: at_index, _of_sender: Some(of_sender) }
    }
}

impl Line {
    /// Charges what was done for a query elsewhere.
    pub(crate) fn charge(&self, took: Duration, now: Instant) {
        self.work().bucket.take(now, nanos(took));
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What one query of another took so far, charged to its sender.
#[derive(Debug)]
pub(crate) struct Meter {
    line: Arc<Line>,
    charged: u64,
    taken: u64,
}

impl Meter {
    /// Counts the query as one of the usual ones of its sender, and tells how long it has to wait first; `None` when that is
    /// longer than `most`, and then nothing is counted.
    pub(crate) fn begin(line: Arc<Line>, most: Duration, now: Instant) -> Option<(Self, Duration)> {
        let mut work = line.work();
        let wait = work.bucket.take(now, 0);
        if wait > most {
            return None;
        }
        let charged = work.usual_nanos;
        work.bucket.take(now, charged);
        drop(work);
        Some((Self { line, charged, taken: 0 }, wait))
    }

    fn add(&mut self, took: Duration, now: Instant) {
        self.taken = self.taken.saturating_add(nanos(took));
        if self.taken > self.charged {
            self.line.work().bucket.take(now, self.taken - self.charged);
            self.charged = self.taken;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut work = self.line.work();
        work.bucket.give_back(self.charged - self.taken);
        work.usual_nanos = work.usual_nanos - work.usual_nanos / LAST + self.taken / LAST;
    }
}

/// A query of another that is metered.
pub(crate) struct Metered {
    run: BoxFuture<'static, ()>,
    meter: Meter,
}

impl Metered {
    pub(crate) fn new(run: BoxFuture<'static, ()>, meter: Meter) -> Self {
        Self { run, meter }
    }
}

impl Future for Metered {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let begun = Instant::now();
        let polled = self.run.poll_unpin(cx);
        let now = Instant::now();
        self.meter.add(now - begun, now);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::PeerId;

    fn member(number: u8) -> Sender {
        Sender::Asks(PeerId::from_bytes([number; 32]))
    }

    fn line(turns: &Turns, number: u8, now: Instant) -> Arc<Line> {
        turns.line(member(number), now).expect("of another")
    }

    #[tokio::test]
    async fn senders_take_turns_at_the_index_and_own_searches_need_not_wait_for_them() {
        let (turns, now) = (Turns::new(2), Instant::now());
        let (one, two) = (line(&turns, 1, now), line(&turns, 2, now));
        let first = turns.take(Some(&one)).await;
        let mut storm: Vec<_> = (0..50).map(|_| Box::pin(turns.take(Some(&one)))).collect();
        assert!(storm.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let mut other = Box::pin(turns.take(Some(&two)));
        assert!(other.as_mut().now_or_never().is_none(), "one core is kept");
        assert!(turns.line(Sender::Me, now).is_none());
        assert!(turns.take(None).now_or_never().is_some());
        drop(first);
        let turn = other.now_or_never().expect("it is next, and not the fifty that came before it");
        assert!(storm.iter_mut().all(|turn| turn.now_or_never().is_none()));
        drop(turn);
        assert!(storm.iter_mut().any(|turn| turn.now_or_never().is_some()));
    }

    /// Queries that take this long each, begun as soon as they may: how many end in ten seconds.
    fn served(turns: &Turns, sender: u8, takes: Duration, start: Instant) -> u32 {
        let (mut now, mut count) = (start, 0);
        loop {
            let most = Duration::from_secs(60);
            let (mut meter, wait) = Meter::begin(line(turns, sender, now), most, now).expect("it may wait");
            now += wait + takes;
            if now > start + Duration::from_secs(10) {
                return count;
            }
            meter.add(takes, now);
            count += 1;
        }
    }

    #[test]
    fn a_sender_has_a_quarter_of_a_core_whatever_its_queries_cost_and_cheap_ones_wait_for_nothing() {
        let (turns, now) = (Turns::new(2), Instant::now());
        for (sender, millis, expected) in [(1, 10, 250), (2, 100, 25)] {
            let count = served(&turns, sender, Duration::from_millis(millis), now);
            assert!(count.abs_diff(expected) <= 4, "{count} of {millis} ms");
        }
        for count in 0..1000 {
            // A thousand a second.
            let at = now + Duration::from_millis(count);
            let (mut meter, wait) = Meter::begin(line(&turns, 3, at), Duration::ZERO, at).expect("no wait");
            meter.add(Duration::from_micros(100), at);
            assert_eq!(wait, Duration::ZERO);
        }
    }

    #[test]
    fn queries_that_begin_at_once_wait_for_each_other_and_what_would_wait_too_long_is_not_begun() {
        let (turns, now) = (Turns::new(2), Instant::now());
        let second = Duration::from_secs(1);
        let begin = |at| Meter::begin(line(&turns, 1, at), second, at);
        for _ in 0..20 {
            let (mut meter, _) = begin(now).expect("it may wait");
            meter.add(Duration::from_millis(10), now);
        }
        let later = now + second;
        let waits: Vec<_> = std::iter::from_fn(|| begin(later)).collect();
        assert!((10..60).contains(&waits.len()), "{}", waits.len());
        assert!(waits.windows(2).all(|pair| pair[0].1 <= pair[1].1) && waits[waits.len() - 1].1 > second / 2);
        drop(waits);
        assert!(begin(later).is_some(), "what was not done is given back");
    }

    #[test]
    fn senders_that_are_gone_are_forgotten_and_those_with_debts_are_not() {
        let (turns, now) = (Turns::new(4), Instant::now());
        line(&turns, 255, now).charge(Duration::from_secs(2), now);
        for number in 0..200 {
            drop(line(&turns, number, now));
        }
        assert!(turns.lines.lock().expect("not poisoned").len() <= IDLE_SENDERS);
        assert!(Meter::begin(line(&turns, 255, now), Duration::ZERO, now).is_none());
    }
}
