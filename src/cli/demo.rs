//! `demo`: a whole closed network in one process, on loopback ports that the system chooses, with real files in a temporary
//! folder that is gone at the end.

mod check;
mod samples;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{
    args::{DemoArgs, Global},
    daemon::{Signals, run_console},
    exit::{Ended, Failure, failed},
    output::Output,
    read_settings, runtime, start_logs, web,
};
use crate::{
    config::{HttpSettings, PeerSettings, RegistrySettings},
    console::ConsoleOptions,
    net::authority::PEER_LIFETIME,
    peer::{self, Handle, Peer},
    protocol::{
        action::{AcceptPolicy, ActionError, ErrorKind},
        bucket::RateLimits,
        id::PeerName,
        trust::invite::Invite,
        zone::Layout,
    },
    registry,
    shutdown::Shutdown,
    telemetry::Sink,
    wire::admin::InviteAsk,
};

/// Short, so that a peer that hangs is seen to go while one watches; long enough that none is taken for lost on a busy machine.
const LEASE: Duration = Duration::from_secs(10);
/// For the peers to enter the network at their start.
const INVITE_LIFETIME: Duration = Duration::from_secs(60);
/// For all peers to have joined.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// For all of `--check`.
const CHECK_DEADLINE: Duration = Duration::from_secs(240);
/// For everything to stop at the end; the files go then in any case.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Of the page of the first peer, when it is free.
const HTTP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7080);

/// Names of the first peers; more are numbered.
const NAMES: [&str; 16] = [
    "ana", "ben", "chloe", "dan", "eva", "finn", "gina", "hugo", "iris", "jan", "kim", "leo", "mia", "noah",
    "olga", "paul",
];

/// Runs the demo.
pub(super) fn demo(global: &Global, args: &DemoArgs, out: &mut Output) -> Ended {
    if !args.peers.is_multiple_of(args.zones) || args.peers / args.zones < 2 {
        let message = format!("{} peers do not make {} equal zones of two or more", args.peers, args.zones);
        let example = format!("--peers {} would do", (args.peers / args.zones).max(2) * args.zones);
        return Err(ActionError::new(ErrorKind::Usage, message).hint(example).into());
    }
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "off", Sink::Stderr)?;
    let runtime = runtime(Builder::new_multi_thread())?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let shutdown = Shutdown::new();
        let began = Instant::now();
        // Held to the end: dropping it removes every file.
        let folder = tempfile::Builder::new()
            .prefix("floodplain-demo-")
            .tempdir()
            .map_err(|error| Failure::failed(format!("could not make a temporary folder: {error}")))?;
        // One each, so that a peer is killed and waited for alone.
        let shutdowns: Vec<_> = (0..args.peers).map(|_| Shutdown::new()).collect();
        let starting =
            tokio::time::timeout(START_DEADLINE, Network::start(args, &folder, &shutdown, &shutdowns));
        let ended = tokio::select! {
            started = starting => match started {
                Ok(Ok(network)) => run(global, args, out, network, began, &shutdown, &mut signals).await,
                Ok(Err(error)) => Err(failed(&error)),
                Err(_) => Err(late("the network did not start", START_DEADLINE)),
            },
            () = signals.any() => Err(interrupted()),
        };
        join_all(shutdowns.iter().map(|shutdown| shutdown.drain(STOP_GRACE))).await;
        shutdown.drain(STOP_GRACE).await;
        ended
    });
    runtime.shutdown_background();
    ended
}

async fn run(
    global: &Global,
    args: &DemoArgs,
    out: &mut Output,
    network: Network,
    began: Instant,
    shutdown: &Shutdown,
    signals: &mut Signals,
) -> Ended {
    if args.check {
        let checks = tokio::time::timeout(CHECK_DEADLINE, check::run(network, began.elapsed(), out));
        return tokio::select! {
            checked = checks => checked.unwrap_or_else(|_| Err(late("the checks did not end", CHECK_DEADLINE))),
            () = signals.any() => Err(interrupted()),
        };
    }
    let first = &network.nodes[0];
    let http = HttpSettings { listen: Some(HTTP_LISTEN), is_default: true, hosts: Vec::new() };
    let page = match web::open(&http, &first.data, &first.peer, out, shutdown).await? {
        Some(gateway) => web::link_of(&gateway)?,
        None => String::new(),
    };
    out.note(format_args!(
        "{} peers in {} zones on this machine, ready in {:.1} s. You are {}; the files are in {}.\n\
         Web page: {page}\n\
         Try: search handbook",
        args.peers,
        args.zones,
        began.elapsed().as_secs_f64(),
        first.name,
        first.share.display(),
    ));
    let options = ConsoleOptions { history: None, is_plain: global.plain };
    let ended = run_console(first.handle(), options, shutdown, signals).await;
    let leaving = join_all(network.nodes.iter().map(|node| node.peer.leave()));
    let _ = tokio::time::timeout(STOP_GRACE, leaving).await;
    ended
}

fn interrupted() -> Failure {
    ActionError::new(ErrorKind::Cancelled, "interrupted").into()
}

fn late(what: &str, deadline: Duration) -> Failure {
    ActionError::new(ErrorKind::TimedOut, format!("{what} within {} s", deadline.as_secs())).into()
}

/// A registry and its peers; they run until the shutdown that they were started with.
struct Network {
    nodes: Vec<Node>,
    /// Peers in each zone.
    zone_size: u32,
    _registry: registry::Running,
}

/// One peer of the demo.
struct Node {
    name: PeerName,
    peer: Peer,
    /// Its own, so that it can be killed alone.
    shutdown: Shutdown,
    share: PathBuf,
    inbox: PathBuf,
    data: PathBuf,
    /// Files made for it.
    files: u64,
}

impl Network {
    /// Makes the files, then starts everything; completes when every peer has joined.
    async fn start(
        args: &DemoArgs,
        folder: &TempDir,
        shutdown: &Shutdown,
        shutdowns: &[Shutdown],
    ) -> anyhow::Result<Self> {
        let zone_size = args.peers / args.zones;
        let settings = RegistrySettings {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            invite_file: None,
            layout: Layout::Fixed { zones: args.zones, zone_size },
            lease: LEASE,
            heartbeat: LEASE / 3,
            certificate_lifetime: PEER_LIFETIME,
            data: folder.path().join("registry"),
            http: HttpSettings::default(),
            insecure_loopback: false,
        };
        let registry = registry::start(settings, shutdown.clone()).await?;
        let ask = InviteAsk { uses: args.peers, lifetime: INVITE_LIFETIME, zone: None };
        let (invite, _) = registry.invite(&ask).await?;
        let starting = shutdowns
            .iter()
            .enumerate()
            .map(|(number, shutdown)| Node::start(number, &invite, folder.path(), shutdown.clone()));
        let nodes = try_join_all(starting).await?;
        Ok(Self { nodes, zone_size, _registry: registry })
    }
}

impl Node {
    /// Completes when it has joined.
    async fn start(
        number: usize,
        invite: &Invite,
        folder: &Path,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let name = NAMES.get(number).map_or_else(|| format!("peer{}", number + 1), |&name| name.to_owned());
        let folder = folder.join(&name);
        let (share, inbox) = (folder.join("share"), folder.join("inbox"));
        let data = folder.join("data");
        let (made, owner) = (share.clone(), name.clone());
        let files = tokio::task::spawn_blocking(move || samples::make(&made, &owner, number)).await??;
        let name: PeerName = name.parse()?;
        let settings = PeerSettings {
            registry: invite.registry.clone(),
            is_registry_default: false,
            invite: Some(invite.clone()),
            invite_file: None,
            name: name.clone(),
            is_name_default: false,
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            http: HttpSettings::default(),
            shares: vec![share.clone()],
            inbox: inbox.clone(),
            data: data.clone(),
            ttl: 16,
            search_timeout: Duration::from_secs(3),
            saved_search_every: Duration::from_secs(300),
            query_cache: 10_000,
            upload_slots: 8,
            download_slots: 4,
            upload_limits: RateLimits::default(),
            download_limits: RateLimits::default(),
            // The one with the console is asked, so that there is something to see.
            accept: if number == 0 { AcceptPolicy::Ask } else { AcceptPolicy::All },
            replica_space: 64 << 20,
            replica_grace: Duration::from_secs(300),
            insecure_loopback: false,
        };
        let peer = peer::start(settings, shutdown.clone()).await?;
        peer.until_ready().await?;
        Ok(Self { name, peer, shutdown, share, inbox, data, files })
    }

    fn handle(&self) -> Handle {
        self.peer.handle()
    }

    /// As a crash: its tasks stop where they are, and nobody is told.
    fn kill(self) {
        self.shutdown.stop();
    }
}
