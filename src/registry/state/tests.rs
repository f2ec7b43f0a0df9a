use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::protocol::id::Credential;

const ELASTIC: Layout = Layout::Elastic { min: 6, target: 16, max: 24 };

fn terms(layout: Layout) -> Terms {
    Terms { layout, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) }
}

/// Peer `number`, at an address of its own.
fn registration(number: u16, incarnation: u64) -> Registration {
    let mut secret = [9; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    let credential = Credential::from_bytes(secret);
    let [high, low] = number.to_be_bytes();
    Registration {
        member: Member {
            id: credential.peer_id(),
            name: format!("peer-{number}").parse().unwrap(),
            address: ([10, 1, high, low], 7001).into(),
            incarnation,
            shared_files: 0,
            room_bytes: 0,
            summary: crate::protocol::roster::Stamp::default(),
        },
        credential: Some(credential),
        host_id: format!("host-{number}"),
    }
}

/// A registry with a follower of every zone, who knows nothing but the events.
struct Watched {
    state: State,
    followed: BTreeMap<ZoneId, Roster>,
    gateways: BTreeMap<ZoneId, Vec<Member>>,
    now: Instant,
    rng: StdRng,
}

impl Watched {
    fn new(layout: Layout) -> Self {
        Self {
            state: State::new(terms(layout), 1),
            followed: BTreeMap::new(),
            gateways: BTreeMap::new(),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
        }
    }

    fn register(&mut self, number: u16, incarnation: u64) -> Result<Membership, Refusal> {
        self.ask(registration(number, incarnation))
    }

    fn ask(&mut self, registration: Registration) -> Result<Membership, Refusal> {
        let (membership, events) = self.state.register(registration, self.now, &mut self.rng)?;
        self.follow(events);
        assert_eq!(self.state.roster(membership.roster.zone()), Some(&membership.roster));
        Ok(membership)
    }

    /// Takes deltas in as a peer does, and checks that nothing else was needed.
    fn follow(&mut self, events: Vec<Event>) {
        // A sweep that moves peers several times may change a zone as often, and the gateways are looked at after the last.
        let mut named: BTreeMap<ZoneId, Vec<PeerId>> = BTreeMap::new();
        for event in &events {
            if let Event::Gateways { zone, new } = event {
                named.entry(*zone).or_default().extend(new);
            }
        }
        for event in events {
            match event {
                Event::Changed(delta) => {
                    let empty = || Roster::new(delta.zone, delta.from_revision, Vec::new());
                    let roster = self.followed.entry(delta.zone).or_insert_with(empty);
                    roster.apply(&delta).expect("no delta is missing");
                }
                Event::Gateways { zone, .. } => {
                    let gateways = self.state.gateways(zone);
                    let before = self.gateways.insert(zone, gateways.clone()).unwrap_or_default();
                    let was_before = |id: &PeerId| before.iter().any(|gateway| gateway.id == *id);
                    let is_named = |id: &PeerId| named[&zone].contains(id);
                    assert!(gateways.iter().all(|gateway| was_before(&gateway.id) || is_named(&gateway.id)));
                }
                _ => {}
            }
        }
        self.followed.retain(|zone, _| self.state.roster(*zone).is_some());
        self.check_gateways_told();
        for (zone, roster) in &self.state.rosters {
            if let Some(followed) = self.followed.get(zone) {
                assert_eq!(followed, roster);
            }
        }
        self.check();
    }

    fn check(&self) {
        let state = &self.state;
        let listed: usize = state.rosters.values().map(|roster| roster.members().len()).sum();
        assert_eq!(listed, state.peers());
        assert_eq!(listed, state.zones.len());
        assert_eq!(listed, state.names.len());
        assert_eq!(listed, state.addresses.len());
        let sizes: BTreeMap<ZoneId, usize> =
            state.zones.sizes().map(|(zone, size)| (zone, size as usize)).collect();
        let rosters = state.rosters.iter().map(|(zone, roster)| (*zone, roster.members().len())).collect();
        assert_eq!(sizes, rosters);
        for (zone, roster) in &state.rosters {
            let gateways = state.gateways(*zone);
            assert_eq!(gateways.len(), roster.members().len().min(2), "of zone {zone}");
            assert!(gateways.iter().all(|gateway| state.is_gateway(&gateway.id)));
        }
        assert!(state.all_gateways().all(|(zone, id)| state.zone_of(&id) == Some(zone)));
    }

    /// Whoever heard every event knows every gateway as it is.
    fn check_gateways_told(&self) {
        let told: BTreeMap<_, _> = self.gateways.iter().filter(|(_, told)| !told.is_empty()).collect();
        let zones = self.state.rosters.keys().map(|zone| (zone, self.state.gateways(*zone)));
        let now: BTreeMap<_, _> = zones.filter(|(_, now)| !now.is_empty()).collect();
        assert_eq!(told, now.iter().map(|(zone, now)| (*zone, now)).collect());
    }
}

#[test]
fn a_wrong_credential_is_refused() {
    let mut registry = Watched::new(ELASTIC);
    let forged = Registration { credential: Some(Credential::from_bytes([1; 32])), ..registration(1, 1) };
    assert_eq!(registry.ask(forged), Err(Refusal::WrongCredential));
    registry.check();
}

#[test]
fn names_and_addresses_are_unique_among_live_peers() {
    let mut registry = Watched::new(ELASTIC);
    let first = registry.register(1, 1).unwrap();
    let mut same_name = registration(2, 1);
    same_name.member.name = "peer-1".parse().unwrap();
    assert!(matches!(registry.ask(same_name.clone()), Err(Refusal::NameTaken(_))));
    let mut same_address = registration(2, 1);
    same_address.member.address = registration(1, 1).member.address;
    assert!(matches!(registry.ask(same_address), Err(Refusal::AddressTaken(_))));
    let events = registry.state.unregister(&first.lease, registry.now);
    registry.follow(events);
    registry.ask(same_name).unwrap();
}

#[test]
fn a_newer_incarnation_replaces_and_an_older_one_is_refused() {
    let mut registry = Watched::new(ELASTIC);
    let old = registry.register(1, 5).unwrap();
    assert_eq!(registry.register(1, 5), Ok(old.clone()));
    let mut restarted = registration(1, 6);
    restarted.member.address = ([10, 9, 9, 9], 7009).into();
    let new = registry.ask(restarted).unwrap();
    assert_ne!(new.lease, old.lease);
    assert_eq!(new.roster.zone(), old.roster.zone());
    assert!(matches!(registry.register(1, 5), Err(Refusal::Superseded(_))));
    assert_eq!(
        registry.state.heartbeat(&old.lease, Load::default(), registry.now),
        Err(Refusal::UnknownLease)
    );
    assert!(registry.state.unregister(&old.lease, registry.now).is_empty());
    registry.state.stream_lost(&old.lease, registry.now);
    registry.now += Duration::from_secs(2);
    assert!(registry.state.sweep(registry.now).is_empty());
    assert_eq!(registry.state.peers(), 1);
    // Its former address is free again.
    let mut other = registration(2, 1);
    other.member.address = registration(1, 5).member.address;
    registry.ask(other).unwrap();
}

#[test]
fn pages_give_everyone_once_in_order() {
    let mut registry = Watched::new(ELASTIC);
    for number in 0..120 {
        registry.register(number, 1).unwrap();
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = registry.state.list_peers(None, after.as_ref(), 7);
        listed.extend(page.items.into_iter().map(|(zone, member)| (zone, member.name)));
        if !page.has_more {
            break;
        }
        after = listed.last().map(|(zone, name)| PeerPlace { zone: *zone, name: name.clone() });
    }
    assert_eq!(listed.len(), 120);
    assert!(listed.is_sorted());
    let zones = registry.state.list_zones(None, 1000);
    assert_eq!(zones.items.iter().map(|zone| zone.peers).sum::<usize>(), 120);
    let first = registry.state.list_zones(None, 2);
    assert!(first.has_more);
    assert_eq!(registry.state.list_zones(Some(first.items[1].zone), 1000).items, zones.items[2..]);
}

#[test]
fn a_restart_keeps_zones_and_leases_and_raises_revisions() {
    let mut registry = Watched::new(ELASTIC);
    let before: Vec<Membership> = (0..60).map(|number| registry.register(number, 1).unwrap()).collect();
    let saved = registry.state.save();
    let now = registry.now + Duration::from_secs(3600);
    let mut restored =
        State::restore(terms(ELASTIC), saved.epoch + 1, saved.clone(), [], now, &mut registry.rng);
    assert_eq!(restored.save().peers, saved.peers);
    for (number, membership) in (0..).zip(before) {
        let id = registration(number, 1).member.id;
        assert_eq!(restored.zone_of(&id), registry.state.zone_of(&id));
        let renewal = restored.heartbeat(&membership.lease, Load::default(), now).unwrap().0;
        assert!(renewal.revision > registry.state.revision);
    }
}

#[test]
fn a_zones_gateways_are_its_eldest_and_a_change_names_who_is_new() {
    let mut registry = Watched::new(Layout::Fixed { zones: 1, zone_size: 4 });
    let id = |number| registration(number, 1).member.id;
    let gateways = |changes: &[Event]| -> Vec<Vec<PeerId>> {
        let new = changes.iter().filter_map(|event| match event {
            Event::Gateways { new, .. } => Some(new.clone()),
            _ => None,
        });
        new.collect()
    };
    let now = registry.now;
    let mut leases = Vec::new();
    for (number, new) in [(1, vec![vec![id(1)]]), (2, vec![vec![id(2)]]), (3, vec![]), (4, vec![])] {
        let joined = registry.state.register(registration(number, 1), now, &mut registry.rng);
        let (membership, events) = joined.unwrap();
        assert_eq!(gateways(&events), new, "peer {number}");
        leases.push(membership.lease);
    }
    assert_eq!(gateways(&registry.state.unregister(&leases[3], now)), Vec::<Vec<PeerId>>::new());
    assert_eq!(gateways(&registry.state.unregister(&leases[0], now)), [[id(3)]]);
    let zone = registry.state.zone_of(&id(2)).unwrap();
    let listed: Vec<String> =
        registry.state.list_zones(None, 1).items[0].gateways.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["peer-2", "peer-3"]);
    // Another start of a gateway is no other gateway, and is told, since it may be dialed elsewhere.
    let mut restarted = registration(2, 2);
    restarted.member.address = ([10, 9, 9, 9], 7009).into();
    let (_, events) = registry.state.register(restarted, now, &mut registry.rng).unwrap();
    assert_eq!(gateways(&events), [Vec::new()]);
    assert_eq!(registry.state.gateways(zone)[0].address.port(), 7009);
}

#[test]
fn gateways_stay_gateways_over_a_restart_even_where_others_would_be_chosen_today() {
    let layout = Layout::Fixed { zones: 1, zone_size: 4 };
    let mut registry = Watched::new(layout);
    for (number, host) in [(1, "one"), (2, "one"), (3, "other")] {
        let joining = Registration { host_id: host.into(), ..registration(number, 1) };
        registry.ask(joining).unwrap();
    }
    let before = registry.state.gateways(ZoneId::FIRST);
    let one_and_two = [1, 2].map(|number| registration(number, 1).member.id);
    assert_eq!(before.iter().map(|gateway| gateway.id).collect::<Vec<_>>(), one_and_two);
    let saved = registry.state.save();
    let restore = |saved: &Saved, rng: &mut StdRng| {
        State::restore(terms(layout), 2, saved.clone(), [], Instant::now(), rng).gateways(ZoneId::FIRST)
    };
    assert_eq!(restore(&saved, &mut registry.rng), before);
    // A snapshot that says nothing of gateways.
    let mut former = saved.clone();
    former.peers.iter_mut().for_each(|peer| peer.is_gateway = false);
    let chosen: Vec<_> = restore(&former, &mut registry.rng).iter().map(|gateway| gateway.id).collect();
    assert_eq!(chosen, [1, 3].map(|number| registration(number, 1).member.id));
    // One that says too much.
    former.peers.iter_mut().for_each(|peer| peer.is_gateway = true);
    assert_eq!(restore(&former, &mut registry.rng), before);
}

#[test]
fn a_snapshot_of_another_layout_still_lets_everyone_in_that_fits() {
    let mut registry = Watched::new(ELASTIC);
    for number in 0..60 {
        registry.register(number, 1).unwrap();
    }
    let saved = registry.state.save();
    let layout = Layout::Fixed { zones: 4, zone_size: 12 };
    registry.state = State::restore(terms(layout), 2, saved, [], registry.now, &mut registry.rng);
    assert_eq!(registry.state.peers(), 48);
    registry.check();
}

#[test]
fn a_changed_number_of_files_is_listed_and_makes_no_revision() {
    let mut registry = Watched::new(ELASTIC);
    let joined = registry.register(1, 1).unwrap();
    let generation = registry.state.generation();
    let load = Load { shared_files: 7, room_bytes: 9, ..Load::default() };
    let (renewal, events) = registry.state.heartbeat(&joined.lease, load, registry.now).unwrap();
    assert_eq!(events, []);
    assert_eq!(renewal.revision, joined.roster.revision());
    let listed = &registry.state.list_peers(None, None, 10).items[0].1;
    assert_eq!((listed.shared_files, listed.room_bytes), (7, 9));
    assert!(registry.state.generation() > generation, "it is saved");
    // Neither does one that comes with a new session of the same start.
    let mut again = registration(1, 1);
    again.member.shared_files = 8;
    let (again, events) = registry.state.register(again, registry.now, &mut registry.rng).unwrap();
    assert_eq!((events, again.roster.revision()), (Vec::new(), joined.roster.revision()));
    assert_eq!(again.roster.members()[0].shared_files, 8);
}

#[test]
fn an_announced_summary_is_told_to_the_zone_and_makes_no_revision() {
    let mut registry = Watched::new(ELASTIC);
    let joined = registry.register(1, 1).unwrap();
    let stamp = |version, is_settled| crate::protocol::roster::Stamp { version, is_settled };
    for summary in [stamp(1, true), stamp(1, false), stamp(2, true)] {
        let load = Load { summary, ..Load::default() };
        let (renewal, events) = registry.state.heartbeat(&joined.lease, load, registry.now).unwrap();
        let (zone, peer) = (joined.roster.zone(), registration(1, 1).member.id);
        assert_eq!(events, [Event::Announced { zone, peer }]);
        assert_eq!(renewal.revision, joined.roster.revision());
        assert_eq!(registry.state.heartbeat(&joined.lease, load, registry.now).unwrap().1, [], "once");
        assert_eq!(registry.state.roster(zone).unwrap().members()[0].summary, summary);
    }
    // A later start has announced nothing yet.
    let again = registry.register(1, 2).unwrap();
    assert_eq!(again.roster.members()[0].summary, stamp(0, false));
}

#[test]
fn whoever_is_expelled_is_gone_at_once_and_everyone_hears_of_it() {
    let mut registry = Watched::new(ELASTIC);
    let joined = registry.register(1, 1).unwrap();
    registry.register(2, 1).unwrap();
    let peer = registration(1, 1).member.id;
    let events = registry.state.expel(&peer, registry.now);
    let ended = Event::Ended { peer, lease: joined.lease, reason: Reason::Expelled };
    assert!(events.contains(&ended), "{events:?}");
    registry.follow(events);
    assert_eq!(registry.state.zone_of(&peer), None);
    assert_eq!(registry.followed[&joined.roster.zone()].members().len(), 1);
    assert!(registry.state.expel(&peer, registry.now).is_empty(), "once");
    let load = registry.state.heartbeat(&joined.lease, Load::default(), registry.now);
    assert_eq!(load, Err(Refusal::UnknownLease));
}

#[test]
fn a_pinned_peer_is_placed_in_its_zone_also_after_a_restart() {
    let layout = Layout::Fixed { zones: 3, zone_size: 1 };
    let mut registry = Watched::new(layout);
    let (third, peer) = (ZoneId::new(3).unwrap(), registration(1, 1).member.id);
    registry.state.pin(peer, Some(third));
    assert_eq!(registry.register(1, 1).unwrap().roster.zone(), third);
    registry.state.pin(registration(2, 1).member.id, Some(third));
    let refused = registry.register(2, 1).unwrap_err();
    assert_eq!(refused, Refusal::Pinned(NoPlace::PinnedFull { zone: third, size: 1 }));
    let saved = registry.state.save();
    let second = ZoneId::new(2).unwrap();
    registry.state =
        State::restore(terms(layout), 2, saved, [(peer, second)], registry.now, &mut registry.rng);
    assert_eq!(registry.state.zone_of(&peer), Some(second), "its pin has changed meanwhile");
}

#[test]
fn names_that_differ_in_case_alone_are_one_name() {
    let mut registry = Watched::new(ELASTIC);
    let first = registry.register(1, 1).unwrap();
    let mut look_alike = registration(2, 1);
    look_alike.member.name = "PEER-1".parse().unwrap();
    assert!(matches!(registry.ask(look_alike.clone()), Err(Refusal::NameTaken(_))));
    let mut renamed = registration(1, 2);
    renamed.member.name = "Peer-1".parse().unwrap();
    let renamed = registry.ask(renamed).expect("its own name in another case");
    assert!(registry.state.unregister(&first.lease, registry.now).is_empty());
    let events = registry.state.unregister(&renamed.lease, registry.now);
    registry.follow(events);
    registry.ask(look_alike).expect("the name is free again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// `Watched` applies every delta as a peer would: none may be missing, whatever happens.
    #[test]
    fn deltas_alone_tell_the_whole_story(
        steps in proptest::collection::vec((0..8u8, 0..120u16), 1..300),
        is_fixed: bool,
    ) {
        let layout = if is_fixed { Layout::Fixed { zones: 3, zone_size: 12 } } else { ELASTIC };
        let mut registry = Watched::new(layout);
        let mut leases = HashMap::new();
        for (what, number) in steps {
            match what {
                0..4 => {
                    if let Ok(membership) = registry.register(number, 1) {
                        leases.insert(number, membership.lease);
                    }
                }
                4 => {
                    if let Some(lease) = leases.get(&number) {
                        let events = registry.state.unregister(lease, registry.now);
                        registry.follow(events);
                    }
                }
                5 => {
                    if let Some(lease) = leases.get(&number) {
                        registry.state.stream_lost(lease, registry.now);
                    }
                }
                6 => {
                    if let Some(lease) = leases.get(&number) {
                        let _ = registry.state.heartbeat(lease, Load::default(), registry.now);
                    }
                }
                _ => for _ in 0..number % 40 {
                    registry.now += Duration::from_secs(1);
                    let events = registry.state.sweep(registry.now);
                    registry.follow(events);
                },
            }
        }
    }
}
