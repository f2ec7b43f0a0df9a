//! What peers and the registry say to each other, checked on its way in at both ends.

use std::time::Duration;

use super::{
    Invalid, bounded,
    common::{self, to_duration, to_peer},
    pb, required,
};
use crate::protocol::{
    action::ZoneInfo,
    gateway::{self, GATEWAYS_PER_ZONE, MAX_ZONES, ZoneGateways},
    id::{Credential, LeaseId, PeerId, PeerName, ZoneId},
    membership::{Membership, Registration, Renewal},
    neighbor::MAX_NEIGHBORS,
    roster::{Delta, Load, Member, Roster, Stamp},
};

/// Largest request in bytes; the largest honest one is below 300.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Longest identifier of a machine, in bytes.
const MAX_HOST_ID_BYTES: usize = 64;
/// Entries of a page when the caller names no number, and the most it may name.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: u32 = 1000;
/// Most members that a peer believes of one zone; the largest fixed zone is below it.
const MAX_MEMBERS: usize = 100_000;
/// Longest lease or interval that a peer believes.
const MAX_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// A request to join.
pub fn registration(request: pb::RegisterRequest) -> Result<Registration, Invalid> {
    let (member, _) = common::member(&required("peer", request.peer)?)?;
    let credential = match &request.credential[..] {
        [] => None,
        bytes => Some(Credential::try_from(bytes).map_err(Invalid::id("credential"))?),
    };
    let host_id = bounded("host_id", request.host_id, MAX_HOST_ID_BYTES)?;
    Ok(Registration { member, credential, host_id })
}

/// A request to join on its way out.
pub fn to_registration(registration: &Registration) -> pb::RegisterRequest {
    pb::RegisterRequest {
        peer: Some(to_peer(&registration.member, None)),
        credential: registration.credential.map(|secret| super::bytes(secret.as_bytes())).unwrap_or_default(),
        host_id: registration.host_id.clone(),
    }
}

/// A lease id.
pub fn lease(bytes: &[u8]) -> Result<LeaseId, Invalid> {
    LeaseId::try_from(bytes).map_err(Invalid::id("lease_id"))
}

/// Membership granted.
pub fn membership(response: pb::RegisterResponse) -> Result<Membership, Invalid> {
    let span = |field, span| common::duration(field, required(field, span)?, MAX_LEASE);
    Ok(Membership {
        lease: lease(&response.lease_id)?,
        lease_ttl: span("lease_ttl", response.lease_ttl)?,
        heartbeat_interval: span("heartbeat_interval", response.heartbeat_interval)?,
        roster: roster(&required("roster", response.roster)?)?,
        neighbors: neighbors(&response.neighbors.unwrap_or_default())?,
        gateways: zone_gateways(&response.gateways)?,
    })
}

/// Membership granted, on its way out.
pub fn to_membership(membership: &Membership) -> pb::RegisterResponse {
    pb::RegisterResponse {
        lease_id: membership.lease.as_bytes().to_vec().into(),
        lease_ttl: Some(to_duration(membership.lease_ttl)),
        heartbeat_interval: Some(to_duration(membership.heartbeat_interval)),
        roster: Some(to_roster(&membership.roster)),
        neighbors: Some(to_neighbors(&membership.neighbors)),
        gateways: to_zone_gateways(&membership.gateways, membership.roster.zone()),
    }
}

/// A lease renewed.
pub fn renewal(response: pb::HeartbeatResponse) -> Result<Renewal, Invalid> {
    Ok(Renewal {
        zone: zone(response.zone_id)?,
        revision: response.revision,
        lease_ttl: common::duration("lease_ttl", required("lease_ttl", response.lease_ttl)?, MAX_LEASE)?,
        sequence: response.sequence,
    })
}

/// A lease renewed, on its way out.
pub fn to_renewal(renewal: &Renewal) -> pb::HeartbeatResponse {
    pb::HeartbeatResponse {
        zone_id: renewal.zone.get(),
        revision: renewal.revision,
        lease_ttl: Some(to_duration(renewal.lease_ttl)),
        sequence: renewal.sequence,
    }
}

/// A whole roster.
pub fn roster(snapshot: &pb::RosterSnapshot) -> Result<Roster, Invalid> {
    let zone = zone(snapshot.zone_id)?;
    let members = members("members", &snapshot.members)?;
    Ok(Roster::new(zone, snapshot.revision, members))
}

/// A whole roster on its way out.
pub fn to_roster(roster: &Roster) -> pb::RosterSnapshot {
    pb::RosterSnapshot {
        zone_id: roster.zone().get(),
        revision: roster.revision(),
        members: roster.members().iter().map(|member| to_peer(member, Some(roster.zone()))).collect(),
    }
}

/// One change of a roster.
pub fn delta(delta: &pb::RosterDelta) -> Result<Delta, Invalid> {
    if delta.to_revision <= delta.from_revision {
        return Err(Invalid::new("to_revision", "must be greater than from_revision"));
    }
    if delta.left.len() > MAX_MEMBERS {
        return Err(Invalid::new("left", format!("must be at most {MAX_MEMBERS}")));
    }
    let left = delta.left.iter().map(|id| PeerId::try_from(&id[..]).map_err(Invalid::id("left")));
    Ok(Delta {
        zone: zone(delta.zone_id)?,
        from_revision: delta.from_revision,
        to_revision: delta.to_revision,
        left: left.collect::<Result<_, _>>()?,
        joined: members("joined", &delta.joined)?,
    })
}

/// One change of a roster on its way out.
pub fn to_delta(delta: &Delta) -> pb::RosterDelta {
    pb::RosterDelta {
        zone_id: delta.zone.get(),
        from_revision: delta.from_revision,
        to_revision: delta.to_revision,
        joined: delta.joined.iter().map(|member| to_peer(member, Some(delta.zone))).collect(),
        left: delta.left.iter().map(|id| id.as_bytes().to_vec().into()).collect(),
    }
}

/// What members said of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Of which zone.
    pub zone: ZoneId,
    /// The newest of each.
    pub members: Vec<(PeerId, Load)>,
}

/// What members said of themselves.
pub fn news(news: &pb::RosterNews) -> Result<News, Invalid> {
    if news.members.len() > MAX_MEMBERS {
        return Err(Invalid::new("members", format!("must be at most {MAX_MEMBERS}")));
    }
    let one = |news: &pb::MemberNews| {
        let id = PeerId::try_from(&news.peer_id[..]).map_err(Invalid::id("peer_id"))?;
        let summary = Stamp { version: news.summary_version, is_settled: news.is_summary_settled };
        Ok((id, Load { shared_files: news.shared_files, room_bytes: news.room_bytes, summary }))
    };
    Ok(News { zone: zone(news.zone_id)?, members: news.members.iter().map(one).collect::<Result<_, _>>()? })
}

/// What members said of themselves, on its way out.
pub fn to_news(news: &News) -> pb::RosterNews {
    let one = |(id, load): &(PeerId, Load)| pb::MemberNews {
        peer_id: id.as_bytes().to_vec().into(),
        shared_files: load.shared_files,
        room_bytes: load.room_bytes,
        summary_version: load.summary.version,
        is_summary_settled: load.summary.is_settled,
    };
    pb::RosterNews { zone_id: news.zone.get(), members: news.members.iter().map(one).collect() }
}

/// What a heartbeat says of its peer.
pub fn load(beat: &pb::HeartbeatRequest) -> Load {
    let summary = Stamp { version: beat.summary_version, is_settled: beat.is_summary_settled };
    Load { shared_files: beat.shared_files, room_bytes: beat.room_bytes, summary }
}

/// A heartbeat on its way out.
pub fn to_heartbeat(lease: &LeaseId, load: &Load, sequence: u64) -> pb::HeartbeatRequest {
    pb::HeartbeatRequest {
        lease_id: lease.as_bytes().to_vec().into(),
        shared_files: load.shared_files,
        room_bytes: load.room_bytes,
        summary_version: load.summary.version,
        is_summary_settled: load.summary.is_settled,
        sequence,
    }
}

/// Neighbors for classic flood.
pub fn neighbors(neighbors: &pb::Neighbors) -> Result<Vec<PeerId>, Invalid> {
    if neighbors.peer_ids.len() > MAX_NEIGHBORS {
        return Err(Invalid::new("peer_ids", format!("must be at most {MAX_NEIGHBORS}")));
    }
    neighbors.peer_ids.iter().map(|id| PeerId::try_from(&id[..]).map_err(Invalid::id("peer_ids"))).collect()
}

/// Neighbors on their way out.
pub fn to_neighbors(neighbors: &[PeerId]) -> pb::Neighbors {
    pb::Neighbors { peer_ids: neighbors.iter().map(|id| id.as_bytes().to_vec().into()).collect() }
}

/// Through whom queries enter zones.
pub fn gateways(told: &pb::Gateways) -> Result<gateway::Told, Invalid> {
    if told.zones.len() > MAX_ZONES {
        return Err(Invalid::new("zones", format!("must be at most {MAX_ZONES}")));
    }
    let one = |told: &pb::ZoneGateways| {
        Ok(ZoneGateways { zone: zone(told.zone_id)?, gateways: zone_gateways(&told.gateways)? })
    };
    let zones = told.zones.iter().map(one).collect::<Result<_, Invalid>>()?;
    Ok(gateway::Told { is_whole: told.is_whole, zones })
}

/// Through whom queries enter zones, on its way out.
pub fn to_gateways(told: &gateway::Told) -> pb::Gateways {
    let one = |told: &ZoneGateways| pb::ZoneGateways {
        zone_id: told.zone.get(),
        gateways: to_zone_gateways(&told.gateways, told.zone),
    };
    pb::Gateways { zones: told.zones.iter().map(one).collect(), is_whole: told.is_whole }
}

fn zone_gateways(peers: &[pb::Peer]) -> Result<Vec<Member>, Invalid> {
    check_gateways(peers.len())?;
    let gateways = members("gateways", peers)?;
    let is_told_before = |(at, member): (usize, &Member)| gateways[..at].iter().any(|m| m.id == member.id);
    if gateways.iter().enumerate().any(is_told_before) {
        return Err(Invalid::new("gateways", "must be different peers"));
    }
    Ok(gateways)
}

fn to_zone_gateways(gateways: &[Member], zone: ZoneId) -> Vec<pb::Peer> {
    gateways.iter().map(|member| to_peer(member, Some(zone))).collect()
}

fn check_gateways(count: usize) -> Result<(), Invalid> {
    if count > GATEWAYS_PER_ZONE {
        return Err(Invalid::new("gateways", format!("must be at most {GATEWAYS_PER_ZONE}")));
    }
    Ok(())
}

/// One zone of a list.
pub fn zone_info(listed: pb::Zone) -> Result<ZoneInfo, Invalid> {
    check_gateways(listed.gateways.len())?;
    let name = |name: String| name.parse::<PeerName>().map_err(Invalid::id("gateways"));
    let gateways = listed.gateways.into_iter().map(|text| name(text).map(|name| name.to_string()));
    Ok(ZoneInfo {
        zone: zone(listed.zone_id)?,
        peers: listed.peers,
        gateways: gateways.collect::<Result<_, _>>()?,
    })
}

/// Entries of one page.
pub fn page_size(asked: u32) -> Result<usize, Invalid> {
    match asked {
        0 => Ok(DEFAULT_PAGE),
        1..=MAX_PAGE => Ok(asked as usize),
        _ => Err(Invalid::new("page_size", format!("must be at most {MAX_PAGE}, not {asked}"))),
    }
}

/// The last zone of the page before; `None` for the first page.
pub fn zone_page_token(token: &str) -> Result<Option<ZoneId>, Invalid> {
    if token.is_empty() {
        return Ok(None);
    }
    token.parse().ok().and_then(ZoneId::new).map(Some).ok_or_else(foreign_token)
}

/// The last peer of the page before, of the same list; `None` for the first page.
pub fn peer_page_token(token: &str, only: Option<ZoneId>) -> Result<Option<(ZoneId, PeerName)>, Invalid> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts = token
        .split_once('/')
        .and_then(|(zone, name)| Some((ZoneId::new(zone.parse().ok()?)?, name.parse().ok()?)));
    parts.filter(|(zone, _)| only.is_none_or(|only| only == *zone)).map(Some).ok_or_else(foreign_token)
}

/// What [`peer_page_token`] reads.
pub fn to_peer_page_token(zone: ZoneId, name: &PeerName) -> String {
    format!("{zone}/{name}")
}

fn foreign_token() -> Invalid {
    Invalid::new("page_token", "is not from a page of this list; begin without one")
}

fn zone(number: u32) -> Result<ZoneId, Invalid> {
    ZoneId::new(number).ok_or_else(|| Invalid::new("zone_id", "must be at least 1"))
}

fn members(field: &'static str, peers: &[pb::Peer]) -> Result<Vec<Member>, Invalid> {
    if peers.len() > MAX_MEMBERS {
        return Err(Invalid::new(field, format!("must be at most {MAX_MEMBERS}")));
    }
    peers.iter().map(|peer| Ok(common::member(peer)?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8) -> Member {
        Member {
            id: PeerId::from_bytes([number; 32]),
            name: format!("peer-{number}").parse().unwrap(),
            address: ([10, 0, 0, number], 7001).into(),
            incarnation: 3,
            shared_files: 12,
            room_bytes: 1 << 30,
            summary: Stamp { version: 5, is_settled: true },
        }
    }

    #[test]
    fn everything_survives_the_way_there_and_back() {
        let zone = ZoneId::new(4).unwrap();
        let granted = Membership {
            lease: LeaseId::from_bytes([7; 16]),
            lease_ttl: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(10),
            roster: Roster::new(zone, 1 << 32, vec![member(1), member(2)]),
            neighbors: vec![PeerId::from_bytes([2; 32])],
            gateways: vec![member(2), member(1)],
        };
        assert_eq!(membership(to_membership(&granted)), Ok(granted));
        let change = Delta {
            zone,
            from_revision: 1,
            to_revision: 2,
            joined: vec![member(3)],
            left: vec![member(1).id],
        };
        assert_eq!(delta(&to_delta(&change)), Ok(change));
        let renewed = Renewal { zone, revision: 9, lease_ttl: Duration::from_secs(30), sequence: 4 };
        assert_eq!(renewal(to_renewal(&renewed)), Ok(renewed));
        let told = News { zone, members: vec![(member(1).id, member(1).load())] };
        assert_eq!(news(&to_news(&told)), Ok(told));
        let lease = LeaseId::from_bytes([7; 16]);
        assert_eq!(load(&to_heartbeat(&lease, &member(1).load(), 0)), member(1).load());
        let asked = Registration {
            member: member(1),
            credential: Some(Credential::from_bytes([1; 32])),
            host_id: "machine".into(),
        };
        assert_eq!(registration(to_registration(&asked)), Ok(asked));
    }

    #[test]
    fn gateways_survive_the_way_and_too_many_are_refused() {
        let zone = ZoneId::new(4).unwrap();
        let of = |numbers: &[u8]| ZoneGateways {
            zone,
            gateways: numbers.iter().map(|number| member(*number)).collect(),
        };
        for numbers in [&[][..], &[1], &[2, 1]] {
            let told = gateway::Told { is_whole: true, zones: vec![of(numbers)] };
            assert_eq!(gateways(&to_gateways(&told)), Ok(told));
        }
        let problem = |zones| gateways(&to_gateways(&gateway::Told { is_whole: false, zones })).unwrap_err();
        assert_eq!(problem(vec![of(&[1, 2, 3])]).field, "gateways");
        assert_eq!(problem(vec![of(&[1, 1])]).field, "gateways");
        assert_eq!(problem(vec![of(&[]); MAX_ZONES + 1]).field, "zones");
        let mut nowhere = to_gateways(&gateway::Told { is_whole: false, zones: vec![of(&[1])] });
        nowhere.zones[0].gateways[0].address = "0.0.0.0:7001".into();
        assert_eq!(gateways(&nowhere).unwrap_err().field, "peer.address");
        nowhere.zones[0].zone_id = 0;
        assert_eq!(gateways(&nowhere).unwrap_err().field, "zone_id");
    }

    #[test]
    fn a_listed_zones_gateways_are_names() {
        let listed = |gateways: &[&str]| {
            let gateways = gateways.iter().map(|name| (*name).to_owned()).collect();
            zone_info(pb::Zone { zone_id: 3, peers: 9, revision: 1, gateways })
        };
        assert_eq!(listed(&["ana", "ben"]).unwrap().gateways, ["ana", "ben"]);
        assert_eq!(listed(&["a\u{1b}[2J"]).unwrap_err().field, "gateways");
        assert_eq!(listed(&["ana", "ben", "cem"]).unwrap_err().field, "gateways");
        assert_eq!(zone_info(pb::Zone::default()).unwrap_err().field, "zone_id");
    }

    #[test]
    fn page_tokens_of_another_list_are_refused() {
        let (one, two) = (ZoneId::new(1), ZoneId::new(2));
        let name: PeerName = "ana".parse().unwrap();
        let token = to_peer_page_token(ZoneId::FIRST, &name);
        assert_eq!(peer_page_token(&token, None), Ok(Some((ZoneId::FIRST, name.clone()))));
        assert_eq!(peer_page_token(&token, one), Ok(Some((ZoneId::FIRST, name))));
        for (token, only) in [(&*token, two), ("1", None), ("0/ana", None), ("1/", None), ("1/a b", None)] {
            assert_eq!(peer_page_token(token, only).unwrap_err().field, "page_token");
        }
        for token in ["0", "-1", "x", "4294967296"] {
            assert_eq!(zone_page_token(token).unwrap_err().field, "page_token");
        }
        assert!(page_size(1001).is_err());
    }
}
