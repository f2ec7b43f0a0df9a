//! What a registry runs with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::protocol::zone::Layout;

/// What a registry runs with; every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How zones are laid out.
    pub layout: Layout,
    /// A peer that is silent this long is gone.
    pub lease: Duration,
    /// How often peers renew; at most a third of the lease.
    pub heartbeat: Duration,
    /// Folder of the snapshot file.
    pub data: PathBuf,
    /// Plaintext, loopback addresses only.
    pub insecure_loopback: bool,
}
