//! Who hears of which gateways, and how soon.

use std::{collections::HashMap, time::Instant};

use floodplain::protocol::{gateway::Gateways, id::ZoneId, lease::STREAM_LOST_GRACE, zone::Layout};

use crate::common::{Client, ELASTIC, PATIENCE, Peer, Registry, Session, list, zones};

/// Names by zone, of the zones that are known.
fn names(gateways: &Gateways) -> Vec<(u32, Vec<String>)> {
    let of = |zone: ZoneId| gateways.of(zone).iter().map(|gateway| gateway.name.to_string()).collect();
    gateways.zones().map(|zone| (zone.get(), of(zone))).collect()
}

/// Follows until it holds this, as the registry lists it.
async fn until_held(session: &mut Session, wanted: &[(u32, Vec<String>)]) {
    while names(&session.gateways) != wanted {
        assert!(session.next().await.unwrap().is_some(), "the session ended");
    }
}

async fn listed(client: &mut Client) -> Vec<(u32, Vec<String>)> {
    zones(client).await.into_iter().map(|zone| (zone.zone_id, zone.gateways)).collect()
}

/// A peer with its session over a connection of its own, so that dropping both is its death.
async fn joined(registry: &Registry, number: u16) -> (Session, Client) {
    let mut client = registry.client().await;
    (Session::open(&mut client, &Peer::new(number)).await.unwrap(), client)
}

#[tokio::test]
async fn everyone_hears_of_its_own_zones_gateways_and_gateways_of_all() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(Layout::Fixed { zones: 3, zone_size: 3 }, data.path()).await;
    let mut client = registry.client().await;
    let mut sessions = Vec::new();
    for number in 1..=9 {
        sessions.push((format!("peer-{number}"), joined(&registry, number).await));
    }
    let listed = listed(&mut client).await;
    assert!(listed.iter().all(|(_, names)| names.len() == 2), "{listed:?}");
    for (name, (session, _)) in &mut sessions {
        let own = session.roster.zone().get();
        let is_gateway = listed.iter().any(|(_, names)| names.contains(name));
        let mut wanted = listed.clone();
        wanted.retain(|(zone, _)| is_gateway || *zone == own);
        until_held(session, &wanted).await;
    }
    registry.stop().await;
}

#[tokio::test]
async fn a_killed_gateway_is_replaced_when_its_stream_has_ended_for_a_second() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(Layout::Fixed { zones: 2, zone_size: 3 }, data.path()).await;
    let mut client = registry.client().await;
    let mut sessions = Vec::new();
    for number in 1..=6 {
        sessions.push((format!("peer-{number}"), joined(&registry, number).await));
    }
    let before = listed(&mut client).await;
    let (zone, gateways) = before[0].clone();
    for (_, (session, _)) in sessions.iter_mut().filter(|(name, _)| before[1].1.contains(name)) {
        until_held(session, &before).await;
    }
    let at = sessions.iter().position(|(name, _)| *name == gateways[0]).unwrap();
    let killed = Instant::now();
    drop(sessions.remove(at));
    // Both members that are left, one of them a gateway since now; and both gateways of the other zone.
    let third = sessions
        .iter()
        .find(|(name, (session, _))| session.roster.zone().get() == zone && *name != gateways[1]);
    let mut after = before.clone();
    after[0].1 = vec![gateways[1].clone(), third.unwrap().0.clone()];
    for (name, (session, _)) in &mut sessions {
        let is_told = session.roster.zone().get() == zone || before[1].1.contains(name);
        if is_told {
            until_held(session, &after).await;
        }
    }
    // Long before its lease, but not at once.
    let took = killed.elapsed();
    println!("replaced after {took:?}");
    assert!((STREAM_LOST_GRACE..PATIENCE).contains(&took), "{took:?}");
    assert_eq!(listed(&mut client).await, after);
    registry.stop().await;
}

#[tokio::test]
async fn peers_that_are_moved_hear_of_the_gateways_of_where_they_are() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let mut sessions = Vec::new();
    // 16 in the first zone and 6 above it: enough for a second one.
    for number in 0..22 {
        let peer = Peer::new(number);
        sessions.push((format!("peer-{number}"), Session::open(&mut client, &peer).await.unwrap()));
    }
    let listed = listed(&mut client).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].1, ["peer-0", "peer-1"], "the eldest, for as long as they live");
    let places: HashMap<String, u32> =
        list(&mut client).await.into_iter().map(|peer| (peer.name, peer.zone_id)).collect();
    assert_eq!(places.values().filter(|zone| **zone == 2).count(), 6);
    for (name, session) in &mut sessions {
        let is_gateway = listed.iter().any(|(_, names)| names.contains(name));
        let mut wanted = listed.clone();
        wanted.retain(|(zone, _)| is_gateway || *zone == places[name]);
        until_held(session, &wanted).await;
    }
    registry.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_the_gateways() {
    let data = tempfile::tempdir().unwrap();
    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    let peers: Vec<Peer> = (0..40).map(Peer::new).collect();
    for peer in &peers {
        client.register(peer.request.clone()).await.unwrap();
    }
    let before = listed(&mut client).await;
    registry.stop().await;

    let registry = Registry::start(ELASTIC, data.path()).await;
    let mut client = registry.client().await;
    assert_eq!(listed(&mut client).await, before);
    // The youngest comes back first: it is no gateway for that.
    let back = Session::open(&mut client, &peers[39]).await.unwrap();
    let own = back.roster.zone();
    assert_eq!(names(&back.gateways), [before.into_iter().find(|(zone, _)| *zone == own.get()).unwrap()]);
    registry.stop().await;
}
