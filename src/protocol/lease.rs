//! Who is alive: a grant of liveness per peer, renewed by heartbeats and expired by sweeps. Only the lease id of a peer's
//! newest incarnation renews or ends its grant, and no sweep expires a peer for what the registry itself slept through.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::id::{LeaseId, PeerId};

#[cfg(test)]
mod tests;

/// How often sweeps are due. One costs a look at the head of a queue.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// A longer gap between two sweeps means that the registry was paused and could hear nobody.
pub const PAUSE_SUSPECTED: Duration = Duration::from_secs(4);

/// A peer whose stream ended is gone this much later, unless it comes back: within a second, the next sweep included.
pub const STREAM_LOST_GRACE: Duration = Duration::from_millis(750);

/// More than this share of all peers silent at once looks like a fault near the registry, not like so many crashes.
const MASS_EXPIRY_PERCENT: usize = 15;

/// Fewer than this never make a mass: in a network of ten, two crashes are ordinary.
const MASS_EXPIRY_AT_LEAST: usize = 5;

/// A mass is held this many leases beyond its due time, and no longer.
const HELD_LEASES: u32 = 2;

/// A newer incarnation of the peer is registered: the asking one is a leftover. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("incarnation {asked} of this peer was replaced by {registered}")]
pub struct Superseded {
    /// The asking one.
    pub asked: u64,
    /// The registered one.
    pub registered: u64,
}

/// What a grant changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// The peer had none.
    New(LeaseId),
    /// The same incarnation asked again: its lease, renewed.
    Same(LeaseId),
    /// A newer incarnation took over; the lease before this one is worth nothing any more.
    Replaced {
        /// The lease from now on.
        lease: LeaseId,
        /// The lease until now.
        before: LeaseId,
    },
}

impl Granted {
    /// The lease from now on.
    pub fn lease(self) -> LeaseId {
        match self {
            Self::New(lease) | Self::Same(lease) | Self::Replaced { lease, .. } => lease,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Grant {
    lease: LeaseId,
    incarnation: u64,
    expires: Instant,
}

/// The grants of all peers.
#[derive(Debug)]
pub struct Leases {
    ttl: Duration,
    grants: HashMap<PeerId, Grant>,
    owners: HashMap<LeaseId, PeerId>,
    /// In order of expiry.
    queue: BTreeSet<(Instant, PeerId)>,
    last_sweep: Option<Instant>,
    expires_nobody_until: Option<Instant>,
}

impl Leases {
    /// With no grant yet.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            grants: HashMap::new(),
            owners: HashMap::new(),
            queue: BTreeSet::new(),
            last_sweep: None,
            expires_nobody_until: None,
        }
    }

    /// How long a grant lasts from its last renewal.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What granting would meet, without granting.
    ///
    /// # Errors
    /// When a newer incarnation is registered.
    pub fn check(&self, peer: &PeerId, incarnation: u64) -> Result<(), Superseded> {
        match self.grants.get(peer) {
            Some(grant) if grant.incarnation > incarnation => {
                Err(Superseded { asked: incarnation, registered: grant.incarnation })
            }
            _ => Ok(()),
        }
    }

    /// Grants or renews. `fresh` becomes the lease unless the same incarnation holds one already.
    ///
    /// # Errors
    /// When a newer incarnation is registered; nothing changed.
    pub fn grant(
        &mut self,
        peer: PeerId,
        incarnation: u64,
        fresh: LeaseId,
        now: Instant,
    ) -> Result<Granted, Superseded> {
        self.check(&peer, incarnation)?;
        let granted = match self.grants.get(&peer) {
            Some(grant) if grant.incarnation == incarnation => Granted::Same(grant.lease),
            Some(grant) => Granted::Replaced { lease: fresh, before: grant.lease },
            None => Granted::New(fresh),
        };
        self.forget(&peer);
        let (lease, expires) = (granted.lease(), now + self.ttl);
        self.grants.insert(peer, Grant { lease, incarnation, expires });
        self.owners.insert(lease, peer);
        self.queue.insert((expires, peer));
        Ok(granted)
    }

    /// The peer whose present lease this is.
    pub fn owner(&self, lease: &LeaseId) -> Option<PeerId> {
        self.owners.get(lease).copied()
    }

    /// The present lease of a peer.
    pub fn lease_of(&self, peer: &PeerId) -> Option<LeaseId> {
        self.grants.get(peer).map(|grant| grant.lease)
    }

    /// What is left of a peer's lease; zero for one that is held beyond its time.
    pub fn left(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        self.grants.get(peer).map(|grant| grant.expires.saturating_duration_since(now))
    }

    /// Renews for a whole lease. `None`, and nothing changed, when the lease is not a present one.
    pub fn renew(&mut self, lease: &LeaseId, now: Instant) -> Option<PeerId> {
        let peer = self.owner(lease)?;
        let expires = now + self.ttl;
        self.reschedule(peer, |_| expires);
        Some(peer)
    }

    /// Lets the lease run out [`STREAM_LOST_GRACE`] from now, if it would not run out sooner.
    pub fn stream_lost(&mut self, lease: &LeaseId, now: Instant) -> Option<PeerId> {
        let peer = self.owner(lease)?;
        self.reschedule(peer, |expires| expires.min(now + STREAM_LOST_GRACE));
        Some(peer)
    }

    /// Ends the grant. `None`, and nothing changed, when the lease is not a present one.
    pub fn release(&mut self, lease: &LeaseId) -> Option<PeerId> {
        let peer = self.owner(lease)?;
        self.forget(&peer);
        Some(peer)
    }

    /// Ends the grants that ran out and tells whose they were and which.
    ///
    /// Ends none within a lease after the registry itself was paused: the peers could not renew. When too many are
    /// silent at once, each is held two leases beyond its due time.
    pub fn sweep(&mut self, now: Instant) -> Vec<(PeerId, LeaseId)> {
        let gap = self.last_sweep.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last_sweep = Some(now);
        if gap > PAUSE_SUSPECTED {
            self.expires_nobody_until = Some(now + self.ttl);
        }
        if self.expires_nobody_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let hold = if self.is_mass_silent(now) { self.ttl * HELD_LEASES } else { Duration::ZERO };
        let due: Vec<(PeerId, LeaseId)> = self
            .queue
            .iter()
            .take_while(|(expires, _)| *expires + hold <= now)
            .filter_map(|(_, peer)| Some((*peer, self.lease_of(peer)?)))
            .collect();
        for (peer, _) in &due {
            self.forget(peer);
        }
        due
    }

    /// Peers renew each third of a lease, so that one with less than a third left has missed two renewals. They count
    /// before they run out: a cut-off crowd runs out spread over a whole heartbeat interval, a few in each sweep.
    fn is_mass_silent(&self, now: Instant) -> bool {
        let soon = now + self.ttl / 3;
        let silent = self.queue.iter().take_while(|(expires, _)| *expires < soon).count();
        silent >= MASS_EXPIRY_AT_LEAST && silent * 100 > self.grants.len() * MASS_EXPIRY_PERCENT
    }

    /// Peers with a grant.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Nobody has a grant.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    fn reschedule(&mut self, peer: PeerId, when: impl FnOnce(Instant) -> Instant) {
        if let Some(grant) = self.grants.get_mut(&peer) {
            self.queue.remove(&(grant.expires, peer));
            grant.expires = when(grant.expires);
            self.queue.insert((grant.expires, peer));
        }
    }

    fn forget(&mut self, peer: &PeerId) {
        if let Some(grant) = self.grants.remove(peer) {
            self.owners.remove(&grant.lease);
            self.queue.remove(&(grant.expires, *peer));
        }
    }
}
