//! The searches that were begun over REST and what they found, so that any number of pages may look at them, now or later.
//!
//! Invariant: at most [`MAX_SEARCHES`] with [`MAX_HITS`] hits each, and [`MAX_HITS_IN_ALL`] together, those included that are
//! forgotten but still read; for room the oldest ended one goes, and a running one never. A hit is kept once: a reader that comes
//! back is told it as it is now.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::StreamExt as _;
use rand::RngExt as _;
use tokio::sync::watch;

use super::problem::Problem;
use crate::{
    peer::handle::Events,
    protocol::action::{ActionError, Coverage, Hit, Scope, SearchEvent},
    shutdown::Shutdown,
};

/// Searches that are kept.
pub(super) const MAX_SEARCHES: usize = 32;
/// Hits of one search; more are left out, and said so.
const MAX_HITS: usize = 10_000;
/// Hits of all of them: about 30 MB at their usual size; more are left out, and said so.
const MAX_HITS_IN_ALL: usize = 40_000;
/// Hits that a reader takes at once.
const BATCH: usize = 256;

/// How a search stands.
#[derive(Debug, Clone)]
pub(super) enum State {
    Running,
    Done(Coverage),
    Failed(ActionError),
    Cancelled,
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// One search.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) id: String,
    pub(super) query: String,
    pub(super) scope: Scope,
    stop: Shutdown,
    // A std lock: held to add or copy a batch of hits.
    found: Mutex<Found>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Found {
    /// In order of their numbers.
    hits: Vec<Hit>,
    /// When each of them changed last, as a count of changes.
    changed: Vec<u64>,
    /// Which hit changed at which count.
    order: BTreeMap<u64, usize>,
    count: u64,
    is_truncated: bool,
    state: State,
    /// Hits of all searches, these included.
    all: Arc<AtomicUsize>,
}

impl Drop for Found {
    fn drop(&mut self) {
        self.all.fetch_sub(self.hits.len(), Ordering::Relaxed);
    }
}

/// What a reader of events is told next.
#[derive(Debug)]
pub(super) enum News {
    /// Hits that are new or have more holders, each with its count.
    Hits(Vec<(u64, Hit)>),
    /// Nothing more will come.
    Ended(u64, State),
}

impl Search {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(super) fn state(&self) -> State {
        self.found().state.clone()
    }

    /// A page of its hits by number, whether there are more, and how it stands.
    pub(super) fn page(&self, start: usize, size: usize) -> (Vec<Hit>, bool, State) {
        let found = self.found();
        let end = start.saturating_add(size).min(found.hits.len());
        let hits = found.hits.get(start..end).unwrap_or_default().to_vec();
        (hits, end < found.hits.len(), found.state.clone())
    }

    /// What changed after that count; waits for it.
    pub(super) async fn after(&self, seen: u64) -> News {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(news) = self.found().after(seen) {
                return news;
            }
            if changes.changed().await.is_err() {
                return News::Ended(seen, State::Cancelled);
            }
        }
    }

    fn take(&self, event: Option<Result<SearchEvent, ActionError>>) -> bool {
        let mut found = self.found();
        match event {
            Some(Ok(SearchEvent::Hit(hit))) => found.take(hit),
            Some(Ok(SearchEvent::Done(mut coverage))) => {
                coverage.truncated |= found.is_truncated;
                found.end(State::Done(coverage));
            }
            Some(Err(error)) => found.end(State::Failed(error)),
            None => found.end(State::Cancelled),
        }
        let (count, goes_on) = (found.count, found.state.is_running());
        drop(found);
        self.changes.send_replace(count);
        goes_on
    }

    /// Ends it, if it runs.
    fn cancel(&self) {
        self.stop.stop();
        self.take(None);
    }
}

impl Found {
    fn new(all: Arc<AtomicUsize>) -> Self {
        Self {
            hits: Vec::new(),
            changed: Vec::new(),
            order: BTreeMap::new(),
            count: 0,
            is_truncated: false,
            state: State::Running,
            all,
        }
    }

    fn take(&mut self, hit: Hit) {
        if !self.state.is_running() {
            return;
        }
        // Numbers count up from 1 as contents are found.
        let at = usize::try_from(hit.number).unwrap_or(usize::MAX).saturating_sub(1);
        if at >= MAX_HITS || at > self.hits.len() {
            self.is_truncated = true;
            return;
        }
        let is_new = at == self.hits.len();
        if is_new && self.all.fetch_add(1, Ordering::Relaxed) >= MAX_HITS_IN_ALL {
            self.all.fetch_sub(1, Ordering::Relaxed);
            self.is_truncated = true;
            return;
        }
        self.count += 1;
        if is_new {
            self.hits.push(hit);
            self.changed.push(self.count);
        } else {
            self.hits[at] = hit;
            self.order.remove(&self.changed[at]);
            self.changed[at] = self.count;
        }
        self.order.insert(self.count, at);
    }

    fn end(&mut self, state: State) {
        if self.state.is_running() {
            self.state = state;
            self.count += 1;
        }
    }

    fn after(&self, seen: u64) -> Option<News> {
        let news = self.order.range(seen.saturating_add(1)..).take(BATCH);
        let hits: Vec<_> = news.map(|(count, &at)| (*count, self.hits[at].clone())).collect();
        if !hits.is_empty() {
            return Some(News::Hits(hits));
        }
        (!self.state.is_running()).then(|| News::Ended(self.count, self.state.clone()))
    }
}

/// All of them; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Searches {
    // A std lock: held to look at 32 entries.
    kept: Arc<Mutex<VecDeque<Arc<Search>>>>,
    /// Their hits.
    all: Arc<AtomicUsize>,
    shutdown: Shutdown,
}

impl Searches {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { kept: Arc::default(), all: Arc::default(), shutdown }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Search>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more, with all the hits that it may have unless those that run have taken them.
    ///
    /// # Errors
    /// When all that are kept run.
    pub(super) fn make_room(&self) -> Result<(), Problem> {
        let mut kept = self.kept();
        loop {
            let hits: usize = kept.iter().map(|search| search.found().hits.len()).sum();
            if kept.len() < MAX_SEARCHES && hits + MAX_HITS <= MAX_HITS_IN_ALL {
                return Ok(());
            }
            match kept.iter().position(|search| !search.state().is_running()) {
                Some(oldest) => drop(kept.remove(oldest)),
                None if kept.len() < MAX_SEARCHES => return Ok(()),
                None => return Err(Problem::busy(format!("{MAX_SEARCHES} searches run already"))),
            }
        }
    }

    /// Keeps a search whose events come from now on.
    pub(super) fn keep(&self, query: String, scope: Scope, mut events: Events<SearchEvent>) -> Arc<Search> {
        let id = format!("{:032x}", rand::rng().random::<u128>());
        let search = Arc::new(Search {
            id,
            query,
            scope,
            stop: self.shutdown.child(),
            found: Mutex::new(Found::new(self.all.clone())),
            changes: watch::Sender::new(0),
        });
        let mut kept = self.kept();
        if kept.len() >= MAX_SEARCHES {
            // Another one came between the two looks: the oldest goes, whatever it does.
            if let Some(oldest) = kept.pop_front() {
                oldest.cancel();
            }
        }
        kept.push_back(search.clone());
        drop(kept);
        let gathered = search.clone();
        drop(search.stop.spawn_draining("search", async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = gathered.stop.stopping() => None,
                };
                if !gathered.take(event) {
                    break;
                }
            }
        }));
        search
    }

    /// From the oldest to the newest.
    pub(super) fn list(&self) -> Vec<Arc<Search>> {
        self.kept().iter().cloned().collect()
    }

    /// The search of that id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Search>, Problem> {
        self.kept().iter().find(|search| search.id == id).cloned().ok_or_else(no_such)
    }

    /// Cancels and forgets it.
    pub(super) fn forget(&self, id: &str) -> Result<(), Problem> {
        let mut kept = self.kept();
        let at = kept.iter().position(|search| search.id == id).ok_or_else(no_such)?;
        let search = kept.remove(at);
        drop(kept);
        if let Some(search) = search {
            search.cancel();
        }
        Ok(())
    }
}

fn no_such() -> Problem {
    Problem::not_found("there is no search of that id").hint("the oldest are forgotten: search again")
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::protocol::{action::FileInfo, query::Fit};

    fn hit(number: u32) -> Hit {
        let file = FileInfo {
            hash: None,
            path: format!("share/{number}"),
            size_bytes: 1,
            modified: std::time::UNIX_EPOCH,
        };
        Hit { number, file, fit: Fit::Name, have: false, holders: Vec::new() }
    }

    fn events(numbers: &[u32], is_done: bool) -> Events<SearchEvent> {
        let hits: Vec<_> = numbers.iter().map(|&number| Ok(SearchEvent::Hit(hit(number)))).collect();
        let end = is_done.then(|| Ok(SearchEvent::Done(Coverage::default())));
        let events = stream::iter(hits.into_iter().chain(end));
        if is_done { events.boxed() } else { events.chain(stream::pending()).boxed() }
    }

    async fn read(search: &Search, mut seen: u64) -> (Vec<u32>, &'static str) {
        let mut numbers = Vec::new();
        loop {
            match search.after(seen).await {
                News::Hits(hits) => {
                    seen = hits.last().map_or(seen, |(count, _)| *count);
                    numbers.extend(hits.iter().map(|(_, hit)| hit.number));
                }
                News::Ended(_, state) => return (numbers, state.name()),
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_is_told_what_it_missed_and_no_hit_twice() {
        let searches = Searches::new(Shutdown::new());
        let search = searches.keep("x".into(), Scope::Mine, events(&[1, 2, 3, 1, 2], true));
        assert_eq!(read(&search, 0).await, (vec![3, 1, 2], "done"), "each once, as it is now");
        assert_eq!(read(&search, 4).await, (vec![2], "done"));
        assert_eq!(read(&search, 99).await, (vec![], "done"));
    }

    #[tokio::test]
    async fn hits_above_the_bound_are_left_out_and_said_so() {
        let searches = Searches::new(Shutdown::new());
        let numbers: Vec<u32> = (1..=10_001).collect();
        let search = searches.keep("x".into(), Scope::Mine, events(&numbers, true));
        assert_eq!(read(&search, 0).await.0.len(), MAX_HITS);
        let State::Done(coverage) = search.state() else { panic!("it is done") };
        assert!(coverage.truncated);
    }

    #[tokio::test]
    async fn hits_of_all_searches_are_bounded_while_they_run_and_given_back() {
        let searches = Searches::new(Shutdown::new());
        let numbers: Vec<u32> = (1..=10_000).collect();
        for _ in 0..MAX_HITS_IN_ALL / MAX_HITS {
            let search = searches.keep("x".into(), Scope::Mine, events(&numbers, true));
            assert_eq!(read(&search, 0).await.0.len(), MAX_HITS);
        }
        let search = searches.keep("x".into(), Scope::Mine, events(&[1, 2], true));
        assert_eq!(read(&search, 0).await, (vec![], "done"));
        let State::Done(coverage) = search.state() else { panic!("it is done") };
        assert!(coverage.truncated);
        searches.make_room().expect("an ended one goes");
        let search = searches.keep("x".into(), Scope::Mine, events(&numbers, true));
        assert_eq!(read(&search, 0).await.0.len(), MAX_HITS, "its hits have room");
        drop(search);
        for search in searches.list() {
            searches.forget(&search.id).expect("there");
        }
        assert_eq!(searches.all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_oldest_ended_search_goes_and_running_ones_stay() {
        let searches = Searches::new(Shutdown::new());
        let running = searches.keep("first".into(), Scope::Mine, events(&[], false));
        for _ in 0..2 * MAX_SEARCHES {
            searches.make_room().expect("an ended one goes");
            let search = searches.keep("x".into(), Scope::Mine, events(&[1], true));
            read(&search, 0).await;
        }
        assert_eq!(searches.list().len(), MAX_SEARCHES);
        assert!(searches.get(&running.id).is_ok());
        searches.forget(&running.id).expect("there");
        assert_eq!(read(&running, 0).await.1, "cancelled");
        for search in searches.list() {
            searches.forget(&search.id).expect("there");
        }
        for _ in 0..MAX_SEARCHES {
            searches.make_room().expect("room");
            searches.keep("x".into(), Scope::Mine, events(&[], false));
        }
        assert!(searches.make_room().is_err(), "all of them run");
    }
}
