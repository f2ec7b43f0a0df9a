//! The query cache: which query ids are remembered, and in whose share of its room. No live id is ever dropped; what has no
//! room is refused.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{Query, Refusal, View};
use crate::protocol::{
    claim::Reach,
    id::{PeerId, QueryId},
};

/// How long a query id is remembered after its deadline, and after it has ended here when that is earlier: copies that were on
/// their way are still known. A hop gives one up after a second, so that later ones are rare; such a one begins the flood anew
/// from there, once in this time at most.
pub const REMEMBERED_AFTER_END: Duration = Duration::from_secs(5);
/// How often one query id is served on claims. A break or a hedge above costs one; more than this is no repair but a
/// peer that sends one query again and again, which the room of the query cache would not hold back.
pub const MAX_SERVES: u8 = 16;
/// A cache that is full of live ids is swept for others at most this often: its cost stays bounded under a storm.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Who has a share of the query cache. What a peer gives on for others has another one than what it asks itself: or a storm
/// that it gives on would use up the room for its own queries at everyone behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sharer {
    Asks(PeerId),
    Relays(PeerId),
    /// All whom nobody knows.
    Strangers,
}

/// One remembered query id.
#[derive(Debug)]
struct Entry {
    /// Live until then.
    expires: Instant,
    /// Whose share it fills.
    sharer: Sharer,
    /// The highest TTL with which it was forwarded classically; `None` when it came on claims only.
    classic_ttl: Option<u8>,
    /// The own index was searched; not when it came to leave the zone only.
    is_searched: bool,
    /// How often it was served.
    serves: u8,
    /// Of these, those that have not ended.
    running: u8,
}

/// What one copy of a query is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Worth {
    /// The own index is searched for it.
    pub(super) is_searched_here: bool,
    /// It goes to the neighbors, further than a copy went before.
    pub(super) is_flooded: bool,
}

/// The query ids remembered to suppress duplicates. At most `capacity`; no live id is ever dropped, since an early
/// eviction lets a query circle for ever (over 3 million messages for 600 queries at half the room): what has no room is
/// refused instead.
#[derive(Debug)]
pub struct QueryCache {
    /// In order of insertion: read by `peek`, never promoted.
    entries: LruCache<QueryId, Entry>,
    held: HashMap<Sharer, usize>,
    next_sweep: Option<Instant>,
}

impl QueryCache {
    /// Room for `capacity` ids, about 150 bytes each.
    pub fn new(capacity: NonZeroUsize) -> Self {
        // Grows as queries come: made with its bound it would take the room of all of them at once.
        let mut entries = LruCache::unbounded();
        entries.resize(capacity);
        Self { entries, held: HashMap::new(), next_sweep: None }
    }

    /// Ids in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// This id is remembered.
    pub fn contains(&self, id: &QueryId) -> bool {
        self.entries.contains(id)
    }

    /// A query that was to be served has ended here, whether it was answered or dropped: copies of it travel no more for long,
    /// however late its deadline is.
    pub fn on_end(&mut self, id: &QueryId, now: Instant) {
        let Some(entry) = self.entries.peek_mut(id) else { return };
        entry.running = entry.running.saturating_sub(1);
        if entry.running == 0 {
            entry.expires = entry.expires.min(now + REMEMBERED_AFTER_END);
        }
    }

    /// Enters one copy of a query, as far as it is served: searched and forwarded when it is unknown; served again when it is a
    /// repair, [`MAX_SERVES`] times at most; forwarded when it reaches further than what was forwarded before. `None`: a
    /// duplicate. `classic_ttl` is what a classic copy goes on with.
    pub(super) fn enter(
        &mut self,
        query: &Query,
        view: &View<'_>,
        (is_repair, classic_ttl): (bool, Option<u8>),
        now: Instant,
    ) -> Result<Option<Worth>, Refusal> {
        let expires = query.deadline + REMEMBERED_AFTER_END;
        match self.entries.peek_mut(&query.id) {
            None => {
                let sharer = view.sharer(query);
                let entry =
                    Entry { expires, sharer, classic_ttl: None, is_searched: false, serves: 1, running: 0 };
                self.insert(query.id, entry, (view.me, view.sharers()), now)?;
            }
            Some(entry) if is_repair => {
                if entry.serves >= MAX_SERVES {
                    return Err(Refusal::TooOften);
                }
                entry.serves += 1;
                entry.expires = entry.expires.max(expires);
            }
            Some(entry) => {
                if entry.is_searched && (query.ttl == 0 || entry.classic_ttl >= classic_ttl) {
                    // Where one copy came from there may be more.
                    entry.expires = entry.expires.max(expires.min(now + REMEMBERED_AFTER_END));
                    return Ok(None);
                }
                entry.expires = entry.expires.max(expires);
            }
        }
        let entry = self.entries.peek_mut(&query.id).expect("it is known or was inserted above");
        entry.running += 1;
        let is_searched_here = query.reach != Reach::OtherZones && (is_repair || !entry.is_searched);
        entry.is_searched |= is_searched_here;
        let is_flooded = query.ttl > 0 && entry.classic_ttl < classic_ttl;
        if is_flooded {
            entry.classic_ttl = classic_ttl;
        }
        Ok(Some(Worth { is_searched_here, is_flooded }))
    }

    /// Live ids that each of this many is sure of, however much the others send.
    pub fn share(&self, sharers: usize) -> usize {
        ((self.entries.cap().get() - self.own_room()) / 2 / sharers.max(1)).max(1)
    }

    /// A third of the room is for this peer's own queries. Of the rest the first half is for whoever comes, but no sender has more
    /// than it leaves free there; in the second half each sender holds its share at most, and another one for what it gives on,
    /// which leaves these to every sender whatever the others do.
    fn insert(
        &mut self,
        id: QueryId,
        entry: Entry,
        (me, sharers): (PeerId, usize),
        now: Instant,
    ) -> Result<(), Refusal> {
        while self.entries.peek_lru().is_some_and(|(_, oldest)| oldest.expires <= now) {
            let (_, oldest) = self.entries.pop_lru().expect("it was just seen");
            self.release(oldest.sharer);
        }
        if self.entries.len() >= self.own_room() {
            self.sweep(now);
        }
        let (own_room, own) = (self.own_room(), self.held_by(Sharer::Asks(me)));
        let (room, others) = (self.entries.cap().get() - own_room, self.entries.len() - own);
        if entry.sharer == Sharer::Asks(me) {
            if own >= own_room {
                return Err(Refusal::NoShare);
            }
        } else if others >= room {
            return Err(Refusal::NoRoom);
        } else {
            let (held, free) = (self.held_by(entry.sharer), (room / 2).saturating_sub(others));
            if held >= free && held >= self.share(sharers) {
                return Err(Refusal::NoShare);
            }
        }
        *self.held.entry(entry.sharer).or_default() += 1;
        self.entries.put(id, entry);
        Ok(())
    }

    fn own_room(&self) -> usize {
        self.entries.cap().get().div_ceil(3)
    }

    fn held_by(&self, sharer: Sharer) -> usize {
        self.held.get(&sharer).copied().unwrap_or(0)
    }

    /// Drops what has expired behind an older id that lives longer.
    fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_some_and(|at| now < at) {
            return;
        }
        self.next_sweep = Some(now + SWEEP_INTERVAL);
        let expired: Vec<QueryId> =
            self.entries.iter().filter(|(_, entry)| entry.expires <= now).map(|(id, _)| *id).collect();
        for id in expired {
            if let Some(entry) = self.entries.pop(&id) {
                self.release(entry.sharer);
            }
        }
    }

    fn release(&mut self, sharer: Sharer) {
        if let Some(held) = self.held.get_mut(&sharer) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&sharer);
            }
        }
    }
}
