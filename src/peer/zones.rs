//! The words of whole zones, at a gateway: makes the filter of its own zone, tells it to gateways of others, and holds what
//! they tell of theirs, so that a query enters only the zones that may have a hit.
//!
//! Invariant: what is told of the own zone is unsettled from the moment that this peer hears that something changed, until a
//! filter has it; what other gateways told is used only while their streams last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::watch;
use tonic::Status;

use super::{
    links::Links,
    summaries::Summaries,
    view::{Knowledge, View},
};
use crate::{
    net::{
        CallerKey,
        limit::{Admission, Full},
    },
    protocol::{
        action::Connection,
        claim::Everyone,
        crossing::RulesOutZones,
        id::ZoneId,
        summary::{
            Keys, Probe,
            book::Book,
            zone::{ByFilter, Filters, Telling, ZoneFilter},
        },
    },
    shutdown::Shutdown,
    wire::{pb, zone_filter as wire},
};

mod others;
mod own;

/// Watchers of one host. Every peer of a machine may be a gateway of another zone.
const WATCHERS_PER_CALLER: usize = 64;
/// Watchers at once. Each gateway is watched by those of the zones before its own, two of each.
const WATCHERS: usize = 1024;

/// What this peer tells of its zone.
#[derive(Debug, Clone, Default)]
struct Published {
    /// The zone; `None` while this peer is no gateway, or does not hear the registry.
    zone: Option<ZoneId>,
    /// The filter, when the zone is settled.
    filter: Option<Arc<ZoneFilter>>,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Zones(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    view: View,
    links: Arc<Links>,
    summaries: Summaries,
    // Std locks: held for a look, one change, or the verdict on one query.
    keys: Mutex<Book<Arc<Keys>>>,
    filters: RwLock<Filters>,
    /// The keys of a member came.
    keys_came: watch::Sender<()>,
    published: watch::Sender<Published>,
    watchers: Admission<CallerKey>,
    shutdown: Shutdown,
}

impl Zones {
    /// With nothing told and nothing held.
    pub(crate) fn new(view: View, links: Arc<Links>, summaries: Summaries, shutdown: Shutdown) -> Self {
        let inner = Inner {
            view,
            links,
            summaries,
            keys: Mutex::new(Book::new()),
            filters: RwLock::new(Filters::new()),
            keys_came: watch::Sender::new(()),
            published: watch::Sender::new(Published::default()),
            watchers: Admission::new(WATCHERS_PER_CALLER, WATCHERS),
            shutdown,
        };
        Self(Arc::new(inner))
    }

    /// Starts to make the own zone's filter and to watch others whenever this peer is a gateway, until the stop.
    pub(crate) fn start(&self) {
        let shutdown = &self.0.shutdown;
        let (fetching, publishing, watching) = (self.clone(), self.clone(), self.clone());
        drop(shutdown.spawn("keys of members", async move { fetching.fetch_keys().await }));
        drop(shutdown.spawn("own zone filter", async move { publishing.publish().await }));
        drop(shutdown.spawn("zone filters", async move { watching.watch_others().await }));
    }

    /// Has a query judged by what is held now.
    pub(crate) fn with_rule<T>(&self, probe: &Probe, judge: impl FnOnce(&dyn RulesOutZones) -> T) -> T {
        if probe.is_blind() {
            return judge(&Everyone);
        }
        let filters = self.0.filters.read().unwrap_or_else(PoisonError::into_inner);
        judge(&ByFilter { filters: &filters, probe })
    }

    /// The newest keys of this peer, unless the caller holds them.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` before the first, and when they are too many.
    pub(crate) fn give_keys(&self, request: pb::GetKeysRequest) -> Result<pb::GetKeysResponse, Status> {
        let own = self.0.summaries.own_keys(request.held_version);
        let (version, keys) = own.ok_or_else(|| Status::failed_precondition("there are no keys now"))?;
        Ok(wire::to_keys(version, keys.as_deref()))
    }

    /// What is told of the own zone, from now on.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `FAILED_PRECONDITION` when this peer tells nothing of that zone, `RESOURCE_EXHAUSTED` when too
    /// many watch.
    pub(crate) fn tell(
        &self,
        request: pb::WatchZoneRequest,
        caller: CallerKey,
    ) -> Result<BoxStream<'static, Result<pb::WatchZoneResponse, Status>>, Status> {
        let zone = wire::watched_zone(request)?;
        let published = self.0.published.subscribe();
        if published.borrow().zone != Some(zone) {
            return Err(Status::failed_precondition(
                "this peer is no gateway of that zone, or does not hear of it",
            ));
        }
        let full = |full: Full| Status::resource_exhausted(format!("{full} watch this zone"));
        let permit = self.0.watchers.admit(caller).map_err(full)?;
        let news = stream::unfold(
            (published, Telling::default(), permit),
            move |(mut published, mut telling, permit)| async move {
                loop {
                    let now = published.borrow_and_update().clone();
                    if now.zone != Some(zone) {
                        return None;
                    }
                    if let Some(news) = telling.next(now.filter.as_ref()) {
                        return Some((Ok(wire::to_news(news)), (published, telling, permit)));
                    }
                    published.changed().await.ok()?;
                }
            },
        );
        Ok(news.take_until(self.0.shutdown.stopping_owned()).boxed())
    }

    fn keys(&self) -> MutexGuard<'_, Book<Arc<Keys>>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filters_mut(&self) -> RwLockWriteGuard<'_, Filters> {
        self.0.filters.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The zone of which this peer can tell: it is one of its gateways, and hears of every change in it.
fn publishes(now: &Knowledge) -> Option<ZoneId> {
    now.zone().filter(|_| now.is_gateway() && now.connection == Connection::Connected)
}
