//! Whose turn is next when places are few: the caller that has the fewest, and among equals the longest waiting.
//!
//! Invariant: no caller holds more places than its share and all together no more than there are; who is told a position
//! moves up only, but for callers with fewer places that come later; every bound is that of [`QueueBounds`].

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// How much a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Places.
    pub places: usize,
    /// Places that one caller may hold.
    pub places_per_caller: usize,
    /// One caller may hold half as many as are free at most, so that there is room for whoever comes next: one that takes
    /// all it can gets a third, and of n of them each 1 part of n + 2, which is what the others then find free, twice.
    pub keeps_room: bool,
    /// Waiting.
    pub waiting: usize,
    /// Waiting of one caller.
    pub waiting_per_caller: usize,
}

/// Why someone may not even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// This caller has enough waiting.
    #[error("you have too many waiting already")]
    Caller,
    /// Too many wait.
    #[error("too many wait already")]
    Total,
}

/// A stay in the queue, from its entering to the end of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stay(u64);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    holding: usize,
    waiting: usize,
}

/// Callers with places, and callers that wait for one.
#[derive(Debug)]
pub struct FairQueue<K> {
    bounds: QueueBounds,
    last: u64,
    /// In order of their coming.
    waiting: BTreeMap<Stay, K>,
    holding: HashMap<Stay, K>,
    counts: HashMap<K, Count>,
}

impl<K: Eq + Hash + Clone> FairQueue<K> {
    /// With nobody in it.
    pub fn new(bounds: QueueBounds) -> Self {
        Self { bounds, last: 0, waiting: BTreeMap::new(), holding: HashMap::new(), counts: HashMap::new() }
    }

    /// Places that there are.
    pub fn places(&self) -> usize {
        self.bounds.places
    }

    /// Places that are held.
    pub fn holding(&self) -> usize {
        self.holding.len()
    }

    /// Those that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Someone comes; [`Self::give`] tells whether it is its turn already.
    ///
    /// # Errors
    /// When nobody, or not this caller, may wait any more; nothing is changed then.
    pub fn enter(&mut self, caller: K) -> Result<Stay, QueueFull> {
        // Who gets a place at once waits for nothing.
        if !self.is_free(&caller) {
            if self.count(&caller).waiting >= self.bounds.waiting_per_caller {
                return Err(QueueFull::Caller);
            }
            if self.waiting.len() >= self.bounds.waiting {
                return Err(QueueFull::Total);
            }
        }
        self.last += 1;
        let stay = Stay(self.last);
        self.counts.entry(caller.clone()).or_default().waiting += 1;
        self.waiting.insert(stay, caller);
        Ok(stay)
    }

    /// Gives a free place to whoever is next; `None` when there is none, or nobody may have it. To be asked until then
    /// after every change.
    pub fn give(&mut self) -> Option<Stay> {
        if self.holding.len() >= self.bounds.places {
            return None;
        }
        // Of each caller the first that waits; among them the order of their coming decides equals.
        let next = self
            .waiting
            .iter()
            .map(|(stay, caller)| (self.count(caller).holding, *stay))
            .filter(|(holding, _)| self.may_have(*holding))
            .min();
        let (_, stay) = next?;
        let caller = self.waiting.remove(&stay)?;
        let count = self.counts.entry(caller.clone()).or_default();
        count.waiting -= 1;
        count.holding += 1;
        self.holding.insert(stay, caller);
        Some(stay)
    }

    /// Someone gives its place up, or goes away while it waits. Nothing happens to one that is gone.
    pub fn leave(&mut self, stay: Stay) {
        let (caller, was_holding) = match (self.waiting.remove(&stay), self.holding.remove(&stay)) {
            (Some(caller), _) => (caller, false),
            (None, Some(caller)) => (caller, true),
            (None, None) => return,
        };
        if let Some(count) = self.counts.get_mut(&caller) {
            *(if was_holding { &mut count.holding } else { &mut count.waiting }) -= 1;
            if count.holding + count.waiting == 0 {
                self.counts.remove(&caller);
            }
        }
    }

    /// How many get a place before this one does, itself counted, when places become free one by one and nobody else
    /// comes or goes; `None` for one that does not wait. Looks at all that wait.
    pub fn position(&self, stay: Stay) -> Option<u32> {
        let caller = self.waiting.get(&stay)?;
        let earlier = self.waiting.range(..stay).filter(|(_, other)| *other == caller).count();
        let own = (self.count(caller).holding + earlier, stay);
        // The nth that waits of a caller has its turn when the caller has n - 1 places more than now.
        let mut turns: HashMap<&K, usize> = HashMap::new();
        let before = self.waiting.iter().filter(|(other, caller)| {
            let turn = turns.entry(*caller).or_insert_with(|| self.count(caller).holding);
            *turn += 1;
            (*turn - 1, **other) < own
        });
        u32::try_from(before.count() + 1).ok()
    }

    /// The [`Self::position`] that a new caller would get now; 0 when it would not have to wait.
    pub fn next_place(&self) -> usize {
        if self.holding.len() < self.bounds.places {
            return 0;
        }
        // Before it come those that have no place either, each with the first that it waits for.
        let before = self.counts.values().filter(|count| count.holding == 0 && count.waiting > 0);
        before.count() + 1
    }

    fn is_free(&self, caller: &K) -> bool {
        self.holding.len() < self.bounds.places && self.may_have(self.count(caller).holding)
    }

    /// A caller that holds so many may have one more, if there is one.
    fn may_have(&self, holding: usize) -> bool {
        let free = self.bounds.places.saturating_sub(self.holding.len());
        holding < self.bounds.places_per_caller && (!self.bounds.keeps_room || 2 * holding < free)
    }

    fn count(&self, caller: &K) -> Count {
        self.counts.get(caller).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
