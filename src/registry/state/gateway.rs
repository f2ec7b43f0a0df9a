//! The gateways of each zone, kept in step with its members: chosen anew only in the places of those that are gone.

use super::{Event, State};
use crate::protocol::{
    gateway::{GATEWAYS_PER_ZONE, MAX_ZONES, choose},
    id::{PeerId, ZoneId},
    roster::Member,
};

impl State {
    /// The gateways of a zone, the longest-lived first.
    pub fn gateways(&self, zone: ZoneId) -> Vec<Member> {
        let (ids, roster) = (self.gateways.get(&zone), self.rosters.get(&zone));
        let members = ids.into_iter().flatten().filter_map(|id| roster?.get(id).cloned());
        members.collect()
    }

    /// Every gateway with its zone, in order of zones.
    pub fn all_gateways(&self) -> impl Iterator<Item = (ZoneId, PeerId)> + '_ {
        self.gateways.iter().flat_map(|(zone, ids)| ids.iter().map(|id| (*zone, *id)))
    }

    /// The peer is a gateway of its zone.
    pub fn is_gateway(&self, peer: &PeerId) -> bool {
        let zone = self.zones.zone_of(peer);
        zone.and_then(|zone| self.gateways.get(&zone)).is_some_and(|ids| ids.contains(peer))
    }

    /// The zones whose gateways a peer is told of: its own, and all of them when it is a gateway.
    pub fn zones_told_to(&self, peer: &PeerId) -> Vec<ZoneId> {
        if self.is_gateway(peer) {
            self.gateways.keys().take(MAX_ZONES).copied().collect()
        } else {
            self.zones.zone_of(peer).into_iter().collect()
        }
    }

    /// Brings the gateways of a zone to its members of now, some of whom changed. Tells what is to be told of it.
    pub(super) fn choose_gateways(&mut self, zone: ZoneId, changed: &[PeerId]) -> Option<Event> {
        let before = self.gateways.remove(&zone).unwrap_or_default();
        let is_there = |id: &PeerId| self.zones.zone_of(id) == Some(zone);
        let chosen = if before.len() == GATEWAYS_PER_ZONE && before.iter().all(is_there) {
            before.clone()
        } else {
            choose(self.zones.oldest_first(zone), &before)
        };
        let is_same = chosen == before && !chosen.iter().any(|id| changed.contains(id));
        let new = chosen.iter().filter(|id| !before.contains(id)).copied().collect();
        if !chosen.is_empty() {
            self.gateways.insert(zone, chosen);
        }
        (!is_same).then_some(Event::Gateways { zone, new })
    }
}
