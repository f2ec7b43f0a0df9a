//! What may be typed. Nothing here does anything; values are checked as far as one argument alone can be.

mod daemon;
mod network;
mod transfer;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::value,
    protocol::{
        action::{PeerPath, Scope, Target},
        id::{ContentHash, ZoneId},
        saved::is_name,
    },
};

pub use daemon::{DemoArgs, HealthArgs, LogArgs, PeerArgs, RegistryArgs, WebArgs};
pub use network::{AuthorityAction, InviteArgs, JoinArgs, UpArgs};
pub use transfer::{ByteRange, GetArgs, TransferAction};

/// Most hits that one search may ask for: what its stream is bounded to anyway.
const MAX_HITS: u32 = 10_000;

/// Share and find files over your own network, with no central file server.
#[derive(Debug, Parser)]
#[command(
    name = "floodplain",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 nothing found, 4 registry or peer unreachable, 5 refused, \
                  6 content mismatch, 7 timed out or partial, 130 interrupted.\n\
                  Make a network: floodplain up. Try it on this machine alone: floodplain demo"
)]
pub struct Cli {
    /// For every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Global {
    /// Folder of keys, index and sockets, in place of the setting
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<String>,
    /// Read settings from this file in place of ./.env
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print tab-separated lines, no tables and no progress bar
    #[arg(long, global = true, conflicts_with = "json")]
    pub plain: bool,
    /// Print data and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Color messages
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub color: ColorChoice,
    /// Give up after this long, such as 30s
    #[arg(long, global = true, value_parser = timeout, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Answer every question with yes
    #[arg(long, global = true)]
    pub yes: bool,
}

/// When messages are colored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment says no.
    #[default]
    Auto,
    /// Even into a file.
    Always,
    /// Not at all.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a whole network in one process, with sample files, and open a console in it
    Demo(DemoArgs),
    /// Make a closed network, or start it again: its registry and a peer, with an invite for others
    Up(UpArgs),
    /// Enter a closed network by an invite, and run a peer in it; without an invite, list what is on the local network
    Join(JoinArgs),
    /// Print an invite into the network whose registry runs here; a secret
    Invite(InviteArgs),
    /// Shut a peer out of the network, for good and within seconds
    Revoke {
        /// Its name, or the beginning of its id
        peer: String,
    },
    /// List the peers that were let into the network
    Members,
    /// The key that members are certified by: show it, or change it
    Authority {
        /// What to do; nothing shows
        #[command(subcommand)]
        action: Option<AuthorityAction>,
    },
    /// Run the registry: it tracks live peers and assigns zones
    Registry(RegistryArgs),
    /// Run a peer: it shares, searches and transfers. With a terminal it opens a console
    Peer(PeerArgs),
    /// Open a console on the running peer
    Console,
    /// Print a link that opens the web page of the running peer, once and within ten minutes
    Web(WebArgs),
    /// Search the network; 3 when nothing matches, 7 when nothing was found and not everyone answered
    Search(SearchArgs),
    /// Saved searches, asked again in the background: list, remove, run, watch what they find
    Searches {
        /// What to do; nothing lists
        #[command(subcommand)]
        action: Option<SearchesAction>,
    },
    /// Download a file
    Get(GetArgs),
    /// Send files into other peers' inboxes
    Send(SendArgs),
    /// Have the network keep a file; 7 when fewer peers than asked for could keep it
    Put(PutArgs),
    /// List what this peer had the network keep, with who keeps it now
    Puts,
    /// Take back what this peer put
    Unput {
        /// Its content hash, or its name
        #[arg(value_name = "HASH|NAME")]
        target: String,
    },
    /// List what a peer shares
    Browse {
        /// PEER or PEER:FOLDER; a peer is its name, or the beginning of its id
        #[arg(value_name = "PEER[:PATH]", value_parser = browse_path)]
        path: PeerPath,
    },
    /// List the peers of the network
    Peers {
        /// Of one zone only
        #[arg(long, value_parser = zone)]
        zone: Option<ZoneId>,
    },
    /// List the zones of the network
    Zones {
        /// Print them again whenever they change, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Offered folders: list, add, remove, walk again
    Share {
        /// What to do; nothing lists
        #[command(subcommand)]
        action: Option<ShareAction>,
    },
    /// Transfers, running and recent: list, pause, resume, retry, cancel, reorder
    Transfers {
        /// What to do; nothing lists
        #[command(subcommand)]
        action: Option<TransferAction>,
    },
    /// Files that others want to send here
    Inbox {
        /// What to do; nothing lists
        #[command(subcommand)]
        action: Option<InboxAction>,
    },
    /// Print the running peer's state
    Status,
    /// Watch the running peer on the whole screen: peers, transfers, queries; keys pause, resume, retry, cancel
    Top,
    /// Look for what is wrong here, and say what to do about it; 1 when something is
    Doctor,
    /// Ask a daemon whether it is well; for container health checks
    Health(HealthArgs),
    /// Print what the running daemon logs, or change it
    Log(LogArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for every verb into this folder instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Arguments of `search`.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// Words (all must match), "exact phrase", ext:pdf, size:>1M, newer:7d, type:video, peer:ana, hash:..; quote 'report -draft'
    #[arg(required = true)]
    pub query: Vec<String>,
    /// How far: the peer's own zone, or all
    #[arg(long, value_enum, default_value = "mine")]
    pub zones: ZonesChoice,
    /// Flood classically, with this many forwards at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub ttl: Option<u8>,
    /// How long to wait for answers, 100ms to 60s
    #[arg(long, value_name = "TIME", value_parser = wait)]
    pub wait: Option<Duration>,
    /// Stop after this many hits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_HITS)))]
    pub limit: Option<u32>,
    /// Save the query and --zones under this name too: it is asked again and again, and `searches watch` tells what is new
    #[arg(long, value_name = "NAME", value_parser = search_name)]
    pub save: Option<String>,
}

/// What to do with saved searches.
#[derive(Debug, Clone, Subcommand)]
pub enum SearchesAction {
    /// List them
    Ls,
    /// Ask one no more
    Rm {
        /// Its name
        #[arg(value_parser = search_name)]
        name: String,
    },
    /// Search for it now
    Run {
        /// Its name
        #[arg(value_parser = search_name)]
        name: String,
    },
    /// Print new hits as they are found, each once, until interrupted
    Watch,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZonesChoice {
    /// The peer's own zone.
    Mine,
    /// Every zone that can be reached.
    All,
}

impl Verb {
    /// What it prints is a file as it is.
    pub fn writes_bytes(&self) -> bool {
        match self {
            Self::Get(args) => args.output.as_deref() == Some(std::path::Path::new("-")),
            Self::Man { dir } => dir.is_none(),
            Self::Completions { .. } => true,
            _ => false,
        }
    }
}

impl From<ZonesChoice> for Scope {
    fn from(choice: ZonesChoice) -> Self {
        match choice {
            ZonesChoice::Mine => Self::Mine,
            ZonesChoice::All => Self::All,
        }
    }
}

/// Arguments of `send`.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// Files
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// PEER, zone:N, or all
    #[arg(long, value_parser = recipients)]
    pub to: Recipients,
}

/// Arguments of `put`.
#[derive(Debug, Clone, Args)]
pub struct PutArgs {
    /// A file, or - for stdin
    #[arg(value_name = "PATH|-", required_unless_present = "text")]
    pub path: Option<PathBuf>,
    /// A short text in place of a file
    #[arg(long, conflicts_with = "path")]
    pub text: Option<String>,
    /// Its name in the network; by default the file's, or the beginning of a text
    #[arg(long)]
    pub name: Option<String>,
    /// How many peers are to keep it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub replicas: u8,
}

/// Whom files are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// One peer, by name or beginning of its id.
    Peer(String),
    /// Everyone else in a zone.
    Zone(ZoneId),
    /// Everyone else.
    All,
}

/// What to do with shares.
#[derive(Debug, Clone, Subcommand)]
pub enum ShareAction {
    /// List them
    Ls,
    /// Offer another folder, from now on
    Add {
        /// The folder
        folder: PathBuf,
    },
    /// Stop offering one; its files stay
    Rm {
        /// Its name
        name: String,
    },
    /// Walk all folders again
    Rescan,
}

/// What to do with offers.
#[derive(Debug, Clone, Subcommand)]
pub enum InboxAction {
    /// Take one
    Accept {
        /// Its number
        id: u64,
    },
    /// Do not take one
    Decline {
        /// Its number
        id: u64,
        /// What the sender is told
        #[arg(long, default_value = "declined")]
        reason: String,
    },
    /// Take one, and every later one of its sender without being asked
    Trust {
        /// Its number
        id: u64,
    },
}

fn timeout(text: &str) -> Result<Duration, String> {
    value::duration(text, "30s", Duration::from_millis(1), Duration::from_secs(7 * 24 * 3600))
}

fn wait(text: &str) -> Result<Duration, String> {
    value::duration(text, "3s", Duration::from_millis(100), Duration::from_secs(60))
}

fn zone(text: &str) -> Result<ZoneId, String> {
    text.parse().ok().and_then(ZoneId::new).ok_or_else(|| "must be a zone's number, from 1".into())
}

fn search_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err("must have 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends".into())
}

fn browse_path(text: &str) -> Result<PeerPath, String> {
    let (peer, path) = text.split_once(':').unwrap_or((text, ""));
    if peer.is_empty() {
        return Err("must be PEER or PEER:PATH".into());
    }
    Ok(PeerPath { peer: peer.to_owned(), path: path.trim_matches('/').to_owned() })
}

/// A number below 10 digits is a hit, 64 hexadecimal digits are a hash, anything with `:` in it is a place.
pub fn target(text: &str) -> Result<Target, String> {
    if let Ok(hash) = text.parse::<ContentHash>() {
        return Ok(Target::Hash(hash));
    }
    match text.split_once(':') {
        Some((peer, path)) if !peer.is_empty() && !path.is_empty() => {
            Ok(Target::Path(PeerPath { peer: peer.to_owned(), path: path.to_owned() }))
        }
        _ => match text.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Target::Hit(number)),
            _ => {
                Err("must be a content hash of 64 hexadecimal digits, PEER:PATH, or the number of a hit"
                    .into())
            }
        },
    }
}

fn recipients(text: &str) -> Result<Recipients, String> {
    match text.split_once(':') {
        Some(("zone", number)) => zone(number).map(Recipients::Zone),
        None if text == "all" => Ok(Recipients::All),
        None if !text.is_empty() => Ok(Recipients::Peer(text.to_owned())),
        _ => Err("must be a peer's name or id, zone:N, or all".into()),
    }
}
