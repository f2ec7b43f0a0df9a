//! The fifteen faults of the systems that this one replaces, each with a test that it does not come back.
//!
//! Some are tried more closely elsewhere: capacity, fencing and addresses in `tests/registry`, names and racing writers in
//! `tests/transfer`, the menu in `tests/console.rs` and `tests/console_terminal.rs`, settings in `src/config`.

#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::{net::SocketAddr, path::Path, time::Duration};

use floodplain::{
    net::{Identity, Purpose, Security, Transport},
    protocol::{
        action::{ErrorKind, GetAsk, PeerPath, Target, Transfer, TransferState},
        id::{Credential, PeerId},
        zone::Layout,
    },
    wire::pb::{
        self, peer_service_client::PeerServiceClient, registry_service_client::RegistryServiceClient,
    },
};
use futures::StreamExt;
use support::{TestPeer, TestRegistry, network, put, soon};
use tonic::{Code, transport::Channel};

fn transport() -> Transport {
    Transport::new(Identity::ephemeral(), Security::PlaintextLoopback)
}

async fn registry_client(address: SocketAddr) -> RegistryServiceClient<Channel> {
    RegistryServiceClient::new(
        transport().dial_host(&address.to_string(), Purpose::Registry).await.expect("a registry"),
    )
}

async fn peer_client(address: SocketAddr) -> PeerServiceClient<Channel> {
    PeerServiceClient::new(transport().dial_host(&address.to_string(), Purpose::Link).await.expect("a peer"))
}

fn registration(name: &str, address: &str) -> pb::RegisterRequest {
    let credential = Credential::random(&mut rand::rng());
    pb::RegisterRequest {
        peer: Some(pb::Peer {
            peer_id: credential.peer_id().as_bytes().to_vec().into(),
            name: name.into(),
            address: address.into(),
            incarnation: 1,
            ..pb::Peer::default()
        }),
        credential: credential.as_bytes().to_vec().into(),
        host_id: String::new(),
    }
}

fn by_path(peer: &str, path: &str) -> Target {
    Target::Path(PeerPath { peer: peer.into(), path: path.into() })
}

fn failure(transfer: &Transfer) -> ErrorKind {
    match &transfer.state {
        TransferState::Failed(error) => error.kind,
        other => panic!("failed was expected, not {other:?}"),
    }
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_01_a_miss_ends_and_costs_one_message_a_peer() {
    let (_registry, peers) = network(1, 8).await;
    let (hits, coverage) = peers[0].search("nowhere to be found").await;
    assert!(hits.is_empty() && coverage.is_complete());
    assert_eq!(coverage.messages, 7);
    for peer in &peers {
        soon("nothing to run on", async {
            while peer.peer.running_queries() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_a_registry_that_restarts_gets_its_peers_back() {
    let (registry, peers) = network(1, 6).await;
    let (settings, folder) = registry.stop().await;
    let (hits, _) = peers[1].search("peer3 report").await;
    assert_eq!(hits.len(), 1, "searches do not wait for the registry");
    let registry = TestRegistry::start_with(settings).await;
    let mut client = registry_client(registry.address).await;
    soon("all six", async {
        let ask = || pb::ListPeersRequest::default();
        while client.list_peers(ask()).await.expect("a list").into_inner().peers.len() < 6 {}
    })
    .await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_03_growth_loses_no_file() {
    let (registry, peers) = {
        let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 10 }).await;
        let mut peers = Vec::new();
        for number in 0..3 {
            let files: Vec<String> = (0..100).map(|file| format!("memo {number} {file:03}.txt")).collect();
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
            peers.push(TestPeer::start(registry.address, &format!("old{number}"), &files).await);
        }
        (registry, peers)
    };
    peers[0].until_zone_has(3).await;
    assert_eq!(peers[0].search("memo").await.0.len(), 300);
    let mut newcomers = Vec::new();
    for number in 0..5 {
        newcomers.push(TestPeer::start(registry.address, &format!("new{number}"), &[]).await);
    }
    newcomers[4].until_zone_has(8).await;
    for peer in peers.iter().chain(&newcomers) {
        peer.until_zone_has(8).await;
        assert_eq!(peer.search("memo").await.0.len(), 300, "as {} sees it", peer.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_04_leaving_gives_the_place_back_every_time() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 2, zone_size: 6 }).await;
    let mut client = registry_client(registry.address).await;
    for round in 0..20 {
        let mut leases = Vec::new();
        for number in 0..12 {
            let request = registration(&format!("p{number}"), &format!("127.0.0.1:{}", 20_000 + number));
            leases.push(client.register(request).await.expect("room").into_inner().lease_id);
        }
        let full = client.register(registration("late", "127.0.0.1:30000")).await.expect_err("full");
        assert_eq!(full.code(), Code::ResourceExhausted, "round {round}");
        for lease_id in leases {
            client.unregister(pb::UnregisterRequest { lease_id }).await.expect("left");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_05_the_dead_are_not_listed_and_do_not_end_a_search() {
    let (registry, mut peers) = network(1, 8).await;
    peers.remove(2).kill().await;
    peers.remove(4).kill().await;
    let (hits, coverage) = peers[0].search("report").await;
    assert_eq!((hits.len(), coverage.answered), (6, 6));
    for peer in &peers {
        peer.until_zone_has(6).await;
    }
    let mut client = registry_client(registry.address).await;
    let listed = client.list_peers(pb::ListPeersRequest::default()).await.expect("a list").into_inner().peers;
    assert_eq!(listed.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_06_no_path_leads_out_of_a_folder() {
    let (_registry, peers) = network(1, 6).await;
    put(&peers[1].folder.path().join("secret.txt"), b"secret");
    std::os::unix::fs::symlink("../secret.txt", peers[1].share().join("link.txt")).expect("linked");
    peers[1].handle.rescan().await.expect("walked");
    let mut client = peer_client(peers[1].peer.address()).await;
    for path in [
        "../../etc/passwd",
        "/etc/passwd",
        "docs/../secret.txt",
        "docs/../../secret.txt",
        "docs/link.txt",
        "docs",
        "",
    ] {
        let file = Some(pb::download_request::File::Path(path.into()));
        let answer = client.download(pb::DownloadRequest { file, ..pb::DownloadRequest::default() }).await;
        let code = match answer {
            Err(status) => status.code(),
            Ok(stream) => stream.into_inner().message().await.expect_err("an error").code(),
        };
        assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{path}: {code:?}");
    }
    for name in ["../pwned", "a/b", "..", "", "con", "x\u{202e}y"] {
        let offer = pb::SendOffer {
            sender_id: vec![7; 32].into(),
            sender_name: "mallory".into(),
            name: name.into(),
            size_bytes: 0,
            content_hash: blake3::hash(b"").as_bytes().to_vec().into(),
            files: None,
        };
        let offer = pb::SendRequest { message: Some(pb::send_request::Message::Offer(offer)) };
        let refused = match client.send(futures::stream::iter([offer])).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err("an error"),
        };
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(files_below(&peers[1].folder.path().join("inbox")), 0);
    assert!(!peers[1].folder.path().join("pwned").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_07_a_second_file_of_a_name_replaces_nothing() {
    let (_registry, peers) = network(1, 6).await;
    let mine = peers[0].folder.path().join("plan.txt");
    for text in ["first", "second"] {
        put(&mine, text.as_bytes());
        assert_eq!(peers[0].send(&mine, "peer2").await.state, TransferState::Done);
    }
    let inbox = peers[1].folder.path().join("inbox");
    assert_eq!(std::fs::read(inbox.join("plan.txt")).expect("the first"), b"first");
    assert_eq!(std::fs::read(inbox.join("plan (1).txt")).expect("the second"), b"second");
    // A download as well.
    let to = tempfile::tempdir().expect("a folder");
    put(&to.path().join("peer2 report.txt"), b"mine");
    let got = peers[0].get(by_path("peer2", "docs/peer2 report.txt"), to.path()).await;
    assert_eq!(got.path.expect("published"), to.path().join("peer2 report (1).txt"));
    assert_eq!(std::fs::read(to.path().join("peer2 report.txt")).expect("mine"), b"mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_08_racing_writers_all_land() {
    let (_registry, peers) = network(1, 6).await;
    let sends = peers[1..].iter().map(|sender| async {
        let file = sender.folder.path().join("same name.bin");
        put(&file, sender.name.repeat(50_000).as_bytes());
        sender.send(&file, "peer1").await.state
    });
    let states = futures::future::join_all(sends).await;
    assert_eq!(states, vec![TransferState::Done; 5]);
    let inbox = peers[0].folder.path().join("inbox");
    let mut arrived: Vec<Vec<u8>> = std::fs::read_dir(&inbox)
        .expect("the inbox")
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect();
    arrived.sort();
    let sent: Vec<Vec<u8>> =
        (2..=6).map(|number| format!("peer{number}").repeat(50_000).into_bytes()).collect();
    assert!(arrived == sent, "{} files", arrived.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_09_nobody_speaks_for_another() {
    let (registry, peers) = network(1, 6).await;
    let mut client = registry_client(registry.address).await;
    let victim = pb::ListPeersRequest::default();
    let victim = client.list_peers(victim).await.expect("a list").into_inner().peers.swap_remove(0);
    // The id without its credential, and the name with another id.
    let mut stolen = registration("thief", "127.0.0.1:9");
    stolen.peer.as_mut().expect("a peer").peer_id = victim.peer_id.clone();
    stolen.peer.as_mut().expect("a peer").incarnation = u64::MAX;
    assert_eq!(client.register(stolen).await.expect_err("refused").code(), Code::PermissionDenied);
    let taken = registration(&victim.name, "127.0.0.1:9");
    assert_eq!(client.register(taken).await.expect_err("refused").code(), Code::AlreadyExists);
    // A lease that was guessed, which tells nobody whether it was right.
    for _ in 0..3 {
        let lease_id = PeerId::random(&mut rand::rng()).as_bytes()[..16].to_vec().into();
        client.unregister(pb::UnregisterRequest { lease_id }).await.expect("idempotent");
    }
    peers[0].until_zone_has(6).await;
    assert_eq!(peers[0].search("report").await.1.answered, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_10_a_silent_host_freezes_nobody() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 8 }).await;
    // Accepts connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let mut client = registry_client(registry.address).await;
    client.register(registration("silent", &address)).await.expect("room");
    let mut peers = Vec::new();
    for number in 0..5 {
        let name = format!("peer{number} report.txt");
        peers.push(
            TestPeer::start(registry.address, &format!("peer{number}"), &[(&name, name.as_bytes())]).await,
        );
    }
    for peer in &peers {
        peer.until_zone_has(6).await;
    }
    let searches = peers.iter().map(|peer| peer.search("report"));
    for (hits, coverage) in futures::future::join_all(searches).await {
        assert_eq!((hits.len(), coverage.answered, coverage.unreachable), (5, 5, 1));
    }
    // A get from it waits for its own time-out, and nothing waits for that get.
    let to = tempfile::tempdir().expect("a folder");
    let ask = GetAsk::new(by_path("silent", "docs/x"), Some(to.path().into()));
    let stuck = peers[0].handle.get(ask).await.expect("begun");
    let fine = peers[0].get(by_path("peer1", "docs/peer1 report.txt"), to.path()).await;
    assert_eq!(fine.state, TransferState::Done);
    let running = peers[0].handle.transfers().await.expect("a list");
    assert!(running.iter().any(|transfer| !transfer.state.is_final()), "the stuck one goes on trying");
    drop(stuck);
}

#[test]
fn fault_11_nothing_typed_ends_a_console_but_quitting() {
    use floodplain::console::parse;
    for junk in ["", " ", "abc", "99", "-1", "1 2 3", "\u{1b}[A", "0x", "quit now", &"x".repeat(1 << 20)] {
        assert!(!matches!(parse::parse(junk), Ok(parse::Command::Quit)), "{junk:.20}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_12_two_peers_do_not_share_a_port_and_no_useless_address_is_told() {
    let (registry, peers) = network(1, 6).await;
    let mut settings = peers[0].settings.clone();
    settings.name = "second".parse().expect("a name");
    settings.listen = peers[0].peer.address();
    settings.data = peers[0].folder.path().join("other data");
    let error = floodplain::peer::start(settings.clone(), floodplain::shutdown::Shutdown::new())
        .await
        .expect_err("refused");
    assert!(format!("{error:#}").contains("another daemon"), "{error:#}");
    settings.listen = ([127, 0, 0, 1], 0).into();
    settings.data.clone_from(&peers[0].settings.data);
    let error =
        floodplain::peer::start(settings, floodplain::shutdown::Shutdown::new()).await.expect_err("refused");
    assert!(format!("{error:#}").contains("data folder"), "{error:#}");

    let mut client = registry_client(registry.address).await;
    for address in ["0.0.0.0:7001", "[::]:7001", "224.0.0.1:7001", "127.0.0.1:0", "somewhere", ""] {
        let refused = client.register(registration("lost", address)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{address}");
    }
    let occupied = client.register(registration("twin", &peers[0].peer.address().to_string())).await;
    assert_eq!(occupied.expect_err("refused").code(), Code::AlreadyExists);
}

#[test]
fn fault_13_idle_daemons_do_not_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Daemon::start(folder.path(), "registry", &["--listen", "127.0.0.1:0"]);
    let peer = Daemon::start(
        folder.path(),
        "peer",
        &["--headless", "--listen", "127.0.0.1:0", "--registry", &registry.address],
    );
    let before = [registry.ticks(), peer.ticks()];
    // Time is what is measured here: there is nothing to do, and a spinning daemon would take all of it.
    std::thread::sleep(Duration::from_secs(3));
    for (daemon, before) in [registry, peer].iter().zip(before) {
        let used = daemon.ticks() - before;
        assert!(used <= 30, "{used} ticks of 10 ms in 3 s");
    }
}

/// A daemon as a process of its own; ended when dropped.
struct Daemon {
    process: std::process::Child,
    address: String,
}

impl Daemon {
    fn start(folder: &Path, verb: &str, args: &[&str]) -> Self {
        use std::io::BufRead;
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_floodplain"))
            .arg(verb)
            .args(args)
            .arg("--insecure-loopback")
            .arg("--data")
            .arg(folder.join(verb))
            .current_dir(folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the binary");
        let mut line = String::new();
        let output = process.stdout.take().expect("piped");
        std::io::BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
        Self { process, address }
    }

    /// CPU time since its start, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("a Linux");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
        fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_what_has_no_name_or_is_not_there_is_an_error() {
    let (registry, peers) = network(1, 6).await;
    let mut client = registry_client(registry.address).await;
    for name in ["", " ", "-", "a b", "\u{1b}[2J"] {
        let refused = client.register(registration(name, "127.0.0.1:9")).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    let to = tempfile::tempdir().expect("a folder");
    let absent = peers[0].get(by_path("peer2", "docs/never.txt"), to.path()).await;
    assert_eq!(failure(&absent), ErrorKind::NotFound);
    let hash = floodplain::protocol::id::ContentHash::from_bytes([1; 32]);
    let ask = GetAsk::new(Target::Hash(hash), Some(to.path().into()));
    let error = peers[0].handle.get(ask).await.err().expect("nobody has it");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(files_below(to.path()), 0);
    let empty = floodplain::protocol::action::SearchAsk::default();
    assert_eq!(peers[0].handle.search(empty).await.err().expect("no query").kind, ErrorKind::Usage);
}

#[test]
fn fault_15_every_dependency_is_pinned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("the lock file is kept");
    let packages = lock.matches("[[package]]").count();
    assert_eq!(lock.matches("\nchecksum = ").count(), packages - 1, "all but this one come with their hash");
    for workflow in std::fs::read_dir(root.join(".github/workflows")).expect("workflows") {
        let path = workflow.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a workflow");
        for used in text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, used)| used.trim()) {
            let is_pinned = used.split('@').nth(1).is_some_and(|rev| {
                rev.split_whitespace()
                    .next()
                    .is_some_and(|rev| rev.len() == 40 && rev.bytes().all(|b| b.is_ascii_hexdigit()))
            });
            assert!(used.starts_with("./") || is_pinned, "{}: {used}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_is_read_slowly_is_cut_at_its_deadline_and_lets_go() {
    let (_registry, peers) = network(1, 6).await;
    let ask = floodplain::protocol::action::SearchAsk {
        text: "report".into(),
        wait: Some(Duration::from_millis(300)),
        ..Default::default()
    };
    let events = peers[0].handle.search(ask).await.expect("a search");
    soon("the query to end by itself", async {
        while peers[0].peer.running_queries() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let events: Vec<_> = soon("what was queued", events.collect()).await;
    assert!(!events.is_empty());
}
