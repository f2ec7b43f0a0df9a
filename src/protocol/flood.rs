//! What becomes of one incoming query: the query cache and the verdict. A query is searched once per way in which its
//! answer may travel, forwarded no further than its TTL, and a live query id is never forgotten.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{
    claim::{Claim, Part, Reach, RulesOut, Split, split},
    crossing::{self, AllBut, RulesOutZones},
    gateway::{GATEWAYS_PER_ZONE, Gateways},
    id::{PeerId, QueryId, ZoneId},
    report::ZoneReport,
    roster::Roster,
};

/// TTL when nobody asks for another. Loose on purpose: at TTL 6 half of the queries over 100 peers were incomplete when
/// links differed in delay, and duplicates cost nothing more.
pub const DEFAULT_TTL: u8 = 16;
/// Bound of forwards done and left together; what is above is refused.
pub const MAX_TTL_PLUS_HOPS: u8 = 32;
/// Most neighbors that a classic copy goes to.
pub const MAX_FANOUT: usize = 64;
/// How long a query id is remembered after its deadline, and after it has ended here when that is earlier: copies that were on
/// their way are still known. A hop gives one up after a second, so that later ones are rare; such a one begins the flood anew
/// from there, once in this time at most.
pub const REMEMBERED_AFTER_END: Duration = Duration::from_secs(5);
/// How often one query id is served on claims. A break or a hedge above costs one; more than this is no repair but a
/// peer that sends one query again and again, which the room of the query cache would not hold back.
pub const MAX_SERVES: u8 = 16;
/// A cache that is full of live ids is swept for others at most this often: its cost stays bounded under a storm.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How a query spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To all neighbors, bounded by TTL.
    Classic,
    /// By intervals of the ring.
    Claimed,
}

/// Classic when someone asks for a TTL, since a claim reaches everyone however far, or when there is no roster to claim
/// parts of; claimed otherwise.
pub fn choose_mode(explicit_ttl: Option<u8>, roster: Option<&Roster>) -> Mode {
    match (explicit_ttl, roster) {
        (None, Some(roster)) if !roster.members().is_empty() => Mode::Claimed,
        _ => Mode::Classic,
    }
}

/// One query as it comes in, as far as the rules need it. The origin's own query has `from == origin ==` its own id,
/// `hops` 0, as its claim the whole ring (`before` its own id) or none, and as its reach its zone or everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Which.
    pub id: QueryId,
    /// Forwards left.
    pub ttl: u8,
    /// Forwards done.
    pub hops: u8,
    /// When the answer must be there.
    pub deadline: Instant,
    /// Revision of the sender's roster.
    pub roster_revision: u64,
    /// The part of the ring that the receiver answers for; `None` in classic flood.
    pub claim: Option<Claim>,
    /// How far it goes from here.
    pub reach: Reach,
    /// Some hits are enough: the origin asks in widening waves, and so do the gateways on its behalf.
    pub is_widening: bool,
    /// The previous hop.
    pub from: PeerId,
}

impl Query {
    /// The origin's own query, as it goes through [`on_query`] like any other.
    pub fn own(
        id: QueryId,
        me: PeerId,
        mode: Mode,
        ttl: u8,
        deadline: Instant,
        roster_revision: u64,
    ) -> Self {
        let claim = (mode == Mode::Claimed).then_some(Claim { before: me });
        let reach = Reach::Inside;
        Self { id, ttl, hops: 0, deadline, roster_revision, claim, reach, is_widening: false, from: me }
    }

    /// The previous hop is its origin, as far as it says. Whoever says so of queries that it gives on fills the room that it
    /// has for its own.
    pub fn is_senders_own(&self) -> bool {
        self.hops <= 1
    }

    /// It goes out of a zone or into one: to gateways alone.
    fn is_crossing(&self) -> bool {
        !matches!(self.reach, Reach::Inside | Reach::Everywhere)
    }
}

/// What this peer knows of its zone.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This peer.
    pub me: PeerId,
    /// Everyone in the zone.
    pub roster: &'a Roster,
    /// Where classic copies go.
    pub neighbors: &'a [PeerId],
    /// Through whom queries leave and enter zones.
    pub gateways: &'a Gateways,
    /// Whom a claimed flood may pass by.
    pub rule: &'a dyn RulesOut,
    /// Which zones a query that leaves this one may pass by.
    pub zones: &'a dyn RulesOutZones,
}

impl View<'_> {
    /// Whom a place in the query cache is kept for. Ids that cannot be checked share one place: nobody gets more room by
    /// making up names.
    fn sharer(&self, query: &Query) -> Sharer {
        if !self.knows(&query.from) {
            Sharer::Strangers
        } else if query.from == self.me || query.is_senders_own() {
            Sharer::Asks(query.from)
        } else {
            Sharer::Relays(query.from)
        }
    }

    fn knows(&self, id: &PeerId) -> bool {
        *id == self.me
            || self.roster.get(id).is_some()
            || self.neighbors.contains(id)
            || self.gateways.get(id).is_some()
    }

    /// Those that have a share.
    fn sharers(&self) -> usize {
        let beyond = self.gateways.zones().filter(|zone| *zone != self.roster.zone()).count();
        2 * (self.roster.members().len().max(self.neighbors.len()) + 1 + beyond * GATEWAYS_PER_ZONE) + 1
    }
}

/// What became of one incoming query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Known, and nothing new in this copy: answer with `Report::duplicate()` and no hits.
    Duplicate,
    /// Not taken, and not remembered.
    Refuse(Refusal),
    /// Run it.
    Serve {
        /// Search the own index and report this peer as answered. A peer is reported only along the way its hits took.
        is_searched_here: bool,
        /// Where it goes from here.
        plan: Plan,
    },
}

/// Why a query is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A malformed query: `INVALID_ARGUMENT`.
    #[error("ttl and hops together must be at most {MAX_TTL_PLUS_HOPS}")]
    TooFar,
    /// Its deadline has passed: `DEADLINE_EXCEEDED`.
    #[error("the deadline has passed")]
    Expired,
    /// The query cache is full of live queries: `RESOURCE_EXHAUSTED`.
    #[error("no room for another query now")]
    NoRoom,
    /// The sender's share of the query cache is full of live queries: `RESOURCE_EXHAUSTED`.
    #[error("no room for another query of this sender now")]
    NoShare,
    /// Served on claims too often: `RESOURCE_EXHAUSTED`.
    #[error("this query was sent here too often")]
    TooOften,
    /// It is for a gateway, of another zone perhaps: `FAILED_PRECONDITION`, so that the other gateway is asked.
    #[error("this peer is no gateway of that zone")]
    NotGateway,
}

/// Where a query goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The branches, in waves: the next one begins when the one before has ended and more hits are wanted. None for a leaf.
    pub waves: Vec<Vec<Part>>,
    /// Parts of the own zone that are left to a gateway of it: asked as far as it does not tell of them.
    pub handed_over: Vec<Part>,
    /// Peers that need not be asked, by [`PeerId::short`].
    pub ruled_out: Vec<u64>,
    /// At a gateway that is to ask other zones: all of them, as they stand before one is asked.
    pub zones: Option<BTreeMap<ZoneId, ZoneReport>>,
    /// TTL that the copies carry.
    pub ttl: u8,
    /// Hops that the copies carry.
    pub hops: u8,
    /// When the own answer must be there; the copies get less.
    pub deadline: Instant,
}

/// Decides on one incoming query and remembers it. Whoever serves it says so when it has ended: [`QueryCache::on_end`].
///
/// - Unknown: searched and forwarded, if there is room for its id.
/// - Known, on a claim: served again, with its search. The sender gives a part out again after a break, when hits that
///   were on their way are lost wherever in the branch they were; only searching again brings them. The same for what comes
///   to a gateway by way of another gateway than before.
/// - Known, classic, with a higher TTL than was forwarded, or known from a claim alone, which forwards nothing
///   classically: forwarded, neither searched nor reported as answered, for its hits go the first way.
/// - Known otherwise: a duplicate.
///
/// A claim that was made over another revision of the roster cannot be trusted. When it was made over a newer one, whoever
/// made it knows better: searched here, and not given on; the relay there gives the rest of the part to its next member. When
/// it was made over an older one, there may be members that nobody behind it knows: classic flood from here.
pub fn on_query(cache: &mut QueryCache, query: &Query, view: &View<'_>, now: Instant) -> Verdict {
    if query.ttl.saturating_add(query.hops) > MAX_TTL_PLUS_HOPS {
        return Verdict::Refuse(Refusal::TooFar);
    }
    if query.deadline <= now {
        return Verdict::Refuse(Refusal::Expired);
    }
    if query.is_crossing() && !opens(view, query.reach) {
        return Verdict::Refuse(Refusal::NotGateway);
    }
    let trusted = match query.reach {
        Reach::Inside | Reach::Everywhere => {
            query.claim.filter(|_| query.roster_revision == view.roster.revision())
        }
        Reach::OtherZones => None,
        // The query begins here as far as this zone is concerned.
        Reach::WholeZone(_) | Reach::AllZones => Some(Claim { before: view.me }),
    };
    let is_repair = query.claim.is_some() || query.is_crossing();
    let is_behind = query.claim.is_some() && view.roster.is_behind(query.roster_revision);
    let is_classic = trusted.is_none() && !query.is_crossing() && !is_behind;
    let classic_ttl = is_classic.then_some(query.ttl);
    let expires = query.deadline + REMEMBERED_AFTER_END;
    match cache.entries.peek_mut(&query.id) {
        None => {
            let entry = Entry {
                expires,
                sharer: view.sharer(query),
                classic_ttl: None,
                is_searched: false,
                serves: 1,
                running: 0,
            };
            if let Err(refusal) = cache.insert(query.id, entry, (view.me, view.sharers()), now) {
                return Verdict::Refuse(refusal);
            }
        }
        Some(entry) if is_repair => {
            if entry.serves >= MAX_SERVES {
                return Verdict::Refuse(Refusal::TooOften);
            }
            entry.serves += 1;
            entry.expires = entry.expires.max(expires);
        }
        Some(entry) => {
            if entry.is_searched && (query.ttl == 0 || entry.classic_ttl >= classic_ttl) {
                // Where one copy came from there may be more.
                entry.expires = entry.expires.max(expires.min(now + REMEMBERED_AFTER_END));
                return Verdict::Duplicate;
            }
            entry.expires = entry.expires.max(expires);
        }
    }
    let entry = cache.entries.peek_mut(&query.id).expect("it is known or was inserted above");
    entry.running += 1;
    let is_searched_here = query.reach != Reach::OtherZones && (is_repair || !entry.is_searched);
    entry.is_searched |= is_searched_here;
    // Whatever it says of itself: what another peer sends was forwarded once, and what goes on from here is not this peer's own.
    let hops = query.hops.max(u8::from(query.from != view.me));
    let is_first = hops == 0 || matches!(query.reach, Reach::WholeZone(_) | Reach::AllZones);
    let Split { mut waves, ruled_out } = if query.ttl == 0 {
        Split::default()
    } else if let Some(claim) = trusted {
        let is_widening = query.is_widening && is_first;
        let all_but = AllBut { asker: query.from, rule: view.rule };
        let rule = if query.reach == Reach::AllZones { &all_but } else { view.rule };
        split(view.roster, view.me, claim, rule, is_widening)
    } else if entry.classic_ttl < classic_ttl {
        entry.classic_ttl = classic_ttl;
        Split { waves: to_neighbors(view, query.from), ruled_out: Vec::new() }
    } else {
        Split::default()
    };
    let is_claimed = trusted.is_some() && hops == 0 && !query.is_widening;
    let to_gateways = is_claimed.then(|| to_gateways(query, view, &waves)).flatten();
    let (mut zones, mut handed_over) = (None, Vec::new());
    if let Some(part) = to_gateways {
        handed_over = std::mem::replace(&mut waves, vec![vec![part]]).concat();
    } else if matches!(query.reach, Reach::Everywhere | Reach::OtherZones | Reach::AllZones) {
        let zone = view.roster.zone();
        let crossing = crossing::cross(view.me, zone, view.gateways, view.zones, query.id, query.is_widening);
        zones = crossing.zones;
        if query.ttl > 0 {
            go_beyond(&mut waves, crossing.waves, query.is_widening);
        }
    }
    Verdict::Serve {
        is_searched_here,
        plan: Plan {
            waves,
            handed_over,
            ruled_out: ruled_out
                .iter()
                .filter(|id| query.reach != Reach::AllZones || **id != query.from)
                .map(PeerId::short)
                .collect(),
            zones,
            ttl: query.ttl.saturating_sub(1),
            hops: hops.saturating_add(1),
            deadline: query.deadline,
        },
    }
}

/// The part that an own query goes to in place of its zone, when a gateway is to answer for that: the query goes there anyway.
fn to_gateways(query: &Query, view: &View<'_>, home: &[Vec<Part>]) -> Option<Part> {
    let zone = view.roster.zone();
    let asked: usize = home.iter().flatten().map(|part| part.members.len()).sum();
    let is_left = query.reach == Reach::Everywhere && (1..=crossing::MAX_HANDED_OVER).contains(&asked);
    // It gets a forward less, and needs one itself.
    let is_open = query.ttl > 1 && !crossing::is_gateway(view.me, zone, view.gateways);
    (is_left && is_open)
        .then(|| crossing::to_gateways(zone, view.gateways, query.id, Reach::AllZones))
        .flatten()
}

/// This peer is a gateway for what the query wants of one.
fn opens(view: &View<'_>, reach: Reach) -> bool {
    let zone = view.roster.zone();
    let is_meant = !matches!(reach, Reach::WholeZone(meant) if meant != zone);
    is_meant && crossing::is_gateway(view.me, zone, view.gateways)
}

fn to_neighbors(view: &View<'_>, from: PeerId) -> Vec<Vec<Part>> {
    let onward = view.neighbors.iter().filter(|id| **id != from && **id != view.me);
    let part = |id: &PeerId| Part { members: vec![*id], claim: None, reach: Reach::Inside };
    let parts: Vec<Part> = onward.take(MAX_FANOUT).map(part).collect();
    if parts.is_empty() { Vec::new() } else { vec![parts] }
}

/// Beside the home zone, or after it when it may have enough.
fn go_beyond(home: &mut Vec<Vec<Part>>, beyond: Vec<Vec<Part>>, is_after: bool) {
    let mut beyond = beyond.into_iter();
    if !is_after && let Some(first) = home.first_mut() {
        first.extend(beyond.next().unwrap_or_default());
    }
    home.extend(beyond);
}

/// Who has a share of the query cache. What a peer gives on for others has another one than what it asks itself: or a storm
/// that it gives on would use up the room for its own queries at everyone behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sharer {
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

#[cfg(test)]
mod beyond_tests;
#[cfg(test)]
mod tests;
