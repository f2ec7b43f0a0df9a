//! What a run of a network is made of and what comes out of it; plain values, so that one seed and one setup are one run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use floodplain::protocol::{
    flood::{DEFAULT_TTL, Mode},
    relay::Report,
    summary::{Keys, Probe, Summary},
};

use super::Zone;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub seed: u64,
    /// Peers of each zone.
    pub peers: usize,
    /// Zones; with more than one every query goes everywhere, and the first two peers of each are its gateways.
    pub zones: usize,
    /// Dead gateways of each zone.
    pub dead_gateways: usize,
    /// The zone whose gateways are all dead.
    pub lost_zone: Option<usize>,
    /// One gateway of each zone, but no origin, dies so long after the first query began.
    pub gateways_die_after: Option<Duration>,
    pub mode: Mode,
    pub ttl: u8,
    /// Portion of the peers that are listed and dead; of several zones, of those that are no gateways.
    pub dead: f64,
    /// Portion of the dead that swallow packets; the others refuse at once.
    pub silent: f64,
    /// Those that are listed and dead answer until then, and no more from then on.
    pub silence_after: Option<Duration>,
    /// Portion of the peers with a roster that is one to three revisions behind: others joined and left since.
    pub stale: f64,
    /// Portion of the streams that break while they run.
    pub cuts: f64,
    /// Portion of the streams to gateways that break while they run.
    pub gateway_cuts: f64,
    /// The median of the time that a message takes.
    pub delay: Duration,
    /// How much messages differ in it: the deviation of its logarithm.
    pub spread: f64,
    /// Peers are hedged by the delays that were measured; otherwise all after the same time.
    pub is_measured: bool,
    /// Portion of the live peers that begin to answer after 60 to 400 ms only.
    pub slow: f64,
    /// Portion of the peers that answer for themselves alone whatever they were asked for, origins apart.
    pub careless: f64,
    /// Portion of the messages, of either direction, whose packet is lost and sent again.
    pub loss: f64,
    /// Queries, from origins in turn, the first of them this one of those who live.
    pub queries: usize,
    pub first_origin: usize,
    /// Time from one query to the next.
    pub pause: Duration,
    /// Room of each query cache.
    pub cache: usize,
}

impl Setup {
    pub fn new(seed: u64, peers: usize, mode: Mode) -> Self {
        Self {
            seed,
            peers,
            zones: 1,
            dead_gateways: 0,
            lost_zone: None,
            gateways_die_after: None,
            mode,
            ttl: DEFAULT_TTL,
            dead: 0.0,
            silent: 0.0,
            silence_after: None,
            stale: 0.0,
            cuts: 0.0,
            gateway_cuts: 0.0,
            delay: Duration::from_millis(2),
            spread: 0.5,
            is_measured: true,
            slow: 0.0,
            careless: 0.0,
            loss: 0.0,
            queries: peers,
            first_origin: 0,
            pause: Duration::from_millis(1),
            cache: 10_000,
        }
    }
}

/// What became of one query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub origin: usize,
    /// Peers whose hits reached the origin, with their hops; the origin itself among them.
    pub hits: BTreeMap<usize, u8>,
    /// Contents that reached the origin.
    pub contents: BTreeSet<u64>,
    /// The report at the origin; `None` when the origin's own cache refused.
    pub report: Option<Report>,
    /// Messages that were really sent.
    pub messages: usize,
    /// Those of them inside the zone of the origin, and those to gateways of any zone; the others are inside other zones.
    pub home: usize,
    pub to_gateways: usize,
    /// Other zones that were asked.
    pub entered: BTreeSet<usize>,
    /// How often each peer searched.
    pub searches: BTreeMap<usize, usize>,
    /// How often each peer was asked on a claim, or for its whole zone.
    pub claimed_copies: BTreeMap<usize, usize>,
    /// Peers at the far end of a stream that was cut.
    pub cut: BTreeSet<usize>,
    /// Copies that a full query cache refused.
    pub refused: usize,
    /// From the start to the first hits of the last peer, in virtual time.
    pub last_hit: Duration,
    /// From the start to the report, in virtual time.
    pub took: Duration,
}

impl Outcome {
    /// Live peers other than the origin whose hits arrived, as a portion.
    pub fn recall(&self, zone: &Zone) -> f64 {
        let live = zone.live.len() - 1;
        if live == 0 { 1.0 } else { (self.hits.len().max(1) - 1) as f64 / live as f64 }
    }

    /// Messages for each live peer other than the origin.
    pub fn cost(&self, zone: &Zone) -> f64 {
        self.messages as f64 / (zone.live.len() - 1).max(1) as f64
    }
}

/// What the peers have and what is asked, when a run is about more than who is reached.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The summary of each peer, which all others of its zone hold; peers without one are always asked.
    pub summaries: Vec<Option<Summary>>,
    /// The keys of each peer, which the gateways of its zone hold, when there is more than one zone.
    pub keys: Vec<Option<Arc<Keys>>>,
    /// The filter of each zone, which gateways of all others hold; zones without one are always asked.
    pub filters: Vec<Option<Summary>>,
    /// The queries; with any, [`Setup::queries`] is their number.
    pub asks: Vec<Ask>,
}

/// One query.
#[derive(Debug, Clone)]
pub struct Ask {
    pub origin: usize,
    pub rule: Rule,
    pub zones: ZoneRule,
    /// Contents that answer it, by peer.
    pub files: BTreeMap<usize, Vec<u64>>,
    /// This many contents are enough.
    pub want: Option<usize>,
}

/// Whom a query may pass by.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Nobody.
    Everyone,
    /// Whoever's summary says that it has nothing.
    Summary(Probe),
    /// All but these.
    Only(BTreeSet<usize>),
}

/// Which other zones a query may pass by.
#[derive(Debug, Clone)]
pub enum ZoneRule {
    /// None.
    Everywhere,
    /// Those whose filter says that nobody there has anything.
    Filter(Probe),
}
