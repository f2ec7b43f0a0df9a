//! Saved searches: asks each of them again every so often, remembers what is new, and tells it once.
//!
//! Invariant: of each search the disk has what the last answer of an action said; one search runs at a time, so that many
//! of them are no load to notice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rand::RngExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{handle::Outcome, origin::Origin, view::View};
use crate::{
    protocol::{
        action::{ActionError, ErrorKind, HintCode, NewHit, SaveAsk, SavedSearch, SearchAsk},
        saved::{MAX_SAVED, Saved},
    },
    shutdown::Shutdown,
    store::{StoreError, searches::Searches},
};

/// How far the time between two runs is from the one that is set, either way, so that the peers of a network that was
/// started at once do not search at once.
const JITTER: f64 = 0.2;
/// A search that could not be asked is tried again after this, when that is sooner.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// After a start, all are asked within this time: a new file may wait since long before it.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// How long saving waits for the first run, which says what is no news.
const FIRST_RUN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for news.
const MAX_NEWS_WAIT: Duration = Duration::from_secs(25);
/// News in one answer: 3 MB with the longest paths.
const MAX_TAKEN: usize = 500;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SavedSearches(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Searches>,
    origin: Arc<Origin>,
    view: View,
    every: Duration,
    // A std lock: held for a look or to put in what was made beside it.
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Held while an entry is changed and written, so that the disk gets changes in their order.
    writing: tokio::sync::Mutex<()>,
    /// Rises when a search was run or removed.
    ran: watch::Sender<u64>,
    /// Another one is due than before.
    woken: Notify,
}

#[derive(Debug)]
struct Entry {
    saved: Saved,
    due: Instant,
    last_run: Option<SystemTime>,
    problem: Option<String>,
}

impl Entry {
    fn told(&self) -> SavedSearch {
        let saved = &self.saved;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        SavedSearch {
            name: saved.name.clone(),
            text: saved.text.clone(),
            scope: saved.scope,
            known_hits: count(saved.known.len()),
            new_hits: count(saved.untold.len()),
            dropped_hits: saved.dropped,
            last_run: self.last_run,
            problem: self.problem.clone(),
        }
    }
}

impl SavedSearches {
    /// With those of earlier runs; asks nothing before [`Self::start`].
    pub(super) fn new(
        store: Searches,
        kept: Vec<Saved>,
        origin: Arc<Origin>,
        view: View,
        every: Duration,
    ) -> Self {
        let mut rng = rand::rng();
        let now = Instant::now();
        let entries = kept.into_iter().map(|saved| {
            let due = now + FIRST_WITHIN.min(every).mul_f64(rng.random_range(0.0..1.0));
            (saved.name.clone(), Entry { saved, due, last_run: None, problem: None })
        });
        let entries = Mutex::new(entries.collect());
        Self(Arc::new(Inner {
            store: Arc::new(store),
            origin,
            view,
            every,
            entries,
            writing: tokio::sync::Mutex::default(),
            ran: watch::Sender::new(0),
            woken: Notify::new(),
        }))
    }

    /// Asks them in the background, until the stop.
    pub(super) fn start(&self, shutdown: &Shutdown) {
        let this = self.clone();
        drop(shutdown.spawn("saved searches", async move { this.look_after().await }));
    }

    async fn look_after(&self) {
        loop {
            let next = {
                let entries = self.entries();
                entries.values().map(|entry| (entry.due, entry.saved.name.clone())).min()
            };
            let Some((due, name)) = next else {
                self.0.woken.notified().await;
                continue;
            };
            tokio::select! {
                () = self.0.woken.notified() => {}
                () = sleep_until(due) => self.run(&name).await,
            }
        }
    }

    /// Saves a search and answers once it was asked for the first time, or could not be for a while. The same search
    /// under the same name is saved already.
    ///
    /// # Errors
    /// `Usage` for a name or a text that will not do, `Refused` when the name is taken or too many are saved, `Failed` when
    /// it could not be written; it is not saved then.
    pub(super) async fn save(&self, ask: SaveAsk) -> Outcome<SavedSearch> {
        let saved = Saved::new(ask, SystemTime::now())
            .map_err(|error| ActionError::new(ErrorKind::Usage, error.to_string()))?;
        let name = saved.name.clone();
        let mut ran = self.0.ran.subscribe();
        self.insert(saved).await?;
        let has_run = async {
            loop {
                ran.mark_unchanged();
                let told = self.told(&name)?;
                // The sender lives in `self`, so that there is always a next run to wait for.
                if told.last_run.is_some() || ran.changed().await.is_err() {
                    return Ok(told);
                }
            }
        };
        match timeout(FIRST_RUN_TIMEOUT, has_run).await {
            Ok(told) => told,
            // It will be asked; until then everything that is there counts as known.
            Err(_) => self.told(&name),
        }
    }

    fn told(&self, name: &str) -> Outcome<SavedSearch> {
        self.entries().get(name).map(Entry::told).ok_or_else(|| none_named(name))
    }

    async fn insert(&self, saved: Saved) -> Outcome<()> {
        let _writing = self.0.writing.lock().await;
        {
            let entries = self.entries();
            if let Some(Entry { saved: there, .. }) = entries.get(&saved.name) {
                if there.text == saved.text && there.scope == saved.scope {
                    return Ok(());
                }
                let message = format!("another search is saved as `{}`: {}", saved.name, there.text);
                let hint =
                    format!("choose another name, or remove it with `floodplain searches rm {}`", saved.name);
                return Err(
                    ActionError::new(ErrorKind::Refused, message).hint_as(HintCode::RenameSavedSearch, hint)
                );
            }
            if entries.len() >= MAX_SAVED {
                let message = format!("{MAX_SAVED} searches are saved already");
                let hint = "remove one with `floodplain searches rm NAME`";
                return Err(
                    ActionError::new(ErrorKind::Refused, message).hint_as(HintCode::RemoveSavedSearch, hint)
                );
            }
        }
        self.keep(saved.clone()).await?;
        let entry = Entry { due: Instant::now(), last_run: None, problem: None, saved };
        self.entries().insert(entry.saved.name.clone(), entry);
        self.0.woken.notify_one();
        Ok(())
    }

    /// All of them, in order of their names.
    pub(super) fn list(&self) -> Vec<SavedSearch> {
        self.entries().values().map(Entry::told).collect()
    }

    /// Forgets one and what it found.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name, `Failed` when its file could not be removed; it is still saved then.
    pub(super) async fn remove(&self, name: &str) -> Outcome<()> {
        let _writing = self.0.writing.lock().await;
        if !self.entries().contains_key(name) {
            return Err(none_named(name));
        }
        let (store, gone) = (Arc::clone(&self.0.store), name.to_owned());
        disk(move || store.forget(&gone)).await?;
        self.entries().remove(name);
        self.0.ran.send_modify(|ran| *ran += 1);
        self.0.woken.notify_one();
        Ok(())
    }

    /// News of all searches that nobody was told yet, which are told with this answer; waits for some, at most `wait` and
    /// 25 s. Empty when there was none.
    pub(super) async fn take_news(&self, wait: Duration) -> Vec<NewHit> {
        let until = Instant::now() + wait.min(MAX_NEWS_WAIT);
        let mut ran = self.0.ran.subscribe();
        loop {
            ran.mark_unchanged();
            let news = self.take_untold().await;
            if !news.is_empty() {
                return news;
            }
            match timeout_at(until, ran.changed()).await {
                Ok(Ok(())) => {}
                _ => return news,
            }
        }
    }

    async fn take_untold(&self) -> Vec<NewHit> {
        if self.entries().values().all(|entry| entry.saved.untold.is_empty()) {
            return Vec::new();
        }
        let _writing = self.0.writing.lock().await;
        let mut news = Vec::new();
        let mut changed = Vec::new();
        for entry in self.entries().values().filter(|entry| !entry.saved.untold.is_empty()) {
            let left = MAX_TAKEN - news.len();
            if left > 0 {
                let mut saved = entry.saved.clone();
                news.extend(saved.take_untold(left));
                changed.push(saved);
            }
        }
        for saved in &changed {
            if let Err(error) = self.keep(saved.clone()).await {
                tracing::warn!(%error, "a restart may tell of new hits again");
            }
        }
        // Last, and without an await behind it: whoever goes away before has been told nothing.
        for saved in changed {
            self.put(saved);
        }
        news.sort_by_key(|hit| hit.found);
        news
    }

    /// Asks one and takes in what it finds.
    async fn run(&self, name: &str) {
        let Some((text, scope)) =
            self.entries().get(name).map(|entry| (entry.saved.text.clone(), entry.saved.scope))
        else {
            return;
        };
        let found = self.0.origin.look(SearchAsk { text: text.clone(), scope, ..SearchAsk::default() }).await;
        let _writing = self.0.writing.lock().await;
        let (me, now) = (self.0.view.now().me.id, SystemTime::now());
        // It may have been removed meanwhile, and saved anew with another text.
        let saved = self.entries().get(name).map(|entry| entry.saved.clone());
        let Some(mut saved) = saved.filter(|saved| saved.text == text && saved.scope == scope) else {
            return;
        };
        let (wait, problem) = match found {
            Ok(hits) => {
                if saved.take_in(&hits, &me, now)
                    && let Err(error) = self.keep(saved.clone()).await
                {
                    tracing::warn!(search = name, %error, "a restart may not know what this search has found");
                }
                (self.0.every, None)
            }
            Err(error) => (self.0.every.min(TRY_AGAIN), Some(error.message)),
        };
        self.put(saved);
        if let Some(entry) = self.entries().get_mut(name) {
            let jitter = rand::rng().random_range(1.0 - JITTER..1.0 + JITTER);
            entry.due = Instant::now() + wait.mul_f64(jitter);
            (entry.last_run, entry.problem) = (Some(now), problem);
        }
        self.0.ran.send_modify(|ran| *ran += 1);
    }

    /// In place of what it was; only while `writing` is held.
    fn put(&self, saved: Saved) {
        if let Some(entry) = self.entries().get_mut(&saved.name) {
            entry.saved = saved;
        }
    }

    async fn keep(&self, saved: Saved) -> Outcome<()> {
        let store = Arc::clone(&self.0.store);
        disk(move || store.keep(&saved)).await
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn none_named(name: &str) -> ActionError {
    ActionError::new(ErrorKind::NotFound, format!("no search is saved as `{name}`"))
        .hint_as(HintCode::ListSavedSearches, "`floodplain searches` lists them")
}

async fn disk(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Outcome<()> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| ActionError::new(ErrorKind::Failed, "writing the saved searches failed"))?;
    done.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        ActionError::new(ErrorKind::Failed, format!("{error}{cause}"))
    })
}
