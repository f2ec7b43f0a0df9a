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
    hedge::Delays,
    id::{PeerId, PeerName, ZoneId},
    neighbor::{all_neighbors, neighbors},
    roster::{Member, Roster, Stamp},
    summary::{
        book::{Book, Held},
        zone::{Filters, Telling, ZoneFilter},
    },
};
use rand::{
    RngExt, SeedableRng,
    rngs::SmallRng,
    seq::{SliceRandom, index::sample},
};

use super::{Contents, Outcome, Setup, Zone, parts::Node};

pub(super) const REVISION: u64 = 7;
/// Revisions that a stale roster is behind, at most. With each of them one member joined, and one that is gone left.
const MOST_BEHIND: usize = 3;

/// What the members of one zone have in common.
struct Common {
    /// By the revisions that they are behind.
    rosters: Vec<Rc<Roster>>,
    /// Of the newest one.
    neighbors: Vec<(PeerId, Vec<PeerId>)>,
    /// Who joined, by place, with the newest revision and those before.
    joined: Vec<usize>,
    /// Who left.
    left: Vec<Member>,
    /// Others than gateways know those of their own zone only.
    own_gateways: Rc<Gateways>,
}

impl Zone {
    #[allow(clippy::too_many_lines, reason = "one draw after the other, in an order that a seed depends on")]
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
                let now = &members[zone * size..(zone + 1) * size];
                let behind = if setup.stale > 0.0 { MOST_BEHIND.min(size - 1) } else { 0 };
                let joined = sample(&mut rng, size, behind).into_vec();
                let left = |number| member(n + number, PeerId::random(&mut rng), &contents);
                let left: Vec<Member> = (0..behind).map(left).collect();
                let roster = |behind: usize| {
                    let known = |at: &usize| !joined[..behind].contains(at);
                    let known = (0..size).filter(known).map(|at| now[at].clone());
                    let members = known.chain(left[..behind].iter().cloned()).collect();
                    Rc::new(Roster::new(zone_id(zone), REVISION - behind as u64, members))
                };
                Common {
                    rosters: (0..=behind).map(roster).collect(),
                    neighbors: all_neighbors(now),
                    own_gateways: gateways_of(zone..zone + 1),
                    joined,
                    left,
                }
            })
            .collect();
        let mut nodes: Vec<Node> = (0..n)
            .map(|at| {
                let (common, place) = (&zones[at / size], at % size);
                let is_stale = rng.random::<f64>() < setup.stale;
                // Nobody is behind the revision it joined with.
                let most = common.joined.iter().position(|joined| *joined == place);
                let most = most.unwrap_or(common.joined.len());
                let behind = if is_stale && most > 0 { rng.random_range(1..=most) } else { 0 };
                let roster = common.rosters[behind].clone();
                let neighbors_now = || common.neighbors[place].1.clone();
                Node {
                    id: ids[at],
                    neighbors: match behind {
                        0 => neighbors_now(),
                        _ => neighbors(roster.members(), &ids[at]),
                    },
                    roster,
                    gateways: if is_gateway(at) { &all_gateways } else { &common.own_gateways }.clone(),
                    cache: QueryCache::new(NonZeroUsize::new(setup.cache).expect("room")),
                    delays: BTreeMap::new(),
                    all_delays: Delays::default(),
                    is_dead: setup.silence_after.is_none() && dead.contains(&at),
                    is_silent: rng.random::<f64>() < setup.silent,
                    is_slow: rng.random::<f64>() < setup.slow,
                    is_careless: setup.careless > 0.0 && rng.random::<f64>() < setup.careless,
                }
            })
            .collect();
        for common in &zones {
            let gone = common.left.iter().map(|member| Node {
                id: member.id,
                neighbors: Vec::new(),
                roster: common.rosters[0].clone(),
                gateways: common.own_gateways.clone(),
                cache: QueryCache::new(NonZeroUsize::MIN),
                delays: BTreeMap::new(),
                all_delays: Delays::default(),
                is_dead: true,
                is_silent: false,
                is_slow: false,
                is_careless: false,
            });
            nodes.extend(gone);
        }
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
            books: books(setup, &ids, &contents.summaries),
            keys: books(setup, &ids, &contents.keys),
            contents,
            rng,
            base: Instant::now(),
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            index: nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect(),
            nodes,
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
fn books<T: Held + Clone>(setup: &Setup, ids: &[PeerId], given: &[Option<T>]) -> Vec<Book<T>> {
    let mut books: Vec<Book<T>> = (0..setup.zones).map(|_| Book::new()).collect();
    for (at, given) in given.iter().enumerate() {
        if let Some(given) = given {
            books[at / setup.peers].hold(ids[at], 1, 1, Some(given.clone()));
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
