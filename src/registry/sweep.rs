//! The clock of the registry: four passes a second over leases and zones, and a snapshot every few seconds when something
//! changed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::MissedTickBehavior;

use super::{admin::Admin, closed::Closed, invite_file::InviteFile, session::Hub, store::Store};
use crate::{protocol::lease::SWEEP_INTERVAL, shutdown::Shutdown};

/// What a registry that is killed loses at most: joins and leaves of this long.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);

/// A peer trusts what it was answered after so long.
const ADOPTED_WITHIN: Duration = Duration::from_secs(1);

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

/// Spawns what an authority does with time; it ends with the stop.
pub(super) fn spawn_authority(
    closed: &Arc<Closed>,
    admin: &Admin,
    mut invite_file: Option<InviteFile>,
    shutdown: &Shutdown,
) {
    let (closed, admin) = (closed.clone(), admin.clone());
    shutdown.spawn("authority", async move {
        let mut ticks = ticks(SNAPSHOT_INTERVAL);
        loop {
            ticks.tick().await;
            let is_live = |peer: &_| admin.hub.is_live(peer);
            if closed.is_known(is_live) {
                // The last one was answered just now, and has to take it in.
                tokio::time::sleep(ADOPTED_WITHIN).await;
                // A failure to write is logged there, and it is tried again next time.
                if matches!(closed.switch_when_known(is_live).await, Ok(true)) {
                    admin.hub.want_renewals();
                }
            }
            if let Err(error) = closed.tidy(SystemTime::now()) {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "could not renew the registry's own certificate"
                );
            }
            if let Some(file) = &mut invite_file
                && let Err(error) = file.refresh(&admin, &closed).await
            {
                tracing::warn!(error = format!("{error:#}"), "no new invite");
            }
            // Renewals since the last time. A failure is logged there, and tried again next time.
            if closed.commit().await.is_ok() && matches!(closed.catch_up(), Ok(true)) {
                admin.hub.want_renewals();
            }
        }
    });
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval);
    // After a pause one tick tells as much as the missed ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
