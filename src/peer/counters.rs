//! What a peer counts about queries, without locks: one atomic addition where something happens, whoever looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    protocol::action::Counters,
    telemetry::histogram::{Distribution, Histogram},
};

/// Upper bounds of the buckets of search times, in seconds: a zone on one wire answers within milliseconds, and no search
/// waits for more than a minute.
const SEARCH_SECONDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// Running counts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    searches: AtomicU64,
    hits: AtomicU64,
    queries_answered: AtomicU64,
    duplicates_dropped: AtomicU64,
    refused: [AtomicU64; Refusals::REASONS],
    first_hit: Histogram,
    duration: Histogram,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            searches: AtomicU64::default(),
            hits: AtomicU64::default(),
            queries_answered: AtomicU64::default(),
            duplicates_dropped: AtomicU64::default(),
            refused: Default::default(),
            first_hit: Histogram::new(SEARCH_SECONDS),
            duration: Histogram::new(SEARCH_SECONDS),
        }
    }
}

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The rules do not allow it.
    Rules,
    /// There is no room for it.
    NoRoom,
    /// Too much of its sender runs already.
    Busy,
    /// Its sender is muted, or asks too fast.
    Muted,
}

/// Queries that were refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// The rules do not allow them.
    pub rules: u64,
    /// There was no room for them.
    pub no_room: u64,
    /// Too much of their sender ran already.
    pub busy: u64,
    /// Their sender was muted, or asked too fast.
    pub muted: u64,
}

impl Refusals {
    const REASONS: usize = 4;
}

/// What the searches of this peer's own came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Searched {
    /// Contents found.
    pub hits: u64,
    /// From the start of a search to its first hit.
    pub first_hit: Distribution,
    /// From the start of a search to its end.
    pub duration: Distribution,
}

impl Counts {
    /// A search began here.
    pub(crate) fn add_search(&self) {
        self.0.searches.fetch_add(1, Relaxed);
    }

    /// A search of this peer's own found so many more contents.
    pub(crate) fn add_hits(&self, more: u64) {
        self.0.hits.fetch_add(more, Relaxed);
    }

    /// A search of this peer's own had its first hit after this time.
    pub(crate) fn first_hit_after(&self, took: Duration) {
        self.0.first_hit.observe(took);
    }

    /// A search of this peer's own came to its end after this time.
    pub(crate) fn search_ended_after(&self, took: Duration) {
        self.0.duration.observe(took);
    }

    /// A query of another was answered.
    pub(crate) fn add_query_answered(&self) {
        self.0.queries_answered.fetch_add(1, Relaxed);
    }

    /// A copy was dropped by the query cache.
    pub(crate) fn add_duplicate_dropped(&self) {
        self.0.duplicates_dropped.fetch_add(1, Relaxed);
    }

    /// A query was refused.
    pub(crate) fn add_refused(&self, why: Why) {
        self.0.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// All of them now; bytes are counted by the transfers.
    pub(crate) fn now(&self) -> Counters {
        let Refusals { rules, no_room, busy, muted } = self.refusals();
        Counters {
            searches: self.0.searches.load(Relaxed),
            queries_answered: self.0.queries_answered.load(Relaxed),
            duplicates_dropped: self.0.duplicates_dropped.load(Relaxed),
            queries_refused: rules + no_room + busy + muted,
            ..Counters::default()
        }
    }

    /// Refused queries by reason.
    pub(crate) fn refusals(&self) -> Refusals {
        let of = |why: Why| self.0.refused[why as usize].load(Relaxed);
        Refusals {
            rules: of(Why::Rules),
            no_room: of(Why::NoRoom),
            busy: of(Why::Busy),
            muted: of(Why::Muted),
        }
    }

    /// What the searches of this peer's own came to.
    pub(crate) fn searched(&self) -> Searched {
        Searched {
            hits: self.0.hits.load(Relaxed),
            first_hit: self.0.first_hit.now(),
            duration: self.0.duration.now(),
        }
    }
}
