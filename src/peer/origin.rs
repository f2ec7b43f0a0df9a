//! A search that begins here: the query goes through the same rules as those of others, and its hits are grouped by
//! content for whoever asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

mod listed;

use self::listed::{Asked, Beyond, coverage};
use super::{
    counters::Counts,
    directory::Directory,
    handle::{Events, Outcome},
    search::{NotServed, Running, Searcher},
    view::{Knowledge, View},
};
use crate::{
    index::Index,
    protocol::{
        action::{ActionError, ErrorKind, HintCode, Hit, Holder, Scope, SearchAsk, SearchEvent},
        claim::Reach,
        flood::{self, MAX_TTL_PLUS_HOPS, choose_mode},
        hits::HitList,
        id::{ContentHash, QueryId},
        query::{Query, respelled},
        report::Report,
        roster::Roster,
    },
    shutdown::Shutdown,
    telemetry::trace::Trace,
    wire::peer::{Found, PeerHits},
};

/// Longest wait of a search.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Starts searches, and remembers the hits of the last one so that `get 3` has a meaning.
#[derive(Debug)]
pub(crate) struct Origin {
    view: View,
    index: Index,
    searcher: Arc<Searcher>,
    directory: Arc<Directory>,
    counts: Counts,
    shutdown: Shutdown,
    ttl: u8,
    wait: Duration,
    last: LastHits,
}

// Held to replace or to read, never across an await.
type LastHits = Arc<Mutex<Arc<Mutex<HitList>>>>;

impl Origin {
    /// With the TTL of classic floods and the wait when a search names none.
    pub(crate) fn new(
        view: View,
        index: Index,
        searcher: Arc<Searcher>,
        directory: Arc<Directory>,
        counts: Counts,
        shutdown: Shutdown,
        (ttl, wait): (u8, Duration),
    ) -> Self {
        Self { view, index, searcher, directory, counts, shutdown, ttl, wait, last: LastHits::default() }
    }

    /// The hit of that number in the last search.
    pub(crate) fn last_hit(&self, number: u32) -> Option<Hit> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hits = last.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(number).cloned()
    }

    /// Starts a search: in the own zone, and from there in the others when they are in scope.
    ///
    /// # Errors
    /// `Usage` for a query that makes no sense, `Unreachable` while this peer is in no zone, `Refused` when too much runs.
    pub(crate) fn start(&self, ask: SearchAsk) -> Outcome<Events<SearchEvent>> {
        let began = Instant::now();
        let (found, gathering) = self.launch(ask)?;
        self.counts.add_search();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = gathering.hits.clone();
        let timing = Timing { counts: self.counts.clone(), began, has_hit: false };
        Ok(events(found, gathering, timing))
    }

    /// Everyone in scope who has that content. The last search stays the last.
    ///
    /// # Errors
    /// As [`Origin::start`].
    pub(crate) async fn find_content(
        &self,
        hash: ContentHash,
        scope: Scope,
        wait: Duration,
    ) -> Outcome<Option<Hit>> {
        let text = format!("hash:{hash}");
        let ask = SearchAsk { text, scope, wait: Some(wait), ..SearchAsk::default() };
        let (mut found, gathering) = self.launch(ask)?;
        while let Some(Found::Hits(hits)) = found.next().await {
            gathering.take(hits);
        }
        let hits = gathering.hits.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(hits.get(1).cloned())
    }

    /// All hits of a search that nobody watches, in order of their numbers. The last search stays the last.
    ///
    /// # Errors
    /// As [`Origin::start`], and `TimedOut` when it was cut short.
    pub(crate) async fn look(&self, ask: SearchAsk) -> Outcome<Vec<Hit>> {
        let (mut found, gathering) = self.launch(ask)?;
        loop {
            match found.next().await {
                Some(Found::Hits(hits)) => drop(gathering.take(hits)),
                Some(Found::Done(_)) => break,
                None => return Err(cut_short()),
            }
        }
        let hits = gathering.hits.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(hits.hits().to_vec())
    }

    fn launch(&self, ask: SearchAsk) -> Outcome<(BoxStream<'static, Found>, Gathering)> {
        let query = Query::asked_at(&ask.text, SystemTime::now()).map_err(|error| {
            ActionError::new(ErrorKind::Usage, error.to_string())
                .hint("for example: report ext:pdf size:>1M newer:7d -draft \"annual report\"")
        })?;
        let knowledge = self.view.now();
        let roster = knowledge.roster.as_deref();
        let ttl = ask.ttl.unwrap_or(self.ttl);
        if ttl == 0 || ttl > MAX_TTL_PLUS_HOPS {
            let problem = format!("a TTL is 1 to {MAX_TTL_PLUS_HOPS}, not {ttl}");
            return Err(ActionError::new(ErrorKind::Usage, problem));
        }
        let deadline = Instant::now() + ask.wait.unwrap_or(self.wait).min(MAX_WAIT);
        let mode = choose_mode(ask.ttl, roster);
        let (id, me) = (QueryId::random(&mut rand::rng()), knowledge.me.id);
        let revision = roster.map_or(0, Roster::revision);
        let mut rules = flood::Query::own(id, me, mode, ttl, deadline, revision);
        rules.is_widening = ask.want.is_some();
        if ask.scope == Scope::All {
            rules.reach = Reach::Everywhere;
        }
        // Spans of time in it have become times, the same for everyone who is asked.
        let query = Arc::new(query);
        let running = Running {
            id,
            query: query.clone(),
            origin: me,
            asked_by: me,
            want: ask.want,
            only: None,
            rules,
            trace: Trace::search(),
        };
        let found = self.searcher.serve_whole_zone(running).map_err(not_started)?;
        let is_beyond = ask.scope == Scope::All;
        let asked = is_beyond.then(|| Asked::begin(self.directory.clone(), &knowledge, &self.shutdown));
        let gathering = Gathering {
            hits: Arc::new(Mutex::new(HitList::new(Query::clone(&query), ask.want))),
            query,
            typed: ask.text,
            index: self.index.clone(),
            knowledge,
            asked,
            is_done: false,
        };
        Ok((found, gathering))
    }
}

/// What is found, as it is told.
fn events(found: BoxStream<'static, Found>, gathering: Gathering, timing: Timing) -> Events<SearchEvent> {
    let begun = (found, gathering, timing);
    let batches = stream::unfold(begun, |(mut found, mut gathering, mut timing)| async move {
        if gathering.is_done {
            return None;
        }
        let batch = match found.next().await {
            Some(Found::Hits(hits)) => {
                let changed = gathering.take(hits);
                timing.heard(&changed);
                changed.into_iter().map(|hit| Ok(SearchEvent::Hit(hit))).collect()
            }
            Some(Found::Done(report)) => {
                timing.ended();
                vec![Ok(gathering.end(&report).await)]
            }
            None => {
                gathering.is_done = true;
                vec![Err(cut_short())]
            }
        };
        Some((stream::iter(batch), (found, gathering, timing)))
    });
    batches.flatten().boxed()
}

/// When a search began, for the counters.
struct Timing {
    counts: Counts,
    began: Instant,
    has_hit: bool,
}

impl Timing {
    fn heard(&mut self, changed: &[Hit]) {
        if changed.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.has_hit, true) {
            self.counts.first_hit_after(self.began.elapsed());
        }
        // One that has a holder more was counted when it had one.
        let new = changed.iter().filter(|hit| hit.holders.len() == 1).count();
        self.counts.add_hits(new as u64);
    }

    fn ended(&self) {
        self.counts.search_ended_after(self.began.elapsed());
    }
}

fn cut_short() -> ActionError {
    let cut = "the search was cut short: this peer is stopping, or its hits were not read in time";
    ActionError::new(ErrorKind::TimedOut, cut)
}

fn not_started(error: NotServed) -> ActionError {
    match error {
        NotServed::NoZone => ActionError::new(ErrorKind::Unreachable, "this peer has not joined a zone")
            .hint_as(
                HintCode::SeeStatus,
                "see `floodplain status`; the registry may be down, or the peer disconnected",
            ),
        error => ActionError::new(ErrorKind::Refused, format!("the search could not start: {error}"))
            .hint("wait for running searches to end"),
    }
}

/// What a search has gathered.
struct Gathering {
    query: Arc<Query>,
    /// The query before spans of time became times.
    typed: String,
    hits: Arc<Mutex<HitList>>,
    index: Index,
    knowledge: Arc<Knowledge>,
    /// The registry is asked for its list when other zones are in scope.
    asked: Option<Asked>,
    is_done: bool,
}

impl Gathering {
    /// New hits, and those that have a holder more.
    fn take(&self, found: PeerHits) -> Vec<Hit> {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        // Who a peer is the registry tells; a hit could show it under another's name.
        let (peer, zone) = match self.knowledge.member(&found.peer) {
            Some(member) => (member.name.clone(), self.knowledge.zone()),
            None => (found.name, found.zone),
        };
        for file in found.files {
            let have = found.peer == self.knowledge.me.id
                || file.hash.is_some_and(|hash| self.index.find_hash(&hash).is_some());
            let holder = Holder {
                peer: peer.clone(),
                peer_id: found.peer,
                zone,
                hops: found.hops,
                queue_place: found.queue_place,
                // Set from the file by the list.
                path: String::new(),
            };
            changed.extend(hits.add(file, holder, have));
        }
        changed
    }

    /// What may have been meant when nothing was found, by the words of this peer's own index.
    async fn suggestions(&self) -> Vec<String> {
        let has_hits = !self.hits.lock().unwrap_or_else(PoisonError::into_inner).hits().is_empty();
        if has_hits || self.query.phrases().is_empty() {
            return Vec::new();
        }
        let (index, query) = (self.index.clone(), self.query.clone());
        let near = tokio::task::spawn_blocking(move || index.near_words(&query)).await;
        near.map(|near| respelled(&self.typed, &near)).unwrap_or_default()
    }

    async fn end(&mut self, report: &Report) -> SearchEvent {
        self.is_done = true;
        let beyond = match self.asked.take() {
            Some(asked) => asked.end().await,
            None => Beyond::OutOfScope,
        };
        let mut coverage = coverage(report, &self.knowledge, &beyond);
        coverage.suggestions = self.suggestions().await;
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        coverage.truncated |= hits.is_truncated();
        SearchEvent::Done(coverage)
    }
}
