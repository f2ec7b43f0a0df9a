//! What a peer says to join and what it is granted, the same for the registry and for the peers.

use std::time::Duration;

use super::{
    id::{Credential, LeaseId, PeerId, ZoneId},
    roster::{Member, Roster},
};

/// A request to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The peer as it wants to be known.
    pub member: Member,
    /// Proves that the id is its own; absent in a closed network, where the connection proves it.
    pub credential: Option<Credential>,
    /// The machine it runs on; at most 64 bytes, may be empty.
    pub host_id: String,
}

/// Membership granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Secret; named in heartbeats and leave.
    pub lease: LeaseId,
    /// The lease runs out this long after the last renewal.
    pub lease_ttl: Duration,
    /// Renew this often.
    pub heartbeat_interval: Duration,
    /// Everyone in the zone, the peer included.
    pub roster: Roster,
    /// Its neighbors for classic flood.
    pub neighbors: Vec<PeerId>,
    /// The zone's gateway peers.
    pub gateways: Vec<Member>,
}

/// A lease renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The zone the peer is in.
    pub zone: ZoneId,
    /// The zone's revision: a peer that is behind has lost a delta.
    pub revision: u64,
    /// The lease as it now is.
    pub lease_ttl: Duration,
    /// The highest sequence of its heartbeats.
    pub sequence: u64,
}
