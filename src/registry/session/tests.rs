use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    protocol::{
        gateway::{Gateways, ZoneGateways},
        id::Credential,
        roster::{Member, Stamp},
        zone::Layout,
    },
    registry::state::Terms,
};

fn hub() -> Hub {
    hub_of(Layout::Elastic { min: 6, target: 16, max: 24 })
}

fn hub_of(layout: Layout) -> Hub {
    let terms = Terms { layout, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };
    Hub::new(State::new(terms, 1))
}

fn registration(number: u16, incarnation: u64) -> Registration {
    let [high, low] = number.to_be_bytes();
    let mut secret = [5; 32];
    secret[..2].copy_from_slice(&[high, low]);
    let credential = Credential::from_bytes(secret);
    let member = Member {
        id: credential.peer_id(),
        name: format!("peer-{number}").parse().unwrap(),
        address: ([10, 1, high, low], 7001).into(),
        incarnation,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    Registration { member, credential: Some(credential), host_id: String::new() }
}

#[test]
fn a_session_that_is_never_read_keeps_no_outbox_after_its_lease() {
    let hub = hub();
    let (unread, _) = hub.open(registration(1, 1)).unwrap();
    let (other, _) = hub.open(registration(2, 1)).unwrap();
    assert!(matches!(hub.next(&unread), Ok(Some(Down::Delta(_)))));
    hub.unregister(&unread.lease);
    assert_eq!(hub.lock().outboxes.keys().collect::<Vec<_>>(), [&other.peer]);
    assert_eq!(hub.next(&unread), Err(End::Lease(Reason::Left)), "it is told why when it reads at last");
    hub.close(&unread);
    assert_eq!(hub.read(State::peers), 1);
}

#[test]
fn a_peer_cannot_pile_up_streams_that_it_does_not_read() {
    let hub = hub();
    let open = |incarnation| hub.open(registration(1, incarnation));
    let mut unread: Vec<_> =
        (1..).take(STREAMS_PER_PEER).map(|incarnation| open(incarnation).unwrap()).collect();
    assert!(matches!(open(9), Err(NotOpened::Full(Full::Key))));
    assert_eq!(hub.next(&unread[0].0), Err(End::OtherSession));
    assert!(hub.open(registration(2, 1)).is_ok(), "others are let in");
    unread.pop();
    assert!(open(9).is_ok());
}

#[test]
fn of_two_lists_of_who_is_shut_out_the_later_one_counts_whichever_comes_first() {
    let hub = hub();
    let list = |version, numbers: &[u16]| {
        let peers = numbers.iter().map(|number| registration(*number, 1).member.id).collect();
        DenyList::new(version, peers).unwrap()
    };
    hub.deny(&list(2, &[1, 2]));
    hub.deny(&list(1, &[1]));
    for number in [1, 2] {
        assert!(matches!(hub.open(registration(number, 1)), Err(NotOpened::Refused(Refusal::ShutOut))));
    }
    let (session, _) = hub.open(registration(3, 1)).unwrap();
    assert_eq!(hub.next(&session), Ok(Some(Down::Denied(Arc::new(list(2, &[1, 2]))))));
}

/// A network with a session for every place in it, and what each peer holds of gateways.
struct Network {
    hub: Hub,
    sessions: Vec<Opened>,
    held: HashMap<PeerId, Gateways>,
}

impl Network {
    fn new(zones: u32, zone_size: u32) -> Self {
        let hub = hub_of(Layout::Fixed { zones, zone_size });
        let (mut sessions, mut held) = (Vec::new(), HashMap::new());
        for number in 0..zones * zone_size {
            let number = u16::try_from(number).unwrap();
            let (opened, welcome) = hub.open(registration(number, 1)).unwrap();
            held.insert(opened.peer, Gateways::new(welcome.roster.zone(), welcome.gateways));
            sessions.push(opened);
        }
        let mut network = Self { hub, sessions, held };
        network.read();
        network.pass_time();
        network.read();
        network
    }

    /// Everyone reads all there is; gives how many messages told whom of which zones' gateways.
    fn read(&mut self) -> BTreeMap<PeerId, Vec<Vec<ZoneId>>> {
        let mut heard = BTreeMap::<_, Vec<_>>::new();
        for session in &self.sessions {
            while let Ok(Some(down)) = self.hub.next(session) {
                if let Down::Gateways(told) = down {
                    let zones = told.zones.iter().map(|told| told.zone).collect();
                    heard.entry(session.peer).or_default().push(zones);
                    self.held.get_mut(&session.peer).unwrap().take_in(told);
                }
            }
        }
        heard
    }

    /// As a sweep a second later, and as if nothing had been told for long.
    fn pass_time(&self) {
        self.sweep_at(Instant::now() + Duration::from_secs(1));
        self.hub.lock().untold = Untold::default();
    }

    fn sweep_at(&self, now: Instant) {
        let inner = &mut *self.hub.lock();
        inner.untold.tell(&inner.state, &mut inner.outboxes, now);
    }

    fn zone_of(&self, peer: &PeerId) -> ZoneId {
        self.hub.read(|state| state.zone_of(peer)).unwrap()
    }

    /// The elder gateway of a zone leaves.
    fn lose_gateway(&self, zone: u32) {
        let zone = ZoneId::new(zone).unwrap();
        let gateway = self.hub.read(|state| state.gateways(zone)[0].id);
        let session = self.sessions.iter().find(|session| session.peer == gateway).unwrap();
        self.hub.unregister(&session.lease);
    }

    /// Everyone who is there holds what the registry has: its own zone's, and all when it is a gateway.
    fn check(&self) {
        self.hub.read(|state| {
            let of = |zone| ZoneGateways { zone, gateways: state.gateways(zone) };
            let zones: Vec<_> = state.list_zones(None, 1000).items.iter().map(|zone| of(zone.zone)).collect();
            let mut all = Gateways::default();
            all.take_in(Told { is_whole: true, zones });
            for session in &self.sessions {
                let Some(zone) = state.zone_of(&session.peer) else { continue };
                let held = &self.held[&session.peer];
                if state.is_gateway(&session.peer) {
                    assert_eq!(*held, all, "held by a gateway of {zone}");
                } else {
                    assert_eq!(*held, Gateways::new(zone, state.gateways(zone)), "held in {zone}");
                }
            }
        });
    }
}

fn zone(number: u32) -> ZoneId {
    ZoneId::new(number).unwrap()
}

#[test]
fn members_hear_of_their_own_gateways_and_gateways_of_all() {
    let mut network = Network::new(10, 6);
    network.check();
    network.lose_gateway(4);
    let mut heard = network.read();
    network.check();
    let new = network.hub.read(|state| state.gateways(zone(4))[1].id);
    assert_eq!(heard.remove(&new), Some(vec![(1..=10).map(zone).collect()]));
    // Once each: the other members of its zone, and two of each other zone.
    assert_eq!(heard.len(), 4 + 2 * 9);
    assert!(heard.values().all(|messages| *messages == [[zone(4)]]), "{heard:?}");
}

#[test]
fn changes_within_a_second_go_to_other_zones_in_one_message() {
    // Anew where the machine had no time for it within a second.
    let (mut network, begun) = loop {
        let network = Network::new(8, 6);
        let begun = Instant::now();
        (2..=6).for_each(|zone| network.lose_gateway(zone));
        if begun.elapsed() < Duration::from_secs(1) {
            break (network, begun);
        }
    };
    let in_first = |network: &Network, heard: &BTreeMap<PeerId, Vec<Vec<ZoneId>>>| -> Vec<_> {
        let heard = heard.iter().filter(|(peer, _)| network.zone_of(peer) == ZoneId::FIRST);
        heard.map(|(_, messages)| messages.clone()).collect()
    };
    let heard = network.read();
    assert_eq!(in_first(&network, &heard), vec![vec![vec![zone(2)]]; 2], "the first one at once");
    network.sweep_at(begun + Duration::from_millis(999));
    assert_eq!(network.read(), BTreeMap::new(), "the others not before a second is over");
    network.pass_time();
    let heard = network.read();
    assert_eq!(in_first(&network, &heard), vec![vec![(3..=6).map(zone).collect::<Vec<_>>()]; 2]);
    network.check();
}

#[test]
fn many_zones_are_told_in_portions_and_cost_two_messages_a_zone_and_second() {
    let mut network = Network::new(270, 3);
    network.check();
    let (mut heard, begun) = (Vec::new(), Instant::now());
    for zone in 101..=120 {
        network.lose_gateway(zone);
        heard.extend(network.read().into_values().flatten());
    }
    network.pass_time();
    heard.extend(network.read().into_values().flatten());
    let messages = heard.len();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    println!("20 gateways lost within {} s among 270 zones: {messages} messages", seconds + 1);
    // The other member of each of these zones, two portions to each new gateway, and those of all zones at once, in each
    // second that it took, and at its end.
    assert!(messages <= 20 + 2 * 20 + (2 + seconds) * 2 * 270, "{messages} in {seconds} s");
    assert_eq!(heard.iter().map(Vec::len).max(), Some(256));
    network.check();
}

#[test]
fn a_peer_that_moves_holds_the_gateways_of_where_it_is() {
    let hub = hub();
    let mut network = Network { hub, sessions: Vec::new(), held: HashMap::new() };
    // 16 in the first zone and 6 above it: enough for a second one.
    for number in 0..22 {
        let (opened, welcome) = network.hub.open(registration(number, 1)).unwrap();
        network.held.insert(opened.peer, Gateways::new(welcome.roster.zone(), welcome.gateways));
        network.sessions.push(opened);
        network.read();
    }
    network.pass_time();
    network.read();
    assert_eq!(network.hub.read(State::zones), 2);
    network.check();
}
