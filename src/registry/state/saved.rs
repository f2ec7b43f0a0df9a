//! What outlives the registry: its peers with their zones and leases, so that after a restart they keep both.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use rand::Rng;

use super::{State, Terms};
use crate::protocol::{
    id::{LeaseId, PeerId, ZoneId},
    roster::{Member, Roster},
    zone::Locality,
};

/// One peer in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPeer {
    /// Who and where.
    pub member: Member,
    /// In which zone.
    pub zone: ZoneId,
    /// Its present lease.
    pub lease: LeaseId,
    /// What fails together with it.
    pub locality: Locality,
    /// It is a gateway of its zone.
    pub is_gateway: bool,
}

/// A registry's state without its clocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The epoch of the run that made it.
    pub epoch: u32,
    /// In order of zone and age, so that the youngest stay the youngest.
    pub peers: Vec<SavedPeer>,
}

impl State {
    /// What is to outlive this run.
    pub fn save(&self) -> Saved {
        let epoch = self.epoch();
        let mut peers = Vec::with_capacity(self.peers());
        for (zone, peer, locality) in self.zones.members() {
            if let Some((_, member)) = self.member(&peer)
                && let Some(lease) = self.leases.lease_of(&peer)
            {
                let is_gateway = self.is_gateway(&peer);
                peers.push(SavedPeer { member: member.clone(), zone, lease, locality, is_gateway });
            }
        }
        Saved { epoch, peers }
    }

    /// Takes up a snapshot: everyone keeps zone and lease, with a whole lease to come back in, and gateways stay gateways. A
    /// peer is left out when the layout, or the zone that it is pinned to, has no room for it any more, or when the snapshot
    /// contradicts itself. Pins are kept elsewhere.
    pub fn restore(
        terms: Terms,
        epoch: u32,
        saved: Saved,
        pins: impl IntoIterator<Item = (PeerId, ZoneId)>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Self {
        let mut state = Self::new(terms, epoch);
        for (peer, zone) in pins {
            state.zones.pin(peer, Some(zone));
        }
        let mut members = Vec::new();
        for SavedPeer { member, zone, lease, locality, is_gateway } in saved.peers {
            let is_taken = state.names.contains_key(&super::name_key(&member.name))
                || state.addresses.contains_key(&member.address)
                || state.leases.owner(&lease).is_some()
                || state.zones.zone_of(&member.id).is_some();
            if is_taken || state.zones.restore(member.id, zone, locality, now, rng).is_err() {
                continue;
            }
            state
                .leases
                .grant(member.id, member.incarnation, lease, now)
                .expect("a peer without a grant has no newer incarnation");
            state.names.insert(super::name_key(&member.name), member.id);
            state.addresses.insert(member.address, member.id);
            if is_gateway {
                // One that found no room in this zone is no member there and gives its place up again below.
                state.gateways.entry(zone).or_default().push(member.id);
            }
            members.push(member);
        }
        // A peer that found no room in its zone may have made others move: the zones say where everyone is.
        let mut by_zone = BTreeMap::<ZoneId, Vec<Member>>::new();
        for member in members {
            if let Some(zone) = state.zones.zone_of(&member.id) {
                by_zone.entry(zone).or_default().push(member);
            }
        }
        for (zone, members) in by_zone {
            state.revision += 1;
            state.rosters.insert(zone, Roster::new(zone, state.revision, members));
        }
        let with_gateways = state.rosters.keys().chain(state.gateways.keys());
        for zone in with_gateways.copied().collect::<BTreeSet<_>>() {
            // Nobody is there to be told.
            let _ = state.choose_gateways(zone, &[]);
        }
        state
    }
}
