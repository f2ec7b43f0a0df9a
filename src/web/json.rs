//! What the REST interface tells, with the field names of the command line's `--json` where both tell the same.

mod network;
mod search;
mod transfer;

use std::{path::Path, time::SystemTime};

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::transfer::{Put, Unput};
pub(super) use self::{
    network::{Activity, Folder, Network, Peer, PeerListing, Zone, ZoneListing},
    search::{Coverage, Hit, NewHit, SavedSearch},
    transfer::{Changed, Inbox, Transfer},
};
use crate::protocol::{
    action::{self, FileInfo},
    id::ZoneId,
};

/// The peer's own state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    name: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    peer_id: String,
    #[schema(required)]
    zone: Option<u32>,
    /// Where other peers reach it.
    address: String,
    /// `connected`, `reconnecting` or `disconnected`.
    connection: &'static str,
    registry: String,
    /// Members of its zone, itself included.
    zone_peers: u32,
    roster_revision: u64,
    /// Names of neighbors.
    neighbors: Vec<String>,
    /// Files that can be found.
    files: u64,
    size_bytes: u64,
    hashed_files: u64,
    is_scanning: bool,
    searches: u64,
    queries_answered: u64,
    duplicates_dropped: u64,
    queries_refused: u64,
    bytes_up: u64,
    bytes_down: u64,
    uptime_seconds: f64,
    version: String,
    gateway: GatewayInfo,
}

/// The gateway itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GatewayInfo {
    version: &'static str,
    /// Version of this interface.
    api: u32,
}

impl From<action::Status> for Status {
    fn from(status: action::Status) -> Self {
        Self {
            name: status.me.name.to_string(),
            peer_id: status.me.id.to_string(),
            zone: status.me.zone.map(ZoneId::get),
            address: status.me.address.to_string(),
            connection: status.connection.name(),
            registry: status.registry,
            zone_peers: status.zone_peers,
            roster_revision: status.roster_revision,
            neighbors: status.neighbors,
            files: status.index.files,
            size_bytes: status.index.bytes,
            hashed_files: status.index.hashed_files,
            is_scanning: status.index.is_scanning,
            searches: status.counters.searches,
            queries_answered: status.counters.queries_answered,
            duplicates_dropped: status.counters.duplicates_dropped,
            queries_refused: status.counters.queries_refused,
            bytes_up: status.counters.bytes_up,
            bytes_down: status.counters.bytes_down,
            uptime_seconds: status.uptime.as_secs_f64(),
            version: status.version,
            gateway: GatewayInfo { version: env!("CARGO_PKG_VERSION"), api: 1 },
        }
    }
}

/// One file of a share.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct File {
    /// `null` while it is being hashed.
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    hash: Option<String>,
    name: String,
    /// `<share>/<path>`.
    path: String,
    size_bytes: u64,
    /// RFC 3339 in UTC; `null` when it is out of the years 1970 to 9999.
    #[schema(required)]
    modified_time: Option<String>,
}

impl From<&FileInfo> for File {
    fn from(file: &FileInfo) -> Self {
        Self {
            hash: file.hash.map(|hash| hash.to_string()),
            name: file.name().to_owned(),
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            modified_time: time(file.modified),
        }
    }
}

/// One offered folder.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Share {
    name: String,
    /// `folder` that its person offers, `downloads` where they arrive, `replicas` that are kept for the network, or `inbox`.
    kind: &'static str,
    /// Whether it can be taken away.
    is_removable: bool,
    folder: String,
    files: u64,
    size_bytes: u64,
    /// Why it cannot be read now.
    #[schema(required)]
    problem: Option<String>,
}

impl From<&action::ShareInfo> for Share {
    fn from(share: &action::ShareInfo) -> Self {
        Self {
            name: share.name.clone(),
            kind: share.kind.name(),
            is_removable: share.kind.is_removable(),
            folder: path(&share.folder),
            files: share.files,
            size_bytes: share.bytes,
            problem: share.problem.clone(),
        }
    }
}

/// What the index holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Index {
    files: u64,
    size_bytes: u64,
    hashed_files: u64,
    is_scanning: bool,
}

impl From<action::IndexState> for Index {
    fn from(index: action::IndexState) -> Self {
        Self {
            files: index.files,
            size_bytes: index.bytes,
            hashed_files: index.hashed_files,
            is_scanning: index.is_scanning,
        }
    }
}

/// A file that was put into a share.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SharedFile {
    /// As it was taken: what file names may not hold everywhere is replaced, and a number is added when another content has it.
    pub(super) name: String,
    /// `<share>/<path>`.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(super) hash: String,
}

/// RFC 3339 in UTC, or `None` for a time outside of the years 1970 to 9999, which others may well claim.
pub(super) fn time(time: SystemTime) -> Option<String> {
    /// First second of the year 10000.
    const END_SECONDS: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < END_SECONDS).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
