//! One query while it runs: searches the own index, carries the relay's asks out to other peers, and passes on what comes
//! back.
//!
//! Everything ends with whoever listens: the flow is dropped when nobody does, and with it every branch behind it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, ready},
    stream::{self, AbortHandle, BoxStream, SelectAll},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    super::{activity::Telling, room::Sender, view::Knowledge},
    alarm::Alarm,
    branch::{self, Event},
    in_place::Absences,
    parts::{Parts, in_time},
    turns::Line,
    wanted::Wanted,
};
use crate::{
    net::queue::Place,
    protocol::{
        action::FileInfo,
        claim::{Claim, Reach},
        flood::{self, Plan},
        hits::MAX_PLACES,
        id::{PeerId, QueryId},
        query::{Query, is_peer},
        relay::{AskId, Command, Relay},
    },
    telemetry::trace::Trace,
    wire::peer::{self as wire, Found, IncomingSearch, MAX_FILES, OutgoingSearch, PeerHits},
};

/// Hits of one peer to one query; the report says when there were more.
const MAX_HITS_PER_PEER: usize = 1000;
/// Bytes of files in one message, small since each hop holds about six of them while nobody reads: the queue, the one in
/// hand, and what waits to be sent.
const MAX_HITS_BYTES: usize = 4 << 10;
/// What a file takes in a message beside its path.
const FILE_BYTES: usize = 64;
/// Hits of one query that are passed on, as many as its origin keeps: a peer that sends them without end is cut off there.
const MAX_PASSED: usize = MAX_PLACES;
/// How long whoever listens may take for the report once nothing else is left to do.
pub(super) const REPORT_GRACE: Duration = Duration::from_secs(1);

/// A query as it runs here.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// Its identity.
    pub(crate) id: QueryId,
    /// What it asks.
    pub(crate) query: Arc<Query>,
    /// Who asked first.
    pub(crate) origin: PeerId,
    /// Who asked this peer; itself for an own search.
    pub(crate) asked_by: PeerId,
    /// Stop after this many hits.
    pub(crate) want: Option<u32>,
    /// Only these members are asked, and this peer is not: its own look at those whom it passed by.
    pub(crate) only: Option<Arc<BTreeSet<PeerId>>>,
    /// As the rules see it.
    pub(crate) rules: flood::Query,
    /// Its way through the network.
    pub(crate) trace: Trace,
}

impl Running {
    /// A query that arrived now.
    pub(crate) fn incoming(search: IncomingSearch, now: Instant, trace: Trace) -> Self {
        let rules = flood::Query {
            id: search.id,
            ttl: search.ttl,
            hops: search.hops,
            deadline: now + search.deadline,
            roster_revision: search.roster_revision,
            claim: search.claim,
            reach: search.reach,
            is_widening: search.want.is_some(),
            from: search.from,
        };
        Self {
            id: search.id,
            query: Arc::new(search.query),
            origin: search.origin,
            asked_by: search.from,
            want: search.want,
            only: None,
            rules,
            trace,
        }
    }
}

/// One query while it runs.
pub(super) struct Flow {
    parts: Parts,
    knowledge: Arc<Knowledge>,
    running: Running,
    wanted: Option<Wanted>,
    relay: Relay,
    branches: SelectAll<BoxStream<'static, (AskId, Event)>>,
    handles: HashMap<AskId, Asked>,
    passed: usize,
    telling: Option<Telling>,
    absences: Arc<Absences>,
    out: mpsc::Sender<Found>,
    sender: Sender,
    line: Option<Arc<Line>>,
    _place: Place<Sender>,
}

/// A branch that is open.
struct Asked {
    peer: PeerId,
    at: Instant,
    is_heard: bool,
    handle: AbortHandle,
}

/// Nobody listens any more, or the time is up.
struct Gone;

impl Flow {
    /// With the relay's first asks, which are to be given to [`Flow::run`].
    pub(super) fn new(
        parts: Parts,
        knowledge: Arc<Knowledge>,
        running: Running,
        (is_searched_here, plan): (bool, Plan),
        now: Instant,
        (out, absences): (mpsc::Sender<Found>, Arc<Absences>),
        (sender, line, place): (Sender, Option<Arc<Line>>, Place<Sender>),
    ) -> (Self, Vec<Command>) {
        let (relay, commands) = Relay::new(knowledge.me.id, is_searched_here, plan, now);
        let flow = Self {
            parts,
            knowledge,
            wanted: running.want.map(Wanted::new),
            running,
            relay,
            branches: SelectAll::new(),
            handles: HashMap::new(),
            passed: 0,
            telling: None,
            absences,
            out,
            sender,
            line,
            _place: place,
        };
        (flow, commands)
    }

    /// Ends when it is dropped, after its deadline, and at the stop of this peer.
    pub(super) async fn run(mut self, commands: Vec<Command>, is_searched_here: bool) {
        let stopping = self.parts.shutdown.stopping_owned();
        let run = async move {
            if self.spread(commands, is_searched_here).await.is_ok() {
                let report = self.relay.report();
                // Dropping the branches first closes what is still open behind us.
                self.branches.clear();
                // A listener that reads nothing would hold this query's place for ever.
                let latest = self.running.rules.deadline + REPORT_GRACE;
                let _ = tokio::time::timeout_at(latest.into(), self.out.send(Found::Done(report))).await;
            }
        };
        tokio::select! {
            biased;
            () = run => {}
            () = stopping => {}
        }
    }

    async fn spread(&mut self, commands: Vec<Command>, is_searched_here: bool) -> Result<(), Gone> {
        self.begin_telling(&commands);
        self.perform(commands);
        let mut own = is_searched_here.then(|| self.search_here());
        // When some hits are enough nobody else is asked before the own ones are known; otherwise nobody waits for them.
        if self.running.want.is_none() {
            self.hear().await?;
        } else if let Some(own) = own.take()
            // Of those that do not come in time the relay says at its deadline, right behind, that they are left out.
            && let Some(files) = in_time(own, self.running.rules.deadline).await
        {
            let commands = self.pass_own(files).await?;
            self.perform(commands);
        }
        let mut alarm = Alarm::default();
        while let Some(wake) = self.relay.next_wake() {
            let commands = tokio::select! {
                biased;
                files = async { own.as_mut().expect("polled only when there is one").await }, if own.is_some() => {
                    own = None;
                    self.pass_own(files).await?
                }
                () = alarm.come(wake.into()) => {
                    // A branch that answered while whoever listens held this up is not silent.
                    self.hear().await?;
                    self.relay.on_tick(Instant::now())
                }
                Some((ask, event)) = self.branches.next(), if !self.branches.is_empty() => {
                    self.take(ask, event).await?
                }
            };
            self.perform(commands);
        }
        Ok(())
    }

    fn begin_telling(&mut self, commands: &[Command]) {
        let (running, me) = (&self.running, self.knowledge.me.id);
        let from = Some(running.asked_by).filter(|from| *from != me);
        let asked = commands.iter().filter_map(|command| match command {
            Command::Ask { peer, .. } => Some(*peer),
            Command::Cancel(_) => None,
        });
        let (query, came) = ((&running.id, running.query.text()), (from, running.rules.hops));
        self.telling = self.parts.activities.begin(query, came, self.knowledge.zone(), asked);
    }

    /// Takes what has come, one event of each branch at most. Those that were not asked yet are asked by it.
    async fn hear(&mut self) -> Result<(), Gone> {
        for _ in 0..self.branches.len() {
            let Some(Some((ask, event))) = self.branches.next().now_or_never() else { break };
            let commands = self.take(ask, event).await?;
            self.perform(commands);
        }
        Ok(())
    }

    /// The own hits, one more than is passed on when there are more.
    fn search_here(&self) -> BoxFuture<'static, Vec<FileInfo>> {
        let me = &self.knowledge.me;
        let is_asked = self.running.only.is_none()
            && self.running.query.peer().is_none_or(|peer| is_peer(peer, &me.id, &me.name));
        if !is_asked {
            return ready(Vec::new()).boxed();
        }
        let (parts, line, query) = (self.parts.clone(), self.line.clone(), self.running.query.clone());
        let most = self.most_own() + 1;
        async move { parts.look_up(line, query, most).await }.boxed()
    }

    fn most_own(&self) -> usize {
        let want = self.running.want.map_or(usize::MAX, |want| usize::try_from(want).unwrap_or(usize::MAX));
        MAX_HITS_PER_PEER.min(want)
    }

    async fn pass_own(&mut self, mut files: Vec<FileInfo>) -> Result<Vec<Command>, Gone> {
        let is_truncated = files.len() > self.most_own();
        files.truncate(self.most_own());
        let me = &self.knowledge.me;
        let (peer, name, zone) = (me.id, me.name.clone(), self.knowledge.zone());
        let hops = self.running.rules.hops;
        let queue_place = self.parts.uploads.next_place();
        for files in messages(files) {
            let hits = PeerHits { peer, name: name.clone(), zone, hops, queue_place, files };
            self.pass(hits).await?;
        }
        self.relay.on_searched(is_truncated);
        Ok(if self.is_enough() { self.relay.on_enough() } else { Vec::new() })
    }

    async fn take(&mut self, ask: AskId, event: Event) -> Result<Vec<Command>, Gone> {
        // What comes behind a branch's own end, or after it was cancelled, counts for nothing.
        let Some(asked) = self.handles.get_mut(&ask) else {
            return Ok(Vec::new());
        };
        match event {
            Event::Heard(delay) => {
                asked.is_heard = true;
                // While nobody takes what was found here nothing is heard of the branches either, which says nothing of them.
                if !self.absences.was_within(delay) {
                    self.parts.links.on_heard(&asked.peer, delay);
                }
                self.relay.on_heard(ask);
            }
            // Nobody else has to tell what this peer has.
            Event::Hits(hits) if hits.peer == self.knowledge.me.id => {}
            Event::Hits(hits) => {
                self.pass(hits).await?;
                if self.is_enough() {
                    return Ok(self.relay.on_enough());
                }
            }
            Event::Done(report) => {
                if let Some(asked) = self.handles.remove(&ask) {
                    asked.handle.abort();
                }
                return Ok(self.relay.on_done(ask, &report, Instant::now()));
            }
            Event::Broken => {
                self.handles.remove(&ask);
                return Ok(self.relay.on_broken(ask, Instant::now()));
            }
        }
        Ok(Vec::new())
    }

    /// Passes hits on, as many as are still wanted. A listener that does not read until the deadline is gone.
    async fn pass(&mut self, mut hits: PeerHits) -> Result<(), Gone> {
        if let Some(wanted) = &mut self.wanted {
            hits.files.retain(|file| wanted.is_wanted(file));
        }
        if hits.files.is_empty() {
            return Ok(());
        }
        self.passed += hits.files.len();
        if let Some(telling) = &mut self.telling {
            telling.on_hits(hits.files.len());
        }
        let hits = match self.out.try_send(Found::Hits(hits)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Gone),
            Err(TrySendError::Full(hits)) => hits,
        };
        let sent = tokio::time::timeout_at(self.running.rules.deadline.into(), self.out.send(hits)).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Gone) }
    }

    fn is_enough(&self) -> bool {
        self.passed >= MAX_PASSED || self.wanted.as_ref().is_some_and(Wanted::is_enough)
    }

    fn perform(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Cancel(ask) => {
                    if let Some(asked) = self.handles.remove(&ask) {
                        asked.handle.abort();
                        if !asked.is_heard {
                            self.parts.links.on_silence(&asked.peer, asked.at.elapsed());
                        }
                    }
                }
                Command::Ask { ask, peer, claim, reach, ttl, hops, deadline } => {
                    let branch = self.ask(peer, (claim, reach), (ttl, hops), deadline);
                    let (branch, handle) = stream::abortable(branch.map(move |event| (ask, event)));
                    self.handles.insert(ask, Asked { peer, at: Instant::now(), is_heard: false, handle });
                    if let Some(telling) = &mut self.telling {
                        telling.on_asked(peer);
                    }
                    self.relay.on_asked(ask, self.parts.links.hedge_after(&peer));
                    self.branches.push(branch.boxed());
                }
            }
        }
    }

    /// The events of one branch; always ends with `Done` or `Broken`.
    fn ask(
        &self,
        peer: PeerId,
        (claim, reach): (Option<Claim>, Reach),
        (ttl, hops): (u8, u8),
        deadline: Instant,
    ) -> impl Stream<Item = Event> + Send + use<> {
        let member = match reach {
            Reach::WholeZone(zone) => {
                self.knowledge.gateways.of(zone).iter().find(|gateway| gateway.id == peer)
            }
            Reach::Inside | Reach::Everywhere | Reach::OtherZones | Reach::AllZones => {
                self.knowledge.member(&peer)
            }
        };
        let Some(member) = member.cloned() else {
            return stream::iter([Event::Broken]).left_stream();
        };
        let running = &self.running;
        let (id, query, want, origin) = (running.id, running.query.clone(), running.want, running.origin);
        let roster_revision = self.knowledge.roster.as_ref().map_or(0, |roster| roster.revision());
        let from = self.knowledge.me.id;
        let message = move |deadline| {
            let text = query.text();
            wire::to_search(&OutgoingSearch {
                id,
                text,
                ttl,
                hops,
                deadline,
                roster_revision,
                claim,
                reach,
                want,
                origin,
                from,
            })
        };
        let parts = (self.parts.links.clone(), self.parts.shutdown.clone());
        let opened = branch::open(parts, member, (self.sender, deadline), (running.trace.forward(), message));
        stream::once(opened)
            .flat_map(|opened| match opened {
                Some((delay, found)) => stream::iter([Event::Heard(delay)])
                    .chain(found)
                    .chain(stream::iter([Event::Broken]))
                    .left_stream(),
                None => stream::iter([Event::Broken]).right_stream(),
            })
            .right_stream()
    }
}

/// Cut so that no message is larger than [`MAX_HITS_BYTES`], however long the paths.
fn messages(files: Vec<FileInfo>) -> Vec<Vec<FileInfo>> {
    let mut messages = Vec::<Vec<FileInfo>>::new();
    let mut left_bytes = 0;
    for file in files {
        let bytes = file.path.len() + FILE_BYTES;
        match messages.last_mut() {
            Some(message) if bytes <= left_bytes && message.len() < MAX_FILES => message.push(file),
            _ => {
                messages.push(vec![file]);
                left_bytes = MAX_HITS_BYTES;
            }
        }
        left_bytes = left_bytes.saturating_sub(bytes);
    }
    messages
}
