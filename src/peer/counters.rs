//! What a peer counts about queries, without locks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::protocol::action::Counters;

/// Running counts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    searches: AtomicU64,
    queries_answered: AtomicU64,
    duplicates_dropped: AtomicU64,
    queries_refused: AtomicU64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $method:ident => $field:ident),* $(,)?) => {
        impl Counts {
            $($(#[$doc])* pub(crate) fn $method(&self, more: u64) {
                self.0.$field.fetch_add(more, Relaxed);
            })*

            /// All of them now; bytes are counted by the transfers.
            pub(crate) fn now(&self) -> Counters {
                Counters { $($field: self.0.$field.load(Relaxed),)* ..Counters::default() }
            }
        }
    };
}

counters! {
    /// A search began here.
    add_searches => searches,
    /// A query of another was answered.
    add_queries_answered => queries_answered,
    /// A copy was dropped by the query cache.
    add_duplicates_dropped => duplicates_dropped,
    /// A query was refused for want of room.
    add_queries_refused => queries_refused,
}
