//! What a registry's operator asks the state for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{State, Terms};
use crate::protocol::id::PeerId;

impl State {
    /// Which start of the registry this is: the upper half of its revisions.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.revision >> 32).expect("the upper half of a u64 fits a u32")
    }

    /// How many zones have how many peers, by rising size.
    pub fn zone_sizes(&self) -> Vec<(u64, u64)> {
        let mut sizes = BTreeMap::<u64, u64>::new();
        for roster in self.rosters.values() {
            *sizes.entry(roster.members().len() as u64).or_default() += 1;
        }
        sizes.into_iter().collect()
    }

    /// The newest revision of any zone.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What it grants.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// What is left of a peer's lease.
    pub fn lease_left(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        self.leases.left(peer, now)
    }

    /// Zones opened and closed since this was asked last.
    pub fn take_zone_changes(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.zone_changes)
    }
}
