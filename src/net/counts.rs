//! What a listener counts of its connections and of the calls that it refuses, read by whoever looks.

use std::sync::{
    Arc, Mutex, PoisonError,
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
    // Held to add, by calls that are refused alone.
    calls: Mutex<Calls>,
}

/// What the door before the calls did to those who ask too much, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Calls that came faster than their caller may, and counted against it.
    pub rate_strikes: u64,
    /// What calls that made no sense counted against their callers.
    pub nonsense_strikes: u64,
    /// Times that a caller was silenced.
    pub mutes: u64,
    /// Calls refused because their caller asks too fast or is silenced.
    pub refused_rate: u64,
    /// Calls refused because their caller has its part running.
    pub refused_caller: u64,
    /// Calls refused because all that may run do.
    pub refused_whole: u64,
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

    /// What the door before the calls did.
    pub fn calls(&self) -> Calls {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The door did something.
    pub(super) fn at_door(&self, count: impl FnOnce(&mut Calls)) {
        count(&mut self.0.calls.lock().unwrap_or_else(PoisonError::into_inner));
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
