//! Through whom a query enters a zone: which members of a zone are its gateways, and what a peer holds of the gateways of
//! others.
//!
//! Invariant: a gateway is a live member of its zone, and stays one for as long as it lives there.

use std::collections::BTreeMap;

use super::{
    id::{PeerId, ZoneId},
    roster::Member,
    zone::Locality,
};

#[cfg(test)]
mod tests;

/// One to ask and one in its place when it is silent. Each further one would cost a message to every zone at a change.
pub const GATEWAYS_PER_ZONE: usize = 2;

/// Zones whose gateways one peer holds; those that it is told of beyond them cannot be searched through it. Their 8192
/// gateways take less than 2 MiB.
pub const MAX_ZONES: usize = 4096;

/// The gateways of a zone, from its members with the longest-lived first and from who its gateways were: those stay who are
/// still there, the longest-lived take the places of the others, on another machine than the one that stays where there is
/// one. In order of age; fewer than [`GATEWAYS_PER_ZONE`] only in a zone that has fewer members.
///
/// Who has been there for long will be there for long: of peers in file sharing networks that is what measurements agree
/// on (Maymounkov, Mazières 2002, figure 1; Stutzbach, Rejaie 2006).
pub fn choose(oldest_first: impl Iterator<Item = (PeerId, Locality)>, before: &[PeerId]) -> Vec<PeerId> {
    let members: Vec<(PeerId, Locality)> = oldest_first.collect();
    let stays = |at: &usize| before.contains(&members[*at].0);
    let mut chosen: Vec<usize> = (0..members.len()).filter(stays).take(GATEWAYS_PER_ZONE).collect();
    while chosen.len() < GATEWAYS_PER_ZONE {
        let is_beside = |at: usize| chosen.iter().any(|other| members[*other].1.is_same_host(members[at].1));
        let others = (0..members.len()).filter(|at| !chosen.contains(at));
        let Some(next) = others.min_by_key(|at| (is_beside(*at), *at)) else { break };
        chosen.push(next);
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|at| members[at].0).collect()
}

/// The gateways of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneGateways {
    /// Which zone.
    pub zone: ZoneId,
    /// In order of age, at most [`GATEWAYS_PER_ZONE`]; none when the zone is gone or empty.
    pub gateways: Vec<Member>,
}

/// What the registry tells of gateways at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Whatever was held before is to be forgotten.
    pub is_whole: bool,
    /// The zones that changed, or the first of all.
    pub zones: Vec<ZoneGateways>,
}

/// What a peer holds: the gateways of its own zone, and of all zones while it is a gateway itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways {
    by_zone: BTreeMap<ZoneId, Vec<Member>>,
}

impl Gateways {
    /// Those of one zone.
    pub fn new(zone: ZoneId, gateways: Vec<Member>) -> Self {
        let mut held = Self::default();
        held.set(zone, gateways);
        held
    }

    /// The gateways of a zone in order of age; none of one that is not known.
    pub fn of(&self, zone: ZoneId) -> &[Member] {
        self.by_zone.get(&zone).map_or(&[], Vec::as_slice)
    }

    /// The zones that have gateways, in order of their ids.
    pub fn zones(&self) -> impl Iterator<Item = ZoneId> + '_ {
        self.by_zone.keys().copied()
    }

    /// The gateway of that id, and the zone that it opens.
    pub fn get(&self, id: &PeerId) -> Option<(ZoneId, &Member)> {
        let mut all =
            self.by_zone.iter().flat_map(|(zone, members)| members.iter().map(|member| (*zone, member)));
        all.find(|(_, member)| member.id == *id)
    }

    /// Takes in what the registry tells. Zones beyond [`MAX_ZONES`] are left out.
    pub fn take_in(&mut self, told: Told) {
        if told.is_whole {
            self.by_zone.clear();
        }
        for ZoneGateways { zone, gateways } in told.zones {
            self.set(zone, gateways);
        }
    }

    fn set(&mut self, zone: ZoneId, gateways: Vec<Member>) {
        if gateways.is_empty() {
            self.by_zone.remove(&zone);
        } else if self.by_zone.len() < MAX_ZONES || self.by_zone.contains_key(&zone) {
            self.by_zone.insert(zone, gateways);
        }
    }
}
