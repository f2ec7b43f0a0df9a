//! What a session is to be told of gateways: every peer of those of its own zone, at once; a gateway of those of all zones,
//! once a second at most, however many of them change.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::Outbox;
use crate::{
    protocol::{
        gateway::{Told, ZoneGateways},
        id::{PeerId, ZoneId},
        roster::Roster,
    },
    registry::state::State,
};

/// How often the gateways of all zones hear of other zones: at 1000 zones that is 2000 messages a second at most, and a
/// lone change is told at once. A gateway that is gone has another one beside it until then.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Zones in one message, about 50 KiB: more go into further ones, each made when the one before has been taken.
const ZONES_PER_MESSAGE: usize = 256;

/// Zones that one session is to be told of.
#[derive(Debug, Default)]
pub(super) struct Due {
    is_whole: bool,
    zones: BTreeSet<ZoneId>,
}

impl Due {
    /// What a welcome, which has the peer forget whatever it held, does not tell.
    pub(super) fn behind_welcome(state: &State, peer: &PeerId) -> Self {
        let own = state.zone_of(peer);
        let others = state.zones_told_to(peer).into_iter().filter(|zone| Some(*zone) != own);
        Self { is_whole: false, zones: others.collect() }
    }

    /// Everything is to be told anew.
    pub(super) fn want_whole(&mut self) {
        self.is_whole = true;
        self.zones.clear();
    }

    /// What waits is to be told; false when nothing does, or when everything is to be told already.
    fn want(&mut self, zones: impl Iterator<Item = ZoneId>) -> bool {
        if self.is_whole {
            return false;
        }
        let before = self.zones.len();
        self.zones.extend(zones);
        self.zones.len() > before
    }

    /// The next message to the peer, with the gateways as they are now.
    pub(super) fn take(&mut self, state: &State, peer: &PeerId) -> Option<Told> {
        let is_whole = std::mem::take(&mut self.is_whole);
        if is_whole {
            self.zones.extend(state.zones_told_to(peer));
        } else if self.zones.is_empty() {
            return None;
        }
        let cut = self.zones.iter().nth(ZONES_PER_MESSAGE).copied();
        let later = cut.map(|cut| self.zones.split_off(&cut)).unwrap_or_default();
        let now = std::mem::replace(&mut self.zones, later);
        let zones = now.into_iter().map(|zone| ZoneGateways { zone, gateways: state.gateways(zone) });
        Some(Told { is_whole, zones: zones.collect() })
    }
}

/// Zones whose changed gateways those of other zones have not been told yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    zones: BTreeSet<ZoneId>,
    told_at: Option<Instant>,
}

impl Untold {
    /// A zone's gateways changed: its own members and its new gateways hear of it at once, other zones in [`Self::tell`].
    pub(super) fn changed(
        &mut self,
        zone: ZoneId,
        new: &[PeerId],
        state: &State,
        outboxes: &mut HashMap<PeerId, Outbox>,
    ) {
        self.zones.insert(zone);
        for member in state.roster(zone).map_or(&[][..], Roster::members) {
            if let Some(outbox) = outboxes.get_mut(&member.id) {
                if new.contains(&member.id) {
                    outbox.gateways.want_whole();
                } else {
                    outbox.gateways.want([zone].into_iter());
                }
                outbox.wake.notify_one();
            }
        }
    }

    /// Tells the gateways of all zones what changed since the last time, when that was [`TELL_INTERVAL`] ago.
    pub(super) fn tell(&mut self, state: &State, outboxes: &mut HashMap<PeerId, Outbox>, now: Instant) {
        let is_early =
            self.told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < TELL_INTERVAL);
        if self.zones.is_empty() || is_early {
            return;
        }
        self.told_at = Some(now);
        let changed = std::mem::take(&mut self.zones);
        for (own, gateway) in state.all_gateways() {
            // Its own zone's it has been told.
            let others = changed.iter().copied().filter(|zone| *zone != own);
            if let Some(outbox) = outboxes.get_mut(&gateway)
                && outbox.gateways.want(others)
            {
                outbox.wake.notify_one();
            }
        }
    }
}
