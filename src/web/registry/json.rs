//! What a registry tells, as JSON. Keys are added, never renamed or dropped.

use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    protocol::zone::Layout,
    registry::{
        overview::{ClosedNetwork, LivePeer, Standing},
        state::ZoneSummary,
    },
};

/// A registry, without its lists.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registry {
    version: &'static str,
    uptime_seconds: f64,
    /// Where peers reach it.
    address: String,
    /// Live peers.
    peers: u64,
    zones: u64,
    /// How many zones have how many peers.
    zone_sizes: Vec<ZoneSize>,
    /// Peers with an open session.
    sessions: u64,
    /// Starts of this registry so far.
    epoch: u32,
    /// Newest revision of any zone.
    revision: u64,
    capacity: Capacity,
    lease_seconds: f64,
    heartbeat_seconds: f64,
    /// `null` in a plaintext network on one machine.
    #[schema(required)]
    closed: Option<Closed>,
    connections_open: u64,
    connections_refused: u64,
    /// Since its start.
    counters: Counters,
}

#[derive(Debug, Serialize, ToSchema)]
struct ZoneSize {
    peers: u64,
    zones: u64,
}

/// How many peers there may be.
#[derive(Debug, Serialize, ToSchema)]
struct Capacity {
    peers: u64,
    /// `fixed` or `elastic`.
    layout: &'static str,
    /// Of a fixed layout.
    #[schema(required)]
    zones: Option<u32>,
    /// Of an elastic layout: a smaller zone is filled first.
    #[schema(required)]
    zone_min: Option<u32>,
    /// Of an elastic layout: a zone's usual size.
    #[schema(required)]
    zone_target: Option<u32>,
    /// No zone is larger.
    zone_max: u32,
}

/// Who belongs to a closed network.
#[derive(Debug, Serialize, ToSchema)]
struct Closed {
    network: String,
    members: u64,
    revoked: u64,
    denied: u64,
    authorities: u64,
    /// Until when the registry's own certificate is good, RFC 3339.
    certificate_until_time: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Counters {
    registrations: u64,
    refused: u64,
    heartbeats: u64,
    expiries: u64,
    leaves: u64,
    moves: u64,
    zones_opened: u64,
    zones_closed: u64,
    sessions: u64,
    enrollments: u64,
    renewals: u64,
    revocations: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistryZone {
    zone: u32,
    peers: usize,
    revision: u64,
    /// Names, the longest-lived first.
    gateways: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistryPeer {
    name: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    peer_id: String,
    zone: u32,
    address: String,
    /// What is left of its lease.
    lease_seconds: f64,
    /// Rises with every start of the peer.
    incarnation: u64,
    shared_files: u64,
    /// Bytes that it would keep for the network.
    room_bytes: u64,
    is_gateway: bool,
    has_session: bool,
}

impl From<&Standing> for Registry {
    fn from(now: &Standing) -> Self {
        let counted = now.counted;
        let sizes = now.zone_sizes.iter();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.uptime.as_secs_f64(),
            address: now.address.to_string(),
            peers: now.peers,
            zones: now.zones,
            zone_sizes: sizes.map(|(peers, zones)| ZoneSize { peers: *peers, zones: *zones }).collect(),
            sessions: now.sessions,
            epoch: now.epoch,
            revision: now.revision,
            capacity: Capacity::of(now),
            lease_seconds: now.lease.as_secs_f64(),
            heartbeat_seconds: now.heartbeat.as_secs_f64(),
            closed: now.closed.as_ref().map(Into::into),
            connections_open: now.connections.open,
            connections_refused: now.connections.refused + now.connections.unproven,
            counters: Counters {
                registrations: counted.registrations,
                refused: counted.refused,
                heartbeats: counted.heartbeats,
                expiries: counted.expiries,
                leaves: counted.leaves,
                moves: counted.moves,
                zones_opened: counted.zones_opened,
                zones_closed: counted.zones_closed,
                sessions: counted.sessions,
                enrollments: counted.enrollments,
                renewals: counted.renewals,
                revocations: counted.revocations,
            },
        }
    }
}

impl Capacity {
    fn of(now: &Standing) -> Self {
        let peers = now.capacity.peers;
        let none = Self { peers, layout: "", zones: None, zone_min: None, zone_target: None, zone_max: 0 };
        match now.capacity.layout {
            Layout::Fixed { zones, zone_size } => {
                Self { layout: "fixed", zones: Some(zones), zone_max: zone_size, ..none }
            }
            Layout::Elastic { min, target, max } => Self {
                layout: "elastic",
                zone_min: Some(min),
                zone_target: Some(target),
                zone_max: max,
                ..none
            },
        }
    }
}

impl From<&ClosedNetwork> for Closed {
    fn from(closed: &ClosedNetwork) -> Self {
        Self {
            network: closed.network.clone(),
            members: closed.members,
            revoked: closed.revoked,
            denied: closed.denied,
            authorities: closed.authorities,
            certificate_until_time: time(closed.certificate_not_after),
        }
    }
}

impl From<&ZoneSummary> for RegistryZone {
    fn from(zone: &ZoneSummary) -> Self {
        Self {
            zone: zone.zone.get(),
            peers: zone.peers,
            revision: zone.revision,
            gateways: zone.gateways.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&LivePeer> for RegistryPeer {
    fn from(peer: &LivePeer) -> Self {
        Self {
            name: peer.name.to_string(),
            peer_id: peer.id.to_string(),
            zone: peer.zone.get(),
            address: peer.address.to_string(),
            lease_seconds: peer.lease_left.as_secs_f64(),
            incarnation: peer.incarnation,
            shared_files: peer.shared_files,
            room_bytes: peer.room_bytes,
            is_gateway: peer.is_gateway,
            has_session: peer.has_session,
        }
    }
}

/// As RFC 3339; `None` before 1970 and after 9999.
fn time(when: SystemTime) -> Option<String> {
    let since = when.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < 253_402_300_800).then(|| humantime::format_rfc3339_seconds(when).to_string())
}
