//! The rule alone, and a whole zone under churn: crashes, leaves, joins, rosters that lag, answers that are late. One seed
//! gives one run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn id(number: u64) -> PeerId {
    PeerId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn wanted(replicas: usize) -> Wanted {
    Wanted { content: ContentHash::from_bytes([7; 32]), replicas, grace: GRACE }
}

fn ranked(count: u64) -> Vec<PeerId> {
    let mut ids: Vec<PeerId> = (0..count).map(id).collect();
    rank(&wanted(1).content, &mut ids, |id| *id);
    ids
}

fn other(id: PeerId, told: Told) -> Other {
    Other { id, told, has_room: true }
}

#[test]
fn the_best_holder_repairs_after_the_grace_and_asks_the_best_with_room() {
    let peers = ranked(5);
    let now = Instant::now();
    let mut others = vec![other(peers[0], Told::Silent), other(peers[2], Told::Absent)];
    others.extend([other(peers[3], Told::Absent), other(peers[4], Told::Absent)]);
    assert_eq!(decide(&wanted(2), peers[1], &others, None, now), Decision::WaitUntil(now + GRACE));
    let repair = |candidates| Decision::Repair { missing: 1, candidates };
    let asked = vec![peers[2], peers[3], peers[4]];
    assert_eq!(decide(&wanted(2), peers[1], &others, Some(now), now + GRACE), repair(asked));
    others[1].has_room = false;
    let asked = vec![peers[3], peers[4]];
    assert_eq!(decide(&wanted(2), peers[1], &others, Some(now), now + GRACE), repair(asked));
}

#[test]
fn a_worse_holder_leaves_the_repair_to_the_better_one() {
    let peers = ranked(4);
    let now = Instant::now();
    let others = [other(peers[0], Told::Kept), other(peers[2], Told::Absent)];
    assert_eq!(decide(&wanted(3), peers[1], &others, Some(now), now + 2 * GRACE), Decision::Rest);
}

#[test]
fn only_a_holder_with_enough_better_ones_drops() {
    let peers = ranked(4);
    let now = Instant::now();
    let all = [other(peers[0], Told::Kept), other(peers[1], Told::Kept), other(peers[3], Told::Kept)];
    assert_eq!(decide(&wanted(2), peers[2], &all, None, now), Decision::Drop);
    let silent = [other(peers[0], Told::Kept), other(peers[1], Told::Silent), other(peers[3], Told::Kept)];
    assert_eq!(decide(&wanted(2), peers[2], &silent, None, now), Decision::Rest, "silence is no word for it");
    let worse = [other(peers[1], Told::Kept), other(peers[2], Told::Kept), other(peers[3], Told::Kept)];
    assert_eq!(decide(&wanted(2), peers[0], &worse, None, now), Decision::Rest);
}

proptest::proptest! {
    #[test]
    fn of_holders_that_all_see_each_other_exactly_the_best_stay(count in 1u64..12, replicas in 1usize..6) {
        let peers = ranked(count);
        let stay: Vec<PeerId> = peers.iter().copied().filter(|me| {
            let others: Vec<Other> =
                peers.iter().filter(|id| *id != me).map(|id| other(*id, Told::Kept)).collect();
            decide(&wanted(replicas), *me, &others, None, Instant::now()) != Decision::Drop
        }).collect();
        proptest::prop_assert_eq!(&stay[..], &peers[..replicas.min(peers.len())]);
    }
}

/// One peer of the simulated zone. Its disk outlives a crash and not a death.
#[derive(Debug, Default)]
struct Node {
    is_up: bool,
    has_replica: bool,
    short_since: Option<Instant>,
    /// What it knows of the zone: up to some ticks old.
    roster: BTreeSet<u64>,
    /// What it was told in a round that it has not acted on yet.
    round: Option<Vec<Other>>,
    /// A replica that arrives so many ticks from now.
    pulling: Option<u32>,
}

struct Zone {
    seed: u64,
    rng: SmallRng,
    nodes: BTreeMap<u64, Node>,
    now: Instant,
    last_death: u32,
    tick: u32,
    next: u64,
}

const REPLICAS: usize = 2;
type Rule = fn(&Wanted, PeerId, &[Other], Option<Instant>, Instant) -> Decision;

impl Zone {
    fn new(seed: u64) -> Self {
        let mut zone = Self {
            seed,
            rng: SmallRng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            now: Instant::now(),
            last_death: 0,
            tick: 0,
            next: 0,
        };
        (0..8).for_each(|_| zone.join());
        let mut best: Vec<u64> = zone.nodes.keys().copied().collect();
        rank(&wanted(REPLICAS).content, &mut best, |number| id(*number));
        best[..REPLICAS].iter().for_each(|number| zone.node(*number).has_replica = true);
        zone
    }

    fn node(&mut self, number: u64) -> &mut Node {
        self.nodes.get_mut(&number).expect("a node of the zone")
    }

    fn join(&mut self) {
        self.nodes.insert(self.next, Node { is_up: true, ..Node::default() });
        self.next += 1;
    }

    fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.is_up).map(|(number, _)| *number).collect()
    }

    fn live(&self) -> usize {
        self.nodes.values().filter(|node| node.is_up && node.has_replica).count()
    }

    fn copies(&self) -> usize {
        self.nodes.values().filter(|node| node.has_replica).count()
    }

    fn pick(&mut self) -> u64 {
        let up = self.up();
        up[self.rng.random_range(0..up.len())]
    }

    /// A death takes the disk with it. Never the last replica, and never two within one round.
    fn churn(&mut self) {
        match self.rng.random_range(0..40) {
            0 if self.nodes.len() < 14 => self.join(),
            1 if self.up().len() > 4 => {
                let number = self.pick();
                *self.node(number) = Node { has_replica: self.nodes[&number].has_replica, ..Node::default() };
            }
            2 if self.up().len() > 4 && self.tick - self.last_death > 12 && self.live() > 1 => {
                let number = self.pick();
                self.nodes.remove(&number);
                self.last_death = self.tick;
            }
            3..=5 => {
                let down = self.nodes.values_mut().find(|node| !node.is_up);
                if let Some(node) = down {
                    node.is_up = true;
                }
            }
            _ => {}
        }
    }

    /// One second: what was told a second ago is acted on, and some begin another round.
    fn step(&mut self, rule: Rule) {
        self.tick += 1;
        self.now += Duration::from_secs(1);
        let up: BTreeSet<u64> = self.up().into_iter().collect();
        for number in up.iter().copied() {
            if self.nodes[&number].roster.is_empty() || self.rng.random_range(0..4) == 0 {
                self.node(number).roster = up.clone();
            }
            let node = self.node(number);
            if let Some(left) = node.pulling.take() {
                if left > 0 {
                    node.pulling = Some(left - 1);
                } else {
                    node.has_replica = true;
                }
            }
            if let Some(told) = self.node(number).round.take() {
                self.act(number, &told, rule);
            } else if self.nodes[&number].has_replica && self.rng.random_range(0..3) == 0 {
                let told = self.nodes[&number].roster.iter().filter(|other| **other != number).map(|other| {
                    let told = match self.nodes.get(other) {
                        Some(node) if node.is_up && node.has_replica => Told::Kept,
                        Some(node) if node.is_up => Told::Absent,
                        _ => Told::Silent,
                    };
                    Other { id: id(*other), told, has_room: other % 5 != 0 }
                });
                let told = told.collect();
                self.node(number).round = Some(told);
            }
        }
    }

    fn act(&mut self, number: u64, told: &[Other], rule: Rule) {
        let (now, node) = (self.now, self.node(number));
        if !node.has_replica {
            return;
        }
        node.short_since = is_short(&wanted(REPLICAS), told).then(|| node.short_since.unwrap_or(now));
        match rule(&wanted(REPLICAS), id(number), told, node.short_since, now) {
            Decision::Rest | Decision::WaitUntil(_) => {}
            Decision::Drop => {
                node.has_replica = false;
                node.short_since = None;
            }
            Decision::Repair { missing, candidates } => {
                let pulls = self.rng.random_range(0..6);
                let numbers: BTreeMap<PeerId, u64> =
                    self.nodes.keys().map(|number| (id(*number), *number)).collect();
                let asked = candidates.iter().filter_map(|id| numbers.get(id)).copied();
                for asked in asked.take(missing).collect::<Vec<_>>() {
                    let node = self.node(asked);
                    if node.is_up && !node.has_replica && node.pulling.is_none() {
                        node.pulling = Some(pulls);
                    }
                }
            }
        }
    }

    /// Why the rule is wrong, if it is.
    fn run(mut self, rule: Rule) -> Result<(), String> {
        for _ in 0..600 {
            self.churn();
            self.step(rule);
            if self.copies() == 0 {
                return Err(format!("seed {}: the file is lost at {} s", self.seed, self.tick));
            }
        }
        // Everyone comes back, and then nothing happens any more.
        self.nodes.values_mut().for_each(|node| node.is_up = true);
        (0..120).for_each(|_| self.step(rule));
        match self.live() {
            REPLICAS => Ok(()),
            live => Err(format!("seed {}: {live} replicas at rest", self.seed)),
        }
    }
}

#[test]
fn under_churn_no_file_is_lost_and_as_many_replicas_as_wanted_remain() {
    for seed in 0..200 {
        Zone::new(seed).run(decide).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

fn fails(rule: Rule) -> bool {
    (0..200).any(|seed| Zone::new(seed).run(rule).is_err())
}

#[test]
fn the_simulation_fails_when_the_rule_is_bent() {
    // Any surplus holder drops, whatever its score: two drop at once.
    assert!(fails(|wanted, me, others, since, now| {
        let holders = others.iter().filter(|other| other.told == Told::Kept).count();
        if holders >= wanted.replicas { Decision::Drop } else { decide(wanted, me, others, since, now) }
    }));
    // Nobody drops: what was repaired twice stays twice.
    assert!(fails(|wanted, me, others, since, now| match decide(wanted, me, others, since, now) {
        Decision::Drop => Decision::Rest,
        other => other,
    }));
    // Nobody repairs.
    assert!(fails(|wanted, me, others, since, now| match decide(wanted, me, others, since, now) {
        Decision::Repair { .. } => Decision::Rest,
        other => other,
    }));
}
