//! A whole network in this process: real daemons, real gRPC on ports that the system chooses, real files.

use std::{net::SocketAddr, path::Path, time::Duration};

use floodplain::{
    config::{PeerSettings, RegistrySettings},
    peer::{self, Handle, Peer},
    protocol::{
        action::{AcceptPolicy, Coverage, GetAsk, Hit, SearchAsk, SearchEvent, SendAsk, Target, Transfer},
        bucket::RateLimits,
        trust::invite::Invite,
        zone::Layout,
    },
    registry,
    shutdown::Shutdown,
    wire::admin::InviteAsk,
};
use futures::StreamExt;
use tempfile::TempDir;

/// Longest that anything awaited in a test may take, on a machine with other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough that no living peer is taken for dead. Who ends is seen by the end of its session, and the pause after which the
/// registry removes nobody for a lease is within [`PATIENCE`].
const LEASE: Duration = Duration::from_secs(15);
/// A search ends by itself; one that lasts so long has waited to its deadline.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Awaits within [`PATIENCE`], or fails the test with what was awaited.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A registry with its folder.
#[derive(Debug)]
pub(crate) struct TestRegistry {
    pub(crate) address: SocketAddr,
    pub(crate) settings: RegistrySettings,
    #[allow(dead_code, reason = "of tests of closed networks")]
    pub(crate) invite: Option<Invite>,
    pub(crate) shutdown: Shutdown,
    folder: Option<TempDir>,
}

impl TestRegistry {
    pub(crate) async fn start(layout: Layout) -> Self {
        Self::start_changed(layout, |_| ()).await
    }

    /// As [`Self::start`], of a closed network; it has an invite for 100 peers.
    #[allow(dead_code, reason = "of tests of closed networks")]
    pub(crate) async fn start_closed(layout: Layout) -> Self {
        Self::start_changed(layout, |settings| settings.insecure_loopback = false).await
    }

    async fn start_changed(layout: Layout, change: impl FnOnce(&mut RegistrySettings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = RegistrySettings {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            invite_file: None,
            layout,
            lease: LEASE,
            heartbeat: Duration::from_millis(500),
            data: folder.path().into(),
            http: floodplain::config::HttpSettings::default(),
            insecure_loopback: true,
        };
        change(&mut settings);
        let mut registry = Self::start_with(settings).await;
        registry.folder = Some(folder);
        registry
    }

    pub(crate) async fn start_with(mut settings: RegistrySettings) -> Self {
        let shutdown = Shutdown::new();
        let running = registry::start(settings.clone(), shutdown.clone()).await.expect("a registry");
        let address = running.address();
        let mut invite = None;
        if !settings.insecure_loopback {
            let ask = InviteAsk { uses: 100, ..InviteAsk::default() };
            invite = Some(running.invite(&ask).await.expect("an invite").0);
        }
        settings.listen = address;
        Self { address, settings, invite, shutdown, folder: None }
    }

    /// Ends it; its settings name the port that it had, its folder lives as long as the second value.
    pub(crate) async fn stop(self) -> (RegistrySettings, Option<TempDir>) {
        assert!(self.shutdown.drain(PATIENCE).await, "the registry ends");
        (self.settings, self.folder)
    }
}

/// A peer with its folders.
#[derive(Debug)]
pub(crate) struct TestPeer {
    pub(crate) name: String,
    pub(crate) peer: Peer,
    pub(crate) handle: Handle,
    pub(crate) settings: PeerSettings,
    pub(crate) shutdown: Shutdown,
    pub(crate) folder: TempDir,
}

impl TestPeer {
    /// Started and joined, with these files in its share.
    pub(crate) async fn start(registry: SocketAddr, name: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_changed(registry, name, files, |_| ()).await
    }

    /// As [`Self::start`], with other settings.
    pub(crate) async fn start_changed(
        registry: SocketAddr,
        name: &str,
        files: &[(&str, &[u8])],
        change: impl FnOnce(&mut PeerSettings),
    ) -> Self {
        let (settings, folder) = Self::settings(registry, name, files, change);
        Self::start_with(settings, folder).await
    }

    /// What [`Self::start_with`] takes.
    pub(crate) fn settings(
        registry: SocketAddr,
        name: &str,
        files: &[(&str, &[u8])],
        change: impl FnOnce(&mut PeerSettings),
    ) -> (PeerSettings, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let share = folder.path().join("docs");
        std::fs::create_dir(&share).expect("made");
        for (path, bytes) in files {
            put(&share.join(path), bytes);
        }
        let mut settings = PeerSettings {
            registry: registry.to_string(),
            is_registry_default: false,
            invite: None,
            invite_file: None,
            name: name.parse().expect("a name"),
            is_name_default: false,
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            http: floodplain::config::HttpSettings::default(),
            shares: vec![share],
            inbox: folder.path().join("inbox"),
            data: folder.path().join("data"),
            ttl: 16,
            search_timeout: SEARCH_TIMEOUT,
            saved_search_every: Duration::from_secs(300),
            query_cache: 10_000,
            upload_slots: 8,
            download_slots: 4,
            upload_limits: RateLimits::default(),
            download_limits: RateLimits::default(),
            accept: AcceptPolicy::All,
            replica_space: 0,
            replica_grace: Duration::from_secs(300),
            insecure_loopback: true,
        };
        change(&mut settings);
        (settings, folder)
    }

    pub(crate) async fn start_with(settings: PeerSettings, folder: TempDir) -> Self {
        let shutdown = Shutdown::new();
        let peer = peer::start(settings.clone(), shutdown.clone()).await.expect("a peer");
        soon("the peer to join", peer.until_ready()).await.expect("joined");
        soon("the index", peer.until_indexed()).await;
        let handle = peer.handle();
        Self { name: settings.name.to_string(), peer, handle, settings, shutdown, folder }
    }

    pub(crate) fn share(&self) -> std::path::PathBuf {
        self.folder.path().join("docs")
    }

    /// Ends it as a power cut would: nothing is said to anyone.
    pub(crate) async fn kill(self) -> (PeerSettings, TempDir) {
        assert!(self.shutdown.drain(PATIENCE).await, "the peer ends");
        (self.settings, self.folder)
    }

    pub(crate) async fn search(&self, text: &str) -> (Vec<Hit>, Coverage) {
        self.search_with(SearchAsk { text: text.into(), ..SearchAsk::default() }).await
    }

    pub(crate) async fn search_with(&self, ask: SearchAsk) -> (Vec<Hit>, Coverage) {
        let mut events = self.handle.search(ask).await.expect("a search");
        let mut hits = std::collections::BTreeMap::new();
        loop {
            match soon("a search event", events.next()).await.expect("an end").expect("no error") {
                SearchEvent::Hit(hit) => drop(hits.insert(hit.number, hit)),
                SearchEvent::Done(coverage) => return (hits.into_values().collect(), coverage),
            }
        }
    }

    /// Downloads; the last state tells how it ended.
    pub(crate) async fn get(&self, target: Target, to: &Path) -> Transfer {
        let ask = GetAsk::new(target, Some(to.into()));
        last(self.handle.get(ask).await.expect("a download")).await
    }

    pub(crate) async fn send(&self, file: &Path, to: &str) -> Transfer {
        let ask = SendAsk { path: file.into(), peer: to.into() };
        last(self.handle.send(ask).await.expect("a send")).await
    }

    /// Waits until it can leave its zone: as a gateway it knows those of this many zones, otherwise its own ones.
    pub(crate) async fn until_gateways_of(&self, zones: usize) {
        let is_so = |now: &floodplain::peer::Knowledge| {
            !now.own_gateways().is_empty() && (!now.is_gateway() || now.gateways.zones().count() == zones)
        };
        soon("the gateways", self.peer.view().until(is_so)).await;
    }

    /// Waits until its zone has this many members.
    pub(crate) async fn until_zone_has(&self, members: u32) {
        let is_so = |now: &floodplain::peer::Knowledge| {
            now.roster.as_ref().map_or(0, |roster| roster.members().len()) == members as usize
        };
        soon("the zone's size", self.peer.view().until(is_so)).await;
    }
}

async fn last(mut events: floodplain::peer::handle::Events<Transfer>) -> Transfer {
    let mut last = None;
    while let Some(event) = soon("a transfer event", events.next()).await {
        last = Some(event.expect("no error"));
    }
    last.expect("at least one event")
}

/// A file with its folders.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// A registry and that many peers in that many zones, each with a file of its own name, ready and complete.
pub(crate) async fn network(zones: u32, zone_size: u32) -> (TestRegistry, Vec<TestPeer>) {
    let registry = TestRegistry::start(Layout::Fixed { zones, zone_size }).await;
    let mut peers = Vec::new();
    for number in 1..=zones * zone_size {
        let name = format!("peer{number}");
        let own = format!("{name} report.txt");
        let text = format!("the report of {name}\n");
        let files: [(&str, &[u8]); 2] =
            [(&own, text.as_bytes()), ("shared note.txt", b"the same everywhere\n")];
        peers.push(TestPeer::start(registry.address, &name, &files).await);
    }
    for peer in &peers {
        peer.until_zone_has(zone_size).await;
    }
    (registry, peers)
}
