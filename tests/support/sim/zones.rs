//! A network of several zones: a search goes through its own zone, and by gateways into those other zones whose filter lets it
//! pass. Floods, crossings, summaries and filters are those of the daemons; every peer holds the newest of them.

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use floodplain::protocol::{
    flood::Mode,
    summary::{Density, Keys, OwnKeys, Probe, Summary},
};

use super::{
    team::{InShape, Search},
    world::World,
};
use crate::zone::{Ask, Contents, Outcome, Rule, Setup, Zone, ZoneRule};

/// Who is ruled out.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// Nobody.
    Blind,
    /// Members by filters of another shape.
    InShape(&'a InShape),
    /// Members by their summaries.
    Summaries,
    /// The same, and other zones by their filters.
    Filters,
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

pub struct Network {
    size: usize,
    contents: Contents,
}

impl Network {
    /// Zones of `size` members each.
    pub fn new(world: &World, size: usize) -> Self {
        assert_eq!(world.peers() % size, 0, "zones are of one size");
        let own: Vec<Option<OwnKeys>> = (0..world.peers()).map(|peer| world.keys(peer)).collect();
        let summaries = own.iter().map(|keys| keys.as_ref().map(Summary::of)).collect();
        let keys: Vec<Option<Arc<Keys>>> =
            own.into_iter().map(|keys| keys.map(|keys| Arc::new(keys.gateway))).collect();
        let filter = |zone: &[Option<Arc<Keys>>]| {
            let keys: Option<Vec<&Keys>> = zone.iter().map(Option::as_deref).collect();
            Summary::of_all(keys?, Density::ZONE)
        };
        let contents =
            Contents { summaries, filters: keys.chunks(size).map(filter).collect(), keys, asks: Vec::new() };
        Self { size, contents }
    }

    /// The same, whose gateways rule members out by summaries alone.
    pub fn without_keys(&self) -> Self {
        Self { size: self.size, contents: Contents { keys: Vec::new(), ..self.contents.clone() } }
    }

    /// The filter of each zone.
    pub fn filters(&self) -> impl Iterator<Item = &Summary> {
        self.contents.filters.iter().flatten()
    }

    /// The summary of each peer.
    pub fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.contents.summaries.iter().flatten()
    }

    /// Bytes of the filter of a zone, and of all summaries of a zone, on average.
    pub fn bytes_a_zone(&self) -> (usize, usize) {
        let zones = self.contents.filters.len();
        let bytes = |all: usize| all / zones;
        (
            bytes(self.filters().map(Summary::size_bytes).sum()),
            bytes(self.summaries().map(Summary::size_bytes).sum()),
        )
    }

    /// Everyone lives, and searches come one after the other.
    pub fn setup(&self, seed: u64) -> Setup {
        Setup {
            zones: self.contents.filters.len(),
            pause: Duration::from_secs(4),
            cache: 256,
            ..Setup::new(seed, self.size, Mode::Claimed)
        }
    }

    /// What became of each search.
    pub fn outcomes(
        &self,
        searches: &[Search],
        way: Way<'_>,
        want: Option<usize>,
        setup: &Setup,
    ) -> Vec<Outcome> {
        let asks = searches.iter().map(|search| ask(search, way, want)).collect();
        let contents = Contents { asks, ..self.contents.clone() };
        Zone::run_with(setup, &Rc::new(contents)).outcomes
    }

    /// What each search costs, one after the other has ended; everything that is anywhere must be found, or as much as is
    /// wanted.
    pub fn run(&self, searches: &[Search], way: Way<'_>, want: Option<usize>, seed: u64) -> Vec<Cost> {
        let outcomes = self.outcomes(searches, way, want, &self.setup(seed));
        for (search, outcome) in searches.iter().zip(&outcomes) {
            let there: BTreeSet<u64> = search.asked.files.values().flatten().copied().collect();
            let least = there.len().min(want.unwrap_or(usize::MAX));
            assert_eq!(outcome.contents.len(), least, "a hit was missed, seed {seed}");
            assert!(outcome.contents.is_subset(&there), "a hit was made up, seed {seed}");
        }
        outcomes.iter().map(Cost::of).collect()
    }
}

fn ask(search: &Search, way: Way<'_>, want: Option<usize>) -> Ask {
    let probe = || -> Probe { search.asked.probe.clone() };
    let (rule, zones) = match way {
        Way::Blind => (Rule::Everyone, ZoneRule::Everywhere),
        Way::InShape(peers) => (Rule::Only(peers.asked(search)), ZoneRule::Everywhere),
        Way::Summaries => (Rule::Summary(probe()), ZoneRule::Everywhere),
        Way::Filters => (Rule::Summary(probe()), ZoneRule::Filter(probe())),
    };
    Ask { origin: search.origin, rule, zones, files: search.asked.files.clone(), want }
}
