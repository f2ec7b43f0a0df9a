//! The filters of other zones: one stream to a gateway of each, and to its other one when that breaks.
//!
//! Invariant: nothing is held of a zone whose stream does not last.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, sleep, timeout};
use tonic::Request;

use super::Zones;
use crate::{
    peer::{retry::pauses, view::Knowledge},
    protocol::{
        id::ZoneId,
        roster::Member,
        summary::zone::{News, watched},
    },
    wire::{
        pb::peer_service_client::PeerServiceClient,
        zone_filter::{self as wire, MAX_NEWS_BYTES},
    },
};

/// A gateway has this long to begin its stream. That it is there afterwards the pings of the connection tell, within 15 s.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between streams to the gateways of one zone: doubled with jitter from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A stream that lasted so long was no failure: the next one may begin at once.
const STEADY: Duration = Duration::from_secs(60);
/// Most changes of state that a gateway tells in [`PACE_SPAN`]: one filter a second is settled, unsettled and perhaps begun
/// anew. Who tells more is not listened to.
const MOST_CHANGES: u32 = 60;
const PACE_SPAN: Duration = Duration::from_secs(10);

impl Zones {
    /// Watches other zones, whenever this peer is a gateway and for as long as they have gateways.
    pub(super) async fn watch_others(&self) {
        let mut changes = self.0.view.changes();
        let mut watching = HashMap::new();
        loop {
            let wanted = wanted(&self.0.view.now());
            let gone: Vec<ZoneId> = watching.keys().filter(|zone| !wanted.contains(*zone)).copied().collect();
            for zone in gone {
                if let Some(task) = watching.remove(&zone) {
                    let task: tokio::task::JoinHandle<_> = task;
                    task.abort();
                    // When it has ended it holds nothing any more.
                    let _ = task.await;
                    self.filters_mut().forget(zone);
                }
            }
            for zone in wanted {
                watching.entry(zone).or_insert_with(|| {
                    let zones = self.clone();
                    self.0.shutdown.spawn("zone filter", async move { zones.watch_zone(zone).await })
                });
            }
            // The sender lives in the view.
            let _ = changes.changed().await;
        }
    }

    async fn watch_zone(&self, zone: ZoneId) {
        let mut retries = pauses(PAUSES);
        // Each of its gateways is watched by half of the others.
        let mut turn = usize::from(self.0.view.now().me.id.as_bytes()[0]);
        loop {
            let now = self.0.view.until(|now| !now.gateways.of(zone).is_empty()).await;
            let gateways = now.gateways.of(zone);
            let gateway = &gateways[turn % gateways.len()];
            let begun = Instant::now();
            let Err(error) = self.follow(zone, gateway).await;
            self.filters_mut().forget(zone);
            tracing::debug!(%zone, gateway = %gateway.name, error = format!("{error:#}"), "a zone is not watched");
            turn = turn.wrapping_add(1);
            if begun.elapsed() >= STEADY {
                retries = pauses(PAUSES);
            }
            sleep(retries.next().unwrap_or(PAUSES.1)).await;
        }
    }

    /// Takes in what a gateway tells, for as long as it does.
    async fn follow(&self, zone: ZoneId, gateway: &Member) -> anyhow::Result<std::convert::Infallible> {
        let channel = self.0.links.channel(gateway)?;
        let mut client = PeerServiceClient::new(channel).max_decoding_message_size(MAX_NEWS_BYTES);
        let opening = client.watch_zone(Request::new(wire::to_watch(zone)));
        let mut stream = timeout(OPEN_TIMEOUT, opening).await.context("it does not answer")??.into_inner();
        let (mut changes, mut since) = (0, Instant::now());
        loop {
            let message = stream.message().await?.context("it tells no more")?;
            let news = wire::news(message)?;
            if !matches!(news, News::Blocks(_)) {
                if since.elapsed() >= PACE_SPAN {
                    (changes, since) = (0, Instant::now());
                }
                changes += 1;
                anyhow::ensure!(changes <= MOST_CHANGES, "it tells changes without end");
            }
            self.filters_mut().take_in(zone, news)?;
        }
    }
}

/// The zones to be watched.
fn wanted(now: &Knowledge) -> BTreeSet<ZoneId> {
    match now.zone().filter(|_| now.is_gateway()) {
        Some(own) => watched(own, now.gateways.zones()).into_iter().collect(),
        None => BTreeSet::new(),
    }
}
