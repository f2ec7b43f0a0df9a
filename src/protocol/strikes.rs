//! Who asks too much, and for how long it is heard no more: a rate for each sender, and strikes for what was refused.
//!
//! Invariant: a sender that is refused nothing is never muted, whatever the others do, and a mute ends by itself after
//! [`Patience::longest_mute`] at the latest. Whoever goes on after each mute is let through less and less, and whoever keeps
//! quiet is in the end as one that nobody knew.

use std::{
    hash::Hash,
    num::{NonZeroU32, NonZeroUsize},
    time::{Duration, Instant},
};

use lru::LruCache;

/// No level is higher: the rate is a 256th by then.
const MAX_LEVEL: u32 = 8;

/// How much one sender may ask, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Asks a second, in the long run; halved with each mute.
    pub per_second: NonZeroU32,
    /// Asks at once after a pause; halved with each mute, to one at least.
    pub burst: u32,
    /// So many refusals with less than [`Self::forgiven_after`] between them are one mute.
    pub strikes: NonZeroU32,
    /// The first mute; each next one is twice as long,
    pub first_mute: Duration,
    /// but no longer than this.
    pub longest_mute: Duration,
    /// After so long without a refusal the strikes are forgotten; so long again, and a mute is, one after the other.
    pub forgiven_after: Duration,
    /// Senders that are remembered. Above that the one that was longest not heard of is forgotten, its mute with it.
    pub senders: NonZeroUsize,
}

/// What becomes of one ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It may go on.
    Pass,
    /// It may not, nor may another one that comes sooner than this. Nothing should be done for it.
    Refuse {
        /// From now.
        retry_after: Duration,
    },
}

/// What is remembered of the senders.
#[derive(Debug)]
pub struct Strikes<K: Eq + Hash> {
    patience: Patience,
    senders: LruCache<K, Record>,
    tally: Tally,
}

/// What was given to all senders so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Asks that counted against their sender.
    pub strikes: u64,
    /// Times that a sender was silenced.
    pub mutes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// When all asks so far would have come at exactly the rate.
    even_at: Instant,
    strikes: u32,
    /// Mutes that are not forgiven.
    level: u32,
    /// Silenced until then; in the past when it is not.
    muted_until: Instant,
    /// The end of the last refusal or mute, or of the last time that was forgiven for.
    quiet_since: Instant,
}

impl<K: Eq + Hash> Strikes<K> {
    /// With nobody remembered.
    pub fn new(patience: Patience) -> Self {
        // Grows as senders come: made with its bound it would take the room of all of them at once.
        let mut senders = LruCache::unbounded();
        senders.resize(patience.senders);
        Self { patience, senders, tally: Tally::default() }
    }

    /// A sender asks for something. To be asked before anything is done for it.
    pub fn hear(&mut self, sender: K, now: Instant) -> Hearing {
        let patience = self.patience;
        let record = self.record(sender, now);
        if let Some(retry_after) = record.left_of_mute(now) {
            return Hearing::Refuse { retry_after };
        }
        let interval = Duration::from_secs(1) / (patience.per_second.get() >> record.level).max(1);
        let ahead = interval * ((patience.burst >> record.level).max(1) - 1);
        let even_at = record.even_at.max(now);
        let early = even_at.saturating_duration_since(now).saturating_sub(ahead);
        if early.is_zero() {
            record.even_at = even_at + interval;
            return Hearing::Pass;
        }
        let muted = record.strike(&patience, now);
        self.tally.count(muted);
        Hearing::Refuse { retry_after: muted.max(early) }
    }

    /// Something of that sender passed, and found no room. Gives when it may come again: at once, as far as this rule is
    /// asked, when it has strikes left.
    pub fn strike(&mut self, sender: K, now: Instant) -> Duration {
        let patience = self.patience;
        let record = self.record(sender, now);
        if let Some(left) = record.left_of_mute(now) {
            // It was let in before the mute began.
            return left;
        }
        let muted = record.strike(&patience, now);
        self.tally.count(muted);
        muted
    }

    /// What was given to all senders so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Senders that are remembered.
    pub fn len(&self) -> usize {
        self.senders.len()
    }

    /// Nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    fn record(&mut self, sender: K, now: Instant) -> &mut Record {
        let patience = self.patience;
        let record = self.senders.get_or_insert_mut(sender, || Record {
            even_at: now,
            strikes: 0,
            level: 0,
            muted_until: now,
            quiet_since: now,
        });
        record.forgive(&patience, now);
        record
    }
}

impl Tally {
    fn count(&mut self, muted: Duration) {
        self.strikes += 1;
        self.mutes += u64::from(!muted.is_zero());
    }
}

impl Record {
    fn left_of_mute(&self, now: Instant) -> Option<Duration> {
        let left = self.muted_until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Of one that is not muted; the mute that it brings.
    fn strike(&mut self, patience: &Patience, now: Instant) -> Duration {
        self.quiet_since = now;
        self.strikes += 1;
        if self.strikes < patience.strikes.get() {
            return Duration::ZERO;
        }
        let mute = patience.first_mute.saturating_mul(1 << self.level).min(patience.longest_mute);
        self.strikes = 0;
        self.level = (self.level + 1).min(MAX_LEVEL);
        self.muted_until = now + mute;
        self.quiet_since = self.muted_until;
        mute
    }

    fn forgive(&mut self, patience: &Patience, now: Instant) {
        while (self.level > 0 || self.strikes > 0)
            && now.saturating_duration_since(self.quiet_since) >= patience.forgiven_after
        {
            self.quiet_since += patience.forgiven_after;
            if self.strikes > 0 {
                self.strikes = 0;
            } else {
                self.level -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
