//! What peers say to each other: searches and folder listings.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Invalid, bounded, bytes, common, pb, required};
use crate::protocol::{
    action::{FileInfo, FolderPage, PageAsk},
    claim::{Claim, Reach},
    flood::MAX_TTL_PLUS_HOPS,
    gateway::MAX_ZONES,
    id::{PeerId, PeerName, QueryId, ZoneId},
    name::MAX_PATH_BYTES,
    query::{MAX_QUERY_BYTES, Query},
    report::{MAX_REPORTED, Report, ZoneReport},
};

/// Longest wait that a query may ask for.
const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// Files in one message of hits, and entries in one page of a folder.
pub const MAX_FILES: usize = 256;
/// Most entries in one page of a folder, and how many there are when none is asked for.
const PAGE_SIZES: (usize, usize) = (1000, 100);
const MAX_TOKEN_BYTES: usize = 2 * MAX_PATH_BYTES;

/// A query that arrived, every field within its bounds.
#[derive(Debug, Clone)]
pub struct IncomingSearch {
    /// Its identity.
    pub id: QueryId,
    /// What it asks.
    pub query: Query,
    /// The same as text, to be forwarded.
    pub text: String,
    /// Forwards left.
    pub ttl: u8,
    /// Forwards done.
    pub hops: u8,
    /// Time left.
    pub deadline: Duration,
    /// Of the sender's roster.
    pub roster_revision: u64,
    /// The part of the ring to answer for; none in classic flood.
    pub claim: Option<Claim>,
    /// How far it goes from here; never everywhere.
    pub reach: Reach,
    /// Stop after this many hits.
    pub want: Option<u32>,
    /// Who asked first.
    pub origin: PeerId,
    /// The previous hop.
    pub from: PeerId,
}

/// Files found at one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHits {
    /// Who has them.
    pub peer: PeerId,
    /// Its name.
    pub name: PeerName,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// Forwards from the origin.
    pub hops: u8,
    /// The place in its line that a download would get now; 0: it would begin at once.
    pub queue_place: u32,
    /// The files.
    pub files: Vec<FileInfo>,
}

/// What comes back from a branch.
#[derive(Debug, Clone)]
pub enum Found {
    /// Files of one peer.
    Hits(PeerHits),
    /// The end of the branch.
    Done(Report),
}

/// Checks a query.
pub fn search(request: pb::SearchRequest) -> Result<IncomingSearch, Invalid> {
    let (ttl, hops) = (u8::try_from(request.ttl), u8::try_from(request.hops));
    let (Ok(ttl), Ok(hops)) = (ttl, hops) else {
        return Err(Invalid::new("ttl", format!("ttl + hops must be at most {MAX_TTL_PLUS_HOPS}")));
    };
    if u32::from(ttl) + u32::from(hops) > u32::from(MAX_TTL_PLUS_HOPS) {
        return Err(Invalid::new(
            "ttl",
            format!("ttl + hops must be at most {MAX_TTL_PLUS_HOPS}, not {ttl} + {hops}"),
        ));
    }
    let deadline = common::duration("deadline", required("deadline", request.deadline)?, MAX_DEADLINE)?;
    if deadline.is_zero() {
        return Err(Invalid::new("deadline", "has passed"));
    }
    let text = bounded("text", request.text, MAX_QUERY_BYTES)?;
    let claim = match request.claim {
        None => None,
        Some(claim) => Some(Claim { before: peer_id("claim.before_id", &claim.before_id)? }),
    };
    let reach = reach(request.reach, request.zone_id)?;
    if reach != Reach::Inside && claim.is_some() {
        return Err(Invalid::new("claim", "must be absent in what is for a gateway"));
    }
    Ok(IncomingSearch {
        id: QueryId::try_from(&request.query_id[..]).map_err(Invalid::id("query_id"))?,
        query: Query::parse(&text).map_err(|error| Invalid::new("text", error.to_string()))?,
        text,
        ttl,
        hops,
        deadline,
        roster_revision: request.roster_revision,
        claim,
        reach,
        want: (request.want > 0).then_some(request.want),
        origin: peer_id("origin_id", &request.origin_id)?,
        from: peer_id("from_id", &request.from_id)?,
    })
}

fn reach(reach: i32, zone_id: u32) -> Result<Reach, Invalid> {
    let reach =
        pb::Reach::try_from(reach).map_err(|_| Invalid::new("reach", "must be one that is defined"))?;
    match (reach, ZoneId::new(zone_id)) {
        (pb::Reach::Unspecified, None) => Ok(Reach::Inside),
        (pb::Reach::OtherZones, None) => Ok(Reach::OtherZones),
        (pb::Reach::AllZones, None) => Ok(Reach::AllZones),
        (pb::Reach::WholeZone, Some(zone)) => Ok(Reach::WholeZone(zone)),
        (pb::Reach::WholeZone, None) => Err(Invalid::new("zone_id", "must name the zone that is meant")),
        (_, Some(_)) => Err(Invalid::new("zone_id", "must be 0 unless a whole zone is meant")),
    }
}

fn to_reach(reach: Reach) -> (pb::Reach, u32) {
    match reach {
        // An origin's own reach is no hop's.
        Reach::Inside | Reach::Everywhere => (pb::Reach::Unspecified, 0),
        Reach::OtherZones => (pb::Reach::OtherZones, 0),
        Reach::AllZones => (pb::Reach::AllZones, 0),
        Reach::WholeZone(zone) => (pb::Reach::WholeZone, zone.get()),
    }
}

/// A query on its way to the next hop.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingSearch<'a> {
    /// Its identity.
    pub id: QueryId,
    /// What it asks.
    pub text: &'a str,
    /// Forwards left for the receiver.
    pub ttl: u8,
    /// Forwards done when it arrives.
    pub hops: u8,
    /// Time left for the receiver.
    pub deadline: Duration,
    /// Of our roster.
    pub roster_revision: u64,
    /// The receiver's part of the ring.
    pub claim: Option<Claim>,
    /// What the receiver is asked for.
    pub reach: Reach,
    /// Stop after this many hits.
    pub want: Option<u32>,
    /// Who asked first.
    pub origin: PeerId,
    /// Us.
    pub from: PeerId,
}

/// The message of a query.
pub fn to_search(search: &OutgoingSearch<'_>) -> pb::SearchRequest {
    let (reach, zone_id) = to_reach(search.reach);
    pb::SearchRequest {
        query_id: bytes(search.id.as_bytes()),
        text: search.text.into(),
        ttl: search.ttl.into(),
        hops: search.hops.into(),
        deadline: Some(common::to_duration(search.deadline)),
        roster_revision: search.roster_revision,
        claim: search.claim.map(|claim| pb::Claim { before_id: bytes(claim.before.as_bytes()) }),
        want: search.want.unwrap_or(0),
        origin_id: bytes(search.origin.as_bytes()),
        from_id: bytes(search.from.as_bytes()),
        reach: reach.into(),
        zone_id,
    }
}

/// Checks what comes back from a branch.
pub fn found(response: pb::SearchResponse) -> Result<Found, Invalid> {
    use pb::search_response::Message;
    match required("message", response.message)? {
        Message::Hits(hits) => self::hits(hits).map(Found::Hits),
        Message::Done(done) => {
            if [&done.answered, &done.unreachable, &done.ruled_out].iter().any(|set| set.len() > MAX_REPORTED)
            {
                return Err(Invalid::new("done.answered", format!("must be at most {MAX_REPORTED} peers")));
            }
            Ok(Found::Done(Report {
                answered: done.answered.into_iter().collect(),
                unreachable: done.unreachable.into_iter().collect(),
                ruled_out: done.ruled_out.into_iter().collect(),
                vouched_for: BTreeSet::new(),
                zones: zone_reports(&done.zones)?,
                is_crossed: false,
                duplicates: done.duplicates,
                messages: done.messages,
                truncated: done.truncated,
            }))
        }
    }
}

fn zone_reports(zones: &[pb::ZoneReport]) -> Result<BTreeMap<ZoneId, ZoneReport>, Invalid> {
    if zones.len() > MAX_ZONES {
        return Err(Invalid::new("done.zones", format!("must be at most {MAX_ZONES}, not {}", zones.len())));
    }
    let one = |told: &pb::ZoneReport| {
        let pb::ZoneReport { zone_id, listed, answered, ruled_out, unreachable } = *told;
        let zone = ZoneId::new(zone_id).ok_or_else(|| Invalid::new("done.zones.zone_id", "must not be 0"))?;
        let report = ZoneReport { listed, answered, ruled_out, unreachable };
        let is_sound =
            report.is_sound() && usize::try_from(listed).is_ok_and(|listed| listed <= MAX_REPORTED);
        let problem = || format!("must be at most {MAX_REPORTED}, and all counts of the zone together");
        is_sound.then_some((zone, report)).ok_or_else(|| Invalid::new("done.zones.listed", problem()))
    };
    zones.iter().map(one).collect()
}

fn to_zone_report((zone, report): (ZoneId, ZoneReport)) -> pb::ZoneReport {
    let ZoneReport { listed, answered, ruled_out, unreachable } = report;
    pb::ZoneReport { zone_id: zone.get(), listed, answered, ruled_out, unreachable }
}

fn hits(hits: pb::Hits) -> Result<PeerHits, Invalid> {
    if hits.files.len() > MAX_FILES {
        return Err(Invalid::new(
            "hits.files",
            format!("must be at most {MAX_FILES}, not {}", hits.files.len()),
        ));
    }
    Ok(PeerHits {
        peer: peer_id("hits.peer_id", &hits.peer_id)?,
        name: hits.peer_name.parse().map_err(Invalid::id("hits.peer_name"))?,
        zone: ZoneId::new(hits.zone_id),
        hops: u8::try_from(hits.hops)
            .ok()
            .filter(|hops| *hops <= MAX_TTL_PLUS_HOPS)
            .ok_or_else(|| Invalid::new("hits.hops", format!("must be at most {MAX_TTL_PLUS_HOPS}")))?,
        queue_place: hits.queue_place,
        files: hits.files.into_iter().map(common::file_info).collect::<Result<_, _>>()?,
    })
}

/// The message for what goes back.
pub fn to_found(found: Found) -> pb::SearchResponse {
    use pb::search_response::Message;
    let message = match found {
        Found::Hits(hits) => Message::Hits(pb::Hits {
            peer_id: bytes(hits.peer.as_bytes()),
            peer_name: hits.name.to_string(),
            zone_id: hits.zone.map_or(0, ZoneId::get),
            hops: hits.hops.into(),
            queue_place: hits.queue_place,
            files: hits.files.into_iter().map(common::into_file_entry).collect(),
        }),
        Found::Done(report) => Message::Done(pb::SearchDone {
            answered: report.answered.into_iter().collect(),
            unreachable: report.unreachable.into_iter().collect(),
            ruled_out: report.ruled_out.into_iter().collect(),
            zones: report.zones.into_iter().map(to_zone_report).collect(),
            duplicates: report.duplicates,
            truncated: report.truncated,
            messages: report.messages,
        }),
    };
    pb::SearchResponse { message: Some(message) }
}

/// Checks a request for a folder.
pub fn browse(request: pb::BrowseRequest) -> Result<(String, PageAsk), Invalid> {
    let path = bounded("path", request.path, MAX_PATH_BYTES)?;
    if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Invalid::new("path", "must be `<share>/<folder>` without empty, `.` or `..` segments"));
    }
    let (most, usual) = PAGE_SIZES;
    let size = match usize::try_from(request.page_size) {
        Ok(0) => usual,
        Ok(size) if size <= most => size,
        _ => return Err(Invalid::new("page_size", format!("must be at most {most}"))),
    };
    let token = bounded("page_token", request.page_token, MAX_TOKEN_BYTES)?;
    Ok((path, PageAsk { size, token: (!token.is_empty()).then_some(token) }))
}

/// The request for a folder.
pub fn to_browse(path: &str, page: &PageAsk) -> pb::BrowseRequest {
    pb::BrowseRequest {
        path: path.into(),
        page_size: u32::try_from(page.size.min(PAGE_SIZES.0)).unwrap_or(0),
        page_token: page.token.clone().unwrap_or_default(),
    }
}

/// Checks a folder.
pub fn folder_page(response: pb::BrowseResponse) -> Result<FolderPage, Invalid> {
    if response.folders.len() + response.files.len() > PAGE_SIZES.0 {
        return Err(Invalid::new("files", format!("must be at most {} entries", PAGE_SIZES.0)));
    }
    let folders = response.folders.into_iter().map(|name| bounded("folders", name, MAX_PATH_BYTES));
    let next = bounded("next_page_token", response.next_page_token, MAX_TOKEN_BYTES)?;
    Ok(FolderPage {
        folders: folders.collect::<Result<_, _>>()?,
        files: response.files.into_iter().map(common::file_info).collect::<Result<_, _>>()?,
        next: (!next.is_empty()).then_some(next),
    })
}

/// The message of a folder.
pub fn to_folder_page(page: FolderPage) -> pb::BrowseResponse {
    pb::BrowseResponse {
        folders: page.folders,
        files: page.files.iter().map(common::to_file_entry).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

fn peer_id(field: &'static str, id: &[u8]) -> Result<PeerId, Invalid> {
    PeerId::try_from(id).map_err(Invalid::id(field))
}

#[cfg(test)]
mod tests;
