//! The control service's messages to and from the actions' types, both directions. Nothing reaches an action, and no
//! answer reaches a face, with a field out of its bounds.

use std::{net::SocketAddr, time::Duration};

use super::{
    Invalid, bounded,
    common::{duration, file_info, to_duration, to_file_entry},
    pb, required,
};
use crate::protocol::{
    action::{
        AcceptPolicy, Connection, Counters, Coverage, FolderPage, Hit, Holder, InboxInfo, IndexState,
        Listing, Offer, PeerInfo, SearchEvent, ShareInfo, ShareKind, Status, ZoneCoverage, ZoneInfo,
    },
    gateway::MAX_ZONES,
    id::{PeerId, ZoneId},
    name::MAX_PATH_BYTES,
    query::{Fit, MAX_QUERY_BYTES, MAX_SUGGESTIONS},
};

mod activity;
mod ask;
mod error;
mod puts;
mod saved;
mod transfer;

pub use activity::{activity, to_activity};
pub use ask::{
    MAX_PAGE_SIZE, MAX_REASON_BYTES, MAX_TEXT_BYTES, MAX_TOKEN_BYTES, MAX_TTL, MAX_WAIT, add_share_ask,
    answer, browse_ask, control_ask, get_ask, put_ask, read_ask, remove_share_ask, search_ask, send_ask,
    share_file_ask, shared_file, to_add_share_request, to_answer_request, to_browse_request,
    to_control_request, to_get_request, to_put_request, to_read_request, to_search_request, to_send_request,
    to_share_file_request, to_shared_file, to_unput, unput, unput_ask,
};
pub use error::{to_action_error, to_malformed, to_status};
pub use puts::{put_page, puts_ask, to_put_page, to_puts_request};
pub use saved::{
    new_hit, news_wait, remove_saved_ask, save_ask, saved_search, to_new_hit, to_save_request,
    to_saved_search,
};
pub use transfer::{read_event, to_read_response, to_transfer, transfer};

/// Longest span a duration of an answer may have: 1,000 years.
const MAX_UPTIME: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// One event of a search.
pub fn search_event(response: pb::StartSearchResponse) -> Result<SearchEvent, Invalid> {
    match required("message", response.message)? {
        pb::start_search_response::Message::Hit(found) => Ok(SearchEvent::Hit(hit(found)?)),
        pb::start_search_response::Message::Done(done) => Ok(SearchEvent::Done(coverage(done)?)),
    }
}

/// One event of a search, on its way out.
pub fn to_search_response(event: &SearchEvent) -> pb::StartSearchResponse {
    let message = match event {
        SearchEvent::Hit(hit) => pb::start_search_response::Message::Hit(to_hit(hit)),
        SearchEvent::Done(coverage) => pb::start_search_response::Message::Done(to_coverage(coverage)),
    };
    pb::StartSearchResponse { message: Some(message) }
}

fn coverage(coverage: pb::Coverage) -> Result<Coverage, Invalid> {
    // The own zone beside the others.
    let most = MAX_ZONES + 1;
    if coverage.zones.len() > most {
        return Err(Invalid::new(
            "done.zones",
            format!("must be at most {most}, not {}", coverage.zones.len()),
        ));
    }
    let one = |zone: &pb::ZoneCoverage| ZoneCoverage {
        zone: ZoneId::new(zone.zone_id),
        answered: zone.answered,
        ruled_out: zone.ruled_out,
        asked: zone.asked,
        unreachable: zone.unreachable,
    };
    Ok(Coverage {
        answered: coverage.answered,
        ruled_out: coverage.ruled_out,
        asked: coverage.asked,
        unreachable: coverage.unreachable,
        duplicates: coverage.duplicates,
        messages: coverage.messages,
        truncated: coverage.truncated,
        zones: coverage.zones.iter().map(one).collect(),
        are_zones_unknown: coverage.are_zones_unknown,
        suggestions: suggestions(coverage.suggestions)?,
    })
}

fn to_coverage(coverage: &Coverage) -> pb::Coverage {
    let one = |zone: &ZoneCoverage| pb::ZoneCoverage {
        zone_id: to_zone(zone.zone),
        answered: zone.answered,
        ruled_out: zone.ruled_out,
        asked: zone.asked,
        unreachable: zone.unreachable,
    };
    pb::Coverage {
        answered: coverage.answered,
        ruled_out: coverage.ruled_out,
        asked: coverage.asked,
        unreachable: coverage.unreachable,
        duplicates: coverage.duplicates,
        messages: coverage.messages,
        truncated: coverage.truncated,
        zones: coverage.zones.iter().map(one).collect(),
        are_zones_unknown: coverage.are_zones_unknown,
        suggestions: coverage.suggestions.clone(),
    }
}

fn hit(hit: pb::Hit) -> Result<Hit, Invalid> {
    Ok(Hit {
        number: numbered("hit.number", hit.number)?,
        file: file_info(required("hit.file", hit.file)?)?,
        fit: fit(hit.fit)?,
        have: hit.have,
        holders: hit.holders.into_iter().map(holder).collect::<Result<_, _>>()?,
    })
}

fn to_hit(hit: &Hit) -> pb::Hit {
    let to_holder = |holder: &Holder| pb::Holder {
        peer_id: holder.peer_id.as_bytes().to_vec().into(),
        peer_name: holder.peer.to_string(),
        zone_id: to_zone(holder.zone),
        hops: holder.hops.into(),
        path: holder.path.clone(),
        queue_place: holder.queue_place,
    };
    pb::Hit {
        number: hit.number,
        file: Some(to_file_entry(&hit.file)),
        have: hit.have,
        holders: hit.holders.iter().map(to_holder).collect(),
        fit: to_fit(hit.fit).into(),
    }
}

fn fit(fit: i32) -> Result<Fit, Invalid> {
    let known = Fit::ALL.into_iter().find(|known| i32::from(to_fit(*known)) == fit);
    known.ok_or_else(|| Invalid::new("hit.fit", "is no way in which a path answers"))
}

fn to_fit(fit: Fit) -> pb::Fit {
    match fit {
        Fit::Name => pb::Fit::Name,
        Fit::NameBegins => pb::Fit::NameBegins,
        Fit::InName => pb::Fit::InName,
        Fit::InSegment => pb::Fit::InSegment,
        Fit::Scattered => pb::Fit::Scattered,
    }
}

fn suggestions(texts: Vec<String>) -> Result<Vec<String>, Invalid> {
    if texts.len() > MAX_SUGGESTIONS {
        return Err(Invalid::new("done.suggestions", format!("must be at most {MAX_SUGGESTIONS}")));
    }
    texts.into_iter().map(|text| bounded("done.suggestions", text, MAX_QUERY_BYTES)).collect()
}

fn holder(holder: pb::Holder) -> Result<Holder, Invalid> {
    Ok(Holder {
        peer: holder.peer_name.parse().map_err(Invalid::id("holder.peer_name"))?,
        peer_id: PeerId::try_from(&holder.peer_id[..]).map_err(Invalid::id("holder.peer_id"))?,
        zone: ZoneId::new(holder.zone_id),
        hops: u8::try_from(holder.hops).map_err(|_| Invalid::new("holder.hops", "must be below 256"))?,
        path: bounded("holder.path", holder.path, MAX_PATH_BYTES)?,
        queue_place: holder.queue_place,
    })
}

/// One page of a folder.
pub fn folder_page(response: pb::BrowsePeerResponse) -> Result<FolderPage, Invalid> {
    Ok(FolderPage {
        folders: response.folders,
        files: response.files.into_iter().map(file_info).collect::<Result<_, _>>()?,
        next: Some(response.next_page_token).filter(|token| !token.is_empty()),
    })
}

/// One page of a folder, on its way out.
pub fn to_folder_page(page: FolderPage) -> pb::BrowsePeerResponse {
    pb::BrowsePeerResponse {
        folders: page.folders,
        files: page.files.iter().map(to_file_entry).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

/// Peers of the network.
pub fn peers(response: &pb::GetPeersResponse) -> Result<Listing<PeerInfo>, Invalid> {
    Ok(Listing {
        rows: response.peers.iter().map(peer_row).collect::<Result<_, _>>()?,
        is_stale: response.is_stale,
    })
}

/// Peers of the network, on their way out.
pub fn to_peers(listing: &Listing<PeerInfo>) -> pb::GetPeersResponse {
    pb::GetPeersResponse { peers: listing.rows.iter().map(to_peer_row).collect(), is_stale: listing.is_stale }
}

/// Unlike an address that came from the network, this one is only shown, never dialed: a peer that is not registered
/// tells where it listens, which may be `0.0.0.0`.
fn peer_row(peer: &pb::Peer) -> Result<PeerInfo, Invalid> {
    Ok(PeerInfo {
        name: peer.name.parse().map_err(Invalid::id("peer.name"))?,
        id: PeerId::try_from(&peer.peer_id[..]).map_err(Invalid::id("peer.peer_id"))?,
        zone: ZoneId::new(peer.zone_id),
        address: peer
            .address
            .parse::<SocketAddr>()
            .map_err(|_| Invalid::new("peer.address", "must be IP:PORT or [IPv6]:PORT"))?,
        shared_files: peer.shared_files,
    })
}

fn to_peer_row(peer: &PeerInfo) -> pb::Peer {
    pb::Peer {
        peer_id: peer.id.as_bytes().to_vec().into(),
        name: peer.name.to_string(),
        address: peer.address.to_string(),
        zone_id: to_zone(peer.zone),
        incarnation: 0,
        shared_files: peer.shared_files,
        room_bytes: 0,
        ..pb::Peer::default()
    }
}

/// Zones of the network.
pub fn zones(response: pb::GetZonesResponse) -> Result<Listing<ZoneInfo>, Invalid> {
    let row = |zone: pb::ZoneSummary| {
        let id = ZoneId::new(zone.zone_id).ok_or_else(|| Invalid::new("zone_id", "must be from 1"))?;
        Ok(ZoneInfo { zone: id, peers: zone.peers, gateways: zone.gateways })
    };
    Ok(Listing {
        rows: response.zones.into_iter().map(row).collect::<Result<_, Invalid>>()?,
        is_stale: response.is_stale,
    })
}

/// Zones of the network, on their way out.
pub fn to_zones(listing: Listing<ZoneInfo>) -> pb::GetZonesResponse {
    let to_row = |zone: ZoneInfo| pb::ZoneSummary {
        zone_id: zone.zone.get(),
        peers: zone.peers,
        gateways: zone.gateways,
    };
    pb::GetZonesResponse { zones: listing.rows.into_iter().map(to_row).collect(), is_stale: listing.is_stale }
}

/// A peer's own state.
pub fn status(response: pb::GetStatusResponse) -> Result<Status, Invalid> {
    let connection =
        Connection::ALL.into_iter().find(|connection| connection.name() == response.connection).ok_or_else(
            || Invalid::new("connection", "must be `connected`, `reconnecting`, `disconnected` or `revoked`"),
        )?;
    let counters = required("counters", response.counters)?;
    Ok(Status {
        me: peer_row(&required("self", response.self_)?)?,
        connection,
        registry: response.registry,
        zone_peers: response.zone_peers,
        roster_revision: response.roster_revision,
        neighbors: response.neighbors,
        index: index_state(required("index", response.index)?),
        counters: Counters {
            searches: counters.searches,
            queries_answered: counters.queries_answered,
            duplicates_dropped: counters.duplicates_dropped,
            queries_refused: counters.queries_refused,
            bytes_up: counters.bytes_up,
            bytes_down: counters.bytes_down,
        },
        uptime: duration("uptime", required("uptime", response.uptime)?, MAX_UPTIME)?,
        version: response.version,
    })
}

/// A peer's own state, on its way out.
pub fn to_get_status_response(status: Status) -> pb::GetStatusResponse {
    pb::GetStatusResponse {
        self_: Some(to_peer_row(&status.me)),
        connection: status.connection.name().into(),
        registry: status.registry,
        zone_peers: status.zone_peers,
        roster_revision: status.roster_revision,
        neighbors: status.neighbors,
        index: Some(to_index_state(status.index)),
        counters: Some(pb::Counters {
            searches: status.counters.searches,
            queries_answered: status.counters.queries_answered,
            duplicates_dropped: status.counters.duplicates_dropped,
            queries_refused: status.counters.queries_refused,
            bytes_up: status.counters.bytes_up,
            bytes_down: status.counters.bytes_down,
        }),
        uptime: Some(to_duration(status.uptime)),
        version: status.version,
    }
}

/// What an index holds.
pub fn index_state(index: pb::IndexState) -> IndexState {
    IndexState {
        files: index.files,
        bytes: index.bytes,
        hashed_files: index.hashed_files,
        is_scanning: index.is_scanning,
    }
}

/// What an index holds, on its way out.
pub fn to_index_state(index: IndexState) -> pb::IndexState {
    pb::IndexState {
        files: index.files,
        bytes: index.bytes,
        hashed_files: index.hashed_files,
        is_scanning: index.is_scanning,
    }
}

/// An offered folder.
pub fn share(share: pb::Share) -> Result<ShareInfo, Invalid> {
    if share.name.is_empty() {
        return Err(Invalid::new("share.name", "is empty"));
    }
    let kind = ShareKind::ALL.into_iter().find(|kind| i32::from(to_share_kind(*kind)) == share.kind);
    Ok(ShareInfo {
        name: share.name,
        kind: kind.ok_or_else(|| Invalid::new("share.kind", "is no kind of share"))?,
        folder: share.folder.into(),
        files: share.files,
        bytes: share.bytes,
        problem: Some(share.problem).filter(|problem| !problem.is_empty()),
    })
}

/// An offered folder, on its way out. A path that is not UTF-8 is told with replacement characters: it is only shown.
pub fn to_share(share: ShareInfo) -> pb::Share {
    pb::Share {
        name: share.name,
        folder: share.folder.to_string_lossy().into_owned(),
        files: share.files,
        bytes: share.bytes,
        problem: share.problem.unwrap_or_default(),
        kind: to_share_kind(share.kind).into(),
        is_removable: share.kind.is_removable(),
    }
}

fn to_share_kind(kind: ShareKind) -> pb::ShareKind {
    match kind {
        ShareKind::Folder => pb::ShareKind::Folder,
        ShareKind::Downloads => pb::ShareKind::Downloads,
        ShareKind::Replicas => pb::ShareKind::Replicas,
        ShareKind::Inbox => pb::ShareKind::Inbox,
    }
}

/// The inbox.
pub fn inbox(response: pb::GetInboxResponse) -> Result<InboxInfo, Invalid> {
    let policy = [AcceptPolicy::Ask, AcceptPolicy::Trusted, AcceptPolicy::All, AcceptPolicy::None]
        .into_iter()
        .find(|policy| policy.name() == response.policy)
        .ok_or_else(|| Invalid::new("policy", "must be `ask`, `trusted`, `all` or `none`"))?;
    let offer = |offer: pb::Offer| {
        Ok(Offer {
            id: numbered("offer.id", offer.id)?,
            sender: offer.sender_name.parse().map_err(Invalid::id("offer.sender_name"))?,
            sender_id: PeerId::try_from(&offer.sender_id[..]).map_err(Invalid::id("offer.sender_id"))?,
            is_confirmed: offer.is_confirmed,
            name: offer.name,
            size_bytes: offer.size_bytes,
            files: offer.files,
        })
    };
    Ok(InboxInfo {
        offers: response.offers.into_iter().map(offer).collect::<Result<_, Invalid>>()?,
        folder: response.folder.into(),
        policy,
    })
}

/// The inbox, on its way out.
pub fn to_inbox(inbox: InboxInfo) -> pb::GetInboxResponse {
    let to_offer = |offer: Offer| pb::Offer {
        id: offer.id,
        sender_name: offer.sender.to_string(),
        sender_id: offer.sender_id.as_bytes().to_vec().into(),
        name: offer.name,
        size_bytes: offer.size_bytes,
        files: offer.files,
        is_confirmed: offer.is_confirmed,
    };
    pb::GetInboxResponse {
        offers: inbox.offers.into_iter().map(to_offer).collect(),
        folder: inbox.folder.to_string_lossy().into_owned(),
        policy: inbox.policy.name().into(),
    }
}

/// A number of something that is counted from 1.
pub fn numbered<N: Default + PartialEq>(field: &'static str, number: N) -> Result<N, Invalid> {
    if number == N::default() {
        return Err(Invalid::new(field, "must be from 1"));
    }
    Ok(number)
}

fn to_zone(zone: Option<ZoneId>) -> u32 {
    zone.map_or(0, ZoneId::get)
}

#[cfg(test)]
mod tests;
