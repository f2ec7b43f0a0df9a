//! Lists, one page at a time, in an order that joins and leaves do not upset.

use std::ops::Bound;

use super::State;
use crate::protocol::{
    id::{PeerName, ZoneId},
    roster::Member,
};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// There are more after the last one.
    pub has_more: bool,
}

/// One zone in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSummary {
    /// Which.
    pub zone: ZoneId,
    /// Live peers in it.
    pub peers: usize,
    /// Its roster's revision.
    pub revision: u64,
    /// Names of its gateway peers, the longest-lived first.
    pub gateways: Vec<PeerName>,
}

/// A place in the list of peers: everyone up to that name of that zone is before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPlace {
    /// Which zone.
    pub zone: ZoneId,
    /// Which name in it.
    pub name: PeerName,
}

impl State {
    /// Zones in order of their ids, after `after`.
    pub fn list_zones(&self, after: Option<ZoneId>, limit: usize) -> Page<ZoneSummary> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rosters = self.rosters.range((after, Bound::Unbounded));
        let items = rosters
            .by_ref()
            .take(limit)
            .map(|(zone, roster)| ZoneSummary {
                zone: *zone,
                peers: roster.members().len(),
                revision: roster.revision(),
                gateways: self.gateways(*zone).into_iter().map(|gateway| gateway.name).collect(),
            })
            .collect();
        Page { items, has_more: rosters.next().is_some() }
    }

    /// Peers of one zone or of all, in order of zone and name, after `after`.
    pub fn list_peers(
        &self,
        only: Option<ZoneId>,
        after: Option<&PeerPlace>,
        limit: usize,
    ) -> Page<(ZoneId, Member)> {
        let first = only.or(after.map(|place| place.zone)).unwrap_or(ZoneId::FIRST);
        let last = only.map_or(Bound::Unbounded, Bound::Included);
        let mut items = Vec::new();
        for (zone, roster) in self.rosters.range((Bound::Included(first), last)) {
            let mut members: Vec<&Member> = roster
                .members()
                .iter()
                .filter(|member| after.is_none_or(|place| (*zone, &member.name) > (place.zone, &place.name)))
                .collect();
            members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            for member in members {
                if items.len() == limit {
                    return Page { items, has_more: true };
                }
                items.push((*zone, member.clone()));
            }
        }
        Page { items, has_more: false }
    }
}
