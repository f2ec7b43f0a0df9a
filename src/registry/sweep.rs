//! The clock of the registry: four passes a second over leases and zones, and a snapshot every few seconds when something
//! changed.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::{session::Hub, store::Store};
use crate::{protocol::lease::SWEEP_INTERVAL, shutdown::Shutdown};

/// What a registry that is killed loses at most: joins and leaves of this long.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);

/// Spawns both; they end with the stop.
pub(super) fn spawn(hub: &Arc<Hub>, store: &Arc<Store>, shutdown: &Shutdown) {
    let swept = hub.clone();
    shutdown.spawn("sweep", async move {
        let mut ticks = ticks(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            swept.sweep();
        }
    });
    let (hub, store, blocking) = (hub.clone(), store.clone(), shutdown.clone());
    shutdown.spawn("snapshot", async move {
        let mut ticks = ticks(SNAPSHOT_INTERVAL);
        loop {
            ticks.tick().await;
            let (hub, store) = (hub.clone(), store.clone());
            // Awaited, so that a slow disk is never given two snapshots at once.
            let _ = blocking.spawn_blocking(move || store.save(&hub)).await;
        }
    });
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval);
    // After a pause one tick tells as much as the missed ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
