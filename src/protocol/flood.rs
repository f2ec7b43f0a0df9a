//! What becomes of one incoming query: the query cache and the verdict. A query is searched once per way in which its
//! answer may travel, forwarded no further than its TTL, and a live query id is never forgotten.

mod cache;

use std::{collections::BTreeMap, time::Instant};

use self::cache::Sharer;
pub use self::cache::{MAX_SERVES, QueryCache, REMEMBERED_AFTER_END};
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
    let worth = match cache.enter(query, view, (is_repair, is_classic.then_some(query.ttl)), now) {
        Ok(Some(worth)) => worth,
        Ok(None) => return Verdict::Duplicate,
        Err(refusal) => return Verdict::Refuse(refusal),
    };
    Verdict::Serve {
        is_searched_here: worth.is_searched_here,
        plan: plan(query, view, trusted, worth.is_flooded),
    }
}

/// Where a query that is served goes from here: along the claim that it came with where that can be trusted, to the neighbors
/// where it is flooded, and beyond the zone where it reaches further.
fn plan(query: &Query, view: &View<'_>, trusted: Option<Claim>, is_flooded: bool) -> Plan {
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
    } else if is_flooded {
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
    let is_told = |id: &&PeerId| query.reach != Reach::AllZones || **id != query.from;
    Plan {
        waves,
        handed_over,
        ruled_out: ruled_out.iter().filter(is_told).map(PeerId::short).collect(),
        zones,
        ttl: query.ttl.saturating_sub(1),
        hops: hops.saturating_add(1),
        deadline: query.deadline,
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

#[cfg(test)]
mod beyond_tests;
#[cfg(test)]
mod tests;
