//! How a network comes to be out of its setup: peers with their ids, rosters, neighbors and gateways, and who of them is dead,
//! silent, slow or behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use floodplain::protocol::{
    flood::QueryCache,
    gateway::{GATEWAYS_PER_ZONE, Gateways, Told, ZoneGateways},
    id::{PeerId, PeerName, ZoneId},
    neighbor::all_neighbors,
    roster::{Member, Roster, Stamp},
    summary::{
        book::Book,
        zone::{Filters, Telling, ZoneFilter},
    },
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::{Contents, Outcome, Setup, Zone, parts::Node};

const REVISION: u64 = 7;

/// What the members of one zone have in common.
struct Common {
    members: Vec<Member>,
    neighbors: Vec<(PeerId, Vec<PeerId>)>,
    roster: Rc<Roster>,
    /// Others than gateways know those of their own zone only.
    own_gateways: Rc<Gateways>,
}

impl Zone {
    pub(super) fn new(setup: &Setup, contents: Rc<Contents>) -> Self {
        let mut rng = SmallRng::seed_from_u64(setup.seed);
        let (size, n) = (setup.peers, setup.peers * setup.zones);
        let ids: Vec<PeerId> = (0..n).map(|_| PeerId::random(&mut rng)).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng);
        let is_gateway = |at: usize| setup.zones > 1 && at % size < GATEWAYS_PER_ZONE;
        let dead_members = order.iter().copied().filter(|at| !is_gateway(*at));
        let mut dead: BTreeSet<usize> = dead_members.take((setup.dead * n as f64).round() as usize).collect();
        // The first peers of each zone are its gateways; one of them is the older one.
        for zone in (0..setup.zones).filter(|_| setup.zones > 1) {
            let gone = if setup.lost_zone == Some(zone) { GATEWAYS_PER_ZONE } else { setup.dead_gateways };
            let first: usize = rng.random_range(0..GATEWAYS_PER_ZONE);
            dead.extend((0..gone).map(|at| zone * size + (first + at) % GATEWAYS_PER_ZONE));
        }
        let members: Vec<Member> = (0..n).map(|at| member(at, ids[at], &contents)).collect();
        let told = |zone: usize| {
            let first = &members[zone * size..(zone + 1) * size];
            ZoneGateways {
                zone: zone_id(zone),
                gateways: first.iter().take(GATEWAYS_PER_ZONE).cloned().collect(),
            }
        };
        let gateways_of = |zones: std::ops::Range<usize>| {
            let mut gateways = Gateways::default();
            if setup.zones > 1 {
                gateways.take_in(Told { is_whole: true, zones: zones.map(told).collect() });
            }
            Rc::new(gateways)
        };
        let all_gateways = gateways_of(0..setup.zones);
        let zones: Vec<Common> = (0..setup.zones)
            .map(|zone| {
                let members = members[zone * size..(zone + 1) * size].to_vec();
                Common {
                    neighbors: all_neighbors(&members),
                    roster: Rc::new(Roster::new(zone_id(zone), REVISION, members.clone())),
                    own_gateways: gateways_of(zone..zone + 1),
                    members,
                }
            })
            .collect();
        let nodes = (0..n)
            .map(|at| {
                let common = &zones[at / size];
                let is_stale = rng.random::<f64>() < setup.stale;
                let roster = if is_stale {
                    let missing = rng.random_range(0..size);
                    let mut known = common.members.clone();
                    if missing != at % size {
                        known.remove(missing);
                    }
                    Rc::new(Roster::new(zone_id(at / size), REVISION - 1, known))
                } else {
                    common.roster.clone()
                };
                Node {
                    id: ids[at],
                    roster,
                    neighbors: common.neighbors[at % size].1.clone(),
                    gateways: if is_gateway(at) { &all_gateways } else { &common.own_gateways }.clone(),
                    cache: QueryCache::new(NonZeroUsize::new(setup.cache).expect("room")),
                    is_dead: dead.contains(&at),
                    is_silent: rng.random::<f64>() < setup.silent,
                    is_slow: rng.random::<f64>() < setup.slow,
                }
            })
            .collect();
        let live: Vec<usize> = (0..n).filter(|at| !dead.contains(at)).collect();
        let outcomes = (0..setup.queries)
            .map(|query| {
                let in_turn = || live[(setup.first_origin + query) % live.len()];
                let origin = contents.asks.get(query).map_or_else(in_turn, |ask| ask.origin);
                Outcome { origin, ..Outcome::default() }
            })
            .collect();
        Self {
            setup: setup.clone(),
            filters: filters(setup, &contents),
            books: books(setup, &ids, &contents),
            contents,
            rng,
            base: Instant::now(),
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            nodes,
            index: ids.iter().copied().enumerate().map(|(at, id)| (id, at)).collect(),
            live,
            dying: BTreeSet::new(),
            tasks: Vec::new(),
            streams: Vec::new(),
            started: vec![0; setup.queries],
            outcomes,
        }
    }
}

fn member(at: usize, id: PeerId, contents: &Contents) -> Member {
    let has_summary = contents.summaries.get(at).is_some_and(Option::is_some);
    Member {
        id,
        name: PeerName::from_any(&format!("peer-{at}")),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 1,
        room_bytes: 0,
        summary: if has_summary { Stamp { version: 1, is_settled: true } } else { Stamp::default() },
    }
}

/// What the members of each zone hold: all the same.
fn books(setup: &Setup, ids: &[PeerId], contents: &Contents) -> Vec<Book> {
    let mut books: Vec<Book> = (0..setup.zones).map(|_| Book::new()).collect();
    for (at, summary) in contents.summaries.iter().enumerate() {
        if let Some(summary) = summary {
            books[at / setup.peers].hold(ids[at], 1, 1, Some(summary.clone()));
        }
    }
    books
}

fn zone_id(zone: usize) -> ZoneId {
    ZoneId::new(u32::try_from(zone).expect("few zones") + 1).expect("not 0")
}

/// As gateways tell them each other.
fn filters(setup: &Setup, contents: &Contents) -> Filters {
    let mut filters = Filters::new();
    for (zone, filter) in contents.filters.iter().enumerate() {
        let Some(filter) = filter else { continue };
        let listed = u32::try_from(setup.peers).expect("few members");
        let told = Arc::new(ZoneFilter::new(1, None, listed, filter.clone()));
        let mut telling = Telling::default();
        while let Some(news) = telling.next(Some(&told)) {
            filters.take_in(zone_id(zone), news).expect("it follows what was told");
        }
    }
    filters
}
