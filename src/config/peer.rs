//! What a peer runs with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::protocol::{action::AcceptPolicy, id::PeerName};

/// What a peer runs with; every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// The registry, `HOST:PORT`.
    pub registry: String,
    /// The name it wants.
    pub name: PeerName,
    /// The name was made from the machine's, so that another may be taken when it is in use.
    pub is_name_default: bool,
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where others dial it, when that is not where it listens.
    pub advertise: Option<SocketAddr>,
    /// Where the web page will listen.
    pub http_listen: SocketAddr,
    /// The folders it offers.
    pub shares: Vec<PathBuf>,
    /// Where files pushed by others arrive.
    pub inbox: PathBuf,
    /// Folder of its identity, its index and its control socket.
    pub data: PathBuf,
    /// TTL of its own classic floods, 1 to 32.
    pub ttl: u8,
    /// How long its own searches wait.
    pub search_timeout: Duration,
    /// Ids that its query cache holds.
    pub query_cache: usize,
    /// Uploads at once.
    pub upload_slots: usize,
    /// Downloads at once.
    pub download_slots: usize,
    /// Who may put files into the inbox.
    pub accept: AcceptPolicy,
    /// Bytes it keeps for the network.
    pub replica_space: u64,
    /// Plaintext, loopback addresses only.
    pub insecure_loopback: bool,
}
