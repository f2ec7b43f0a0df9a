//! Files to fetch, read, send and keep: what a face asks for.

use std::{path::PathBuf, time::SystemTime};

use bytes::Bytes;

use super::{FileInfo, Priority};
use crate::protocol::id::ContentHash;

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By content, from whoever has it.
    Hash(ContentHash),
    /// By place.
    Path(PeerPath),
    /// By number in the last search.
    Hit(u32),
}

/// A path in a peer's shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPath {
    /// Name, or the beginning of an id in hex.
    pub peer: String,
    /// `<share>/<path>`; empty for the list of shares.
    pub path: String,
}

/// A download to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetAsk {
    /// What.
    pub target: Target,
    /// Absolute path: an existing folder to put it in, or the file to make. `None`: the downloads share.
    pub destination: Option<PathBuf>,
    /// Its place among the downloads that wait.
    pub priority: Priority,
    /// It goes on when its events are dropped.
    pub is_detached: bool,
}

impl GetAsk {
    /// A download of normal priority that ends with its events.
    pub fn new(target: Target, destination: Option<PathBuf>) -> Self {
        Self { target, destination, priority: Priority::Normal, is_detached: false }
    }
}

/// A file to read without a copy of it on this peer's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAsk {
    /// What.
    pub target: Target,
    /// First byte.
    pub offset: u64,
    /// How many bytes; `None` to the end. Cut at the end of the file.
    pub length: Option<u64>,
}

/// What a running read tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEvent {
    /// The file; comes first.
    File(FileInfo),
    /// The next bytes, checked; never empty.
    Data(Bytes),
}

/// A push to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendAsk {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// Name, or the beginning of an id in hex.
    pub peer: String,
}

/// What to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutContent {
    /// The file at this absolute path.
    Path(PathBuf),
    /// A short text, which becomes a file.
    Text(String),
}

/// A put to start: the network is to keep a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAsk {
    /// What.
    pub content: PutContent,
    /// Its name in the network; `None` takes the file's, or the beginning of the text.
    pub name: Option<String>,
    /// Replicas wanted, 1 to [`MAX_REPLICAS`](crate::protocol::placement::MAX_REPLICAS).
    pub replicas: usize,
}

/// A file to take over into a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFileAsk {
    /// Absolute path of a regular file on the peer's machine. It is moved from there.
    pub path: PathBuf,
    /// Its name in the share, under the portable policy.
    pub name: String,
}

/// A file that was taken over into a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// Name of the share.
    pub share: String,
    /// Where it can be found: `<share>/<name>`, with a number when another content had the name.
    pub path: String,
    /// Its content.
    pub hash: ContentHash,
    /// Its size.
    pub size_bytes: u64,
    /// The same content was there under that name, and stays the only one.
    pub was_there: bool,
}

/// A content that the network keeps because this peer put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutInfo {
    /// Which.
    pub hash: ContentHash,
    /// The name it was given.
    pub name: String,
    /// Its size; 0 when an earlier version put it.
    pub size_bytes: u64,
    /// Replicas wanted.
    pub replicas: usize,
    /// When; `None` when an earlier version put it.
    pub put_time: Option<SystemTime>,
    /// Names of those who told just now that they keep it; `None` when nobody could be asked.
    pub keepers: Option<Vec<String>>,
}

/// One page of what this peer put, in order of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutPage {
    /// At most as many as were asked for.
    pub rows: Vec<PutInfo>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What became of a content that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unput {
    /// Which.
    pub hash: ContentHash,
    /// Its name.
    pub name: String,
    /// Names of the peers that kept it and do not any more.
    pub released_by: Vec<String>,
    /// Names of the peers that could not be asked; a copy there goes when they are back.
    pub unreachable: Vec<String>,
}
