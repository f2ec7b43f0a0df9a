//! What a listener counts of its connections: one atomic addition each, read by whoever looks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Running counts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    accepted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    unproven: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// Accepted since the start.
    pub accepted: u64,
    /// Closed at once, because their host had too many.
    pub refused: u64,
    /// Ended without a handshake.
    pub unproven: u64,
}

impl ConnectionCounts {
    /// As they are now.
    pub fn now(&self) -> Connections {
        // Ends are read first: of what ends meanwhile nothing goes below zero.
        let ended = self.0.ended.load(Relaxed);
        let accepted = self.0.accepted.load(Relaxed);
        Connections {
            open: accepted.saturating_sub(ended),
            accepted,
            refused: self.0.refused.load(Relaxed),
            unproven: self.0.unproven.load(Relaxed),
        }
    }

    /// One more is open, until what is given is dropped.
    pub(super) fn opened(&self) -> Open {
        self.0.accepted.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// One was closed at once.
    pub(super) fn refuse(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(ConnectionCounts);

impl Open {
    /// It ends without a handshake.
    pub(super) fn is_unproven(&self) {
        self.0.0.unproven.fetch_add(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_open_no_more() {
        let counts = ConnectionCounts::default();
        let (first, second) = (counts.opened(), counts.opened());
        counts.refuse();
        first.is_unproven();
        drop(first);
        assert_eq!(counts.now(), Connections { open: 1, accepted: 2, refused: 1, unproven: 1 });
        drop(second);
        assert_eq!(counts.now().open, 0);
    }
}
