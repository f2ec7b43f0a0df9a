//! The registry as peers see it: real gRPC on loopback. Numbers in test names are those of the old faults they guard
//! against: 4 capacity leaked, 5 dead peers stayed listed, 9 anyone could remove anyone, 12 any address was taken.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;
mod cost;
mod gateways;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{ELASTIC, PATIENCE, Peer, Registry, Session, list};
use floodplain::{
    protocol::{lease::STREAM_LOST_GRACE, zone::Layout},
    wire::pb::{self, session_request, session_response::Message},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::Code;
use tonic_types::StatusExt as _;

/// Makes one field of a good request a bad one.
type Spoil = fn(&mut pb::RegisterRequest);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_storm_is_answered_and_listed_whole() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let client = registry.client().await;
    let at_once = Arc::new(Semaphore::new(50));
    let mut joins = JoinSet::new();
    for number in 0..300 {
        let (mut client, at_once) = (client.clone(), at_once.clone());
        joins.spawn(async move {
            let _permit = at_once.acquire_owned().await.unwrap();
            let session = Session::open(&mut client, &Peer::new(number)).await.unwrap();
            // Kept open until all have joined.
            (session.lease.clone(), session)
        });
    }
    let sessions = joins.join_all().await;
    assert_eq!(sessions.iter().map(|(lease, _)| lease).collect::<HashSet<_>>().len(), 300);
    let peers = list(&mut client.clone()).await;
    assert_eq!(peers.len(), 300);
    assert_eq!(peers.iter().map(|peer| &peer.peer_id).collect::<HashSet<_>>().len(), 300);
    let zones = client.clone().list_zones(pb::ListZonesRequest::default()).await.unwrap().into_inner().zones;
    assert_eq!(zones.iter().map(|zone| zone.peers).sum::<u32>(), 300);
    assert!(zones.iter().all(|zone| (6..=24).contains(&zone.peers)), "{zones:?}");
    drop(sessions);
    registry.stop().await;
}

#[tokio::test]
async fn fault_4_a_full_network_has_room_again_and_never_leaks() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(Layout::Fixed { zones: 2, zone_size: 6 }, data.path()).await;
    let mut client = registry.client().await;
    for round in 0..20u16 {
        let mut leases = Vec::new();
        for number in 0..12 {
            let joined = client.register(Peer::new(round * 100 + number).request).await.unwrap();
            leases.push(joined.into_inner().lease_id);
        }
        let refused = client.register(Peer::new(round * 100 + 50).request).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_details_quota_failure().is_some());
        assert!(refused.message().contains("FLOODPLAIN_NETWORK_SIZE"), "{}", refused.message());
        for lease_id in leases {
            client.unregister(pb::UnregisterRequest { lease_id: lease_id.clone() }).await.unwrap();
            // Leaving is idempotent.
            client.unregister(pb::UnregisterRequest { lease_id }).await.unwrap();
        }
        assert!(list(&mut client).await.is_empty());
    }
    registry.stop().await;
}

#[tokio::test]
async fn fault_5_a_dropped_stream_is_gone_long_before_its_lease() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut watcher = Session::open(&mut client, &Peer::new(1)).await.unwrap();
    let mut dying_client = registry.client().await;
    let dying = Session::open(&mut dying_client, &Peer::new(2)).await.unwrap();
    watcher.until(|roster| roster.members().len() == 2).await;
    let dropped = Instant::now();
    drop((dying, dying_client));
    watcher.until(|roster| roster.members().len() == 1).await;
    // Within a second when the machine has nothing else to do; not at once, as it may come back.
    let took = dropped.elapsed();
    assert!((STREAM_LOST_GRACE..PATIENCE).contains(&took), "{took:?}");
    println!("gone after {took:?}");
    assert_eq!(list(&mut client).await.len(), 1);
    registry.stop().await;
}

#[tokio::test]
async fn fault_5_a_clean_leave_is_told_at_once() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut watcher = Session::open(&mut client, &Peer::new(1)).await.unwrap();
    let mut leaving = Session::open(&mut client, &Peer::new(2)).await.unwrap();
    watcher.until(|roster| roster.members().len() == 2).await;
    let left = Instant::now();
    let lease_id = leaving.lease.clone().into();
    leaving.say(session_request::Message::Leave(pb::UnregisterRequest { lease_id })).await;
    watcher.until(|roster| roster.members().len() == 1).await;
    // Its stream is still there: nothing but what it said can have removed it before its lease.
    println!("gone after {:?}", left.elapsed());
    while leaving.next().await.unwrap().is_some() {}
    registry.stop().await;
}

#[tokio::test]
async fn fault_9_a_foreign_lease_or_credential_removes_nobody() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let victim = Peer::new(1);
    let held = client.register(victim.request.clone()).await.unwrap().into_inner();
    let mut guess = held.lease_id.to_vec();
    guess[15] ^= 1;
    client.unregister(pb::UnregisterRequest { lease_id: guess.clone().into() }).await.unwrap();
    let renewed = client
        .heartbeat(pb::HeartbeatRequest {
            lease_id: guess.into(),
            shared_files: 0,
            room_bytes: 0,
            ..Default::default()
        })
        .await;
    assert_eq!(renewed.unwrap_err().code(), Code::NotFound);

    let thief = Peer::new(2);
    let mut stolen = victim.request.clone();
    stolen.credential = thief.request.credential.clone();
    stolen.peer.as_mut().unwrap().incarnation = 99;
    assert_eq!(client.register(stolen).await.unwrap_err().code(), Code::PermissionDenied);

    let mut namesake = Peer::new(3);
    namesake.peer().name = "peer-1".into();
    let refused = client.register(namesake.request).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("FLOODPLAIN_NAME"), "{}", refused.message());
    assert_eq!(refused.get_details_resource_info().unwrap().resource_name, "peer-1");

    // On its own session a peer cannot speak for another.
    let mut session = Session::open(&mut client, &thief).await.unwrap();
    session
        .say(session_request::Message::Leave(pb::UnregisterRequest { lease_id: held.lease_id.clone() }))
        .await;
    let ended = loop {
        if let Err(status) = session.next().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::NotFound);
    let renewed = client
        .heartbeat(pb::HeartbeatRequest {
            lease_id: held.lease_id,
            shared_files: 0,
            room_bytes: 0,
            ..Default::default()
        })
        .await;
    renewed.unwrap();
    registry.stop().await;
}

#[tokio::test]
async fn an_old_start_of_a_peer_is_refused_and_its_session_ends() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut peer = Peer::new(1);
    let old_request = peer.request.clone();
    let mut old = Session::open(&mut client, &peer).await.unwrap();
    peer.peer().incarnation = 2;
    let mut new = Session::open(&mut client, &peer).await.unwrap();
    assert_ne!(old.lease, new.lease);
    let ended = old.next().await.unwrap_err();
    assert!(matches!(ended.code(), Code::Aborted | Code::FailedPrecondition), "{ended:?}");
    let refused = client.register(old_request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.get_details_precondition_failure().is_some());

    // The same start again takes the session over and keeps the lease; the old stream's end harms nobody.
    let mut again = Session::open(&mut client, &peer).await.unwrap();
    assert_eq!(again.lease, new.lease);
    assert_eq!(new.next().await.unwrap_err().code(), Code::Aborted);
    drop((old, new));
    again.beat().await;
    assert!(matches!(again.next().await.unwrap(), Some(Message::Ack(_))));
    registry.stop().await;
}

#[tokio::test]
async fn fault_12_two_peers_on_one_address_do_not_both_succeed() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut second = Peer::new(2);
    second.peer().address = Peer::new(1).peer().address.clone();
    client.register(Peer::new(1).request).await.unwrap();
    let refused = client.register(second.request).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.get_details_resource_info().unwrap().resource_type, "peer address");
    registry.stop().await;
}

#[tokio::test]
async fn fault_12_every_malformed_field_is_refused_by_its_name() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let spoiled: [(&str, Spoil); 14] = [
        ("peer", |request| request.peer = None),
        ("peer.peer_id", |request| request.peer.as_mut().unwrap().peer_id = vec![1; 31].into()),
        ("peer.name", |request| request.peer.as_mut().unwrap().name = String::new()),
        ("peer.name", |request| request.peer.as_mut().unwrap().name = "a\u{1b}[2J".into()),
        ("peer.name", |request| request.peer.as_mut().unwrap().name = "a".repeat(64)),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "0.0.0.0:7001".into()),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "[::]:7001".into()),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "127.0.0.1:0".into()),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "224.0.0.1:7001".into()),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "garbage".into()),
        ("credential", |request| request.credential = vec![1; 33].into()),
        ("credential", |request| request.credential = Vec::new().into()),
        ("host_id", |request| request.host_id = "h".repeat(65)),
        ("peer.address", |request| request.peer.as_mut().unwrap().address = "169.254.1.1:7001".into()),
    ];
    for (number, (field, spoil)) in spoiled.into_iter().enumerate() {
        let mut request = Peer::new(1).request;
        spoil(&mut request);
        let refused = client.register(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{number}");
        let violations = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field, "{number}");
    }
    let heartbeat = pb::HeartbeatRequest {
        lease_id: vec![1; 15].into(),
        shared_files: 0,
        room_bytes: 0,
        ..Default::default()
    };
    assert_eq!(client.heartbeat(heartbeat).await.unwrap_err().code(), Code::InvalidArgument);
    let page = pb::ListPeersRequest { page_size: 1001, ..pb::ListPeersRequest::default() };
    assert_eq!(client.list_peers(page).await.unwrap_err().code(), Code::InvalidArgument);
    let page = pb::ListZonesRequest { page_size: 1, page_token: "../x".into() };
    assert_eq!(client.list_zones(page).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(list(&mut client).await.is_empty());
    registry.stop().await;
}

#[tokio::test]
async fn a_session_that_begins_wrongly_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let snapshot = session_request::Message::Snapshot(pb::SnapshotRequest {});
    let first = pb::SessionRequest { message: Some(snapshot) };
    let mut down = client.session(tokio_stream::once(first)).await.unwrap().into_inner();
    assert_eq!(down.message().await.unwrap_err().code(), Code::InvalidArgument);

    let mut down = client.session(tokio_stream::pending()).await.unwrap().into_inner();
    let ended = tokio::time::timeout(PATIENCE, down.message()).await.expect("an end");
    assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
    registry.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_zones_and_leases() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut joined = Vec::new();
    for number in 0..40 {
        let peer = Peer::new(number);
        let lease = client.register(peer.request.clone()).await.unwrap().into_inner().lease_id;
        joined.push((peer, lease));
    }
    let mut session = Session::open(&mut client, &joined[0].0).await.unwrap();
    let before = list(&mut client).await;
    let revision = session.roster.revision();
    registry.stop().await;
    let ended = loop {
        if let Err(status) = session.next().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);

    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    assert_eq!(list(&mut client).await, before);
    for (_, lease_id) in &joined {
        let heartbeat = pb::HeartbeatRequest {
            lease_id: lease_id.clone(),
            shared_files: 0,
            room_bytes: 0,
            ..Default::default()
        };
        assert!(client.heartbeat(heartbeat).await.unwrap().into_inner().revision > revision);
    }
    let again = Session::open(&mut client, &joined[0].0).await.unwrap();
    assert_eq!(again.lease, joined[0].1.to_vec());
    assert_eq!(again.roster.zone(), session.roster.zone());
    registry.stop().await;
}

#[tokio::test]
async fn lost_deltas_are_noticed_by_the_ack_and_repaired_by_a_snapshot() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut session = Session::open(&mut client, &Peer::new(1)).await.unwrap();
    client.register(Peer::new(2).request).await.unwrap();
    // The delta arrives, and is lost here.
    loop {
        let message = session.down.message().await.unwrap().unwrap().message;
        if matches!(message, Some(Message::Delta(_))) {
            break;
        }
    }
    session.beat().await;
    let acked = loop {
        if let Some(Message::Ack(ack)) = session.next().await.unwrap() {
            break ack.revision;
        }
    };
    assert!(acked > session.roster.revision());
    session.say(session_request::Message::Snapshot(pb::SnapshotRequest {})).await;
    session.until(|roster| roster.revision() == acked && roster.members().len() == 2).await;
    registry.stop().await;
}

/// The peer reads nothing while its zone changes far more often than its outbox holds deltas.
#[tokio::test]
async fn a_slow_reader_gets_a_snapshot_instead_of_a_gap() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", registry.address)).unwrap();
    // About ten deltas are on their way before the registry has to wait.
    let endpoint = endpoint.initial_stream_window_size(1024);
    let mut slow_client = common::Client::new(endpoint.connect().await.unwrap());
    let mut client = registry.client().await;
    let mut slow = Session::open(&mut slow_client, &Peer::new(0)).await.unwrap();
    // As many starts of each as a registry takes at once, and as many peers as stay in one zone.
    let mut noisy: Vec<Peer> = (1..=20).map(Peer::new).collect();
    let last = 400u16;
    for start in 1..=last {
        let peer = &mut noisy[usize::from(start) % 20];
        peer.peer().incarnation = 100 + u64::from(start);
        client.register(peer.request.clone()).await.unwrap();
    }
    // `next` fails on a gap.
    let mut snapshots = 0;
    while !slow.roster.members().iter().any(|member| member.incarnation == 100 + u64::from(last)) {
        snapshots += u32::from(matches!(slow.next().await.unwrap(), Some(Message::Snapshot(_))));
    }
    assert!(snapshots > 0, "the outbox was not bounded");
    assert_eq!(slow.roster.members().len(), 21);
    registry.stop().await;
}

#[tokio::test]
async fn an_idle_session_is_silent_and_lives() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut session = Session::open(&mut client, &Peer::new(1)).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(3), session.down.message()).await;
    assert!(quiet.is_err(), "something was said: {quiet:?}");
    session.beat().await;
    assert!(matches!(session.next().await.unwrap(), Some(Message::Ack(_))));
    registry.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", registry.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let asked = HealthCheckRequest { service: "floodplain.v1.RegistryService".into() };
    let mut watch = health.watch(asked).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    registry.stop().await;
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "not serving while draining");
}

#[tokio::test]
async fn everyones_neighbors_follow_the_roster() {
    use floodplain::{protocol::neighbor::neighbors, wire::registry};
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let me = Peer::new(0);
    let mut session = Session::open(&mut client, &me).await.unwrap();
    for number in 1..12 {
        client.register(Peer::new(number).request).await.unwrap();
    }
    let mut told = Vec::new();
    session.beat().await;
    loop {
        match session.next().await.unwrap() {
            Some(Message::Neighbors(message)) => told = registry::neighbors(&message).unwrap(),
            Some(Message::Ack(_)) => break,
            _ => {}
        }
    }
    assert_eq!(told, neighbors(session.roster.members(), &me.id()));
    assert_eq!(session.roster.members().len(), 12);
    registry.stop().await;
}

#[tokio::test]
async fn peers_that_a_new_zone_opens_with_are_told_where_they_are() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut sessions = Vec::new();
    // 16 in the first zone and 6 above it: enough for a second one.
    for number in 0..22 {
        let peer = Peer::new(number);
        sessions.push((peer.id(), Session::open(&mut client, &peer).await.unwrap()));
    }
    let zones = client.list_zones(pb::ListZonesRequest::default()).await.unwrap().into_inner().zones;
    assert_eq!(zones.iter().map(|zone| zone.peers).collect::<Vec<_>>(), [16, 6]);
    for peer in list(&mut client).await {
        let zone = zones.iter().find(|zone| zone.zone_id == peer.zone_id).unwrap();
        let (_, session) = sessions.iter_mut().find(|(id, _)| id.as_bytes()[..] == peer.peer_id[..]).unwrap();
        session.until(|roster| roster.revision() == zone.revision).await;
        assert_eq!(session.roster.zone().get(), zone.zone_id);
        assert_eq!(session.roster.members().len(), zone.peers as usize);
    }
    registry.stop().await;
}
