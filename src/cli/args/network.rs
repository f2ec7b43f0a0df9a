//! What may be typed after the verbs that make a closed network, enter it, and say who belongs to it.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    daemon::{PeerArgs, set, share_folder},
    zone,
};
use crate::{
    config::{table, value},
    protocol::id::ZoneId,
};

/// Most peers that one invite may let in.
const MAX_USES: i64 = 10_000;
/// Shortest and longest life of an invite.
const LIFETIME: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(365 * 24 * 3600));

/// Arguments of `up`; each stands before its setting.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Open no console, even on a terminal
    #[arg(long)]
    pub headless: bool,
    /// Peers that the printed invite lets in
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = uses())]
    pub uses: u32,
    /// Where the registry listens, IP:PORT; by default 0.0.0.0:7000
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where invites say that the registry is, HOST:PORT; by default the address of this machine that faces the network
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
    /// Where the peer listens, IP:PORT; by default 0.0.0.0:7001
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// Name of the peer
    #[arg(long)]
    name: Option<String>,
    /// A folder to offer; may be repeated
    #[arg(long, value_name = "DIR", value_parser = share_folder)]
    share: Vec<String>,
    /// Where files sent by others arrive
    #[arg(long, value_name = "DIR")]
    inbox: Option<String>,
    /// Who may send files here: ask, trusted, all or none
    #[arg(long, value_name = "WHO")]
    accept: Option<String>,
}

impl UpArgs {
    /// As settings.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        set([
            (table::REGISTRY_LISTEN, self.listen.clone()),
            (table::REGISTRY_ADVERTISE, self.advertise.clone()),
            (table::LISTEN, self.peer_listen.clone()),
            (table::NAME, self.name.clone()),
            (table::SHARES, (!self.share.is_empty()).then(|| self.share.join(":"))),
            (table::INBOX, self.inbox.clone()),
            (table::ACCEPT, self.accept.clone()),
        ])
    }
}

/// Arguments of `join`.
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    /// What `floodplain invite` printed, or - to read it from stdin, so that it is not seen in the list of processes. Without
    /// one, the registries on the local network are listed
    #[arg(value_name = "INVITE|-")]
    pub invite: Option<String>,
    /// Enter the network, and end
    #[arg(long)]
    pub enroll_only: bool,
    /// Leave the network that the data folder belongs to, for good
    #[arg(long)]
    pub leave_old: bool,
    /// The peer.
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// Arguments of `invite`.
#[derive(Debug, Clone, Args)]
pub struct InviteArgs {
    /// Peers that it lets in
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = uses())]
    pub uses: u32,
    /// How long it is good, 1m to 365days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    pub lifetime: Duration,
    /// Peers that it lets in are placed in this zone
    #[arg(long, value_name = "N", value_parser = zone)]
    pub zone: Option<ZoneId>,
}

/// What to do with the authority, the key that members are certified by.
#[derive(Debug, Clone, Subcommand)]
pub enum AuthorityAction {
    /// Print which keys are trusted
    Show,
    /// Make a new key, trusted beside the old one; it certifies as soon as every live peer knows it
    Begin,
    /// Certify with the new key now, also when some live peer does not know it yet
    Switch,
    /// Trust the old key no longer; refused while members hold good certificates of it
    Finish {
        /// Whoever is left out: those need a new invite
        #[arg(long)]
        force: bool,
    },
}

fn uses() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MAX_USES)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    value::duration(text, "24h", LIFETIME.0, LIFETIME.1)
}
