//! What a table of transfers counts for whoever watches the peer: bytes, ends, slots.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Transfers;
use crate::protocol::action::{Direction, Transfer};

/// File bytes since the start, and the ends of transfers by direction and state.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
    ended: [[AtomicU64; FINAL_STATES.len()]; DIRECTIONS.len()],
}

/// Every direction, in the order in which ends are counted.
const DIRECTIONS: [Direction; 5] =
    [Direction::Download, Direction::Upload, Direction::Send, Direction::Receive, Direction::Put];
/// Names of the states that are final, in the order in which ends are counted.
const FINAL_STATES: [&str; 3] = ["done", "failed", "cancelled"];

impl Totals {
    pub(super) fn count_end(&self, transfer: &Transfer) {
        let direction = DIRECTIONS.iter().position(|direction| *direction == transfer.direction);
        let state = FINAL_STATES.iter().position(|name| *name == transfer.state.name());
        if let Some((direction, state)) = direction.zip(state) {
            self.ended[direction][state].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How many transfers of one direction are in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferCount {
    /// Which way.
    pub direction: Direction,
    /// Name of the state.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}

/// The downloads' slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots {
    /// There are.
    pub limit: u64,
    /// Are taken.
    pub in_use: u64,
    /// Wait for one.
    pub waiting: u64,
}

impl Transfers {
    /// Transfers that ended since the start, by direction and state.
    pub fn ended_counts(&self) -> Vec<TransferCount> {
        let counts = DIRECTIONS.iter().zip(&self.0.totals.ended).flat_map(|(direction, states)| {
            FINAL_STATES.iter().zip(states).map(|(state, count)| TransferCount {
                direction: *direction,
                state,
                count: count.load(Ordering::Relaxed),
            })
        });
        counts.collect()
    }

    /// Transfers that are there now, by direction and state: those that run or wait, and failed downloads that can be
    /// tried again.
    pub fn live_counts(&self) -> Vec<TransferCount> {
        const STATES: [&str; 5] = ["waiting", "paused", "running", "verifying", "failed"];
        let mut counts: Vec<TransferCount> = DIRECTIONS
            .iter()
            .flat_map(|direction| {
                STATES.iter().map(|state| TransferCount { direction: *direction, state, count: 0 })
            })
            .collect();
        let mut add = |transfer: &Transfer| {
            let is_it = |of: &&mut TransferCount| {
                of.direction == transfer.direction && of.state == transfer.state.name()
            };
            if let Some(of) = counts.iter_mut().find(is_it) {
                of.count += 1;
            }
        };
        let state = self.lock();
        state.running.values().for_each(|running| add(&running.news.borrow()));
        state.failed.values().for_each(|(transfer, _)| add(transfer));
        drop(state);
        counts
    }

    /// The downloads' slots.
    pub fn slots(&self) -> Slots {
        let state = self.lock();
        let (limit, free, waiting) = state.queue.counts();
        Slots { limit: limit as u64, in_use: limit.saturating_sub(free) as u64, waiting: waiting as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::action::TransferState;

    #[test]
    fn a_transfer_is_counted_where_it_is_and_once_where_it_ended() {
        let table = Transfers::new(2);
        let of = |counts: Vec<TransferCount>, state: &str| -> u64 {
            let mine = |of: &&TransferCount| of.direction == Direction::Send && of.state == state;
            counts.iter().filter(mine).map(|of| of.count).sum()
        };
        let tickets = [0, 1].map(|_| table.begin(Direction::Send, "f", 1, vec![]).expect("room"));
        assert_eq!(of(table.live_counts(), "waiting"), 2);
        let [done, dropped] = tickets;
        done.finish(TransferState::Done);
        drop(dropped);
        assert_eq!(of(table.live_counts(), "waiting"), 0);
        assert_eq!(["done", "failed", "cancelled"].map(|state| of(table.ended_counts(), state)), [1, 0, 1]);
        assert_eq!(table.slots(), Slots { limit: 2, in_use: 0, waiting: 0 });
    }
}
