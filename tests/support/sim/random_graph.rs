//! The workload of Lv, Cao, Cohen, Li and Shenker, "Search and replication in unstructured peer-to-peer networks" (2002): a
//! random graph, an object on a portion of the peers, one hit wanted. Their ways of searching beside zones with summaries.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
};

use floodplain::protocol::flood::Mode;
use rand::{
    RngExt, SeedableRng,
    rngs::SmallRng,
    seq::{SliceRandom, index::sample},
};

use super::random::{Figures, happens};
use crate::zone::{Ask, Contents, Rule, Setup, Zone, ZoneRule};

/// Peers and mean degree of theirs.
pub const PEERS: usize = 9_836;
pub const DEGREE: usize = 4;
/// A walker that has found nothing after so many steps never will.
const MOST_STEPS: usize = 20_000;
/// Walkers ask the origin whether to go on at each step of this number.
const CHECK_EVERY: usize = 4;
/// Zones that are entered in the first wave; each further wave has twice as many.
const FIRST_ZONES: usize = 4;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Portion of the peers that have the object.
    pub replication: f64,
    pub trials: usize,
    pub zone_size: usize,
    /// How often a peer's summary, and the filter of a zone, lets a query for other words pass.
    pub peer_errors: f64,
    pub zone_errors: f64,
}

/// Messages until the object is found, by way of searching.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Result {
    pub holders: usize,
    pub ways: BTreeMap<Way, Measured>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    pub messages: Figures,
    /// Portion of the trials that found the object.
    pub found: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Zones, and filters of theirs at gateways; other zones are asked in waves.
    ZonesInWaves,
    /// The same; all other zones that may match at once.
    Zones,
    /// Peers asked one by one, nobody twice: what nothing blind can beat.
    BlindBound,
    /// So many walkers.
    Walks(usize),
    /// Flood with that TTL.
    Flood(usize),
    /// Floods with TTL 1, 2, 3 and so on until something is found.
    ExpandingRing,
}

struct Graph {
    links: Vec<Vec<usize>>,
    /// The largest part that hangs together.
    connected: Vec<usize>,
}

impl Graph {
    fn new(rng: &mut SmallRng) -> Self {
        let mut links = vec![Vec::new(); PEERS];
        let mut known = HashSet::new();
        while known.len() < PEERS * DEGREE / 2 {
            let (a, b) = (rng.random_range(0..PEERS), rng.random_range(0..PEERS));
            if a != b && known.insert((a.min(b), a.max(b))) {
                links[a].push(b);
                links[b].push(a);
            }
        }
        let mut connected: Vec<usize> = Vec::new();
        let mut seen = vec![false; PEERS];
        for start in 0..PEERS {
            if !seen[start] {
                let part: Vec<usize> = levels(&links, start).concat();
                for peer in &part {
                    seen[*peer] = true;
                }
                if part.len() > connected.len() {
                    connected = part;
                }
            }
        }
        Self { links, connected }
    }
}

/// Peers by their distance.
fn levels(links: &[Vec<usize>], start: usize) -> Vec<Vec<usize>> {
    let mut seen = HashSet::from([start]);
    let mut levels = vec![vec![start]];
    loop {
        let last = levels.last().expect("it begins with one");
        let next: Vec<usize> =
            last.iter().flat_map(|peer| &links[*peer]).copied().filter(|peer| seen.insert(*peer)).collect();
        if next.is_empty() {
            return levels;
        }
        levels.push(next);
    }
}

/// Runs all ways of searching over one graph.
pub fn run(workload: &Workload, seed: u64) -> Result {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let graph = Graph::new(rng);
    let holders = ((workload.replication * PEERS as f64) as usize).max(1);
    let mut trials: BTreeMap<Way, Vec<(f64, bool)>> = BTreeMap::new();
    for _ in 0..workload.trials {
        let chosen = sample(rng, graph.connected.len(), holders + 1);
        let mut chosen: Vec<usize> = chosen.iter().map(|at| graph.connected[at]).collect();
        let origin = chosen.swap_remove(0);
        let have: BTreeSet<usize> = chosen.into_iter().collect();
        let mut note = |way, messages: usize, is_found| {
            trials.entry(way).or_default().push((messages as f64, is_found));
        };
        floods(&graph, origin, &have, &mut note);
        for walkers in [1, 32] {
            let (messages, is_found) = walks(&graph, origin, &have, walkers, rng);
            note(Way::Walks(walkers), messages, is_found);
        }
        note(Way::BlindBound, one_by_one(origin, &have, rng), true);
        for (way, first) in [(Way::Zones, usize::MAX), (Way::ZonesInWaves, FIRST_ZONES)] {
            let (messages, is_found) = zones(workload, origin, &have, first, rng);
            note(way, messages, is_found);
        }
    }
    let measured = |trials: Vec<(f64, bool)>| Measured {
        found: trials.iter().filter(|(_, is_found)| *is_found).count() as f64 / trials.len() as f64,
        messages: Figures::of(trials.into_iter().map(|(messages, _)| messages)),
    };
    Result { holders, ways: trials.into_iter().map(|(way, trials)| (way, measured(trials))).collect() }
}

/// Everyone forwards to all neighbors but the one it came from; copies of a known query end where they arrive.
fn floods(graph: &Graph, origin: usize, have: &BTreeSet<usize>, note: &mut impl FnMut(Way, usize, bool)) {
    let levels = levels(&graph.links, origin);
    let mut up_to = vec![0];
    for (level, peers) in levels.iter().enumerate() {
        let sent: usize = peers.iter().map(|peer| graph.links[*peer].len() - usize::from(level > 0)).sum();
        up_to.push(up_to[level] + sent);
    }
    let hit = levels.iter().position(|peers| peers.iter().any(|peer| have.contains(peer)));
    let hit = hit.expect("all of them hang together");
    for ttl in [5, 7, 9] {
        note(Way::Flood(ttl), up_to[ttl.min(up_to.len() - 1)], hit <= ttl);
    }
    note(Way::ExpandingRing, up_to[1..=hit].iter().sum(), true);
}

fn walks(
    graph: &Graph,
    origin: usize,
    have: &BTreeSet<usize>,
    walkers: usize,
    rng: &mut SmallRng,
) -> (usize, bool) {
    let mut at: Vec<(usize, Option<usize>)> = vec![(origin, None); walkers];
    let mut messages = 0;
    for step in 1..=MOST_STEPS {
        let mut is_found = false;
        for (peer, before) in &mut at {
            let links = &graph.links[*peer];
            let onward: Vec<usize> = links.iter().copied().filter(|next| Some(*next) != *before).collect();
            let from = if onward.is_empty() { links } else { &onward };
            (*before, *peer) = (Some(*peer), from[rng.random_range(0..from.len())]);
            messages += 1;
            is_found |= have.contains(peer);
        }
        if walkers > 1 && step % CHECK_EVERY == 0 {
            messages += walkers;
        }
        if is_found {
            return (messages, true);
        }
    }
    (messages, false)
}

fn one_by_one(origin: usize, have: &BTreeSet<usize>, rng: &mut SmallRng) -> usize {
    let mut order: Vec<usize> = (0..PEERS).filter(|peer| *peer != origin).collect();
    order.shuffle(rng);
    order.iter().position(|peer| have.contains(peer)).expect("someone has it") + 1
}

/// The own zone first; then, through a gateway of it, those other zones that may match.
fn zones(
    workload: &Workload,
    origin: usize,
    have: &BTreeSet<usize>,
    first_zones: usize,
    rng: &mut SmallRng,
) -> (usize, bool) {
    let size = workload.zone_size;
    // Peers of the graph are in no order: those of one zone follow each other.
    let home = origin / size;
    let flood = |zone: usize, from: usize, rng: &mut SmallRng| {
        let members = zone * size..((zone + 1) * size).min(PEERS);
        let asked = members.clone().filter(|peer| have.contains(peer) || happens(workload.peer_errors, rng));
        let ask = Ask {
            origin: from - members.start,
            rule: Rule::Only(asked.map(|peer| peer - members.start).collect()),
            zones: ZoneRule::Everywhere,
            files: have.range(members.clone()).map(|peer| (peer - members.start, vec![0])).collect(),
            want: Some(1),
        };
        let contents = Contents { asks: vec![ask], ..Contents::default() };
        let setup = Setup { cache: 64, ..Setup::new(rng.random(), members.len(), Mode::Claimed) };
        let zone = Zone::run_with(&setup, &Rc::new(contents));
        (zone.outcomes[0].messages, !zone.outcomes[0].contents.is_empty())
    };
    let (mut messages, is_found) = flood(home, origin, rng);
    if is_found {
        return (messages, true);
    }
    messages += usize::from(origin % size >= 2);
    let mut others: Vec<usize> = (0..PEERS.div_ceil(size)).filter(|zone| *zone != home).collect();
    others.retain(|zone| {
        let members = zone * size..(zone + 1) * size;
        have.range(members).next().is_some() || happens(workload.zone_errors, rng)
    });
    others.shuffle(rng);
    let (mut begin, mut wave) = (0, first_zones);
    while begin < others.len() {
        let end = begin.saturating_add(wave).min(others.len());
        let mut is_found = false;
        for zone in &others[begin..end] {
            let (more, is_here) = flood(*zone, zone * size, rng);
            messages += 1 + more;
            is_found |= is_here;
        }
        if is_found {
            return (messages, true);
        }
        (begin, wave) = (end, wave.saturating_mul(2));
    }
    (messages, false)
}
