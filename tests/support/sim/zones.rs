//! A network of several zones: a search goes through its own zone, and by two gateway peers into those other zones whose
//! filter over pairs of words lets it pass.
//!
//! Floods, gateways and crossings are those of the daemons. The filters over pairs are modelled here: a zone that they rule
//! out is none that the gateways of others know of. Every gateway is taken to hold the newest filters.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use floodplain::protocol::{flood::Mode, summary::Summary};

use super::{
    filter::{PairFilter, PairKeys, Shape},
    team::Search,
    world::World,
};
use crate::zone::{Ask, Contents, Outcome, Rule, Setup, Zone};

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
    /// From the start to the report.
    pub took: Duration,
}

impl Cost {
    fn of(outcome: &Outcome) -> Self {
        let part = |messages: usize| messages as f64;
        Self {
            home: part(outcome.home),
            gateways: part(outcome.to_gateways),
            beyond: part(outcome.messages - outcome.home - outcome.to_gateways),
            zones: part(outcome.entered.len()),
            contents: outcome.contents.len(),
            took: outcome.took,
        }
    }

    pub fn messages(&self) -> f64 {
        self.home + self.gateways + self.beyond
    }
}

pub struct Network<'a> {
    world: &'a World,
    size: usize,
    shape: Shape,
    summaries: Vec<Option<Summary>>,
    pairs: Vec<PairFilter>,
}

impl<'a> Network<'a> {
    /// Zones of `size` members each, with filters over pairs in that shape.
    pub fn new(world: &'a World, size: usize, shape: Shape) -> Self {
        assert_eq!(world.peers() % size, 0, "zones are of one size");
        let keys: Vec<PairKeys> = world.vocabulary.words().map(|word| PairKeys::of(&shape, word)).collect();
        let pairs = (0..world.peers()).step_by(size).map(|start| {
            let names = (start..start + size).flat_map(|peer| world.names(peer));
            let names = names.map(|name| name.iter().map(|word| &keys[*word as usize]).collect());
            PairFilter::new(names, &shape)
        });
        let pairs = pairs.collect();
        let summaries = (0..world.peers()).map(|peer| world.summary(peer)).collect();
        Self { world, size, shape, summaries, pairs }
    }

    /// Bytes of the filters over pairs, one a zone.
    pub fn pair_bytes(&self) -> Vec<usize> {
        self.pairs.iter().map(PairFilter::size_bytes).collect()
    }

    /// Bytes of all summaries of each zone.
    pub fn summary_bytes(&self) -> Vec<usize> {
        let zones = self.summaries.chunks(self.size);
        zones.map(|zone| zone.iter().flatten().map(Summary::size_bytes).sum()).collect()
    }

    /// That zone may have a name with these words.
    pub fn may_answer(&self, zone: usize, words: &[&str]) -> bool {
        self.pairs[zone].may_answer(&self.shape, words)
    }

    /// What each search costs, one after the other has ended; everything that is anywhere must be found, or as much as is
    /// wanted.
    pub fn run(&self, searches: &[Search], beyond: Beyond, want: Option<usize>, seed: u64) -> Vec<Cost> {
        let asks = searches.iter().map(|search| self.ask(search, beyond, want)).collect();
        let setup = Setup {
            zones: self.pairs.len(),
            pause: Duration::from_secs(4),
            cache: 256,
            ..Setup::new(seed, self.size, Mode::Claimed)
        };
        let contents = Contents { summaries: self.summaries.clone(), asks };
        let outcomes = Zone::run_with(&setup, &Rc::new(contents)).outcomes;
        for (search, outcome) in searches.iter().zip(&outcomes) {
            let there: BTreeSet<u64> = search.asked.files.values().flatten().copied().collect();
            let least = there.len().min(want.unwrap_or(usize::MAX));
            assert_eq!(outcome.contents.len(), least, "a hit was missed, seed {seed}");
            assert!(outcome.contents.is_subset(&there), "a hit was made up, seed {seed}");
        }
        outcomes.iter().map(Cost::of).collect()
    }

    fn ask(&self, search: &Search, beyond: Beyond, want: Option<usize>) -> Ask {
        let words: Vec<&str> =
            search.asked.words.iter().map(|rank| self.world.vocabulary.word(*rank)).collect();
        let home = search.origin / self.size;
        let may_match = |zone: &usize| match beyond {
            Beyond::Pairs if *zone == home => true,
            _ => self.may_answer(*zone, &words),
        };
        let (rule, zones) = match beyond {
            Beyond::Blind => (Rule::Everyone, None),
            Beyond::EveryZone => (Rule::Summary(search.asked.probe.clone()), None),
            Beyond::Pairs | Beyond::PairsAtHome => {
                let zones = (0..self.pairs.len()).filter(may_match).collect();
                (Rule::Summary(search.asked.probe.clone()), Some(zones))
            }
        };
        Ask { origin: search.origin, rule, zones, files: search.asked.files.clone(), want }
    }
}
