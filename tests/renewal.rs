//! Certificates that last for seconds, under real peers that go on: renewed in time, renewed after their time, and never for
//! one that was shut out; and the authority changed beneath them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "support/network.rs"]
mod support;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime},
};

use floodplain::{
    config::PeerSettings,
    peer,
    protocol::{
        action::{Connection, ErrorKind, PeerPath, Target, TransferState},
        bucket::RateLimits,
        trust::Credentials,
        zone::Layout,
    },
    registry::admin::socket_path,
    shutdown::Shutdown,
    store::membership::NetworkFolder,
    wire::pb::{
        RevokeRequest, RotateAuthorityRequest, RotateAuthorityResponse,
        registry_admin_service_client::RegistryAdminServiceClient, rotate_authority_request::Step,
    },
};
use hyper_util::rt::TokioIo;
use support::{TestPeer, TestRegistry, soon};
use tokio::net::UnixStream;
use tonic::transport::Channel;

/// Connections live for a second of that, so that new ones are opened all the time.
const LIFETIME: Duration = Duration::from_secs(6);
/// One test at a time: they go by the clock of the wall.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn registry(lifetime: Duration) -> TestRegistry {
    let layout = Layout::Elastic { min: 6, target: 16, max: 24 };
    TestRegistry::start_changed(layout, |settings| {
        settings.insecure_loopback = false;
        settings.certificate_lifetime = lifetime;
    })
    .await
}

async fn join(
    registry: &TestRegistry,
    name: &str,
    files: &[(&str, &[u8])],
    change: impl FnOnce(&mut PeerSettings),
) -> TestPeer {
    let (settings, folder) = TestPeer::settings(registry.address, name, files, |settings| {
        (settings.insecure_loopback, settings.invite) = (false, registry.invite.clone());
        change(settings);
    });
    TestPeer::start_with(settings, folder).await
}

async fn owner(registry: &TestRegistry) -> RegistryAdminServiceClient<Channel> {
    let path = socket_path(&registry.settings.data);
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Channel::from_static("http://registry");
    RegistryAdminServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

async fn rotate(registry: &TestRegistry, step: Step) -> RotateAuthorityResponse {
    let request = RotateAuthorityRequest { step: step.into() };
    owner(registry).await.rotate_authority(request).await.unwrap().into_inner()
}

/// As it is kept; renewals are kept as soon as they are shown.
fn credentials(data: &Path) -> Credentials {
    NetworkFolder::of(data).load().unwrap().unwrap().credentials
}

/// Waits on the clock of the wall, by which certificates end.
async fn until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        tokio::time::sleep(left + Duration::from_millis(1)).await;
    }
}

/// Searches from each peer again and again until `is_over`; every one has to find everybody. Tells how many there were.
async fn search_on(peers: &[TestPeer], is_over: &AtomicBool) -> usize {
    let searches = AtomicUsize::new(0);
    let one_by_one = async |peer: &TestPeer| {
        while !is_over.load(Ordering::Relaxed) {
            let (hits, coverage) = peer.search("report").await;
            let asked = (coverage.answered, coverage.unreachable, hits.len());
            assert_eq!(asked, (3, 0, peers.len()), "{}: {coverage:?}", peer.name);
            searches.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    futures::future::join_all(peers.iter().map(one_by_one)).await;
    searches.into_inner()
}

/// Fails when any of the peers is ever without its session or the others.
async fn never_lost(peers: &[TestPeer]) {
    let lost = peers.iter().map(|peer| {
        let is_lost = |now: &peer::Knowledge| {
            now.connection != Connection::Connected
                || now.roster.as_ref().is_none_or(|roster| roster.members().len() != peers.len())
        };
        Box::pin(async move {
            peer.peer.view().until(is_lost).await;
            &peer.name
        })
    });
    let (name, _, _) = futures::future::select_all(lost).await;
    panic!("{name} lost its session or the others");
}

async fn three(registry: &TestRegistry, content: &[u8], rate: u64) -> Vec<TestPeer> {
    let slow = RateLimits { whole: rate, per_peer: 0 };
    let files: [(&str, &[u8]); 2] = [("report a.txt", b"of ana"), ("large table.bin", content)];
    let ana = join(registry, "ana", &files, |settings| settings.upload_limits = slow).await;
    let ben = join(registry, "ben", &[("report b.txt", b"of ben")], |_| ()).await;
    let cem = join(registry, "cem", &[("report c.txt", b"of cem")], |_| ()).await;
    let peers = vec![ana, ben, cem];
    for peer in &peers {
        peer.until_zone_has(3).await;
        soon("the content to be known", peer.peer.until_hashed()).await;
    }
    peers
}

fn large_table() -> Target {
    Target::Path(PeerPath { peer: "ana".into(), path: "docs/large table.bin".into() })
}

fn pattern(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_and_transfers_go_on_while_certificates_are_renewed() {
    let _alone = ALONE.lock().await;
    let registry = registry(LIFETIME).await;
    let content = pattern(2_000_000);
    // The transfer lasts for more than a certificate.
    let peers = three(&registry, &content, 256 << 10).await;
    let began = Instant::now();
    let first: Vec<_> = peers.iter().map(|peer| credentials(&peer.settings.data)).collect();
    let is_over = AtomicBool::new(false);
    let to = peers[1].folder.path().join("got.bin");
    let transfer = async {
        let got = peers[1].get(large_table(), &to).await;
        is_over.store(true, Ordering::Relaxed);
        got
    };
    let (got, searches) = tokio::select! {
        done = async { tokio::join!(transfer, search_on(&peers, &is_over)) } => done,
        () = never_lost(&peers) => unreachable!(),
    };
    let took = began.elapsed();
    println!("{searches} searches beside a transfer of {took:?}");
    assert_eq!(got.state, TransferState::Done, "{got:?}");
    assert!(fs::read(&to).unwrap() == content);
    assert!(took > LIFETIME, "{took:?} is no time for a renewal");
    for (peer, first) in peers.iter().zip(first) {
        let now = credentials(&peer.settings.data);
        assert!(now.not_after > first.not_after, "{} renewed", peer.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_away_past_its_certificate_comes_back_by_its_key_unless_it_was_revoked() {
    let _alone = ALONE.lock().await;
    let registry = registry(Duration::from_secs(3)).await;
    let ana = join(&registry, "ana", &[], |_| ()).await;
    let id = ana.peer.view().now().me.id;
    let (mut settings, folder) = ana.kill().await;
    let before = credentials(&settings.data);
    until(before.not_after).await;
    settings.invite = None;
    let ana = TestPeer::start_with(settings, folder).await;
    assert_eq!(ana.peer.view().now().me.id, id, "it is the same peer");
    assert!(credentials(&ana.settings.data).not_after > before.not_after);

    let (settings, _folder) = ana.kill().await;
    let request = RevokeRequest { peer: "ana".into() };
    owner(&registry).await.revoke(request).await.unwrap();
    for is_expired in [false, true] {
        if is_expired {
            until(credentials(&settings.data).not_after).await;
        }
        let shutdown = Shutdown::new();
        let out = peer::start(settings.clone(), shutdown.clone()).await.unwrap();
        let refused = soon("the refusal", out.until_ready()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused, "{refused}");
        assert!(refused.message.contains("shut out") && refused.hint.contains("new invite"), "{refused:?}");
        assert!(shutdown.drain(support::PATIENCE).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_changes_under_peers_that_open_connections_all_the_time() {
    let _alone = ALONE.lock().await;
    let registry = registry(LIFETIME).await;
    let content = pattern(2_000_000);
    let peers = three(&registry, &content, 256 << 10).await;
    let is_over = AtomicBool::new(false);
    let to = peers[2].folder.path().join("got.bin");
    let old = rotate(&registry, Step::Unspecified).await;
    let change = async {
        // Open throughout.
        let transfer = peers[2].get(large_table(), &to);
        let steps = async {
            let begun = rotate(&registry, Step::Begin).await;
            assert_eq!((begun.authorities.len(), begun.is_newest_used), (2, false));
            until_told(&registry, |told| told.is_newest_used).await;
            until_told(&registry, |told| told.members_on_older == 0).await;
            let finished = rotate(&registry, Step::Finish).await;
            assert_eq!(finished.authorities, begun.authorities[1..]);
            until_told(&registry, |told| told.live_untold == 0).await;
        };
        let (got, ()) = tokio::join!(transfer, steps);
        is_over.store(true, Ordering::Relaxed);
        got
    };
    let (got, searches) = tokio::select! {
        done = async { tokio::join!(change, search_on(&peers, &is_over)) } => done,
        () = never_lost(&peers) => unreachable!(),
    };
    println!("{searches} searches during the change");
    assert_eq!(got.state, TransferState::Done, "{got:?}");
    assert!(fs::read(&to).unwrap() == content);
    let now = rotate(&registry, Step::Unspecified).await.authorities;
    assert!(now.len() == 1 && now != old.authorities);
    for peer in &peers {
        let trusted = credentials(&peer.settings.data).authorities;
        let trusted: Vec<_> = trusted.iter().map(|key| key.as_bytes().to_vec()).collect();
        assert_eq!(trusted, now, "{}", peer.name);
    }
}

async fn until_told(registry: &TestRegistry, is_so: impl Fn(&RotateAuthorityResponse) -> bool) {
    let so = async {
        while !is_so(&rotate(registry, Step::Unspecified).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the change of the authority", so).await;
}
