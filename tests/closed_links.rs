//! Who is let in on the links of a closed network, and who is cut off: real gRPC over real TLS.

#[path = "closed_links/harness.rs"]
mod harness;
#[path = "closed_links/raw.rs"]
mod raw;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "support/network.rs"]
mod support;

use std::time::Duration;

use floodplain::{
    net::{Purpose, Security, Standing, To, Trust, enroll},
    protocol::{
        action::{Target, TransferState},
        id::{PeerId, ZoneId},
        trust::{Credentials, DenyList},
        zone::Layout,
    },
    store::membership::NetworkFolder,
    wire::pb::{
        GetKeysRequest, GetSummaryRequest, Peer, RegisterRequest, RenewRequest, SearchRequest,
        enrollment_service_client::EnrollmentServiceClient, peer_service_client::PeerServiceClient,
        registry_service_client::RegistryServiceClient,
    },
};
use harness::{
    DAY, Daemon, Network, PATIENCE, ask_health, ask_health_over, transport, until_ended, watch_health,
    watch_health_over, zone,
};
use rustls::HandshakeKind;
use support::{TestPeer, TestRegistry, soon};
use tonic::Code;

fn deny(trust: &Trust, version: u64, peers: &[PeerId]) {
    trust.deny(DenyList::new(version, peers.to_vec()).expect("a short list"));
}

/// What a caller is told at a peer.
async fn told(network: &Network, caller: Trust) -> Result<(), Code> {
    let server = Daemon::start(network.peer(zone(1), DAY), vec![]).await;
    ask_health(&caller, server.to()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_known_by_its_id_and_zone_at_the_other_end() {
    let network = Network::found();
    let (server, ana) = (Daemon::start(network.peer(zone(1), DAY), vec![]).await, network.peer(zone(7), DAY));
    let _open = watch_health(&ana, server.to()).await;
    let caller = server.last_caller().expect("a call came");
    let peer = ana.key().public().peer_id();
    assert_eq!(caller.standing(), Standing::Member { peer, zone: zone(7) });
    assert_eq!(server.trust().open_links(&peer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_the_network_that_are_good_now_are_let_in_by_a_peer() {
    let (ours, other) = (Network::found(), Network::found());
    assert_eq!(told(&ours, ours.peer(None, DAY)).await, Ok(()));
    let server = Daemon::start(ours.peer(zone(1), DAY), vec![]).await;
    // By itself it would not talk to our peer either; this one believes us and still has nothing to show.
    let foreign = raw::client_of(&other.peer(None, DAY), &ours);
    assert_eq!(raw::health(&server, foreign).await, Err(Code::Unavailable), "of another network");
    let good = raw::client_of(&ours.peer(None, DAY), &ours);
    assert_eq!(raw::health(&server, good).await, Ok(()), "by the same means");
    assert_eq!(told(&ours, ours.peer(None, Duration::ZERO)).await, Err(Code::Unavailable), "expired");
    assert_eq!(raw::health(&server, raw::client_without_certificate(&ours)).await, Err(Code::Unavailable));
    let stolen = raw::client_with_stolen_certificate(&ours);
    assert_eq!(raw::health(&server, stolen).await, Err(Code::Unavailable), "a certificate without its key");
    assert_eq!(told(&ours, ours.peer(None, DAY)).await, Ok(()), "it is alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_talks_only_to_the_peer_that_it_means() {
    let (ours, other) = (Network::found(), Network::found());
    let ana = ours.peer(None, DAY);
    let server = Daemon::start(ours.peer(None, DAY), vec![]).await;
    let absent = To { peer: ours.peer(None, DAY).key().public().peer_id(), ..server.to() };
    assert_eq!(ask_health(&ana, absent).await, Err(Code::Unavailable), "another peer of the network");
    let stranger = Daemon::start(other.peer(None, DAY), vec![]).await;
    assert_eq!(ask_health(&ana, stranger.to()).await, Err(Code::Unavailable), "a peer of another network");
    let stale = Daemon::start(ours.peer(None, Duration::ZERO), vec![]).await;
    assert_eq!(ask_health(&ana, stale.to()).await, Err(Code::Unavailable), "expired");
    let lonely = transport(&ana).dial_host(&server.host(), Purpose::Registry).await;
    assert!(lonely.is_err(), "a peer is no registry");
    assert_eq!(stranger.calls() + stale.calls() + server.calls(), 0, "nothing was said to them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joining_peer_goes_by_the_key_of_the_invite_alone() {
    let (ours, other) = (Network::found(), Network::found());
    let registry = Daemon::start(ours.registry(DAY), vec![]).await;
    let host = registry.host();
    let channel = enroll::dial(&host, ours.authority.public()).await.expect("the registry");
    assert_eq!(ask_health_over(channel.clone()).await, Ok(()));
    assert_eq!(registry.last_caller().expect("a call").standing(), Standing::Stranger);
    let register = RegistryServiceClient::new(channel).register(RegisterRequest::default()).await;
    assert_eq!(register.expect_err("refused").code(), Code::Unauthenticated);
    assert!(enroll::dial(&host, other.authority.public()).await.is_err(), "wrong key");
    let peer = Daemon::start(ours.peer(None, DAY), vec![]).await;
    assert!(enroll::dial(&peer.host(), ours.authority.public()).await.is_err(), "a peer is no registry");
    assert_eq!(ask_health_over(enroll::probe(&host, None).await.expect("somebody")).await, Ok(()));
    let next = ours.next_authority();
    let moved = Daemon::start(next.registry(DAY), vec![]).await;
    assert!(
        enroll::dial(&moved.host(), next.authority.public()).await.is_ok(),
        "after a change of the authority"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_good_for_renewal_at_the_registry_and_for_nothing_else() {
    let network = Network::found();
    let registry = Daemon::start(network.registry(DAY), vec![]).await;
    let late = network.peer(None, Duration::ZERO);
    let open =
        async || transport(&late).dial_host(&registry.host(), Purpose::Registry).await.expect("a registry");
    let renewed = EnrollmentServiceClient::new(open().await).renew(RenewRequest::default()).await;
    assert_eq!(renewed.expect_err("not served here").code(), Code::Unimplemented, "the guard lets it pass");
    let register = RegistryServiceClient::new(open().await).register(RegisterRequest::default()).await;
    assert_eq!(register.expect_err("refused").code(), Code::Unauthenticated);
    let foreign = Network::found().peer(None, Duration::ZERO);
    let foreign = raw::client_of(&foreign, &network);
    assert_eq!(raw::health(&registry, foreign).await, Err(Code::Unavailable), "expired and not ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_has_no_more_connections_than_its_bound_and_others_have_theirs() {
    let network = Network::found();
    let server = Daemon::start(network.peer(zone(1), DAY), vec![]).await;
    let (greedy, modest) = (network.peer(zone(1), DAY), network.peer(zone(1), DAY));
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(watch_health(&greedy, server.to()).await);
    }
    assert_eq!(ask_health(&greedy, server.to()).await, Err(Code::Unavailable));
    assert!(held.iter_mut().all(harness::Open::is_open), "those that it has stay");
    assert_eq!(ask_health(&modest, server.to()).await, Ok(()));
    held.truncate(16);
    let again = async {
        while ask_health(&greedy, server.to()).await != Ok(()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("room for another one", again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_a_zone_is_for_its_peers() {
    let network = Network::found();
    let known = network.peer(zone(2), DAY);
    let server = Daemon::start(network.peer(zone(1), DAY), vec![known.key().public().peer_id()]).await;
    for (caller, code) in [
        (network.peer(zone(1), DAY), Code::Unimplemented),
        (known, Code::Unimplemented),
        (network.peer(zone(2), DAY), Code::PermissionDenied),
        (network.peer(None, DAY), Code::PermissionDenied),
        // A registry proves no peer.
        (network.registry(DAY), Code::Unauthenticated),
    ] {
        let channel = transport(&caller).dial(server.to(), Purpose::Link).await.expect("a peer");
        let mut client = PeerServiceClient::new(channel);
        let keys = client.get_keys(GetKeysRequest::default()).await.expect_err("none here").code();
        let summary = client.get_summary(GetSummaryRequest::default()).await.expect_err("none here").code();
        assert_eq!((keys, summary), (code, code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_shut_out_is_cut_off_at_once_and_told_why_afterwards() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, DAY), vec![]).await;
    let (bad, good) = (network.peer(None, DAY), network.peer(None, DAY));
    let (bad_id, good_id) = (bad.key().public().peer_id(), good.key().public().peer_id());
    let mut cut = watch_health(&bad, server.to()).await;
    let mut kept = watch_health(&good, server.to()).await;
    deny(server.trust(), 1, &[bad_id]);
    tokio::time::timeout(Duration::from_secs(1), until_ended(&mut cut)).await.expect("cut within a second");
    assert_eq!(ask_health(&bad, server.to()).await, Err(Code::PermissionDenied));
    assert_eq!(ask_health(&good, server.to()).await, Ok(()));
    assert!(kept.is_open());
    assert!(!server.trust().is_denied(&good_id) && server.trust().is_denied(&bad_id));
    // The other way round: the one who dialed shuts the server out.
    deny(&good, 1, &[server.to().peer]);
    tokio::time::timeout(Duration::from_secs(1), until_ended(&mut kept)).await.expect("cut within a second");
    assert_eq!(ask_health(&good, server.to()).await, Err(Code::Unavailable), "it is not dialed any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_stuck_in_writing_is_cut_all_the_same() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, DAY), vec![]).await;
    let (bad, brief) = (network.peer(None, DAY), network.peer(None, Duration::from_secs(5)));
    let [bad_id, brief_id] = [&bad, &brief].map(|peer| peer.key().public().peer_id());
    let _bad = raw::stall(&server, raw::client_of(&bad, &network)).await;
    let _brief = raw::stall(&server, raw::client_of(&brief, &network)).await;
    server.until_stuck().await;
    assert_eq!(server.trust().open_links(&bad_id), 1, "nothing but the denial ends it");
    deny(server.trust(), 1, &[bad_id]);
    tokio::time::timeout(Duration::from_secs(1), server.until_cut(&bad_id))
        .await
        .expect("cut within a second");
    soon("the end of the other's certificate", server.until_cut(&brief_id)).await;
    assert!(brief.credentials().not_after <= std::time::SystemTime::now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_without_end_is_worth_no_more_than_one_of_ours() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, Duration::from_secs(2)), vec![]).await;
    let thief = network.peer(None, 36_500 * DAY);
    let _open = raw::stall(&server, raw::client_of(&thief, &network)).await;
    soon("the end of the connection", server.until_cut(&thief.key().public().peer_id())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aged_connection_takes_no_new_calls_and_those_that_run_go_on() {
    let network = Network::found();
    // A sixth of the server's certificate: a second.
    let server = Daemon::start(network.peer(None, Duration::from_secs(6)), vec![]).await;
    let ana = network.peer(None, DAY);
    let began = std::time::Instant::now();
    let channel = transport(&ana).dial(server.to(), Purpose::Link).await.expect("connected");
    let ask = async || {
        // One that crosses with the end is lost: `Transport::channel_age` is there for that.
        let _ = ask_health_over(channel.clone()).await;
        server.last_caller().expect("a call").address()
    };
    let mut running = watch_health_over(channel.clone()).await;
    let first = ask().await;
    while ask().await == first {
        assert!(began.elapsed() < PATIENCE, "it is one connection for ever");
    }
    assert!(began.elapsed() > transport(server.trust()).channel_age(), "a channel is replaced before");
    assert!(running.is_open(), "a call that runs goes on");
    assert_eq!(server.trust().open_links(&ana.key().public().peer_id()), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_asks_anybody_of_its_network_for_health() {
    let (ours, other) = (Network::found(), Network::found());
    let (ana, eve) = (ours.peer(None, DAY), other.peer(None, DAY));
    let peer = Daemon::start(ours.peer(None, DAY), vec![]).await;
    let registry = Daemon::start(ours.registry(DAY), vec![]).await;
    let ask =
        async |member: Option<&Trust>, server: &Daemon| match enroll::probe(&server.host(), member).await {
            Ok(channel) => ask_health_over(channel).await,
            Err(_) => Err(Code::Unavailable),
        };
    assert_eq!(ask(Some(&ana), &peer).await, Ok(()));
    assert!(matches!(peer.last_caller().expect("a call").standing(), Standing::Member { .. }));
    assert_eq!(ask(Some(&ana), &registry).await, Ok(()));
    assert_eq!(ask(None, &peer).await, Err(Code::Unavailable));
    assert_eq!(ask(Some(&eve), &peer).await, Err(Code::Unavailable));
    // What it is stays at home where it is not known.
    assert_eq!(ask(Some(&eve), &registry).await, Ok(()));
    assert_eq!(registry.last_caller().expect("a call").standing(), Standing::Stranger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_the_certificate_of_its_caller() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, DAY), vec![]).await;
    let brief = network.peer(None, Duration::from_secs(2));
    let mut stream = watch_health(&brief, server.to()).await;
    until_ended(&mut stream).await;
    assert!(brief.credentials().not_after <= std::time::SystemTime::now());
    assert_eq!(ask_health(&brief, server.to()).await, Err(Code::Unavailable));
    brief.renew(network.credentials(&brief, None, DAY)).expect("renewed");
    assert_eq!(ask_health(&brief, server.to()).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_resumed_however_much_the_client_would_like_to() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, DAY), vec![]).await;
    let client = raw::client_that_resumes(&network);
    let kinds = [raw::shake(&server, &client).await, raw::shake(&server, &client).await];
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Full]);
    // The same client at a server that gives tickets: the test can see a resumption.
    let generous = raw::start_generous(&network.peer(None, DAY), &network).await;
    let kinds = [raw::shake_at(generous.clone(), &client).await, raw::shake_at(generous, &client).await];
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_speak_tls_1_3_is_turned_away_and_nobody_waits_for_it() {
    let network = Network::found();
    let server = Daemon::start(network.peer(None, DAY), vec![]).await;
    let address = server.to().address;
    let silent: Vec<_> =
        futures::future::join_all((0..64).map(|_| tokio::net::TcpStream::connect(address))).await;
    let plain = raw::transport().dial_host(&address.to_string(), Purpose::Link).await;
    let plain = match plain {
        Ok(channel) => tokio::time::timeout(PATIENCE, ask_health_over(channel)).await.expect("it ends"),
        Err(_) => Err(Code::Unavailable),
    };
    assert_eq!(plain, Err(Code::Unavailable), "plaintext to TLS");
    assert_eq!(raw::answer_to_tls_1_2(address).await, raw::PROTOCOL_VERSION_ALERT);
    assert_eq!(ask_health(&network.peer(None, DAY), server.to()).await, Ok(()), "beside 64 silent ones");
    for silent in silent {
        raw::until_closed(silent.expect("connected")).await;
    }
    let plain = Daemon::start_plain().await;
    let closed = ask_health(&network.peer(None, DAY), plain.to()).await;
    assert_eq!(closed, Err(Code::Unavailable), "TLS to plaintext");
    assert_eq!(plain.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_search_fetch_and_send_over_tls_and_nobody_registers_for_another() {
    let registry = TestRegistry::start_closed(Layout::Elastic { min: 6, target: 16, max: 24 }).await;
    let content: Vec<u8> = (0..9_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut peers = Vec::new();
    for (name, files) in [("ana", &[("tide table.bin", &content[..])][..]), ("ben", &[])] {
        let (mut settings, folder) = TestPeer::settings(registry.address, name, files, |_| ());
        (settings.insecure_loopback, settings.invite) = (false, registry.invite.clone());
        let data = settings.data.clone();
        let peer = TestPeer::start_with(settings, folder).await;
        let kept = NetworkFolder::of(&data).load().expect("read").expect("it was let in");
        peers.push((peer, Trust::new(kept.key, kept.credentials).expect("good")));
    }
    let [(ana, ana_trust), (ben, ben_trust)] = peers.try_into().expect("two");
    ben.until_zone_has(2).await;
    soon("the content to be known", ana.peer.until_hashed()).await;
    let (hits, coverage) = ben.search("tide").await;
    assert_eq!((hits.len(), coverage.unreachable), (1, 0));
    let to = ben.folder.path().join("got.bin");
    let got = ben.get(Target::Hit(hits[0].number), &to).await;
    assert_eq!(got.state, TransferState::Done);
    assert!(std::fs::read(&to).expect("it is there") == content);
    assert_eq!(ben.send(&to, "ana").await.state, TransferState::Done);

    let channel = transport(&ben_trust).dial_host(&registry.address.to_string(), Purpose::Registry).await;
    let mut client = RegistryServiceClient::new(channel.expect("the registry"));
    let id = |trust: &Trust| trust.key().public().peer_id().as_bytes().to_vec().into();
    let peer = Peer {
        peer_id: id(&ana_trust),
        name: "ana".into(),
        address: "127.0.0.1:9".into(),
        ..Peer::default()
    };
    let request = RegisterRequest { peer: Some(peer.clone()), ..RegisterRequest::default() };
    assert_eq!(client.register(request).await.expect_err("refused").code(), Code::PermissionDenied);
    // For itself it may, and is told that a newer one of it is there.
    let peer = Peer { peer_id: id(&ben_trust), name: "ben".into(), ..peer };
    let request = RegisterRequest { peer: Some(peer), ..RegisterRequest::default() };
    assert_eq!(client.register(request).await.expect_err("refused").code(), Code::FailedPrecondition);

    let dialed = transport(&ben_trust)
        .dial(To { address: ana.peer.address(), peer: ana_trust.key().public().peer_id() }, Purpose::Link)
        .await;
    let search = SearchRequest {
        query_id: vec![1; 16].into(),
        text: "tide".into(),
        ttl: 1,
        deadline: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        origin_id: id(&ana_trust),
        from_id: id(&ana_trust),
        ..SearchRequest::default()
    };
    let refused = PeerServiceClient::new(dialed.expect("ana")).search(search).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("from_id"), "{}", refused.message());
}

#[tokio::test]
async fn credentials_that_do_not_fit_the_key_are_no_trust() {
    let (network, other) = (Network::found(), Network::found());
    let (ana, ben) = (network.peer(None, DAY), network.peer(None, DAY));
    assert!(Trust::new(ana.key().clone(), Credentials::clone(&ben.credentials())).is_err(), "another key");
    assert!(ana.renew(Credentials::clone(&ben.credentials())).is_err());
    assert!(ana.renew(other.credentials(&ana, ZoneId::new(1), DAY)).is_err(), "another network");
    let forged =
        Credentials { authorities: vec![other.authority.public()], ..Credentials::clone(&ana.credentials()) };
    assert!(Trust::new(ana.key().clone(), forged).is_err(), "another authority");
    assert!(matches!(transport(&ana).security(), Security::Closed(_)));
}
