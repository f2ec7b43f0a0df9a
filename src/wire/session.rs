//! The registry's session as a peer sees it: what comes down is checked, what goes up is made.

use std::time::Duration;

use super::{Invalid, bytes, common, pb, required};
use crate::protocol::{
    id::{Credential, LeaseId, PeerId, ZoneId},
    roster::{Delta, Member, Roster},
};

/// Members of one zone; a roster beyond it is refused.
pub const MAX_MEMBERS: usize = 10_000;
/// Neighbors of one peer.
const MAX_NEIGHBORS: usize = 64;
/// A lease beyond this is a mistake of whoever set it.
const MAX_LEASE: Duration = Duration::from_hours(24);

/// Membership granted.
#[derive(Debug)]
pub struct Welcome {
    /// To be named when renewing and leaving.
    pub lease: LeaseId,
    /// The lease runs out this long after the last renewal.
    pub lease_ttl: Duration,
    /// Renew this often; more than zero.
    pub heartbeat_interval: Duration,
    /// The zone.
    pub roster: Roster,
    /// Whom to forward classic floods to.
    pub neighbors: Vec<PeerId>,
}

/// What the registry says.
#[derive(Debug)]
pub enum Down {
    /// Answers the registration.
    Welcome(Welcome),
    /// Answers a heartbeat.
    Ack {
        /// The zone the peer is in.
        zone: ZoneId,
        /// Its revision.
        revision: u64,
    },
    /// One change.
    Delta(Delta),
    /// The whole roster.
    Snapshot(Roster),
    /// Other neighbors.
    Neighbors(Vec<PeerId>),
}

/// Checks what the registry says.
pub fn down(message: pb::SessionResponse) -> Result<Down, Invalid> {
    use pb::session_response::Message;
    Ok(match required("message", message.message)? {
        Message::Welcome(welcome) => Down::Welcome(self::welcome(welcome)?),
        Message::Ack(ack) => Down::Ack { zone: zone("ack.zone_id", ack.zone_id)?, revision: ack.revision },
        Message::Delta(delta) => Down::Delta(self::delta(&delta)?),
        Message::Snapshot(snapshot) => Down::Snapshot(roster(&snapshot)?),
        Message::Neighbors(neighbors) => {
            Down::Neighbors(peer_ids("neighbors.peer_ids", &neighbors.peer_ids)?)
        }
    })
}

fn welcome(welcome: pb::RegisterResponse) -> Result<Welcome, Invalid> {
    let span = |field, span| common::duration(field, required(field, span)?, MAX_LEASE);
    let heartbeat_interval = span("welcome.heartbeat_interval", welcome.heartbeat_interval)?;
    if heartbeat_interval < Duration::from_millis(10) {
        return Err(Invalid::new("welcome.heartbeat_interval", "must be at least 10 ms"));
    }
    Ok(Welcome {
        lease: LeaseId::try_from(&welcome.lease_id[..]).map_err(Invalid::id("welcome.lease_id"))?,
        lease_ttl: span("welcome.lease_ttl", welcome.lease_ttl)?,
        heartbeat_interval,
        roster: roster(&required("welcome.roster", welcome.roster)?)?,
        neighbors: peer_ids("welcome.neighbors", &welcome.neighbors.unwrap_or_default().peer_ids)?,
    })
}

fn roster(snapshot: &pb::RosterSnapshot) -> Result<Roster, Invalid> {
    Ok(Roster::new(
        zone("roster.zone_id", snapshot.zone_id)?,
        snapshot.revision,
        members("roster.members", &snapshot.members)?,
    ))
}

fn delta(delta: &pb::RosterDelta) -> Result<Delta, Invalid> {
    if delta.to_revision <= delta.from_revision {
        return Err(Invalid::new("delta.to_revision", "must be greater than from_revision"));
    }
    Ok(Delta {
        zone: zone("delta.zone_id", delta.zone_id)?,
        from_revision: delta.from_revision,
        to_revision: delta.to_revision,
        joined: members("delta.joined", &delta.joined)?,
        left: peer_ids_within("delta.left", &delta.left, MAX_MEMBERS)?,
    })
}

fn members(field: &'static str, peers: &[pb::Peer]) -> Result<Vec<Member>, Invalid> {
    at_most(field, peers.len(), MAX_MEMBERS)?;
    peers.iter().map(|peer| Ok(common::member(peer)?.0)).collect()
}

fn peer_ids(field: &'static str, ids: &[prost::bytes::Bytes]) -> Result<Vec<PeerId>, Invalid> {
    peer_ids_within(field, ids, MAX_NEIGHBORS)
}

fn peer_ids_within(
    field: &'static str,
    ids: &[prost::bytes::Bytes],
    most: usize,
) -> Result<Vec<PeerId>, Invalid> {
    at_most(field, ids.len(), most)?;
    ids.iter().map(|id| PeerId::try_from(&id[..]).map_err(Invalid::id(field))).collect()
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), Invalid> {
    if count > most {
        return Err(Invalid::new(field, format!("must have at most {most} entries, not {count}")));
    }
    Ok(())
}

fn zone(field: &'static str, number: u32) -> Result<ZoneId, Invalid> {
    required(field, ZoneId::new(number))
}

/// The request to join.
pub fn to_register(me: &Member, credential: &Credential, host_id: &str) -> pb::RegisterRequest {
    pb::RegisterRequest {
        peer: Some(common::to_peer(me, None)),
        credential: bytes(credential.as_bytes()),
        host_id: host_id.into(),
    }
}
