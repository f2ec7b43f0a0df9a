//! A network of several zones: a search goes through its own zone, and by two gateway peers into those other zones whose
//! filter over pairs of words lets it pass.
//!
//! Floods inside zones are those of the daemons. Gateways and the filters over pairs are modelled here: a message to a
//! gateway of the own zone unless the origin is one, one to a gateway of each zone that may match, and a claimed flood from
//! there. Every gateway is taken to hold the newest filters.

use std::collections::BTreeSet;

use super::{
    filter::{PairFilter, PairKeys, Shape},
    team::{Search, Team},
    world::World,
};
use crate::zone::{Ask, Outcome, Rule};

/// Members of a zone that are its gateways: those of the lowest numbers.
const GATEWAYS: usize = 2;

/// How other zones are ruled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Not at all, and no summaries in zones either: everyone is asked.
    Blind,
    /// Not at all; summaries inside each zone.
    EveryZone,
    /// By pairs of words.
    Pairs,
    /// By pairs of words, which rule out the own zone too: every member holds the filter of its own zone.
    PairsAtHome,
}

/// Messages of one search.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// In the own zone.
    pub home: f64,
    /// To gateways.
    pub gateways: f64,
    /// In other zones.
    pub beyond: f64,
    /// Other zones that were entered.
    pub zones: f64,
    /// Different contents that were found.
    pub contents: usize,
    /// Most hops of a hit.
    pub hops: u8,
}

impl Cost {
    pub fn messages(&self) -> f64 {
        self.home + self.gateways + self.beyond
    }
}

pub struct Network<'a> {
    world: &'a World,
    zones: Vec<Team<'a>>,
    shape: Shape,
    pairs: Vec<PairFilter>,
}

impl<'a> Network<'a> {
    /// Zones of `size` members, with filters over pairs in that shape.
    pub fn new(world: &'a World, size: usize, shape: Shape) -> Self {
        let starts = (0..world.peers()).step_by(size);
        let zones: Vec<Team<'a>> =
            starts.map(|start| Team::new(world, start..(start + size).min(world.peers()))).collect();
        let keys: Vec<PairKeys> = world.vocabulary.words().map(|word| PairKeys::of(&shape, word)).collect();
        let pairs = zones.iter().map(|zone| {
            let names = zone.members.clone().flat_map(|peer| world.names(peer));
            let names = names.map(|name| name.iter().map(|word| &keys[*word as usize]).collect());
            PairFilter::new(names, &shape)
        });
        let pairs = pairs.collect();
        Self { world, zones, shape, pairs }
    }

    /// Bytes of the filters over pairs, one a zone.
    pub fn pair_bytes(&self) -> Vec<usize> {
        self.pairs.iter().map(PairFilter::size_bytes).collect()
    }

    /// Different pairs in each zone.
    pub fn pair_keys(&self) -> Vec<usize> {
        self.pairs.iter().map(PairFilter::keys).collect()
    }

    /// Bytes of all summaries of each zone.
    pub fn summary_bytes(&self) -> Vec<usize> {
        self.zones.iter().map(Team::size_bytes).collect()
    }

    /// That zone may have a name with these words.
    pub fn may_answer(&self, zone: usize, words: &[&str]) -> bool {
        self.pairs[zone].may_answer(&self.shape, words)
    }

    /// What each search costs; everything that is anywhere must be found.
    pub fn run(&self, searches: &[Search], beyond: Beyond, seed: u64) -> Vec<Cost> {
        let mut costs = vec![Cost::default(); searches.len()];
        let mut found = vec![BTreeSet::new(); searches.len()];
        for (at, (zone, pairs)) in self.zones.iter().zip(&self.pairs).enumerate() {
            let (mut asks, mut of): (Vec<Ask>, Vec<usize>) = (Vec::new(), Vec::new());
            for (number, search) in searches.iter().enumerate() {
                let is_home = zone.members.contains(&search.origin);
                let passes = match (beyond, is_home) {
                    (Beyond::Pairs, true) | (Beyond::Blind | Beyond::EveryZone, _) => true,
                    (Beyond::Pairs, false) | (Beyond::PairsAtHome, _) => {
                        pairs.may_answer(&self.shape, &self.words(search))
                    }
                };
                if !passes {
                    continue;
                }
                if !is_home {
                    costs[number].gateways += 1.0;
                    costs[number].zones += 1.0;
                }
                let origin = if is_home { search.origin - zone.members.start } else { number % GATEWAYS };
                let rule = match beyond {
                    Beyond::Blind => Rule::Everyone,
                    _ => Rule::Summary(search.asked.probe.clone()),
                };
                asks.push(zone.ask(origin, &search.asked, rule, None));
                of.push(number);
            }
            let outcomes: Vec<Outcome> = zone.run(asks, seed.wrapping_add(at as u64));
            for (number, outcome) in of.into_iter().zip(outcomes) {
                let is_home = zone.members.contains(&searches[number].origin);
                let messages = outcome.messages as f64;
                if is_home {
                    costs[number].home += messages;
                } else {
                    costs[number].beyond += messages;
                }
                let begins = if is_home { 0 } else { 2 };
                let hops = outcome.hits.values().max().copied().unwrap_or(0);
                costs[number].hops = costs[number].hops.max(begins + hops);
                found[number].extend(outcome.contents);
            }
        }
        for ((cost, found), search) in costs.iter_mut().zip(found).zip(searches) {
            let size = self.zones.first().map_or(1, |zone| zone.members.len());
            if search.origin % size >= GATEWAYS {
                cost.gateways += 1.0;
            }
            let there: BTreeSet<u64> = search.asked.files.values().flatten().copied().collect();
            assert_eq!(found, there, "a hit was missed, seed {seed}");
            cost.contents = found.len();
        }
        costs
    }

    fn words(&self, search: &Search) -> Vec<&str> {
        search.asked.words.iter().map(|rank| self.world.vocabulary.word(*rank)).collect()
    }
}
