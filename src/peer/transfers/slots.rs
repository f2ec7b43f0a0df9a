//! Which download runs: so many at once, the rest in order of priority and age.
//!
//! Invariant: a slot that was given is given back, whatever becomes of its taker, and no slot is free while one waits.

use std::{cmp::Reverse, collections::BTreeSet};

use tokio::sync::oneshot;

use super::{State, Transfers};
use crate::protocol::action::Priority;

/// The order alone.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: usize,
    free: usize,
    // Ids rise with age, and a download that was paused has its old place again.
    waiting: BTreeSet<(Reverse<Priority>, u64)>,
}

impl Queue {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, free: slots, waiting: BTreeSet::new() }
    }

    fn push(&mut self, id: u64, priority: Priority) {
        self.waiting.insert((Reverse(priority), id));
    }

    /// False when it did not wait.
    fn remove(&mut self, id: u64) -> bool {
        Priority::ALL.into_iter().any(|priority| self.waiting.remove(&(Reverse(priority), id)))
    }

    /// The next one to have a slot, which is taken; `None` when none is free or nobody waits.
    fn next(&mut self) -> Option<u64> {
        if self.free == 0 {
            return None;
        }
        let (_, id) = self.waiting.pop_first()?;
        self.free -= 1;
        Some(id)
    }

    fn give_back(&mut self) {
        self.free += 1;
    }

    /// How many slots there are and how many are free, and how many transfers wait.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.slots, self.free, self.waiting.len())
    }

    #[cfg(test)]
    pub(super) fn order_len(&self) -> usize {
        self.waiting.len()
    }

    fn order(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().map(|(_, id)| *id)
    }
}

/// The right to fetch; given back when it is dropped.
#[derive(Debug)]
pub struct DownloadSlot(Option<Transfers>);

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        if let Some(table) = self.0.take() {
            let mut state = table.lock();
            state.queue.give_back();
            table.grant(&mut state);
        }
    }
}

impl Transfers {
    /// Queues a transfer of this table for a slot.
    pub(super) fn take_seat(&self, id: u64) -> oneshot::Receiver<DownloadSlot> {
        let (seat, granted) = oneshot::channel();
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(&id) {
            running.seat = Some(seat);
            let priority = running.news.borrow().priority;
            state.queue.push(id, priority);
        }
        self.grant(&mut state);
        granted
    }

    /// It waits no more.
    pub(super) fn leave_seat(&self, id: u64) {
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(&id) {
            running.seat = None;
        }
        self.unqueue(&mut state, id);
    }

    pub(super) fn unqueue(&self, state: &mut State, id: u64) {
        if state.queue.remove(id) {
            state.tell_position(id, None);
            self.grant(state);
        }
    }

    /// Gives it the place of another priority, if it waits.
    pub(super) fn requeue(&self, state: &mut State, id: u64, priority: Priority) {
        if state.queue.remove(id) {
            state.queue.push(id, priority);
            self.grant(state);
        }
    }

    /// Gives out what is free, and tells everyone who still waits the place in the queue.
    fn grant(&self, state: &mut State) {
        while let Some(id) = state.queue.next() {
            let seat = state.running.get_mut(&id).and_then(|running| running.seat.take());
            state.tell_position(id, None);
            let granted = DownloadSlot(Some(self.clone()));
            let refused = match seat {
                Some(seat) => seat.send(granted).err(),
                None => Some(granted),
            };
            if let Some(mut slot) = refused {
                // Nobody took it. It must not give itself back under this lock.
                slot.0 = None;
                state.queue.give_back();
            }
        }
        let order: Vec<u64> = state.queue.order().collect();
        for (at, id) in order.into_iter().enumerate() {
            state.tell_position(id, u32::try_from(at + 1).ok());
        }
    }
}

impl State {
    fn tell_position(&self, id: u64, position: Option<u32>) {
        if let Some(running) = self.running.get(&id) {
            running.news.send_if_modified(|transfer| {
                let is_new = transfer.queue_position != position;
                transfer.queue_position = position;
                is_new
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_then_the_oldest_comes_first() {
        let mut queue = Queue::new(1);
        for (id, priority) in
            [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High), (4, Priority::Normal)]
        {
            queue.push(id, priority);
        }
        assert_eq!(queue.order().collect::<Vec<_>>(), [3, 2, 4, 1]);
        assert!(queue.remove(2) && !queue.remove(2));
        assert_eq!((queue.next(), queue.next()), (Some(3), None), "one slot");
        queue.give_back();
        assert_eq!(queue.next(), Some(4));
        queue.give_back();
        assert_eq!(queue.next(), Some(1));
        queue.give_back();
        assert_eq!(queue.next(), None);
    }
}
