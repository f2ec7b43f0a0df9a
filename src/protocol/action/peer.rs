//! The network and its peers: who is there, what they share, and how they are.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::FileInfo;
use crate::protocol::id::{PeerId, PeerName, ZoneId};

/// A folder of a peer's shares, one page of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderPage {
    /// Names of sub-folders.
    pub folders: Vec<String>,
    /// Files.
    pub files: Vec<FileInfo>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// Which page of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageAsk {
    /// At most this many entries.
    pub size: usize,
    /// From the last page.
    pub token: Option<String>,
}

/// A peer of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its name.
    pub name: PeerName,
    /// Its id.
    pub id: PeerId,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// Where it is dialed.
    pub address: SocketAddr,
    /// Files in its index when it last said so.
    pub shared_files: u64,
}

/// A list that the registry gives, or what is left of it without the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The registry could not be asked: these come from the last roster.
    pub is_stale: bool,
}

/// A zone of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneInfo {
    /// Which.
    pub zone: ZoneId,
    /// Live peers in it.
    pub peers: u32,
    /// Names of its gateway peers.
    pub gateways: Vec<String>,
}

/// How a peer stands with the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Registered and heard of within the lease.
    Connected,
    /// The registry is lost; trying again.
    Reconnecting,
    /// Left on purpose.
    Disconnected,
    /// The registry has shut this peer out, or does not know it any more; asked again every few minutes.
    Revoked,
}

impl Connection {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Connected, Self::Reconnecting, Self::Disconnected, Self::Revoked];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Disconnected => "disconnected",
            Self::Revoked => "revoked",
        }
    }
}

/// A peer's own state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// As registered.
    pub me: PeerInfo,
    /// With the registry.
    pub connection: Connection,
    /// The registry's address.
    pub registry: String,
    /// Members of the zone, this peer included.
    pub zone_peers: u32,
    /// The roster's revision.
    pub roster_revision: u64,
    /// Names of neighbors.
    pub neighbors: Vec<String>,
    /// The index.
    pub index: IndexState,
    /// Counters since start.
    pub counters: Counters,
    /// Since the process started.
    pub uptime: Duration,
    /// Version of the program.
    pub version: String,
}

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexState {
    /// Files that can be found.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose content hash is known.
    pub hashed_files: u64,
    /// A scan is running.
    pub is_scanning: bool,
}

/// What a peer counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Searches that began here.
    pub searches: u64,
    /// Queries of others that were answered.
    pub queries_answered: u64,
    /// Duplicates dropped by the query cache.
    pub duplicates_dropped: u64,
    /// Queries refused for want of room.
    pub queries_refused: u64,
    /// File bytes sent.
    pub bytes_up: u64,
    /// File bytes received.
    pub bytes_down: u64,
}

/// What an offered folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareKind {
    /// A folder that its person offers.
    Folder,
    /// Where downloads arrive.
    Downloads,
    /// What is kept for the network.
    Replicas,
    /// Where files that others pushed arrive, when that is offered.
    Inbox,
}

impl ShareKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Folder, Self::Downloads, Self::Replicas, Self::Inbox];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Downloads => "downloads",
            Self::Replicas => "replicas",
            Self::Inbox => "inbox",
        }
    }

    /// Whether a person may stop offering it. What is kept for the network has to be found as long as it counts as kept.
    pub fn is_removable(self) -> bool {
        self != Self::Replicas
    }
}

/// An offered folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareInfo {
    /// The first segment of its files' paths.
    pub name: String,
    /// What it is for.
    pub kind: ShareKind,
    /// The folder.
    pub folder: PathBuf,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it cannot be read now.
    pub problem: Option<String>,
}
