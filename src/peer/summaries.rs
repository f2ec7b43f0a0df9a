//! The words of this zone: tells the members which words this peer has, and holds what they tell.
//!
//! Invariant: the zone is told that the words are changing as soon as the index has a new path, and that they are settled
//! only with a summary that has them all. What a member announced and gave is used only while the registry is heard.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use anyhow::Context;
use futures::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{Request, Status};

use super::{
    links::Links,
    view::{Knowledge, View},
};
use crate::{
    index::Index,
    protocol::{
        action::Connection,
        claim::{Everyone, RulesOut},
        id::PeerId,
        roster::{Member, Roster, Stamp},
        summary::{
            Keys, OwnKeys, Probe, Summary,
            book::{Book, BySummary},
        },
    },
    shutdown::Shutdown,
    wire::{
        pb::{self, peer_service_client::PeerServiceClient},
        summary::{self as wire, MAX_ANSWER_BYTES, Told},
    },
};

/// Words that come one after the other are told together: settled after a pause of this length,
const QUIET: Duration = Duration::from_millis(500);
/// or after this long without one.
const LONGEST_UNSETTLED: Duration = Duration::from_secs(10);
/// A summary is not made again for so many times as long as it took: one core is busy with it a twentieth of the time at
/// most, and this peer is asked every query meanwhile.
const REST_FACTOR: u32 = 20;
/// A path takes 1 to 2 us; where it seems to take more than this, others had the cores.
const MOST_A_PATH: Duration = Duration::from_micros(5);
/// Former summaries that are kept to tell what became different; who is further behind gets the whole.
const FORMER: usize = 4;
/// Summaries that are fetched at once.
const FETCHES: usize = 8;
/// A member has this long to give its summary.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// After a fetch that failed the others are asked again.
const FETCH_AGAIN: Duration = Duration::from_secs(5);
/// How long a search that passed members by waits at its end for the registry to say that it was right.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a rescan waits until the zone is told of its words.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// This peer's own.
#[derive(Debug, Default)]
struct Own {
    /// The last ones by version, the newest at the back.
    summaries: VecDeque<(u64, Summary)>,
    /// What gateways are given beside the newest.
    keys: Option<Arc<Keys>>,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Summaries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    view: View,
    index: Index,
    links: Arc<Links>,
    // Std locks: held for a look, a change of one entry, or the verdict on one query.
    own: Mutex<Own>,
    book: RwLock<Book>,
    /// At a gateway, the keys of the members; empty elsewhere.
    keys: RwLock<Book<Arc<Keys>>>,
    /// What the registry is to be told, and the words of the index that it is about.
    stamp: watch::Sender<(Stamp, u64)>,
    /// The highest sequence that someone waits for, and the highest that came back from the registry.
    wanted: watch::Sender<u64>,
    reached: watch::Sender<u64>,
}

impl Summaries {
    /// With nothing told and nothing held.
    pub(crate) fn new(view: View, index: Index, links: Arc<Links>) -> Self {
        let inner = Inner {
            view,
            index,
            links,
            own: Mutex::default(),
            book: RwLock::new(Book::new()),
            keys: RwLock::new(Book::new()),
            stamp: watch::Sender::new((Stamp::default(), 0)),
            wanted: watch::Sender::new(0),
            reached: watch::Sender::new(0),
        };
        Self(Arc::new(inner))
    }

    /// Starts to tell and to fetch, until the stop.
    pub(crate) fn start(&self, shutdown: &Shutdown) {
        let (telling, fetching) = (self.clone(), self.clone());
        let working = shutdown.clone();
        drop(shutdown.spawn("own summary", async move { telling.tell(&working).await }));
        drop(shutdown.spawn("summaries", async move { fetching.fetch_missing().await }));
    }

    /// To hear when the registry is to be told of another [`Self::stamp`].
    pub(crate) fn stamps(&self) -> watch::Receiver<(Stamp, u64)> {
        self.0.stamp.subscribe()
    }

    /// What the registry is to be told.
    pub(crate) fn stamp(&self) -> Stamp {
        self.0.stamp.borrow().0
    }

    /// To hear when a heartbeat of that sequence is to be sent at once.
    pub(crate) fn wanted(&self) -> watch::Receiver<u64> {
        self.0.wanted.subscribe()
    }

    /// The registry answered a heartbeat of that sequence, and everything before it was taken in.
    pub(crate) fn reach(&self, sequence: u64) {
        self.0.reached.send_if_modified(|reached| {
            let is_new = sequence > *reached;
            *reached = sequence.max(*reached);
            is_new
        });
    }

    /// Of members that a query passed by, those that it should not have: whoever had announced something before this was
    /// called that had not arrived here. When the registry does not answer soon it is all of them.
    pub(crate) async fn wrongly_ruled_out(
        &self,
        ruled_out: &BTreeSet<u64>,
        probe: &Probe,
    ) -> BTreeSet<PeerId> {
        let mut mine = 0;
        self.0.wanted.send_modify(|wanted| {
            *wanted += 1;
            mine = *wanted;
        });
        let mut reached = self.0.reached.subscribe();
        let is_heard = timeout(CONFIRM_TIMEOUT, reached.wait_for(|reached| *reached >= mine)).await.is_ok();
        let knowledge = self.0.view.now();
        let members = knowledge.roster.as_deref().map_or(&[][..], Roster::members);
        let passed = members.iter().filter(|member| ruled_out.contains(&member.id.short()));
        self.with_rule(probe, |rule| {
            passed.filter(|member| !is_heard || !rule.rules_out(member)).map(|member| member.id).collect()
        })
    }

    /// Has a query judged by what is held now.
    pub(crate) fn with_rule<T>(&self, probe: &Probe, judge: impl FnOnce(&dyn RulesOut) -> T) -> T {
        if probe.is_blind() || self.0.view.now().connection != Connection::Connected {
            return judge(&Everyone);
        }
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys();
        judge(&BySummary { book: &book, keys: Some(&*keys).filter(|keys| !keys.is_empty()), probe })
    }

    /// The newest summary of this peer, or how to come to it.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` before the first, and when the words are too many.
    pub(crate) fn give(&self, request: pb::GetSummaryRequest) -> Result<pb::GetSummaryResponse, Status> {
        let own = self.own();
        let (version, newest) =
            own.summaries.back().ok_or_else(|| Status::failed_precondition("there is no summary now"))?;
        let held = own.summaries.iter().find(|(version, _)| *version == request.held_version);
        let told = held.and_then(|(_, held)| held.change_to(newest)).map(Told::Change);
        Ok(wire::to_summary(*version, &told.unwrap_or_else(|| Told::Whole(newest.clone()))))
    }

    /// The version of the newest keys of this peer for gateways, and the keys unless the caller holds that version; `None` before
    /// the first, and when they are too many.
    pub(crate) fn own_keys(&self, held_version: u64) -> Option<(u64, Option<Arc<Keys>>)> {
        let own = self.own();
        let (version, _) = own.summaries.back()?;
        Some((*version, own.keys.clone().filter(|_| *version != held_version)))
    }

    /// The keys that members gave this peer as a gateway.
    pub(crate) fn keys(&self) -> RwLockReadGuard<'_, Book<Arc<Keys>>> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change them.
    pub(crate) fn keys_mut(&self) -> RwLockWriteGuard<'_, Book<Arc<Keys>>> {
        self.0.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the zone is told about the words that the index has now, or cannot be told soon.
    pub(crate) async fn told(&self) {
        let came = self.0.index.paths_came();
        let told = async {
            // The task sees the change of the index in a moment.
            let _ = self.stamps().wait_for(|(stamp, of)| !stamp.is_settled || *of >= came).await;
            let (stamp, me) = (self.stamp(), self.0.view.now().me.id);
            self.0.view.until(|now| now.member(&me).is_none_or(|me| me.summary == stamp)).await;
        };
        let _ = timeout(TELL_TIMEOUT, told).await;
    }

    async fn tell(&self, shutdown: &Shutdown) {
        let index = &self.0.index;
        let mut changes = index.changes();
        let mut summed_at = None;
        let mut not_before = Instant::now();
        index.until_ready().await;
        loop {
            if summed_at != Some(index.paths_came()) {
                self.0.stamp.send_if_modified(|(stamp, _)| std::mem::take(&mut stamp.is_settled));
                self.rest().await;
                sleep_until(not_before).await;
                let index = index.clone();
                let summed = move || {
                    let begun = Instant::now();
                    let (came, keys) = index.keys();
                    let summed = keys.map(|keys| (Summary::of(&keys), keys));
                    let paths = u32::try_from(index.state().files).unwrap_or(u32::MAX);
                    (came, summed, begun.elapsed().min(MOST_A_PATH * paths))
                };
                let Ok((came, summed, took)) = shutdown.spawn_blocking(summed).await else { return };
                not_before = Instant::now() + took * REST_FACTOR;
                summed_at = Some(came);
                self.settle(came, summed);
                continue;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Until no path came for a while, or for too long.
    async fn rest(&self) {
        let begun = Instant::now();
        let mut came = self.0.index.paths_came();
        loop {
            sleep(QUIET).await;
            let now = self.0.index.paths_came();
            if now == came || begun.elapsed() >= LONGEST_UNSETTLED {
                return;
            }
            came = now;
        }
    }

    fn settle(&self, came: u64, summed: Option<(Summary, OwnKeys)>) {
        let mut own = self.own();
        let Some((summary, keys)) = summed else {
            tracing::info!("this peer has more words than a summary holds; it is asked every query");
            *own = Own::default();
            return;
        };
        let OwnKeys { summary: keys, gateway } = keys;
        tracing::debug!(keys = keys.as_slice().len(), has_pairs = keys.has_pairs(), "made a summary");
        // A path that came while the summary was made is in the next.
        if came != self.0.index.paths_came() {
            return;
        }
        let version = self.stamp().version + 1;
        if own.summaries.len() > FORMER {
            own.summaries.pop_front();
        }
        own.summaries.push_back((version, summary));
        own.keys = Some(Arc::new(gateway));
        drop(own);
        self.0.stamp.send_replace((Stamp { version, is_settled: true }, came));
    }

    async fn fetch_missing(&self) {
        loop {
            let knowledge = self.0.view.until(|now| !self.missing(now).is_empty()).await;
            if let Some(roster) = &knowledge.roster {
                self.book_mut().keep_only(roster);
            }
            let missing = self.missing(&knowledge);
            let fetches = futures::stream::iter(missing).map(|member| async move {
                let fetched = timeout(FETCH_TIMEOUT, self.fetch(&member)).await;
                if let Err(error) = fetched.context("it does not answer").and_then(|fetched| fetched) {
                    tracing::debug!(peer = %member.name, %error, "could not fetch a summary");
                    return false;
                }
                true
            });
            let is_fetched: Vec<bool> = fetches.buffer_unordered(FETCHES).collect().await;
            if is_fetched.contains(&false) {
                sleep(FETCH_AGAIN).await;
            }
        }
    }

    fn missing(&self, knowledge: &Knowledge) -> Vec<Member> {
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        let members = knowledge.roster.as_deref().map_or(&[][..], Roster::members);
        let is_missing = |member: &&Member| member.id != knowledge.me.id && book.misses(member);
        members.iter().filter(is_missing).cloned().collect()
    }

    async fn fetch(&self, member: &Member) -> anyhow::Result<()> {
        let held = {
            let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
            book.held(member).map(|(version, summary)| (version, summary.clone()))
        };
        let channel = self.0.links.channel(member)?;
        let mut client = PeerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let held_version = held.as_ref().map_or(0, |(version, _)| *version);
        let response = client.get_summary(Request::new(pb::GetSummaryRequest { held_version })).await?;
        let (version, told) = wire::summary(response.into_inner())?;
        // Announced before it had it: asked again at once it would say the same.
        anyhow::ensure!(version >= member.summary.version, "it gave an older summary than it announced");
        let summary = match (told, held) {
            (Told::Whole(summary), _) => Some(summary),
            (Told::Change(change), Some((_, mut summary))) => {
                summary.apply(&change)?;
                Some(summary)
            }
            (Told::Change(_), None) => anyhow::bail!("it told a change of what nobody holds"),
            (Told::Unknown, _) => None,
        };
        self.book_mut().hold(member.id, member.incarnation, version, summary);
        Ok(())
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}
