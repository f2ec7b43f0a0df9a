//! What may be typed after the verbs that run a daemon, or look at one.

use clap::Args;

use crate::config::{table, value};

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Peers
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub peers: u32,
    /// Zones of equal size, each of two peers or more
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub zones: u32,
    /// Search, download, send, lose a peer; print what held; exit 0 or 1
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `web`.
#[derive(Debug, Clone, Copy, Args)]
pub struct WebArgs {
    /// Open it in the browser, in place of printing the link
    #[arg(long)]
    pub open: bool,
    /// The page of the registry that runs here
    #[arg(long)]
    pub registry: bool,
}

/// Arguments of `registry`; each stands before its setting.
#[derive(Debug, Clone, Default, Args)]
pub struct RegistryArgs {
    /// Where to listen, IP:PORT
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Fixed layout: peers in all
    #[arg(long, value_name = "N")]
    network_size: Option<String>,
    /// Fixed layout: zones of equal size
    #[arg(long, value_name = "N")]
    number_of_zones: Option<String>,
    /// Where invites say that the registry is, HOST:PORT
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
    /// Write an invite to this file, for peers that read it from there
    #[arg(long, value_name = "FILE")]
    invite_file: Option<String>,
    /// A peer that is silent this long is gone
    #[arg(long, value_name = "TIME")]
    lease: Option<String>,
    /// How often peers renew
    #[arg(long, value_name = "TIME")]
    heartbeat: Option<String>,
    /// No keys and no encryption, to try on this machine alone
    #[arg(long)]
    insecure_loopback: bool,
}

impl RegistryArgs {
    /// As settings.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        set([
            (table::REGISTRY_LISTEN, self.listen.clone()),
            (table::REGISTRY_ADVERTISE, self.advertise.clone()),
            (table::INVITE_FILE, self.invite_file.clone()),
            (table::NETWORK_SIZE, self.network_size.clone()),
            (table::NUMBER_OF_ZONES, self.number_of_zones.clone()),
            (table::LEASE, self.lease.clone()),
            (table::HEARTBEAT, self.heartbeat.clone()),
            (table::INSECURE_LOOPBACK, self.insecure_loopback.then(|| "true".into())),
        ])
    }
}

/// Arguments of `peer`; each stands before its setting.
#[derive(Debug, Clone, Default, Args)]
pub struct PeerArgs {
    /// Open no console, even on a terminal
    #[arg(long)]
    pub headless: bool,
    /// Read the invite into a closed network from this file, once it is there
    #[arg(long, value_name = "FILE")]
    invite_file: Option<String>,
    /// The registry, HOST:PORT; by default the one of the invite
    #[arg(long, value_name = "ADDR")]
    registry: Option<String>,
    /// Name of this peer
    #[arg(long)]
    name: Option<String>,
    /// Where to listen, IP:PORT
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where others dial this peer, IP:PORT
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
    /// A folder to offer; may be repeated
    #[arg(long, value_name = "DIR", value_parser = share_folder)]
    share: Vec<String>,
    /// Where files sent by others arrive
    #[arg(long, value_name = "DIR")]
    inbox: Option<String>,
    /// Who may send files here: ask, trusted, all or none
    #[arg(long, value_name = "WHO")]
    accept: Option<String>,
    /// No keys and no encryption, to try on this machine alone
    #[arg(long)]
    insecure_loopback: bool,
}

impl PeerArgs {
    /// As settings.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        set([
            (table::INVITE_FILE, self.invite_file.clone()),
            (table::REGISTRY, self.registry.clone()),
            (table::NAME, self.name.clone()),
            (table::LISTEN, self.listen.clone()),
            (table::ADVERTISE, self.advertise.clone()),
            (table::SHARES, (!self.share.is_empty()).then(|| self.share.join(":"))),
            (table::INBOX, self.inbox.clone()),
            (table::ACCEPT, self.accept.clone()),
            (table::INSECURE_LOOPBACK, self.insecure_loopback.then(|| "true".into())),
        ])
    }
}

pub(super) fn set<const N: usize>(flags: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Arguments of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Fail unless it takes requests now; without, any answer will do
    #[arg(long)]
    pub ready: bool,
    /// The daemon at this address; by default the peer of the data folder, or else the registry of the settings
    #[arg(long, value_name = "HOST:PORT", value_parser = value::host_port)]
    pub addr: Option<String>,
}

/// Arguments of `log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// off, error, warn, info, debug or trace, or a list such as info,floodplain::peer=debug; without one, print what it is
    #[expect(clippy::doc_markdown, reason = "the help shows it as it is")]
    #[arg(value_name = "LEVEL")]
    pub level: Option<String>,
    /// Of the registry, where the data folder has a peer's as well
    #[arg(long)]
    pub registry: bool,
}

pub(super) fn share_folder(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err("a folder whose path holds `:` cannot be given here; use `floodplain share add`".into());
    }
    Ok(text.to_owned())
}
