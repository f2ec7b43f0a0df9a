//! Peers, zones and folders.

use serde::Serialize;
use utoipa::ToSchema;

use super::File;
use crate::protocol::{
    action::{self, Listing},
    id::ZoneId,
};

/// One peer of the network.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "named as they are told")]
pub(in crate::web) struct Peer {
    name: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    peer_id: String,
    #[schema(required)]
    zone: Option<u32>,
    address: String,
    shared_files: u64,
}

impl From<&action::PeerInfo> for Peer {
    fn from(peer: &action::PeerInfo) -> Self {
        Self {
            name: peer.name.to_string(),
            peer_id: peer.id.to_string(),
            zone: peer.zone.map(ZoneId::get),
            address: peer.address.to_string(),
            shared_files: peer.shared_files,
        }
    }
}

/// Peers, one page of them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct PeerListing {
    pub(in crate::web) items: Vec<Peer>,
    /// The registry could not be asked: these come from the last roster.
    pub(in crate::web) is_stale: bool,
    #[schema(required)]
    pub(in crate::web) next_page_token: Option<String>,
}

/// One zone of the network.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "named as they are told")]
pub(in crate::web) struct Zone {
    zone: u32,
    /// Live peers in it.
    peers: u32,
    /// Names of its gateway peers.
    gateways: Vec<String>,
}

impl From<&action::ZoneInfo> for Zone {
    fn from(zone: &action::ZoneInfo) -> Self {
        Self { zone: zone.zone.get(), peers: zone.peers, gateways: zone.gateways.clone() }
    }
}

/// Zones, one page of them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct ZoneListing {
    pub(in crate::web) items: Vec<Zone>,
    /// The registry could not be asked: these come from the last roster.
    pub(in crate::web) is_stale: bool,
    #[schema(required)]
    pub(in crate::web) next_page_token: Option<String>,
}

/// One folder of a peer's shares, a page of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Folder {
    /// Names of sub-folders.
    folders: Vec<String>,
    files: Vec<File>,
    #[schema(required)]
    next_page_token: Option<String>,
}

impl From<action::FolderPage> for Folder {
    fn from(page: action::FolderPage) -> Self {
        Self {
            folders: page.folders,
            files: page.files.iter().map(File::from).collect(),
            next_page_token: page.next,
        }
    }
}

/// A query at this peer, as it begins and as it ends here.
#[derive(Debug, Serialize)]
pub(in crate::web) struct Activity {
    time: Option<String>,
    /// 16 hexadecimal digits, the beginning of its id.
    query: String,
    /// `began` or `answered`.
    kind: &'static str,
    text: String,
    /// Id of the previous hop; `null` when it began here.
    from: Option<String>,
    zone: Option<u32>,
    hops: u8,
    hits: u32,
    /// Ids of those whom it went on to, the first 16.
    asked: Vec<String>,
    missed: u64,
}

impl From<&action::Activity> for Activity {
    fn from(activity: &action::Activity) -> Self {
        Self {
            time: super::time(activity.time),
            query: format!("{:016x}", u64::from_be_bytes(activity.query)),
            kind: activity.kind.name(),
            text: activity.text.clone(),
            from: activity.from.map(|peer| peer.to_string()),
            zone: activity.zone.map(ZoneId::get),
            hops: activity.hops,
            hits: activity.hits,
            asked: activity.asked.iter().map(ToString::to_string).collect(),
            missed: activity.missed,
        }
    }
}

/// The network, as a map shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Network {
    me: Peer,
    zones: Vec<NetworkZone>,
    /// Names of this peer's neighbors.
    neighbors: Vec<String>,
    /// The registry could not be asked.
    is_stale: bool,
    /// There are more peers than are shown.
    is_truncated: bool,
}

/// One zone on the map.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct NetworkZone {
    #[schema(required)]
    zone: Option<u32>,
    peers: Vec<NetworkPeer>,
    gateways: Vec<String>,
}

/// One peer on the map.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct NetworkPeer {
    name: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    peer_id: String,
    is_gateway: bool,
}

impl Network {
    /// Of what the registry lists, at most `most` peers.
    pub(in crate::web) fn of(
        status: &action::Status,
        zones: &Listing<action::ZoneInfo>,
        peers: &Listing<action::PeerInfo>,
        most: usize,
    ) -> Self {
        let mut shown: std::collections::BTreeMap<Option<u32>, NetworkZone> =
            std::collections::BTreeMap::new();
        for zone in &zones.rows {
            let number = Some(zone.zone.get());
            let empty = NetworkZone { zone: number, peers: Vec::new(), gateways: zone.gateways.clone() };
            shown.insert(number, empty);
        }
        for peer in peers.rows.iter().take(most) {
            let number = peer.zone.map(ZoneId::get);
            let empty = || NetworkZone { zone: number, peers: Vec::new(), gateways: Vec::new() };
            let zone = shown.entry(number).or_insert_with(empty);
            let is_gateway = zone.gateways.iter().any(|gateway| gateway == peer.name.as_str());
            zone.peers.push(NetworkPeer {
                name: peer.name.to_string(),
                peer_id: peer.id.to_string(),
                is_gateway,
            });
        }
        Self {
            me: Peer::from(&status.me),
            zones: shown.into_values().collect(),
            neighbors: status.neighbors.clone(),
            is_stale: zones.is_stale || peers.is_stale,
            is_truncated: peers.rows.len() > most,
        }
    }
}
