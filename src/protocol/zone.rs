//! Which peer belongs to which zone: joining, going home, opening and merging zones. A zone is never larger than its
//! layout allows, a peer is in one zone at a time, and no event moves more than `min` live peers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use lru::LruCache;
use rand::{Rng, RngExt};

use super::id::{PeerId, ZoneId};

mod layout;
mod locality;
#[cfg(test)]
mod tests;

pub use layout::{Full, Layout, NoPlace};
pub use locality::Locality;

/// A join chooses among this many of the smallest zones: enough to keep apart the peers of one machine, few enough to
/// keep sizes even. The best of 1, 2, 4 and 8 in a simulation of churn.
const SMALLEST_ZONES: usize = 4;

/// A zone below its minimum for longer than this is merged. A restart of a peer or a switch is over by then, and its
/// peers go home instead.
pub const MERGE_GRACE: Duration = Duration::from_secs(30);

/// Peers that left and whose zone is remembered; beyond it the one that left first is forgotten and joins as if new.
/// About 8 MiB when full.
const FORMER_ZONES: usize = 65_536;

/// A live peer changes its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Who.
    pub peer: PeerId,
    /// Its zone until now.
    pub from: ZoneId,
    /// Its zone from now on.
    pub to: ZoneId,
}

/// Where a peer was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its zone, before the moves.
    pub zone: ZoneId,
    /// At most `min` peers, possibly this one, that moved because a zone was opened.
    pub moves: Vec<Move>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    zone: ZoneId,
    /// Rises with every join in the network: the youngest has the highest.
    joined: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    peer: PeerId,
    locality: Locality,
}

#[derive(Debug, Default)]
struct Zone {
    /// By the number of the join, so that the youngest are last.
    members: BTreeMap<u64, Slot>,
    below_min_since: Option<Instant>,
}

impl Zone {
    fn size(&self) -> u32 {
        u32::try_from(self.members.len()).expect("a zone's size is bounded by a u32")
    }
}

/// Who is in which zone, and who was.
#[derive(Debug)]
pub struct Zones {
    layout: Layout,
    by_id: BTreeMap<ZoneId, Zone>,
    by_size: BTreeSet<(u32, ZoneId)>,
    places: HashMap<PeerId, Place>,
    former: LruCache<PeerId, ZoneId>,
    /// Peers, in or not, that may be in one zone only. As many as the caller knows of.
    pinned: HashMap<PeerId, ZoneId>,
    /// Sum over zones of what they hold above the target.
    overflow: u32,
    joins: u64,
}

impl Zones {
    /// With no peer. The zones of a fixed layout are there from the start.
    pub fn new(layout: Layout) -> Self {
        let mut zones = Self {
            layout,
            by_id: BTreeMap::new(),
            by_size: BTreeSet::new(),
            places: HashMap::new(),
            former: LruCache::unbounded(),
            pinned: HashMap::new(),
            overflow: 0,
            joins: 0,
        };
        if let Layout::Fixed { zones: count, .. } = layout {
            for zone in (1..=count).filter_map(ZoneId::new) {
                zones.create(zone);
            }
        }
        zones
    }

    /// From its next join on a peer is in this zone only, and never moves; with `None`, in any.
    pub fn pin(&mut self, peer: PeerId, zone: Option<ZoneId>) {
        match zone {
            Some(zone) => self.pinned.insert(peer, zone),
            None => self.pinned.remove(&peer),
        };
    }

    /// Finds a zone for a peer: the one that it is pinned to, its former one, one below the minimum, or one of the smallest,
    /// away from its own machine and network. A peer that is in already stays where it is.
    ///
    /// # Errors
    /// When a fixed layout, or the zone that the peer is pinned to, is full or absent; nothing changed.
    pub fn join(
        &mut self,
        peer: PeerId,
        locality: Locality,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<Placed, NoPlace> {
        if let Some(place) = self.places.get(&peer) {
            return Ok(Placed { zone: place.zone, moves: Vec::new() });
        }
        if let Some(zone) = self.pinned.get(&peer).copied() {
            self.make_ready(zone)?;
            self.enter(zone, peer, locality, now);
            return Ok(Placed { zone, moves: self.open(now) });
        }
        let chosen =
            self.home(&peer).or_else(|| self.below_min()).or_else(|| self.among_smallest(locality, rng));
        let zone = match (chosen, self.layout) {
            (Some(zone), _) => zone,
            (None, Layout::Elastic { .. }) => self.create_next(),
            (None, Layout::Fixed { zones, zone_size }) => return Err(Full { zones, zone_size }.into()),
        };
        self.enter(zone, peer, locality, now);
        Ok(Placed { zone, moves: self.open(now) })
    }

    /// Puts a peer back into the zone that a snapshot names, or where it would join when the layout has no such room any
    /// more or it is pinned to another zone.
    ///
    /// # Errors
    /// As [`Self::join`]; nothing changed.
    pub fn restore(
        &mut self,
        peer: PeerId,
        zone: ZoneId,
        locality: Locality,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<ZoneId, NoPlace> {
        if self.pinned.get(&peer).is_some_and(|pinned| *pinned != zone) {
            return self
                .join(peer, locality, now, rng)
                .map(|placed| self.zone_of(&peer).unwrap_or(placed.zone));
        }
        if matches!(self.layout, Layout::Elastic { .. }) && !self.by_id.contains_key(&zone) {
            self.create(zone);
        }
        if self.places.contains_key(&peer) || !self.has_room(zone) {
            let placed = self.join(peer, locality, now, rng)?;
            return Ok(self.zone_of(&peer).unwrap_or(placed.zone));
        }
        self.enter(zone, peer, locality, now);
        Ok(zone)
    }

    /// Takes a peer out and remembers its zone. `None` when it is in none. A zone that is left empty closes, unless the
    /// layout is fixed.
    pub fn leave(&mut self, peer: &PeerId, now: Instant) -> Option<ZoneId> {
        let place = *self.places.get(peer)?;
        self.exit(place, now);
        self.places.remove(peer);
        self.former.put(*peer, place.zone);
        if self.former.len() > FORMER_ZONES {
            self.former.pop_lru();
        }
        Some(place.zone)
    }

    /// Opens one zone or merges one, if that is due: at most `min` moves. Call it again until nothing moves.
    pub fn rebalance(&mut self, now: Instant) -> Vec<Move> {
        let moves = self.open(now);
        if moves.is_empty() { self.merge(now) } else { moves }
    }

    /// The zone a peer is in.
    pub fn zone_of(&self, peer: &PeerId) -> Option<ZoneId> {
        self.places.get(peer).map(|place| place.zone)
    }

    /// Everyone, in order of zone and age.
    pub fn members(&self) -> impl Iterator<Item = (ZoneId, PeerId, Locality)> + '_ {
        self.by_id
            .iter()
            .flat_map(|(id, zone)| zone.members.values().map(|slot| (*id, slot.peer, slot.locality)))
    }

    /// The members of one zone, the longest-lived first.
    pub fn oldest_first(&self, zone: ZoneId) -> impl Iterator<Item = (PeerId, Locality)> + '_ {
        let members = self.by_id.get(&zone).into_iter().flat_map(|zone| zone.members.values());
        members.map(|slot| (slot.peer, slot.locality))
    }

    /// Every zone and its size, in order of their ids.
    pub fn sizes(&self) -> impl Iterator<Item = (ZoneId, u32)> + '_ {
        self.by_id.iter().map(|(id, zone)| (*id, zone.size()))
    }

    /// Peers in all zones.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// No peer is in any zone.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The zone that somebody is pinned to has room; an elastic layout opens it for that.
    fn make_ready(&mut self, zone: ZoneId) -> Result<(), NoPlace> {
        match self.by_id.get(&zone).map(Zone::size) {
            Some(size) if size >= self.layout.max_size() => Err(NoPlace::PinnedFull { zone, size }),
            Some(_) => Ok(()),
            None if matches!(self.layout, Layout::Elastic { .. }) => {
                self.create(zone);
                Ok(())
            }
            None => Err(NoPlace::PinnedAbsent { zone }),
        }
    }

    fn is_pinned(&self, peer: &PeerId) -> bool {
        self.pinned.contains_key(peer)
    }

    fn has_room(&self, zone: ZoneId) -> bool {
        self.by_id.get(&zone).is_some_and(|zone| zone.size() < self.layout.max_size())
    }

    fn home(&self, peer: &PeerId) -> Option<ZoneId> {
        self.former.peek(peer).copied().filter(|zone| self.has_room(*zone))
    }

    /// The fullest of those below the minimum: it needs the fewest joins to be whole.
    fn below_min(&self) -> Option<ZoneId> {
        let below = bottom(1)..bottom(self.layout.min_size().max(1));
        self.by_size.range(below).next_back().map(|(_, zone)| *zone)
    }

    fn among_smallest(&self, locality: Locality, rng: &mut impl Rng) -> Option<ZoneId> {
        let with_room = self.by_size.range(..bottom(self.layout.max_size()));
        let mut fewest = (usize::MAX, usize::MAX);
        let mut best = Vec::with_capacity(SMALLEST_ZONES);
        for (_, zone) in with_room.take(SMALLEST_ZONES) {
            let members = self.by_id[zone].members.values();
            let (hosts, nets) = members.fold((0, 0), |(hosts, nets), slot| {
                let (same_host, same_net) =
                    (slot.locality.is_same_host(locality), slot.locality.is_same_net(locality));
                (hosts + usize::from(same_host), nets + usize::from(same_net))
            });
            if (hosts, nets) < fewest {
                fewest = (hosts, nets);
                best.clear();
            }
            if (hosts, nets) == fewest {
                best.push(*zone);
            }
        }
        (!best.is_empty()).then(|| best[rng.random_range(0..best.len())])
    }

    /// Opens a zone with the youngest of those above the target that are pinned nowhere, once there are enough of them.
    fn open(&mut self, now: Instant) -> Vec<Move> {
        let Layout::Elastic { min, target, .. } = self.layout else { return Vec::new() };
        if self.overflow < min {
            return Vec::new();
        }
        let mut youngest: Vec<(u64, PeerId)> = Vec::new();
        for (size, zone) in self.by_size.range(bottom(target + 1)..) {
            let movable =
                self.by_id[zone].members.iter().rev().filter(|(_, slot)| !self.is_pinned(&slot.peer));
            let members = movable.take((size - target) as usize);
            youngest.extend(members.map(|(joined, slot)| (*joined, slot.peer)));
        }
        if youngest.len() < min as usize {
            return Vec::new();
        }
        youngest.sort_unstable_by(|a, b| b.cmp(a));
        youngest.truncate(min as usize);
        let opened = self.create_next();
        youngest.into_iter().filter_map(|(_, peer)| self.relocate(peer, opened, now)).collect()
    }

    /// Merges the first zone that was below the minimum for longer than the grace, and that nobody in it is pinned to, into one where it fits whole, or
    /// spreads its members when it fits nowhere whole. When the others have not enough room it gets members of the largest.
    fn merge(&mut self, now: Instant) -> Vec<Move> {
        let Layout::Elastic { min, max, .. } = self.layout else { return Vec::new() };
        let is_overdue = |zone: &ZoneId| {
            self.by_id[zone]
                .below_min_since
                .is_some_and(|since| now.saturating_duration_since(since) > MERGE_GRACE)
                && !self.by_id[zone].members.values().any(|slot| self.is_pinned(&slot.peer))
        };
        let below = self.by_size.range(..bottom(min));
        let Some(&(size, closing)) = below.into_iter().find(|(_, zone)| is_overdue(zone)) else {
            return Vec::new();
        };
        // Whole and at least the minimum afterwards, else whole, else spread.
        let fits = |from: u32| {
            let mut fitting = self.by_size.range(bottom(from)..bottom(max - size + 1));
            fitting.find(|(_, zone)| *zone != closing).map(|(_, zone)| *zone)
        };
        let whole = fits(min - size).or_else(|| fits(0));
        let others = self.by_size.range(..bottom(max)).filter(|(_, zone)| *zone != closing);
        let room: u32 = others.take(size as usize).map(|(size, _)| max - size).sum();
        if whole.is_none() && room < size {
            return self.fill(closing, min - size, now);
        }
        let members: Vec<PeerId> = self.by_id[&closing].members.values().map(|slot| slot.peer).collect();
        let moved = members.into_iter().filter_map(|peer| {
            let mut open = self.by_size.range(..bottom(max));
            let to = whole.or_else(|| open.find(|(_, zone)| *zone != closing).map(|(_, zone)| *zone))?;
            self.relocate(peer, to, now)
        });
        moved.collect()
    }

    /// Moves the youngest of the largest zone that are pinned nowhere into one that lacks so many. The others have no room, so
    /// that the largest is far above the minimum.
    fn fill(&mut self, zone: ZoneId, lacking: u32, now: Instant) -> Vec<Move> {
        let Some(&(_, largest)) = self.by_size.last().filter(|(_, largest)| *largest != zone) else {
            return Vec::new();
        };
        let movable = self.by_id[&largest].members.values().rev().filter(|slot| !self.is_pinned(&slot.peer));
        let youngest: Vec<PeerId> = movable.take(lacking as usize).map(|slot| slot.peer).collect();
        youngest.into_iter().filter_map(|peer| self.relocate(peer, zone, now)).collect()
    }

    fn relocate(&mut self, peer: PeerId, to: ZoneId, now: Instant) -> Option<Move> {
        let place = *self.places.get(&peer)?;
        let slot = self.exit(place, now)?;
        self.insert(to, place.joined, slot, now);
        Some(Move { peer, from: place.zone, to })
    }

    fn enter(&mut self, zone: ZoneId, peer: PeerId, locality: Locality, now: Instant) {
        self.joins += 1;
        self.former.pop(&peer);
        self.insert(zone, self.joins, Slot { peer, locality }, now);
    }

    fn insert(&mut self, zone: ZoneId, joined: u64, slot: Slot, now: Instant) {
        self.places.insert(slot.peer, Place { zone, joined });
        self.change(zone, now, |members| members.insert(joined, slot));
    }

    fn exit(&mut self, place: Place, now: Instant) -> Option<Slot> {
        let slot = self.change(place.zone, now, |members| members.remove(&place.joined))?;
        let is_elastic = matches!(self.layout, Layout::Elastic { .. });
        if is_elastic && self.by_size.remove(&(0, place.zone)) {
            self.by_id.remove(&place.zone);
        }
        Some(slot)
    }

    /// The only way a zone's members change: keeps size, overflow and the time below the minimum in step.
    fn change<T>(
        &mut self,
        id: ZoneId,
        now: Instant,
        change: impl FnOnce(&mut BTreeMap<u64, Slot>) -> Option<T>,
    ) -> Option<T> {
        let zone = self.by_id.get_mut(&id)?;
        let before = zone.size();
        let outcome = change(&mut zone.members);
        let after = zone.size();
        if after >= self.layout.min_size() {
            zone.below_min_since = None;
        } else if zone.below_min_since.is_none() {
            zone.below_min_since = Some(now);
        }
        self.by_size.remove(&(before, id));
        self.by_size.insert((after, id));
        if let Layout::Elastic { target, .. } = self.layout {
            self.overflow = self.overflow + after.saturating_sub(target) - before.saturating_sub(target);
        }
        outcome
    }

    fn create(&mut self, zone: ZoneId) {
        self.by_id.insert(zone, Zone::default());
        self.by_size.insert((0, zone));
    }

    /// Opens the zone of the lowest free number, so that numbers stay small and readable.
    fn create_next(&mut self) -> ZoneId {
        let taken = self.by_id.keys().zip(1..).take_while(|(zone, number)| zone.get() == *number).count();
        let number = u32::try_from(taken).expect("there are fewer zones than a u32 counts") + 1;
        let zone = ZoneId::new(number).expect("one more than a count is not zero");
        self.create(zone);
        zone
    }
}

/// The least entry of that size in the order by size.
fn bottom(size: u32) -> (u32, ZoneId) {
    (size, ZoneId::FIRST)
}
