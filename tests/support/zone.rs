//! Whole zones in memory: an event queue with virtual time around the same rules that the daemons run. One seed gives one
//! run, to the microsecond.

// Shared by a test and an example as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]
// Portions and counts of at most some thousands.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use floodplain::protocol::{
    claim::Everyone,
    flood::{DEFAULT_TTL, Mode, Plan, Query, QueryCache, Verdict, View, on_query},
    id::{PeerId, PeerName, QueryId, ZoneId},
    relay::{AskId, Command, Relay, Report},
    roster::{Member, Roster, Stamp},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub seed: u64,
    pub peers: usize,
    pub mode: Mode,
    pub ttl: u8,
    /// Portion of the peers that are listed and dead.
    pub dead: f64,
    /// Portion of the dead that swallow packets; the others refuse at once.
    pub silent: f64,
    /// Portion of the peers with a roster of an older revision.
    pub stale: f64,
    /// Portion of the streams that break while they run.
    pub cuts: f64,
    /// Portion of the live peers that begin to answer after 60 to 400 ms only.
    pub slow: f64,
    /// Queries, from origins in turn.
    pub queries: usize,
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
            mode,
            ttl: DEFAULT_TTL,
            dead: 0.0,
            silent: 0.0,
            stale: 0.0,
            cuts: 0.0,
            slow: 0.0,
            queries: peers,
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
    /// The report at the origin; `None` when the origin's own cache refused.
    pub report: Option<Report>,
    /// Messages that were really sent.
    pub messages: usize,
    /// How often each peer searched.
    pub searches: BTreeMap<usize, usize>,
    /// How often each peer was asked on a claim.
    pub claimed_copies: BTreeMap<usize, usize>,
    /// Peers at the far end of a stream that was cut.
    pub cut: BTreeSet<usize>,
    /// Copies that a full query cache refused.
    pub refused: usize,
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

struct Node {
    id: PeerId,
    roster: Roster,
    neighbors: Vec<PeerId>,
    cache: QueryCache,
    is_dead: bool,
    is_silent: bool,
    is_slow: bool,
}

struct Task {
    node: usize,
    query: usize,
    hops: u8,
    relay: Relay,
    upstream: Option<usize>,
    streams: BTreeMap<AskId, usize>,
    is_ended: bool,
}

struct Stream {
    parent: usize,
    ask: AskId,
    child: usize,
    copy: Query,
    child_task: Option<usize>,
    is_open: bool,
    last_arrival: u64,
}

#[derive(Clone)]
enum Up {
    Heard,
    Hits(usize, u8),
    Done(Report),
    Broken,
}

enum Event {
    Start(usize),
    Arrive(usize),
    Up(usize, Up),
    Cancelled(usize),
    Cut(usize),
    Searched(usize),
    Wake(usize),
}

/// One zone and all that happened in it.
pub struct Zone {
    setup: Setup,
    rng: SmallRng,
    base: Instant,
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    index: BTreeMap<PeerId, usize>,
    pub live: Vec<usize>,
    tasks: Vec<Task>,
    streams: Vec<Stream>,
    started: Vec<u64>,
    pub outcomes: Vec<Outcome>,
}

const REVISION: u64 = 7;
const WAIT: Duration = Duration::from_secs(3);

impl Zone {
    /// Runs a whole setup to its end.
    pub fn run(setup: &Setup) -> Self {
        let mut zone = Self::new(setup);
        for query in 0..setup.queries {
            let at = micros(setup.pause) * query as u64;
            zone.at(at, Event::Start(query));
        }
        while let Some(((at, _), event)) = zone.events.pop_first() {
            zone.now = at;
            zone.step(event);
        }
        zone
    }

    fn new(setup: &Setup) -> Self {
        let mut rng = SmallRng::seed_from_u64(setup.seed);
        let n = setup.peers;
        let ids: Vec<PeerId> = (0..n).map(|_| PeerId::random(&mut rng)).collect();
        let member = |at: usize| Member {
            id: ids[at],
            name: PeerName::from_any(&format!("peer-{at}")),
            address: ([127, 0, 0, 1], 7001).into(),
            incarnation: 1,
            shared_files: 1,
            room_bytes: 0,
            summary: Stamp::default(),
        };
        let neighbors = rings(n, if n > 100 { 6 } else { 4 }, &mut rng);
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng);
        let dead: BTreeSet<usize> =
            order.iter().copied().take((setup.dead * n as f64).round() as usize).collect();
        let zone = ZoneId::new(1).expect("not 0");
        let nodes = (0..n)
            .map(|at| {
                let is_stale = rng.random::<f64>() < setup.stale;
                let missing = if is_stale { rng.random_range(0..n) } else { n };
                let members = (0..n).filter(|other| *other == at || *other != missing).map(member).collect();
                Node {
                    id: ids[at],
                    roster: Roster::new(zone, if is_stale { REVISION - 1 } else { REVISION }, members),
                    neighbors: neighbors[at].iter().map(|other| ids[*other]).collect(),
                    cache: QueryCache::new(NonZeroUsize::new(setup.cache).expect("room")),
                    is_dead: dead.contains(&at),
                    is_silent: rng.random::<f64>() < setup.silent,
                    is_slow: rng.random::<f64>() < setup.slow,
                }
            })
            .collect();
        let live: Vec<usize> = (0..n).filter(|at| !dead.contains(at)).collect();
        let outcomes = (0..setup.queries)
            .map(|query| Outcome { origin: live[query % live.len()], ..Outcome::default() })
            .collect();
        Self {
            setup: setup.clone(),
            rng,
            base: Instant::now(),
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            nodes,
            index: ids.iter().copied().enumerate().map(|(at, id)| (id, at)).collect(),
            live,
            tasks: Vec::new(),
            streams: Vec::new(),
            started: vec![0; setup.queries],
            outcomes,
        }
    }

    pub fn short(&self, node: usize) -> u64 {
        self.nodes[node].id.short()
    }

    fn clock(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Log-normal around 2 ms: links differ.
    fn delay(&mut self) -> u64 {
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (2000.0 * (0.5 * normal).exp()) as u64
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Start(query) => self.start(query),
            Event::Arrive(stream) => self.arrive(stream),
            Event::Up(stream, message) => self.up(stream, message),
            Event::Cancelled(stream) => self.stop(stream),
            Event::Cut(stream) => {
                if self.streams[stream].is_open {
                    let query = self.tasks[self.streams[stream].parent].query;
                    self.outcomes[query].cut.insert(self.streams[stream].child);
                    self.stop(stream);
                    self.up(stream, Up::Broken);
                }
            }
            Event::Searched(task) => {
                if !self.tasks[task].is_ended {
                    let (node, hops, query) =
                        (self.tasks[task].node, self.tasks[task].hops, self.tasks[task].query);
                    *self.outcomes[query].searches.entry(node).or_default() += 1;
                    self.pass_on(task, node, hops);
                    self.tasks[task].relay.on_searched(false);
                    self.after(task, Vec::new());
                }
            }
            Event::Wake(task) => {
                if !self.tasks[task].is_ended {
                    let now = self.clock();
                    let commands = self.tasks[task].relay.on_tick(now);
                    self.after(task, commands);
                }
            }
        }
    }

    fn start(&mut self, query: usize) {
        self.started[query] = self.now;
        let node = self.outcomes[query].origin;
        let mut rng = SmallRng::seed_from_u64(self.setup.seed ^ ((query as u64) << 20));
        let id = QueryId::random(&mut rng);
        let (me, revision) = (self.nodes[node].id, self.nodes[node].roster.revision());
        let own = Query::own(id, me, self.setup.mode, self.setup.ttl, self.clock() + WAIT, revision);
        if let Verdict::Serve { is_searched_here, plan } = self.verdict(node, &own) {
            self.serve(node, query, 0, is_searched_here, plan, None);
        }
    }

    fn verdict(&mut self, node: usize, query: &Query) -> Verdict {
        let now = self.clock();
        let Node { id, roster, neighbors, cache, .. } = &mut self.nodes[node];
        let verdict = on_query(cache, query, &View { me: *id, roster, neighbors, rule: &Everyone }, now);
        assert!(cache.len() <= self.setup.cache, "the query cache outgrew its room");
        verdict
    }

    fn serve(&mut self, node: usize, query: usize, hops: u8, searched: bool, plan: Plan, up: Option<usize>) {
        let (relay, commands) = Relay::new(self.nodes[node].id, searched, plan, self.clock());
        let task = self.tasks.len();
        self.tasks.push(Task {
            node,
            query,
            hops,
            relay,
            upstream: up,
            streams: BTreeMap::new(),
            is_ended: false,
        });
        if let Some(stream) = up {
            self.streams[stream].child_task = Some(task);
            self.send_up(stream, Up::Heard);
        }
        if searched {
            let takes = self.rng.random_range(100..3000);
            self.at(self.now + takes, Event::Searched(task));
        }
        self.after(task, commands);
    }

    fn arrive(&mut self, stream: usize) {
        let Stream { child, copy, parent, is_open, .. } = self.streams[stream];
        if !is_open {
            return;
        }
        let query = self.tasks[parent].query;
        if self.nodes[child].is_dead {
            if !self.nodes[child].is_silent {
                self.send_up(stream, Up::Broken);
            }
            return;
        }
        match self.verdict(child, &copy) {
            Verdict::Duplicate => self.send_up(stream, Up::Done(Report::duplicate())),
            Verdict::Refuse(_) => {
                self.outcomes[query].refused += 1;
                self.send_up(stream, Up::Broken);
            }
            Verdict::Serve { is_searched_here, plan } => {
                if copy.claim.is_some() {
                    *self.outcomes[query].claimed_copies.entry(child).or_default() += 1;
                }
                self.serve(child, query, copy.hops, is_searched_here, plan, Some(stream));
            }
        }
    }

    /// What travels up one stream stays in order.
    fn send_up(&mut self, stream: usize, message: Up) {
        let at = (self.now + self.delay()).max(self.streams[stream].last_arrival + 1);
        self.streams[stream].last_arrival = at;
        self.at(at, Event::Up(stream, message));
    }

    fn up(&mut self, stream: usize, message: Up) {
        let Stream { parent: task, ask, is_open, .. } = self.streams[stream];
        if !is_open || self.tasks[task].is_ended {
            return;
        }
        let now = self.clock();
        let commands = match message {
            Up::Heard => {
                self.tasks[task].relay.on_heard(ask);
                Vec::new()
            }
            Up::Hits(node, hops) => {
                self.tasks[task].relay.on_heard(ask);
                self.pass_on(task, node, hops);
                Vec::new()
            }
            Up::Done(report) => {
                self.streams[stream].is_open = false;
                self.tasks[task].relay.on_done(ask, &report, now)
            }
            Up::Broken => {
                self.streams[stream].is_open = false;
                self.tasks[task].relay.on_broken(ask, now)
            }
        };
        self.after(task, commands);
    }

    fn pass_on(&mut self, task: usize, node: usize, hops: u8) {
        let Task { query, upstream, .. } = self.tasks[task];
        match upstream {
            Some(stream) => self.send_up(stream, Up::Hits(node, hops)),
            None => {
                self.outcomes[query].hits.entry(node).or_insert(hops);
            }
        }
    }

    /// Carries out what the relay wants, and its end.
    fn after(&mut self, task: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Ask { ask, peer, claim, ttl, hops, deadline } => {
                    let node = self.tasks[task].node;
                    let query = self.tasks[task].query;
                    let id = QueryId::random(&mut SmallRng::seed_from_u64(
                        self.setup.seed ^ ((query as u64) << 20),
                    ));
                    let roster_revision = self.nodes[node].roster.revision();
                    let from = self.nodes[node].id;
                    let copy =
                        Query { id, ttl, hops, deadline, roster_revision, claim, is_widening: false, from };
                    let child = self.index[&peer];
                    let stream = self.streams.len();
                    self.streams.push(Stream {
                        parent: task,
                        ask,
                        child,
                        copy,
                        child_task: None,
                        is_open: true,
                        last_arrival: 0,
                    });
                    self.tasks[task].streams.insert(ask, stream);
                    self.outcomes[query].messages += 1;
                    let slow =
                        if self.nodes[child].is_slow { self.rng.random_range(60_000..400_000) } else { 0 };
                    let at = self.now + self.delay() + slow;
                    self.at(at, Event::Arrive(stream));
                    if self.rng.random::<f64>() < self.setup.cuts {
                        let later = self.rng.random_range(0..20_000);
                        self.at(at + later, Event::Cut(stream));
                    }
                }
                Command::Cancel(ask) => self.cancel(task, ask),
            }
        }
        if self.tasks[task].is_ended {
            return;
        }
        if self.tasks[task].relay.is_finished() {
            self.tasks[task].is_ended = true;
            let report = self.tasks[task].relay.report();
            if let Some(stream) = self.tasks[task].upstream {
                self.send_up(stream, Up::Done(report));
            } else {
                let query = self.tasks[task].query;
                self.outcomes[query].took = Duration::from_micros(self.now - self.started[query]);
                self.outcomes[query].report = Some(report);
            }
        } else if let Some(wake) = self.tasks[task].relay.next_wake() {
            let since = u64::try_from((wake - self.base).as_micros()).expect("virtual time is short");
            self.at(since.max(self.now) + 1, Event::Wake(task));
        }
    }

    fn cancel(&mut self, task: usize, ask: AskId) {
        if let Some(stream) = self.tasks[task].streams.get(&ask).copied() {
            self.streams[stream].is_open = false;
            let at = self.now + self.delay();
            self.at(at, Event::Cancelled(stream));
        }
    }

    /// The far end of a closed stream drops its task and everything behind it.
    fn stop(&mut self, stream: usize) {
        let Some(task) = self.streams[stream].child_task else { return };
        if !self.tasks[task].is_ended {
            self.tasks[task].is_ended = true;
            let asks: Vec<AskId> = self.tasks[task].streams.keys().copied().collect();
            for ask in asks {
                self.cancel(task, ask);
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("virtual time is short")
}

/// A union of `degree / 2` random rings: who is whose neighbor.
pub fn rings(n: usize, degree: usize, rng: &mut SmallRng) -> Vec<Vec<usize>> {
    let mut sets = vec![BTreeSet::new(); n];
    for _ in 0..degree / 2 {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(rng);
        for at in 0..n {
            let (a, b) = (order[at], order[(at + 1) % n]);
            if a != b {
                sets[a].insert(b);
                sets[b].insert(a);
            }
        }
    }
    sets.into_iter().map(|set| set.into_iter().collect()).collect()
}
