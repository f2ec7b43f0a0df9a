//! Whole zones in memory, one or several: an event queue with virtual time around the same rules that the daemons run. One
//! seed gives one run, to the microsecond.

// Shared by a test and an example as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, unused_imports, missing_debug_implementations, unreachable_pub)]
// Portions and counts of at most some thousands.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

#[path = "zone/build.rs"]
mod build;
#[path = "zone/parts.rs"]
mod parts;
#[path = "zone/setup.rs"]
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use floodplain::protocol::{
    claim::{Everyone, Reach, RulesOut},
    crossing::RulesOutZones,
    flood::{Plan, Query, Verdict, View, on_query},
    gateway::GATEWAYS_PER_ZONE,
    hedge::hedge_after,
    id::{PeerId, QueryId, ZoneId},
    relay::{AskId, Command, Relay, Report},
    summary::{
        Keys,
        book::{Book, BySummary},
        zone::{ByFilter, Filters},
    },
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use self::parts::{Event, Node, OnlyThese, Stream, Task, Up};
pub use self::setup::{Ask, Contents, Outcome, Rule, Setup, ZoneRule};

/// How long the sender of a lost packet waits before it sends it again, and twice as long each further time: the least that
/// Linux waits (`TCP_RTO_MIN`).
const RETRANSMIT_MICROS: u64 = 200_000;

/// A network of one zone or several and all that happened in it.
pub struct Zone {
    setup: Setup,
    contents: Rc<Contents>,
    /// By zone: all members of a zone hold the same.
    books: Vec<Book>,
    /// By zone, what its gateways were given.
    keys: Vec<Book<Arc<Keys>>>,
    /// All gateways hold the same.
    filters: Filters,
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

const WAIT: Duration = Duration::from_secs(3);

impl Zone {
    /// Runs a whole setup to its end: every live peer in turn asks what everyone has.
    pub fn run(setup: &Setup) -> Self {
        Self::run_with(setup, &Rc::new(Contents::default()))
    }

    /// Runs a whole setup with these contents and queries to its end.
    pub fn run_with(setup: &Setup, contents: &Rc<Contents>) -> Self {
        let queries = if contents.asks.is_empty() { setup.queries } else { contents.asks.len() };
        let setup = &Setup { queries, ..setup.clone() };
        let mut zone = Self::new(setup, contents.clone());
        for query in 0..setup.queries {
            let at = micros(setup.pause) * query as u64;
            zone.at(at, Event::Start(query));
        }
        zone.let_gateways_die();
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

    fn let_gateways_die(&mut self) {
        let Some(after) = self.setup.gateways_die_after else { return };
        let origins: BTreeSet<usize> = self.outcomes.iter().map(|outcome| outcome.origin).collect();
        for zone in 0..self.setup.zones {
            let node = zone * self.setup.peers + self.rng.random_range(0..GATEWAYS_PER_ZONE);
            if !origins.contains(&node) {
                self.dying.insert(node);
                self.at(micros(after), Event::Dies(node));
            }
        }
    }

    pub fn short(&self, node: usize) -> u64 {
        self.nodes[node].id.short()
    }

    /// Its roster is not the newest.
    pub fn is_behind(&self, node: usize) -> bool {
        self.nodes[node].roster.revision() < build::REVISION
    }

    /// Those of these whom a node knows of.
    pub fn known_to(&self, node: usize, of: &[usize]) -> Vec<usize> {
        let is_known = |other: &&usize| self.nodes[node].roster.get(&self.nodes[**other].id).is_some();
        of.iter().filter(is_known).copied().collect()
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
        let median = self.setup.delay.as_micros() as f64;
        let mut delay = (median * (self.setup.spread * normal).exp()) as u64;
        let mut again = RETRANSMIT_MICROS;
        while self.setup.loss > 0.0 && self.rng.random::<f64>() < self.setup.loss {
            delay += again;
            again *= 2;
        }
        delay
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
                let Task { node, hops, query, .. } = self.tasks[task];
                if self.tasks[task].relay.is_some() {
                    *self.outcomes[query].searches.entry(node).or_default() += 1;
                    let ask = self.contents.asks.get(query);
                    let mut files = ask.and_then(|ask| ask.files.get(&node)).cloned().unwrap_or_default();
                    files.truncate(ask.and_then(|ask| ask.want).unwrap_or(usize::MAX));
                    self.pass_on(task, node, hops, files);
                }
                let is_enough = self.tasks[task].is_enough();
                if let Some(relay) = &mut self.tasks[task].relay {
                    relay.on_searched(false);
                    let commands = if is_enough { relay.on_enough() } else { Vec::new() };
                    self.after(task, commands);
                }
            }
            Event::Wake(task) => {
                let now = self.clock();
                if let Some(relay) = &mut self.tasks[task].relay {
                    let commands = relay.on_tick(now);
                    self.after(task, commands);
                }
            }
        }
    }

    fn start(&mut self, query: usize) {
        self.started[query] = self.now;
        let node = self.outcomes[query].origin;
        let id = self.query_id(query);
        let (me, revision) = (self.nodes[node].id, self.nodes[node].roster.revision());
        let mut own = Query::own(id, me, self.setup.mode, self.setup.ttl, self.clock() + WAIT, revision);
        own.is_widening = self.is_widening(query);
        if self.setup.zones > 1 {
            own.reach = Reach::Everywhere;
        }
        if let Verdict::Serve { is_searched_here, plan } = self.verdict(node, query, &own) {
            self.serve(node, query, (0, own.reach), is_searched_here, plan, None);
        }
    }

    fn query_id(&self, query: usize) -> QueryId {
        QueryId::random(&mut SmallRng::seed_from_u64(self.setup.seed ^ ((query as u64) << 20)))
    }

    fn count(&mut self, query: usize, reach: Reach, to: usize) {
        let outcome = &mut self.outcomes[query];
        outcome.messages += 1;
        match reach {
            Reach::OtherZones | Reach::AllZones => outcome.to_gateways += 1,
            Reach::WholeZone(_) => {
                outcome.to_gateways += 1;
                outcome.entered.insert(to / self.setup.peers);
            }
            Reach::Inside | Reach::Everywhere => {
                outcome.home +=
                    usize::from(self.nodes[to].roster.zone() == self.nodes[outcome.origin].roster.zone());
            }
        }
    }

    fn is_widening(&self, query: usize) -> bool {
        self.contents.asks.get(query).is_some_and(|ask| ask.want.is_some())
    }

    fn verdict(&mut self, node: usize, query: usize, copy: &Query) -> Verdict {
        let now = self.clock();
        let index = &self.index;
        let ask = self.contents.asks.get(query);
        let (by_summary, only_these);
        let rule: &dyn RulesOut = match ask.map(|ask| &ask.rule) {
            None | Some(Rule::Everyone) => &Everyone,
            Some(Rule::Summary(probe)) => {
                let is_gateway = self.setup.zones > 1 && node % self.setup.peers < GATEWAYS_PER_ZONE;
                let keys = self.keys.get(node / self.setup.peers).filter(|_| is_gateway);
                by_summary = BySummary { book: &self.books[node / self.setup.peers], keys, probe };
                &by_summary
            }
            Some(Rule::Only(peers)) => {
                only_these = OnlyThese { peers, index };
                &only_these
            }
        };
        let by_filter;
        let zones: &dyn RulesOutZones = match ask.map(|ask| &ask.zones) {
            None | Some(ZoneRule::Everywhere) => &Everyone,
            Some(ZoneRule::Filter(probe)) => {
                by_filter = ByFilter { filters: &self.filters, probe };
                &by_filter
            }
        };
        let Node { id, roster, neighbors, gateways, cache, .. } = &mut self.nodes[node];
        let verdict = on_query(cache, copy, &View { me: *id, roster, neighbors, gateways, rule, zones }, now);
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
        let want = self.contents.asks.get(query).and_then(|ask| ask.want);
        self.tasks.push(Task {
            node,
            query,
            hops,
            reach,
            relay: Some(relay),
            wanted: want.map(|want| (want, HashSet::new())),
            upstream: up,
            streams: BTreeMap::new(),
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
        match self.verdict(child, query, &copy) {
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
                    self.send_up(stream, Up::Hits(child, copy.hops, Vec::new()));
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
        let Stream { parent: task, ask, is_open, child, asked_at, .. } = self.streams[stream];
        let now = self.clock();
        let Some(relay) = self.tasks[task].relay.as_mut().filter(|_| is_open) else { return };
        let commands = match message {
            Up::Heard => {
                relay.on_heard(ask);
                let node = &mut self.nodes[self.tasks[task].node];
                for delays in [node.delays.entry(child).or_default(), &mut node.all_delays] {
                    delays.on_heard(now - asked_at, now);
                }
                Vec::new()
            }
            Up::Hits(node, hops, files) => {
                relay.on_heard(ask);
                self.pass_on(task, node, hops, files);
                let is_enough = self.tasks[task].is_enough();
                let relay = self.tasks[task].relay.as_mut().filter(|_| is_enough);
                relay.map(Relay::on_enough).unwrap_or_default()
            }
            Up::Done(report) => {
                self.streams[stream].is_open = false;
                relay.on_done(ask, &report, now)
            }
            Up::Broken => {
                self.streams[stream].is_open = false;
                relay.on_broken(ask, now)
            }
        };
        self.after(task, commands);
    }

    /// That the peer was heard goes on even without contents: who is reached is what many runs are about.
    fn pass_on(&mut self, task: usize, node: usize, hops: u8, files: Vec<u64>) {
        let files = self.tasks[task].take(files);
        let Task { query, upstream, .. } = self.tasks[task];
        if let Some(stream) = upstream {
            self.send_up(stream, Up::Hits(node, hops, files));
        } else {
            let at = Duration::from_micros(self.now - self.started[query]);
            let outcome = &mut self.outcomes[query];
            if let Entry::Vacant(first) = outcome.hits.entry(node) {
                first.insert(hops);
                outcome.last_hit = at;
            }
            outcome.contents.extend(files);
        }
    }

    /// Carries out what the relay wants, and its end.
    fn after(&mut self, task: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Ask { ask, peer, claim, reach, ttl, hops, deadline } => {
                    let Node { id: from, roster, .. } = &self.nodes[self.tasks[task].node];
                    let (from, roster_revision) = (*from, roster.revision());
                    let query = self.tasks[task].query;
                    let (id, is_widening) = (self.query_id(query), self.is_widening(query));
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
                        let (now, of) = (self.clock(), &self.nodes[self.tasks[task].node]);
                        let link = of.delays.get(&child).copied().unwrap_or_default();
                        let hedge_after = hedge_after(&link, &of.all_delays, now);
                        if let Some(relay) = &mut self.tasks[task].relay {
                            relay.on_asked(ask, hedge_after);
                        }
                    }
                    self.count(query, reach, child);
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
        let Some(relay) = &self.tasks[task].relay else { return };
        if relay.is_finished() {
            let mut report = relay.report();
            if matches!(self.tasks[task].reach, Reach::WholeZone(_)) {
                let node = &self.nodes[self.tasks[task].node];
                report = report.as_zone(&node.roster, node.id);
            }
            self.tasks[task].relay = None;
            self.tasks[task].streams.clear();
            if let Some(stream) = self.tasks[task].upstream {
                self.send_up(stream, Up::Done(report));
            } else {
                let query = self.tasks[task].query;
                self.outcomes[query].took = Duration::from_micros(self.now - self.started[query]);
                self.outcomes[query].report = Some(report);
            }
        } else if let Some(wake) = relay.next_wake() {
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
        if self.tasks[task].relay.take().is_some() {
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
