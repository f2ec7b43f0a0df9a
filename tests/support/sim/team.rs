//! One zone of a team: its queries through the event simulation, with the summaries of the protocol.

use std::{collections::BTreeSet, ops::Range, rc::Rc, time::Duration};

use floodplain::protocol::{flood::Mode, summary::Summary};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    filter::{Filter, Shape, WordKeys, density},
    random::Figures,
    world::{Asked, Kind, World},
};
use crate::zone::{Ask, Contents, Outcome, Rule, Setup, Zone, ZoneRule};

/// A query and who asks it.
pub struct Search {
    pub origin: usize,
    pub asked: Asked,
}

/// So many queries of a kind, each from anyone.
pub fn draw(world: &World, kind: Kind, count: usize, seed: u64) -> Vec<Search> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let search = |_| Search { origin: rng.random_range(0..world.peers()), asked: world.ask(kind, rng) };
    (0..count).map(search).collect()
}

/// A zone made of these peers of a world; they are numbered from 0 in it.
pub struct Team<'a> {
    pub world: &'a World,
    pub members: Range<usize>,
    pub summaries: Vec<Option<Summary>>,
}

impl<'a> Team<'a> {
    pub fn new(world: &'a World, members: Range<usize>) -> Self {
        let summaries = members.clone().map(|peer| world.summary(peer)).collect();
        Self { world, members, summaries }
    }

    pub fn size_bytes(&self) -> usize {
        self.summaries.iter().flatten().map(Summary::size_bytes).sum()
    }

    /// That query, begun by a member, by its number in the zone.
    pub fn ask(&self, origin: usize, asked: &Asked, rule: Rule, want: Option<usize>) -> Ask {
        let here = asked.files.range(self.members.clone());
        let files = here.map(|(peer, files)| (peer - self.members.start, files.clone())).collect();
        Ask { origin, rule, zones: ZoneRule::Everywhere, files, want }
    }

    /// Runs queries, one after the other has ended.
    pub fn run(&self, asks: Vec<Ask>, seed: u64) -> Vec<Outcome> {
        if asks.is_empty() {
            return Vec::new();
        }
        let setup = Setup {
            pause: Duration::from_secs(4),
            cache: 256,
            ..Setup::new(seed, self.members.len(), Mode::Claimed)
        };
        let contents =
            Contents { summaries: self.summaries.clone(), keys: Vec::new(), filters: Vec::new(), asks };
        Zone::run_with(&setup, &Rc::new(contents)).outcomes
    }

    /// Messages of these searches with summaries; everyone who has a hit must be found.
    pub fn messages(&self, searches: &[Search], seed: u64) -> Vec<f64> {
        let ask = |search: &Search| {
            self.ask(search.origin, &search.asked, Rule::Summary(search.asked.probe.clone()), None)
        };
        let outcomes = self.run(searches.iter().map(ask).collect(), seed);
        for (search, outcome) in searches.iter().zip(&outcomes) {
            let there: BTreeSet<u64> = search.asked.files.values().flatten().copied().collect();
            assert_eq!(outcome.contents, there, "a hit was missed, seed {seed}");
        }
        outcomes.iter().map(|outcome| outcome.messages as f64).collect()
    }

    /// Who is asked of those searches and why, without the origins themselves.
    pub fn reasons(&self, searches: &[Search]) -> Reasons {
        let shape = Shape { density: density(EXACT_BITS, EXACT_BITS), ..Shape::PROTOCOL };
        let exact = InShape::new(self.world, shape);
        let mut reasons = Reasons::default();
        for Search { origin, asked } in searches {
            let probe = exact.probe(asked);
            for (summary, peer) in self.summaries.iter().zip(self.members.clone()) {
                let may_answer = summary.as_ref().is_none_or(|summary| summary.may_answer(&asked.probe));
                if peer == *origin || !may_answer {
                    continue;
                }
                if asked.files.contains_key(&peer) {
                    reasons.has_hits += 1.0;
                } else if exact.filters[peer].may_answer(&probe) {
                    reasons.has_keys += 1.0;
                } else {
                    reasons.seems += 1.0;
                }
            }
        }
        let count = searches.len().max(1) as f64;
        Reasons {
            has_hits: reasons.has_hits / count,
            has_keys: reasons.has_keys / count,
            seems: reasons.seems / count,
        }
    }
}

/// So many bits a key that nothing seems to be there that is not.
const EXACT_BITS: usize = 48;

/// Peers that are asked, for each query.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reasons {
    /// Rightly.
    pub has_hits: f64,
    /// It has all keys: words that begin alike, or pairs in different names.
    pub has_keys: f64,
    /// The bits of the filter say so.
    pub seems: f64,
}

/// The peers of a world with filters in another shape.
pub struct InShape {
    shape: Shape,
    words: Vec<WordKeys>,
    filters: Vec<Filter>,
}

impl InShape {
    pub fn new(world: &World, shape: Shape) -> Self {
        let words = shape.vocabulary(world);
        let filters = (0..world.peers()).map(|peer| shape.filter(&words, world.names(peer))).collect();
        Self { shape, words, filters }
    }

    fn probe(&self, asked: &Asked) -> Vec<u32> {
        self.shape.probe(&self.words, &asked.words)
    }

    /// Others than the origin who are not ruled out.
    pub fn asked(&self, search: &Search) -> BTreeSet<usize> {
        let probe = self.probe(&search.asked);
        let passes = |(peer, filter): &(usize, &Filter)| *peer != search.origin && filter.may_answer(&probe);
        self.filters.iter().enumerate().filter(passes).map(|(peer, _)| peer).collect()
    }

    pub fn size_bytes(&self) -> usize {
        self.filters.iter().map(Filter::size_bytes).sum()
    }
}

/// Bytes of a zone's summaries in another shape, and peers asked by each set of searches.
pub fn in_shape(world: &World, shape: &Shape, searches: &[Vec<Search>]) -> (usize, Vec<f64>) {
    let peers = InShape::new(world, *shape);
    let asked = searches
        .iter()
        .map(|searches| Figures::of(searches.iter().map(|search| peers.asked(search).len() as f64)).mean);
    (peers.size_bytes(), asked.collect())
}
