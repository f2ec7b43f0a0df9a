//! The values that cross `peer::Handle`: what a face may ask of a peer, and what it gets.
//!
//! Console, command line, control service and web page all speak in these.

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::id::{ContentHash, PeerId, PeerName, ZoneId};

/// What kind of thing went wrong, as far as anyone branches on it. The command line makes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself makes no sense.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// The registry or a peer cannot be reached.
    Unreachable,
    /// Someone said no: an accept policy, a person, a bound.
    Refused,
    /// Bytes are not what their hash says.
    Mismatch,
    /// It took too long, or ended incomplete.
    TimedOut,
    /// The one who asked took it back.
    Cancelled,
    /// Anything else.
    Failed,
}

impl ErrorKind {
    /// Every kind with its name on the wire and in `--json`.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::Usage, "usage"),
        (Self::NotFound, "not_found"),
        (Self::Unreachable, "unreachable"),
        (Self::Refused, "refused"),
        (Self::Mismatch, "mismatch"),
        (Self::TimedOut, "timed_out"),
        (Self::Cancelled, "cancelled"),
        (Self::Failed, "failed"),
    ];

    /// Name on the wire and in `--json`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("failed", |(_, name)| name)
    }

    /// The kind of that name; `Failed` for an unknown one.
    pub fn from_name(name: &str) -> Self {
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::Failed, |(kind, _)| *kind)
    }
}

/// What happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// What kind of thing.
    pub kind: ErrorKind,
    /// What happened and to what.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl ActionError {
    /// Without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: String::new() }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The peer's own zone.
    #[default]
    Mine,
    /// Every zone that can be reached.
    All,
}

/// A search to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchAsk {
    /// The query text.
    pub text: String,
    /// How far.
    pub scope: Scope,
    /// Set: classic flood with this TTL.
    pub ttl: Option<u8>,
    /// How long to wait; `None` means the peer's setting.
    pub wait: Option<Duration>,
    /// Stop after this many hits.
    pub want: Option<u32>,
}

/// One content and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number in this search, from 1.
    pub number: u32,
    /// The file, as the first holder has it.
    pub file: FileInfo,
    /// This peer has it already.
    pub have: bool,
    /// Everyone who answered with it, in order of arrival.
    pub holders: Vec<Holder>,
}

/// One peer that has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub peer: PeerName,
    /// Its id.
    pub peer_id: PeerId,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// Forwards between.
    pub hops: u8,
    /// Where it has it: `<share>/<path>`.
    pub path: String,
}

/// One shared file as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// `None` while it is still being hashed.
    pub hash: Option<ContentHash>,
    /// `<share>/<path>`, `/` between segments.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last modification.
    pub modified: SystemTime,
}

impl FileInfo {
    /// The last segment of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Who was asked and who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Peers that answered, the origin included: by a search of their index, or ahead by a summary that has nothing of it.
    pub answered: u32,
    /// Those of them that were not asked, since their summaries had answered.
    pub ruled_out: u32,
    /// Peers in scope.
    pub asked: u32,
    /// Peers that were tried and did not answer.
    pub unreachable: u32,
    /// Copies dropped by query caches.
    pub duplicates: u32,
    /// Search messages sent.
    pub messages: u32,
    /// Hits were left out because a bound was reached.
    pub truncated: bool,
}

impl Coverage {
    /// Everyone in scope answered and nothing was left out: an empty answer means that there is nothing.
    pub fn is_complete(&self) -> bool {
        self.answered >= self.asked && !self.truncated
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} answered", self.answered, self.asked)?;
        if self.unreachable > 0 {
            write!(f, ", {} unreachable", self.unreachable)?;
        }
        if self.truncated {
            f.write_str(", more hits were left out")?;
        }
        Ok(())
    }
}

/// What a running search tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchEvent {
    /// A new content, or one told before with more holders (the same number).
    Hit(Hit),
    /// The end.
    Done(Coverage),
}

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

/// Which of the downloads that wait begins first; among equals, the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// Unless told otherwise.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// Every priority, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// Which transfers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one of that number.
    One(u64),
    /// Every one of this person's that it can be done to.
    All,
}

/// What to do with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferControl {
    /// Stop a download and keep what it has.
    Pause,
    /// Let a paused download go on.
    Resume,
    /// End it for good.
    Cancel,
    /// Start a failed download again, under its number.
    Retry,
    /// Give a download another place among those that wait.
    Priority(Priority),
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
    /// Replicas wanted, 1 to [`MAX_REPLICAS`](super::placement::MAX_REPLICAS).
    pub replicas: usize,
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

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To this peer, asked for.
    Download,
    /// From this peer, asked for by another.
    Upload,
    /// From this peer to another's inbox.
    Send,
    /// To this peer's inbox.
    Receive,
    /// From this peer into the network, which keeps it.
    Put,
}

/// Where a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Waits for a slot or for the receiver's answer.
    Waiting,
    /// Stopped by its person, to go on later from where it is.
    Paused,
    /// Bytes flow.
    Running,
    /// All bytes are here and are being checked and published.
    Verifying,
    /// Done and verified.
    Done,
    /// Failed; nothing wrong was left behind.
    Failed(ActionError),
    /// Cancelled.
    Cancelled,
}

impl TransferState {
    /// Nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Cancelled)
    }
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its number on this peer, from 1.
    pub id: u64,
    /// Which way.
    pub direction: Direction,
    /// Where it stands.
    pub state: TransferState,
    /// File name.
    pub name: String,
    /// Where it lies, once published.
    pub path: Option<PathBuf>,
    /// Its content, once known.
    pub hash: Option<ContentHash>,
    /// Whole size.
    pub size_bytes: u64,
    /// Bytes so far.
    pub done_bytes: u64,
    /// Names of the peers at the other end.
    pub sources: Vec<String>,
    /// Its place among the downloads that wait.
    pub priority: Priority,
    /// How fast bytes came or went over the last seconds; 0 unless it runs.
    pub bytes_per_second: u64,
    /// How many of this peer's downloads begin before it does, itself counted; `None` unless it waits for a slot.
    pub queue_position: Option<u32>,
}

impl Transfer {
    /// How much of it is done, 0 to 100; `None` while its size is not known.
    pub fn percent(&self) -> Option<u8> {
        match (self.size_bytes, &self.state) {
            (_, TransferState::Done) => Some(100),
            (0, _) => None,
            (size, _) => {
                let percent = u128::from(self.done_bytes) * 100 / u128::from(size);
                Some(u8::try_from(percent).unwrap_or(100).min(100))
            }
        }
    }

    /// How long it still takes at the speed of now; `None` while nothing comes.
    pub fn eta(&self) -> Option<Duration> {
        if self.state != TransferState::Running || self.bytes_per_second == 0 {
            return None;
        }
        let left = self.size_bytes.saturating_sub(self.done_bytes);
        Some(Duration::from_secs(left.div_ceil(self.bytes_per_second)))
    }
}

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
}

impl Connection {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Disconnected => "disconnected",
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

/// An offered folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareInfo {
    /// The first segment of its files' paths.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it cannot be read now.
    pub problem: Option<String>,
}

/// Who may put files into the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptPolicy {
    /// A person is asked each time.
    #[default]
    Ask,
    /// Trusted senders may; others are refused.
    Trusted,
    /// Everyone may.
    All,
    /// Nobody may.
    None,
}

impl AcceptPolicy {
    /// In a word, as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Trusted => "trusted",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// A file that a peer wants to send here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its number, from 1.
    pub id: u64,
    /// Sender's name.
    pub sender: PeerName,
    /// Sender's id.
    pub sender_id: PeerId,
    /// Whether name and id are more than the sender's own word: the registry tells of that peer at that address.
    pub is_confirmed: bool,
    /// Name of the file or folder.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Set for a folder: how many files it has.
    pub files: Option<u32>,
}

impl Offer {
    /// Its name as a person is to see it, with the number of files of a folder; not made safe for a terminal.
    pub fn shown_name(&self) -> String {
        match self.files {
            None => self.name.clone(),
            Some(1) => format!("{}/ (1 file)", self.name),
            Some(files) => format!("{}/ ({files} files)", self.name),
        }
    }

    /// Sender as a person is to see it.
    pub fn shown_sender(&self) -> String {
        if self.is_confirmed { self.sender.to_string() } else { format!("{} (not confirmed)", self.sender) }
    }
}

/// The inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxInfo {
    /// Offers that wait for an answer.
    pub offers: Vec<Offer>,
    /// The inbox folder.
    pub folder: PathBuf,
    /// Who may send.
    pub policy: AcceptPolicy,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Take this one.
    Accept,
    /// Do not take this one; the sender is told why.
    Decline(String),
    /// Take this one and all later ones of the same sender.
    Trust,
}
