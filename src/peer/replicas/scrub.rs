//! Reads what this peer keeps, slowly and all the time, and has what is wrong pulled again.

use std::time::{Duration, Instant, SystemTime};

use super::{Keeping, others::look_again, rounds::to_keep};
use crate::{
    protocol::placement::{self, Told},
    store::replica::{Replica, Scrubbed, ToScrub},
};

/// Pace of the reading: 1.4 TB a day, a tenth of what a hard disk reads.
const BYTES_PER_SECOND: u64 = 16 << 20;
/// Longest time between two looks at the clock, which may be set meanwhile.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// After a reading that was broken off.
const REST_AFTER_BREAK: Duration = Duration::from_secs(60);

impl Keeping {
    /// One content after the other, until the stop.
    pub(in crate::peer) async fn scrub(self) {
        loop {
            let hash = match self.0.store.to_scrub(SystemTime::now()) {
                ToScrub::Read(hash) => hash,
                ToScrub::Rest(rest) => {
                    tokio::time::sleep(rest.min(LONGEST_REST)).await;
                    continue;
                }
            };
            let (store, index, stop) = (self.0.store.clone(), self.0.index.clone(), self.0.shutdown.clone());
            let reading = self.0.shutdown.spawn_blocking(move || {
                let began = Instant::now();
                let scrubbed = store.scrub(&hash, |bytes| {
                    let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND);
                    // At most the time of one read: 16 ms.
                    std::thread::sleep(due.saturating_sub(began.elapsed()));
                    !stop.is_stopping()
                });
                if matches!(scrubbed, Scrubbed::Wrong(_)) {
                    look_again(&index, &hash);
                }
                scrubbed
            });
            match reading.await {
                Ok(Scrubbed::Right) => {}
                Ok(Scrubbed::Wrong(replica)) => self.pull_again(*replica).await,
                Ok(Scrubbed::Unread) | Err(_) => tokio::time::sleep(REST_AFTER_BREAK).await,
            }
        }
    }

    /// From whoever else keeps it. Where nobody can be reached now, the rounds of the other holders make it up.
    async fn pull_again(&self, replica: Replica) {
        let Some(seen) = self.ask_around(vec![replica]).await.and_then(|mut seen| seen.pop()) else { return };
        if seen.released.is_some() {
            return;
        }
        let (hash, name) = (seen.replica.hash, &seen.replica.name);
        let holders = seen.others.iter().filter(|other| other.told == Told::Kept).map(|other| other.id);
        let mut holders: Vec<_> = holders.collect();
        placement::rank(&hash, &mut holders, |id| *id);
        for holder in holders {
            match self.keep_here(to_keep(&seen.replica, holder), || ()).await {
                Ok(()) => {
                    tracing::info!(%hash, name, "pulled a replica again");
                    return;
                }
                Err(status) => {
                    tracing::debug!(%hash, name, reason = status.message(), "could not pull a replica again");
                }
            }
        }
        tracing::warn!(%hash, name, "no other holder gave a replica again; the zone makes it up when one is back");
    }
}
