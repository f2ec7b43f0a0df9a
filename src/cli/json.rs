//! The lines of `--json`: one object each, `type` first, keys in this order. Scripts rely on them: keys are added, never
//! renamed or dropped.

#![expect(clippy::struct_field_names, reason = "keys are named for those who read them")]

mod network;
mod saved;
mod transfer;

pub use network::{Authority, Enrolled, Invite, Member, Nearby, Registry, when};
pub use saved::{NewHit, SavedSearch};
pub use transfer::{Controlled, Transfer};

use std::{path::Path, time::SystemTime};

use serde::Serialize;

use crate::{
    protocol::{
        action::{self, ActionError, Coverage, FileInfo},
        id::ZoneId,
    },
    web::json as told,
};

/// A line that tells the same as the REST interface, in the same words.
#[derive(Debug, Serialize)]
pub struct Line<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    told: T,
}

/// One offered folder.
pub fn share(share: &action::ShareInfo) -> Line<impl Serialize + use<>> {
    Line { kind: "share", told: told::Share::from(share) }
}

/// What the index holds.
pub fn index(index: action::IndexState) -> Line<impl Serialize> {
    Line { kind: "index", told: told::Index::from(index) }
}

/// A content that the network keeps because this peer put it.
pub fn put(put: &action::PutInfo) -> Line<impl Serialize + use<>> {
    Line { kind: "put", told: told::Put::from(put) }
}

/// What was taken back.
pub fn unput(unput: action::Unput) -> Line<impl Serialize> {
    Line { kind: "unput", told: told::Unput::from(unput) }
}

/// Ends a verb that failed.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct Error<'a> {
    code: &'static str,
    message: &'a str,
    hint: &'a str,
    /// Of one of several sends only.
    #[serde(flatten)]
    send: Option<FailedSend<'a>>,
}

#[derive(Debug, Serialize)]
struct FailedSend<'a> {
    peer: &'a str,
    path: &'a str,
}

impl<'a> From<&'a ActionError> for Error<'a> {
    fn from(error: &'a ActionError) -> Self {
        Self { code: error.kind.name(), message: &error.message, hint: &error.hint, send: None }
    }
}

impl<'a> Error<'a> {
    /// Of one of several sends, which goes on with the others.
    pub fn of_send(error: &'a ActionError, peer: &'a str, path: &'a str) -> Self {
        Self { send: Some(FailedSend { peer, path }), ..Self::from(error) }
    }
}

/// One content, with all holders known so far.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "hit")]
pub struct Hit<'a> {
    number: u32,
    hash: Option<String>,
    name: &'a str,
    path: &'a str,
    size_bytes: u64,
    have: bool,
    holders: Vec<Holder<'a>>,
}

#[derive(Debug, Serialize)]
struct Holder<'a> {
    peer: &'a str,
    peer_id: String,
    zone: Option<u32>,
    hops: u8,
    queue_place: u32,
}

impl<'a> From<&'a action::Hit> for Hit<'a> {
    fn from(hit: &'a action::Hit) -> Self {
        let holders = hit.holders.iter().map(|holder| Holder {
            peer: holder.peer.as_str(),
            peer_id: holder.peer_id.to_string(),
            zone: holder.zone.map(ZoneId::get),
            hops: holder.hops,
            queue_place: holder.queue_place,
        });
        Self {
            number: hit.number,
            hash: hash(&hit.file),
            name: hit.file.name(),
            path: &hit.file.path,
            size_bytes: hit.file.size_bytes,
            have: hit.have,
            holders: holders.collect(),
        }
    }
}

/// Ends a search.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "done")]
pub struct SearchDone<'a> {
    answered: u32,
    asked: u32,
    unreachable: u32,
    duplicates: u32,
    ruled_out: u32,
    messages: u32,
    complete: bool,
    zones: Vec<ZoneDone>,
    suggestions: &'a [String],
}

/// One zone of a search.
#[derive(Debug, Serialize)]
struct ZoneDone {
    zone: Option<u32>,
    answered: u32,
    asked: u32,
    unreachable: u32,
    ruled_out: u32,
    complete: bool,
}

impl<'a> From<&'a Coverage> for SearchDone<'a> {
    fn from(coverage: &'a Coverage) -> Self {
        Self {
            answered: coverage.answered,
            asked: coverage.asked,
            unreachable: coverage.unreachable,
            duplicates: coverage.duplicates,
            ruled_out: coverage.ruled_out,
            messages: coverage.messages,
            complete: coverage.is_complete(),
            zones: coverage.zones.iter().map(ZoneDone::from).collect(),
            suggestions: &coverage.suggestions,
        }
    }
}

impl From<&action::ZoneCoverage> for ZoneDone {
    fn from(zone: &action::ZoneCoverage) -> Self {
        Self {
            zone: zone.zone.map(ZoneId::get),
            answered: zone.answered,
            asked: zone.asked,
            unreachable: zone.unreachable,
            ruled_out: zone.ruled_out,
            complete: zone.is_complete(),
        }
    }
}

/// Ends a verb that changes something and has nothing to show.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "done")]
pub struct Done {}

/// One peer of the network.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "peer")]
pub struct Peer<'a> {
    name: &'a str,
    peer_id: String,
    zone: Option<u32>,
    address: String,
    shared_files: u64,
}

impl<'a> From<&'a action::PeerInfo> for Peer<'a> {
    fn from(peer: &'a action::PeerInfo) -> Self {
        Self {
            name: peer.name.as_str(),
            peer_id: peer.id.to_string(),
            zone: peer.zone.map(ZoneId::get),
            address: peer.address.to_string(),
            shared_files: peer.shared_files,
        }
    }
}

/// One zone of the network.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "zone")]
pub struct Zone<'a> {
    zone: u32,
    peers: u32,
    gateways: &'a [String],
}

impl<'a> From<&'a action::ZoneInfo> for Zone<'a> {
    fn from(zone: &'a action::ZoneInfo) -> Self {
        Self { zone: zone.zone.get(), peers: zone.peers, gateways: &zone.gateways }
    }
}

/// One sub-folder of a peer's shares.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "folder")]
pub struct Folder<'a> {
    /// Its name.
    pub name: &'a str,
}

/// One file of a peer's shares.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "file")]
pub struct File<'a> {
    hash: Option<String>,
    name: &'a str,
    path: &'a str,
    size_bytes: u64,
    modified: Option<String>,
}

impl<'a> From<&'a FileInfo> for File<'a> {
    fn from(file: &'a FileInfo) -> Self {
        Self {
            hash: hash(file),
            name: file.name(),
            path: &file.path,
            size_bytes: file.size_bytes,
            modified: time(file.modified),
        }
    }
}

/// One offer that waits for an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "offer")]
pub struct Offer<'a> {
    id: u64,
    sender: &'a str,
    sender_id: String,
    is_confirmed: bool,
    name: &'a str,
    size_bytes: u64,
    /// Of a folder only.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u32>,
}

impl<'a> From<&'a action::Offer> for Offer<'a> {
    fn from(offer: &'a action::Offer) -> Self {
        Self {
            id: offer.id,
            sender: offer.sender.as_str(),
            sender_id: offer.sender_id.to_string(),
            is_confirmed: offer.is_confirmed,
            name: &offer.name,
            size_bytes: offer.size_bytes,
            files: offer.files,
        }
    }
}

/// The inbox itself, after its offers.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "inbox")]
pub struct Inbox {
    folder: String,
    policy: &'static str,
}

impl From<&action::InboxInfo> for Inbox {
    fn from(inbox: &action::InboxInfo) -> Self {
        Self { folder: path(&inbox.folder), policy: inbox.policy.name() }
    }
}

/// The peer's own state.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "status")]
pub struct Status<'a> {
    name: &'a str,
    peer_id: String,
    zone: Option<u32>,
    address: String,
    connection: &'static str,
    registry: &'a str,
    zone_peers: u32,
    roster_revision: u64,
    neighbors: &'a [String],
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
    uptime_s: u64,
    version: &'a str,
}

impl<'a> From<&'a action::Status> for Status<'a> {
    fn from(status: &'a action::Status) -> Self {
        Self {
            name: status.me.name.as_str(),
            peer_id: status.me.id.to_string(),
            zone: status.me.zone.map(ZoneId::get),
            address: status.me.address.to_string(),
            connection: status.connection.name(),
            registry: &status.registry,
            zone_peers: status.zone_peers,
            roster_revision: status.roster_revision,
            neighbors: &status.neighbors,
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
            uptime_s: status.uptime.as_secs(),
            version: &status.version,
        }
    }
}

/// Whether a daemon answers.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "health")]
pub struct Health<'a> {
    /// Who was asked.
    pub target: &'a str,
    /// `serving`, `not_serving` or `unknown`.
    pub status: &'a str,
}

/// What a daemon logs.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "log_level")]
pub struct LogLevel<'a> {
    /// A level, or directives.
    pub level: &'a str,
}

/// A link to a web page.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "link")]
pub struct Link<'a> {
    /// Opens it once; a secret.
    pub link: &'a str,
    /// Where the page is.
    pub address: &'a str,
}

/// A daemon that takes requests.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "listening")]
pub struct Listening {
    /// The real port when 0 was asked for.
    pub address: String,
}

/// One step of `demo --check`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "check")]
pub struct Check<'a> {
    /// What is true when it passed.
    pub name: &'a str,
    /// It is true.
    pub passed: bool,
    /// How long it took.
    pub elapsed_ms: u64,
    /// What was seen.
    pub detail: &'a str,
}

/// RFC 3339 in UTC, or `None` for a time outside of the years 1970 to 9999, which others may well claim.
pub fn time(time: SystemTime) -> Option<String> {
    /// First second of the year 10000.
    const END_SECONDS: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < END_SECONDS).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

fn hash(file: &FileInfo) -> Option<String> {
    file.hash.map(|hash| hash.to_string())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
