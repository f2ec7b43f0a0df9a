//! Places that callers wait for in a fair queue, and the news of it.
//!
//! Invariant: whoever drops its [`Place`] is out of the queue at once, whether it waited or had its turn, and the next
//! one is woken.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::protocol::queue::{FairQueue, QueueBounds, QueueFull, Stay};

/// A position that changes is told no oftener.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One that does not change is told again after this, so that who waits knows that it is not forgotten.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A fair queue for places; cheap to clone.
#[derive(Debug)]
pub struct Queue<K>(Arc<Mutex<State<K>>>);

// A std lock: held to enter, to leave, or to look at those that wait, of which the bounds allow some thousand.
#[derive(Debug)]
struct State<K> {
    rule: FairQueue<K>,
    woken: HashMap<Stay, oneshot::Sender<()>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Queue<K> {
    /// With nobody in it.
    pub fn new(bounds: QueueBounds) -> Self {
        Self(Arc::new(Mutex::new(State { rule: FairQueue::new(bounds), woken: HashMap::new() })))
    }

    /// Places that there are.
    pub fn places(&self) -> usize {
        self.lock().rule.places()
    }

    /// Places that are held.
    pub fn holding(&self) -> usize {
        self.lock().rule.holding()
    }

    /// The place in the line that a new caller would get now; 0 when it would not have to wait.
    pub fn next_place(&self) -> usize {
        self.lock().rule.next_place()
    }

    /// Those that wait.
    pub fn waiting(&self) -> usize {
        self.lock().rule.waiting()
    }

    /// Takes a place, or waits for one.
    ///
    /// # Errors
    /// When it may not even wait.
    pub fn enter(&self, caller: K) -> Result<Place<K>, QueueFull> {
        let mut state = self.lock();
        let stay = state.rule.enter(caller)?;
        let (woken, turn) = oneshot::channel();
        state.woken.insert(stay, woken);
        state.settle();
        drop(state);
        Ok(Place { queue: self.clone(), stay, turn, looked_at: None, told: None })
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> State<K> {
    fn settle(&mut self) {
        while let Some(stay) = self.rule.give() {
            if let Some(woken) = self.woken.remove(&stay) {
                // Who is about to drop its place does not hear it, and gives it back by that.
                let _ = woken.send(());
            }
        }
    }
}

/// A place, or the waiting for one; given back when dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash + Clone> {
    queue: Queue<K>,
    stay: Stay,
    turn: oneshot::Receiver<()>,
    looked_at: Option<Instant>,
    told: Option<(u32, Instant)>,
}

/// What there is to tell of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has come.
    Now,
    /// How many come before it, itself counted.
    Position(u32),
}

impl<K: Eq + Hash + Clone> Place<K> {
    /// It is its turn. Asked once, before [`Self::news`].
    pub fn is_mine(&mut self) -> bool {
        self.turn.try_recv().is_ok()
    }

    /// Waits until it is its turn, and is told nothing before. Asked in place of [`Self::is_mine`] and [`Self::news`]; may
    /// be dropped.
    pub async fn come(&mut self) {
        // The sender is dropped behind its word only.
        let _ = (&mut self.turn).await;
    }

    /// What is to be told next: at first the position at once, then when it changes or has not been told for long, and
    /// last, and once, that the turn has come. May be dropped and asked again.
    pub async fn news(&mut self) -> Turn {
        loop {
            let look_at = self.looked_at.map_or_else(Instant::now, |at| at + LOOK_EVERY);
            tokio::select! {
                biased;
                _ = &mut self.turn => return Turn::Now,
                () = sleep_until(look_at) => {}
            }
            let now = Instant::now();
            self.looked_at = Some(now);
            // Without a position its turn has just come.
            let Some(position) = self.queue.lock().rule.position(self.stay) else { continue };
            if self.told.is_none_or(|(told, at)| told != position || now >= at + TELL_EVERY) {
                self.told = Some((position, now));
                return Turn::Position(position);
            }
        }
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.woken.remove(&self.stay);
        state.rule.leave(self.stay);
        state.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: QueueBounds =
        QueueBounds { places: 1, places_per_caller: 1, keeps_room: false, waiting: 9, waiting_per_caller: 9 };

    #[tokio::test(start_paused = true)]
    async fn positions_are_told_at_once_again_every_5_s_and_when_they_change() {
        let queue = Queue::new(BOUNDS);
        let mut first = queue.enter(1).expect("room");
        assert!(first.is_mine());
        let mut second = queue.enter(2).expect("room");
        let mut third = queue.enter(3).expect("room");
        let began = Instant::now();
        assert_eq!((second.news().await, third.news().await), (Turn::Position(1), Turn::Position(2)));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(third.news().await, Turn::Position(2));
        assert_eq!(began.elapsed().as_secs(), 5);
        drop(second);
        assert_eq!(third.news().await, Turn::Position(1));
        assert_eq!(began.elapsed().as_secs(), 6);
        drop(first);
        assert_eq!(third.news().await, Turn::Now);
        assert_eq!((began.elapsed().as_secs(), queue.holding(), queue.waiting()), (6, 1, 0));
        drop(third);
        assert_eq!(queue.holding(), 0);
        assert!(queue.lock().woken.is_empty());
    }
}
