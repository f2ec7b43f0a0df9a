//! Whole zones in memory, one or several: an event queue with virtual time around the same rules that the daemons run. One
//! seed gives one run, to the microsecond.

// Shared by a test and an example as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]
// Portions and counts of at most some thousands.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use floodplain::protocol::{
    claim::{Everyone, Reach},
    flood::{Plan, Query, QueryCache, Verdict, View, on_query},
    gateway::{Gateways, Told, ZoneGateways},
    hedge::{Delays, hedge_after},
    id::{PeerId, PeerName, QueryId, ZoneId},
    relay::{AskId, Command, Relay, Report},
    roster::{Member, Roster, Stamp},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

#[path = "zone/setup.rs"]
mod setup;

pub use setup::{Outcome, Setup};

#[allow(clippy::struct_excessive_bools)] // in every combination
struct Node {
    id: PeerId,
    roster: Roster,
    neighbors: Vec<PeerId>,
    gateways: Gateways,
    cache: QueryCache,
    /// Of the links to others, and of all of them.
    delays: BTreeMap<usize, Delays>,
    all_delays: Delays,
    is_dead: bool,
    is_silent: bool,
    is_slow: bool,
    is_careless: bool,
}

struct Task {
    node: usize,
    query: usize,
    hops: u8,
    reach: Reach,
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
    asked_at: Instant,
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
    Dies(usize),
    FallsSilent(usize),
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
    /// Gateways that die while the query runs.
    pub dying: BTreeSet<usize>,
    tasks: Vec<Task>,
    streams: Vec<Stream>,
    started: Vec<u64>,
    pub outcomes: Vec<Outcome>,
}

const REVISION: u64 = 7;
const GATEWAYS_PER_ZONE: usize = 2;
const WAIT: Duration = Duration::from_secs(3);

impl Zone {
    /// Runs a whole setup to its end.
    pub fn run(setup: &Setup) -> Self {
        let mut zone = Self::new(setup);
        for query in 0..setup.queries {
            let at = micros(setup.pause) * query as u64;
            zone.at(at, Event::Start(query));
        }
        if let Some(after) = setup.gateways_die_after {
            let origins: BTreeSet<usize> = zone.outcomes.iter().map(|outcome| outcome.origin).collect();
            for first in (0..setup.zones).map(|number| number * setup.peers) {
                let node = first + zone.rng.random_range(0..GATEWAYS_PER_ZONE);
                if !origins.contains(&node) {
                    zone.dying.insert(node);
                    zone.at(micros(after), Event::Dies(node));
                }
            }
        }
        if let Some(after) = setup.silence_after {
            for node in (0..zone.nodes.len()).filter(|node| !zone.live.contains(node)).collect::<Vec<_>>() {
                zone.at(micros(after), Event::FallsSilent(node));
            }
        }
        while let Some(((at, _), event)) = zone.events.pop_first() {
            zone.now = at;
            zone.step(event);
        }
        zone
    }

    fn new(setup: &Setup) -> Self {
        let mut rng = SmallRng::seed_from_u64(setup.seed);
        let (size, n) = (setup.peers, setup.peers * setup.zones);
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
        let neighbors: Vec<Vec<usize>> =
            (0..setup.zones).flat_map(|_| rings(size, if size > 100 { 6 } else { 4 }, &mut rng)).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng);
        let is_gateway = |at: &usize| setup.zones > 1 && at % size < GATEWAYS_PER_ZONE;
        let dead_members = order.iter().copied().filter(|at| !is_gateway(at));
        let mut dead: BTreeSet<usize> = dead_members.take((setup.dead * n as f64).round() as usize).collect();
        // The first peers of each zone are its gateways; one of them is the older one.
        for zone in (0..setup.zones).filter(|_| setup.zones > 1) {
            let gone = if setup.lost_zone == Some(zone) { GATEWAYS_PER_ZONE } else { setup.dead_gateways };
            let first: usize = rng.random_range(0..GATEWAYS_PER_ZONE);
            dead.extend((0..gone).map(|at| zone * size + (first + at) % GATEWAYS_PER_ZONE));
        }
        let zone_of = |at: usize| zone_id(at / size);
        let nodes = (0..n)
            .map(|at| {
                let first = at / size * size;
                let is_stale = rng.random::<f64>() < setup.stale;
                let missing = if is_stale { first + rng.random_range(0..size) } else { n };
                let others = (first..first + size).filter(|other| *other == at || *other != missing);
                let members = others.map(member).collect();
                let told = |zone: usize| ZoneGateways {
                    zone: zone_id(zone),
                    gateways: (0..GATEWAYS_PER_ZONE.min(size)).map(|at| member(zone * size + at)).collect(),
                };
                let mut gateways = Gateways::default();
                if setup.zones > 1 {
                    // Others than gateways know those of their own zone only.
                    let all = if is_gateway(&at) { 0..setup.zones } else { at / size..at / size + 1 };
                    gateways.take_in(Told { is_whole: true, zones: all.map(told).collect() });
                }
                Node {
                    id: ids[at],
                    roster: Roster::new(zone_of(at), if is_stale { REVISION - 1 } else { REVISION }, members),
                    neighbors: neighbors[at].iter().map(|other| ids[first + *other]).collect(),
                    gateways,
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
        let live: Vec<usize> = (0..n).filter(|at| !dead.contains(at)).collect();
        let outcomes = (0..setup.queries)
            .map(|query| {
                let origin = live[(setup.first_origin + query) % live.len()];
                Outcome { origin, ..Outcome::default() }
            })
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
            dying: BTreeSet::new(),
            tasks: Vec::new(),
            streams: Vec::new(),
            started: vec![0; setup.queries],
            outcomes,
        }
    }

    pub fn short(&self, node: usize) -> u64 {
        self.nodes[node].id.short()
    }

    /// The zone of a node.
    pub fn zone_of(&self, node: usize) -> ZoneId {
        self.nodes[node].roster.zone()
    }

    fn clock(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Log-normal: links differ.
    fn delay(&mut self) -> u64 {
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (self.setup.delay.as_micros() as f64 * (self.setup.spread * normal).exp()) as u64
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
            Event::FallsSilent(node) => {
                (self.nodes[node].is_dead, self.nodes[node].is_silent) = (true, true);
            }
            Event::Dies(node) => {
                self.nodes[node].is_dead = true;
                for stream in 0..self.streams.len() {
                    if self.streams[stream].child == node && self.streams[stream].is_open {
                        self.stop(stream);
                        self.send_up(stream, Up::Broken);
                    }
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
        let mut own = Query::own(id, me, self.setup.mode, self.setup.ttl, self.clock() + WAIT, revision);
        if self.setup.zones > 1 {
            own.reach = Reach::Everywhere;
        }
        if let Verdict::Serve { is_searched_here, plan } = self.verdict(node, &own) {
            self.serve(node, query, (0, own.reach), is_searched_here, plan, None);
        }
    }

    fn verdict(&mut self, node: usize, query: &Query) -> Verdict {
        let now = self.clock();
        let Node { id, roster, neighbors, gateways, cache, .. } = &mut self.nodes[node];
        let view = View { me: *id, roster, neighbors, gateways, rule: &Everyone };
        let verdict = on_query(cache, query, &view, now);
        assert!(cache.len() <= self.setup.cache, "the query cache outgrew its room");
        verdict
    }

    fn serve(
        &mut self,
        node: usize,
        query: usize,
        (hops, reach): (u8, Reach),
        searched: bool,
        plan: Plan,
        up: Option<usize>,
    ) {
        let (relay, commands) = Relay::new(self.nodes[node].id, searched, plan, self.clock());
        let task = self.tasks.len();
        self.tasks.push(Task {
            node,
            query,
            hops,
            reach,
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
                if copy.claim.is_some() || matches!(copy.reach, Reach::WholeZone(_)) {
                    *self.outcomes[query].claimed_copies.entry(child).or_default() += 1;
                }
                if self.nodes[child].is_careless {
                    *self.outcomes[query].searches.entry(child).or_default() += 1;
                    self.send_up(stream, Up::Heard);
                    self.send_up(stream, Up::Hits(child, copy.hops));
                    let answered = [self.short(child)].into();
                    self.send_up(stream, Up::Done(Report { answered, ..Report::default() }));
                    return;
                }
                self.serve(child, query, (copy.hops, copy.reach), is_searched_here, plan, Some(stream));
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
                let Stream { child, asked_at, .. } = self.streams[stream];
                let node = &mut self.nodes[self.tasks[task].node];
                for delays in [node.delays.entry(child).or_default(), &mut node.all_delays] {
                    delays.on_heard(now - asked_at, now);
                }
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
        if let Some(stream) = upstream {
            return self.send_up(stream, Up::Hits(node, hops));
        }
        let at = Duration::from_micros(self.now - self.started[query]);
        let outcome = &mut self.outcomes[query];
        if let Entry::Vacant(first) = outcome.hits.entry(node) {
            first.insert(hops);
            outcome.last_hit = at;
        }
    }

    /// Carries out what the relay wants, and its end.
    fn after(&mut self, task: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Ask { ask, peer, claim, reach, ttl, hops, deadline } => {
                    let node = self.tasks[task].node;
                    let query = self.tasks[task].query;
                    let id = QueryId::random(&mut SmallRng::seed_from_u64(
                        self.setup.seed ^ ((query as u64) << 20),
                    ));
                    let roster_revision = self.nodes[node].roster.revision();
                    let from = self.nodes[node].id;
                    let is_widening = false;
                    let copy =
                        Query { id, ttl, hops, deadline, roster_revision, claim, reach, is_widening, from };
                    let child = self.index[&peer];
                    let stream = self.streams.len();
                    self.streams.push(Stream {
                        parent: task,
                        ask,
                        child,
                        copy,
                        child_task: None,
                        is_open: true,
                        asked_at: self.clock(),
                        last_arrival: 0,
                    });
                    self.tasks[task].streams.insert(ask, stream);
                    if self.setup.is_measured {
                        let (now, of) = (self.clock(), &self.nodes[node]);
                        let link = of.delays.get(&child).copied().unwrap_or_default();
                        self.tasks[task].relay.on_asked(ask, hedge_after(&link, &of.all_delays, now));
                    }
                    self.outcomes[query].messages += 1;
                    let slow =
                        if self.nodes[child].is_slow { self.rng.random_range(60_000..400_000) } else { 0 };
                    let at = self.now + self.delay() + slow;
                    self.at(at, Event::Arrive(stream));
                    let is_crossing = reach != Reach::Inside;
                    let cuts = if is_crossing { self.setup.gateway_cuts } else { self.setup.cuts };
                    if self.rng.random::<f64>() < cuts {
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
            let mut report = self.tasks[task].relay.report();
            if matches!(self.tasks[task].reach, Reach::WholeZone(_)) {
                let node = &self.nodes[self.tasks[task].node];
                report = report.as_zone(&node.roster, node.id);
            }
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
            let Stream { child, asked_at, last_arrival, .. } = self.streams[stream];
            if last_arrival == 0 {
                let (now, node) = (self.clock(), self.tasks[task].node);
                let delays = self.nodes[node].delays.entry(child).or_default();
                delays.on_silence(now - asked_at, now);
            }
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

fn zone_id(zone: usize) -> ZoneId {
    ZoneId::new(u32::try_from(zone).expect("few zones") + 1).expect("not 0")
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
