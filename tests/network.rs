//! Whole networks: a registry and peers as real daemons, searched and emptied and broken.

#[path = "support/network.rs"]
mod support;

use floodplain::protocol::{
    action::{
        ActionError, Connection, ErrorKind, PeerPath, ReadAsk, ReadEvent, SearchAsk, SearchEvent, Target,
        TransferState,
    },
    zone::Layout,
};
use futures::StreamExt;
use support::{TestPeer, TestRegistry, network, put, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_finds_the_files_of_every_peer_of_its_zone() {
    let (_registry, peers) = network(1, 7).await;
    let mut fewest = u32::MAX;
    for seeker in &peers {
        for holder in &peers {
            let (hits, coverage) = seeker.search(&format!("{} report", holder.name)).await;
            assert_eq!(hits.len(), 1, "{} seeks the file of {}", seeker.name, holder.name);
            assert_eq!(hits[0].holders[0].peer.as_str(), holder.name);
            assert_eq!(hits[0].have, seeker.name == holder.name);
            assert_eq!((coverage.answered, coverage.asked, coverage.unreachable), (7, 7, 0));
            assert!(coverage.is_complete());
            fewest = fewest.min(coverage.messages);
        }
    }
    // Whoever is not on a CPU for a while is hedged, which costs more.
    assert!(fewest <= 6, "claimed: one message for every other member, or fewer: {fewest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_content_is_one_hit_with_all_its_holders() {
    let (_registry, peers) = network(1, 6).await;
    for peer in &peers {
        soon("hashes", peer.peer.until_hashed()).await;
    }
    let (hits, _) = peers[0].search("shared note").await;
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].holders.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_classic_flood_reaches_everyone_too_and_drops_duplicates() {
    let (_registry, peers) = network(1, 8).await;
    let (hits, coverage) = peers[3]
        .search_with(SearchAsk { text: "report".into(), ttl: Some(16), ..SearchAsk::default() })
        .await;
    assert_eq!(hits.len(), 8);
    assert_eq!((coverage.answered, coverage.asked), (8, 8));
    assert!(coverage.duplicates > 0 && coverage.messages > 7, "{coverage:?}");
    let (hits, coverage) =
        peers[3].search_with(SearchAsk { text: "report".into(), ttl: Some(1), ..SearchAsk::default() }).await;
    assert_eq!(
        hits.len(),
        usize::try_from(coverage.answered).expect("small"),
        "neighbors and the origin only"
    );
    assert!(!coverage.is_complete(), "a tight TTL is told as incomplete: {coverage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_as_far_as_a_flood_goes() {
    let (_registry, peers) = network(2, 4).await;
    let zones = peers[0].handle.zones().await.expect("zones");
    assert_eq!(zones.rows.iter().map(|zone| zone.peers).collect::<Vec<_>>(), [4, 4]);
    let (hits, coverage) = peers[0].search("report").await;
    assert_eq!((hits.len(), coverage.answered, coverage.asked), (4, 4, 4));
    let all = SearchAsk {
        scope: floodplain::protocol::action::Scope::All,
        text: "report".into(),
        ..SearchAsk::default()
    };
    peers[0].until_gateways_of(2).await;
    let (hits, coverage) = peers[0].search_with(all).await;
    assert_eq!((hits.len(), coverage.answered, coverage.asked), (8, 8, 8), "{coverage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peers_view_has_the_gateways_of_its_zone_and_a_gateways_those_of_all() {
    let (registry, mut peers) = network(2, 3).await;
    let names = |now: &floodplain::peer::Knowledge, zone| -> Vec<String> {
        now.gateways.of(zone).iter().map(|gateway| gateway.name.to_string()).collect()
    };
    let listing = peers[0].handle.zones().await.expect("zones");
    for peer in &peers {
        let own = peer.peer.view().now().zone().expect("joined");
        let is_gateway = listing.rows.iter().any(|zone| zone.gateways.contains(&peer.name));
        let knows = |now: &floodplain::peer::Knowledge| {
            let mut rows = listing.rows.iter().filter(|row| is_gateway || row.zone == own);
            rows.all(|row| row.gateways.len() == 2 && names(now, row.zone) == row.gateways)
        };
        let now = soon("gateways", peer.peer.view().until(knows)).await;
        assert_eq!(now.is_gateway(), is_gateway);
        assert_eq!(now.gateways.zones().count(), if is_gateway { 2 } else { 1 });
    }

    let first = &listing.rows[0];
    let lost = peers.iter().position(|peer| first.gateways.contains(&peer.name)).expect("a gateway");
    let lost = peers.remove(lost);
    soon("the leave", lost.peer.leave()).await;
    for peer in &peers {
        let is_replaced = |now: &floodplain::peer::Knowledge| {
            let gateways = names(now, first.zone);
            now.zone() != Some(first.zone) || gateways.len() == 2 && !gateways.contains(&lost.name)
        };
        soon("another gateway", peer.peer.view().until(is_replaced)).await;
    }
    assert_eq!(lost.peer.view().now().gateways.zones().count(), 0, "who has left knows none");

    // Without a registry a peer tells the gateways that it knows.
    let seeker = peers.iter().find(|peer| peer.peer.view().now().zone() == Some(first.zone)).expect("one");
    let (_settings, _folder) = registry.stop().await;
    let left = soon("the loss to be seen", async {
        loop {
            let listing = seeker.handle.zones().await.expect("zones");
            if listing.is_stale {
                break listing;
            }
        }
    })
    .await;
    assert_eq!(left.rows.len(), 1);
    assert_eq!(left.rows[0].gateways, names(&seeker.peer.view().now(), first.zone));
    assert_eq!(left.rows[0].gateways.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_peer_is_told_as_unreachable_and_costs_no_one_elses_hits() {
    let (_registry, mut peers) = network(1, 7).await;
    let killed = peers.remove(3);
    killed.kill().await;
    let (hits, coverage) = peers[0].search("report").await;
    assert_eq!(hits.len(), 6);
    assert_eq!(coverage.answered, 6);
    for peer in &peers {
        peer.until_zone_has(6).await;
    }
    let (_, coverage) = peers[0].search("report").await;
    assert_eq!((coverage.answered, coverage.asked, coverage.unreachable), (6, 6, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_leave_is_seen_by_all_and_frees_the_place() {
    let (registry, mut peers) = network(1, 6).await;
    let leaving = peers.remove(0);
    soon("the leave", leaving.peer.leave()).await;
    for peer in &peers {
        peer.until_zone_has(5).await;
    }
    let next = TestPeer::start(registry.address, "successor", &[]).await;
    next.until_zone_has(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_registry_a_zone_searches_and_transfers_and_then_joins_again() {
    let (registry, peers) = network(1, 6).await;
    let (settings, folder) = registry.stop().await;
    for peer in &peers {
        soon("the loss to be seen", peer.peer.view().until(|now| now.connection != Connection::Connected))
            .await;
    }
    let (hits, coverage) = peers[0].search("peer5 report").await;
    assert_eq!((hits.len(), coverage.answered), (1, 6));
    let to = tempfile::tempdir().expect("a folder");
    let ended = peers[0].get(Target::Hit(1), to.path()).await;
    assert_eq!(ended.state, TransferState::Done);
    let listing = peers[0].handle.peers(None).await.expect("a list");
    assert!(listing.is_stale);
    assert_eq!(listing.rows.len(), 6);

    let zone_before = peers[0].handle.status().await.expect("a status").me.zone;
    let _registry = TestRegistry::start_with(settings).await;
    for peer in &peers {
        soon("rejoining", peer.peer.view().until(|now| now.connection == Connection::Connected)).await;
        peer.until_zone_has(6).await;
    }
    assert_eq!(peers[0].handle.status().await.expect("a status").me.zone, zone_before);
    let (hits, coverage) = peers[5].search("report").await;
    assert_eq!((hits.len(), coverage.answered, coverage.asked), (6, 6, 6));
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_search_ends_it_everywhere() {
    let (_registry, peers) = network(1, 6).await;
    let ask = SearchAsk { text: "report".into(), ..SearchAsk::default() };
    let mut events = peers[0].handle.search(ask).await.expect("a search");
    assert!(matches!(soon("a hit", events.next()).await, Some(Ok(SearchEvent::Hit(_)))));
    drop(events);
    for peer in peers {
        soon("the query to end", async {
            while peer.peer.running_queries() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        peer.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn want_stops_a_search_early() {
    let (_registry, peers) = network(1, 6).await;
    let ask = SearchAsk { text: "report".into(), want: Some(2), ..SearchAsk::default() };
    let (hits, coverage) = peers[0].search_with(ask).await;
    assert_eq!(hits.len(), 2);
    assert!(coverage.truncated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_a_folder_is_found_by_others_though_nobody_asks_for_a_scan() {
    let (_registry, peers) = network(1, 6).await;
    let path = peers[2].share().join("brand new thesis.pdf");
    put(&path, b"fresh");
    soon("the new file", async { while peers[0].search("thesis").await.0.is_empty() {} }).await;
    std::fs::remove_file(&path).expect("removed");
    soon("the loss", async { while !peers[0].search("thesis").await.0.is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_size_arrive_whole() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let big: Vec<u8> = (0..300_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sizes: [(&str, usize); 4] = [("empty", 0), ("single", 1), ("odd", (1 << 20) + 1), ("big", big.len())];
    let files: Vec<(&str, &[u8])> = sizes.iter().map(|(name, size)| (*name, &big[..*size])).collect();
    let holder = TestPeer::start(registry.address, "holder", &files).await;
    let fetcher = TestPeer::start(registry.address, "fetcher", &[]).await;
    soon("hashes", holder.peer.until_hashed()).await;
    fetcher.until_zone_has(2).await;
    let to = tempfile::tempdir().expect("a folder");
    for (name, size) in sizes {
        let (hits, _) = fetcher.search(name).await;
        let hash = hits[0].file.hash.expect("hashed");
        let ended = fetcher.get(Target::Hash(hash), to.path()).await;
        assert_eq!(ended.state, TransferState::Done, "{name}");
        let got = std::fs::read(ended.path.expect("published")).expect("read");
        assert!(got == big[..size], "{name}: {} bytes differ", got.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_downloaded_is_offered_to_others() {
    let (_registry, peers) = network(1, 6).await;
    for peer in &peers {
        soon("hashes", peer.peer.until_hashed()).await;
    }
    let (hits, _) = peers[0].search("peer4 report").await;
    let hash = hits[0].file.hash.expect("hashed");
    let ask = floodplain::protocol::action::GetAsk::new(Target::Hash(hash), None);
    let mut events = peers[0].handle.get(ask).await.expect("a download");
    while soon("an event", events.next()).await.is_some() {}
    soon("two holders", async {
        loop {
            let (hits, _) = peers[1].search("peer4 report").await;
            if hits[0].holders.len() == 2 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sent_file_arrives_in_the_inbox() {
    let (_registry, peers) = network(1, 6).await;
    let mine = peers[0].share().join("peer1 report.txt");
    assert_eq!(peers[0].send(&mine, "peer4").await.state, TransferState::Done);
    let arrived = peers[3].folder.path().join("inbox/peer1 report.txt");
    assert_eq!(std::fs::read(arrived).expect("there"), std::fs::read(mine).expect("mine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_peer_stays_up_and_joins_again() {
    let (_registry, peers) = network(1, 6).await;
    soon("leaving", peers[0].handle.set_connected(false)).await.expect("left");
    peers[1].until_zone_has(5).await;
    let status = peers[0].handle.status().await.expect("a status");
    assert_eq!((status.connection, status.me.zone), (Connection::Disconnected, None));
    assert!(peers[0].handle.search(SearchAsk { text: "x".into(), ..SearchAsk::default() }).await.is_err());
    soon("joining", peers[0].handle.set_connected(true)).await.expect("joined");
    peers[1].until_zone_has(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_daemons_tell_their_services_and_their_health() {
    use floodplain::net::{Identity, Purpose, Security, Transport};
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    use tonic_reflection::pb::{v1, v1alpha};

    let (registry, peers) = network(1, 6).await;
    let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
    for (address, services) in [
        (registry.address, &["floodplain.v1.RegistryService"][..]),
        (peers[0].peer.address(), &["floodplain.v1.PeerService", "floodplain.v1.ReplicaService"]),
    ] {
        let service = services[0];
        let channel = transport.dial_host(&address.to_string(), Purpose::Link).await.expect("a daemon");
        let ask = v1::ServerReflectionRequest {
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let mut answers =
            client.server_reflection_info(futures::stream::iter([ask])).await.expect("v1").into_inner();
        let answer =
            answers.message().await.expect("an answer").expect("one").message_response.expect("a message");
        let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
            panic!("a list was expected: {answer:?}");
        };
        // What the protos describe and the daemon does not serve is not listed.
        let own: Vec<_> = list
            .service
            .iter()
            .map(|listed| &listed.name)
            .filter(|name| name.starts_with("floodplain"))
            .collect();
        assert_eq!(own, services);

        let ask = v1alpha::ServerReflectionRequest {
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                service.into(),
            )),
            ..Default::default()
        };
        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let answers = client.server_reflection_info(futures::stream::iter([ask])).await.expect("v1alpha");
        assert!(answers.into_inner().message().await.expect("an answer").is_some());

        let mut health = HealthClient::new(channel);
        for service in services {
            let ask = HealthCheckRequest { service: (*service).into() };
            let health = health.check(ask).await.expect("health").into_inner();
            assert_eq!(health.status(), ServingStatus::Serving);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_and_any_part_of_it_is_read_in_order_without_a_copy() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let big: Vec<u8> = (0..5_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let big = &big[..big.len() - 77];
    let files: [(&str, &[u8]); 3] = [("empty", b""), ("small", b"a few words"), ("big", big)];
    let holder = TestPeer::start(registry.address, "holder", &files).await;
    let fetcher = TestPeer::start(registry.address, "fetcher", &[]).await;
    soon("hashes", holder.peer.until_hashed()).await;
    fetcher.until_zone_has(2).await;
    for (name, content) in files {
        let (hits, _) = fetcher.search(name).await;
        let target = Target::Hash(hits[0].file.hash.expect("hashed"));
        assert_eq!(read(&fetcher, target, 0, None).await.expect(name), content, "{name}");
    }
    let (hits, _) = fetcher.search("big").await;
    let path = || Target::Path(PeerPath { peer: "holder".into(), path: hits[0].file.path.clone() });
    let mib = 1_usize << 20;
    let end = big.len();
    for range in [0..1, 0..mib, mib - 1..mib + 1, mib..2 * mib, 5 * mib - 100..end, end - 1..end, 3..end] {
        let (offset, length) = (range.start as u64, Some(range.len() as u64));
        let part = read(&fetcher, path(), offset, length).await.expect("a part");
        assert!(part == big[range.clone()], "{range:?}");
    }
    let beyond = read(&fetcher, path(), 2 * end as u64, None).await.expect_err("beyond the end");
    assert_eq!(beyond.kind, ErrorKind::Usage, "{beyond}");
    assert_eq!(fetcher.handle.transfers().await.expect("a list"), [], "a read is no transfer");
    assert!(std::fs::read_dir(fetcher.folder.path().join("downloads")).map_or(0, Iterator::count) == 0);
}

async fn read(
    peer: &TestPeer,
    target: Target,
    offset: u64,
    length: Option<u64>,
) -> Result<Vec<u8>, ActionError> {
    let mut events = peer.handle.read(ReadAsk { target, offset, length }).await?;
    let mut content = Vec::new();
    while let Some(event) = soon("the next bytes", events.next()).await {
        match event? {
            ReadEvent::File(file) => assert!(content.is_empty() && file.hash.is_some()),
            ReadEvent::Data(bytes) => content.extend_from_slice(&bytes),
        }
    }
    Ok(content)
}
